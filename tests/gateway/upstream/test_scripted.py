"""The tests' own upstream can be used without a loop, by the official SDK as well."""

from __future__ import annotations

import openai
import pytest

from tests.scripted_upstream import error_answer, scripted_upstream_in_thread


def test_the_official_sdk_reads_its_answers_from_a_thread() -> None:
    with scripted_upstream_in_thread() as upstream:
        upstream.will(error_answer(429, retry_after=1))
        with openai.OpenAI(base_url=upstream.base_url, api_key="k", max_retries=0) as client:
            question = {"model": "m", "messages": [{"role": "user", "content": "x"}]}

            with pytest.raises(openai.RateLimitError):
                client.chat.completions.create(**question)
            assert client.chat.completions.create(**question).choices[0].message.content == "scripted"
            stream = client.chat.completions.create(**question, stream=True)
            assert "".join(chunk.choices[0].delta.content or "" for chunk in stream) == "scripted answer"

        assert [received.json["model"] for received in upstream.requests] == ["m"] * 3
        assert upstream.requests[0].headers["authorization"] == "Bearer k"
