"""The text of an answer is the same, whole and as a stream, on every wire that has text."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gateway.judging.text import text_of

WHOLE: dict[str, Any] = {
    "chat": {"choices": [{"index": 0, "message": {"content": "Hello"}}]},
    "completions": {"choices": [{"index": 0, "text": "Hello"}]},
    "messages": {"content": [{"type": "thinking", "thinking": "?"}, {"type": "text", "text": "Hello"}]},
    "responses": {"output": [{"type": "reasoning"}, {"content": [{"type": "output_text", "text": "Hello"}]}]},
}
STREAMED: dict[str, list[Any]] = {
    "chat": [{"choices": [{"index": 0, "delta": {"content": part}}]} for part in ("Hel", "lo")],
    "completions": [{"choices": [{"index": 0, "text": part}]} for part in ("Hel", "lo")],
    "messages": [
        {"type": "content_block_delta", "delta": {"type": "text_delta", "text": part}}
        for part in ("Hel", "lo")
    ],
    "responses": [
        *({"type": "response.output_text.delta", "delta": part} for part in ("Hel", "lo")),
        {"type": "response.completed", "response": {}},
    ],
}


@pytest.mark.parametrize("wire", WHOLE)
def test_an_answer_says_the_same_whole_and_as_a_stream(wire: str) -> None:
    events = b"".join(
        b": alive\n\nevent: x\ndata: %s\n\n" % json.dumps(each).encode() for each in STREAMED[wire]
    )

    assert text_of(json.dumps(WHOLE[wire]).encode(), wire) == "Hello"
    assert text_of(events + b"data: [DONE]\n\n", wire) == "Hello"


def test_of_several_choices_the_first_is_judged() -> None:
    choices = [{"index": 1, "message": {"content": "no"}}, {"index": 0, "message": {"content": "yes"}}]

    assert text_of(json.dumps({"choices": choices}).encode(), "chat") == "yes"


def test_a_refusal_is_what_was_said() -> None:
    body = {"choices": [{"index": 0, "message": {"content": None, "refusal": "I cannot."}}]}

    assert text_of(json.dumps(body).encode(), "chat") == "I cannot."


@pytest.mark.parametrize("wire", WHOLE)
@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"{}", b'{"choices": 7}', b'{"choices": [7]}', b'{"content": [7]}', b"data: 7\n\n", b"\xff"],
)
def test_what_cannot_be_read_says_nothing(body: bytes, wire: str) -> None:
    assert text_of(body, wire) == ""
