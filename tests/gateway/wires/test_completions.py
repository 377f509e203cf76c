"""Completions: the served texts come in front of a prompt of text, and tokens are refused with what to do."""

from __future__ import annotations

import pytest

from gateway.errors import BadRequest
from gateway.taps.sse import Tap
from gateway.wires.completions import Completions
from tests.gateway.wires.asking import asked, prompt, sent, sent_bytes

WIRE = Completions()
SERVED = prompt(("system", "Be brief."), ("user", "Q & A:"))
FRONT = "Be brief.\n\nQ & A:\n\n"


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("Once", FRONT + "Once"),
        ("", FRONT),
        (["Once", "Twice"], [FRONT + "Once", FRONT + "Twice"]),
        ([], []),
        (None, "Be brief.\n\nQ & A:"),
    ],
)
def test_the_served_texts_come_in_front_of_each_prompt(given: object, expected: object) -> None:
    assert sent(WIRE, SERVED, prompt=given)["prompt"] == expected


def test_a_missing_prompt_is_the_served_one_alone() -> None:
    assert sent(WIRE, SERVED)["prompt"] == "Be brief.\n\nQ & A:"
    assert "prompt" not in sent(WIRE)


def test_the_apps_text_stays_as_it_was_written() -> None:
    raw = b'{"model":"support-bot","prompt": ["\\u00e4\\/", "\\u0001"]}'

    assert b'Be brief.\\n\\nQ & A:\\n\\n\\u00e4\\/"' in sent_bytes(WIRE, raw, SERVED)
    assert b'\\u0001"' in sent_bytes(WIRE, raw, SERVED)
    assert b'["\\u00e4\\/", "\\u0001"]' in sent_bytes(WIRE, raw)


@pytest.mark.parametrize("tokens", [[1, 2, 3], [[1, 2], [3]], ["text", [1]], 7, [None], True])
def test_tokens_cannot_be_led_and_the_refusal_says_what_to_do(tokens: object) -> None:
    with pytest.raises(BadRequest, match="send the prompt as text, or name a route without") as caught:
        sent(WIRE, SERVED, prompt=tokens)

    assert caught.value.param == "prompt"
    assert sent(WIRE, prompt=tokens)["prompt"] == tokens


def test_variables_are_taken_out_and_rendered() -> None:
    version = prompt(("system", "For {{ company }}: {{ question }}"), variables={"company": "Acme"})
    body = sent(WIRE, version, prompt="Hi", prompt_variables={"company": "Initech"})

    assert body["prompt"] == "For Initech: Hi\n\nHi"
    assert "prompt_variables" not in body


def test_a_prompts_tools_have_no_place_here() -> None:
    version = prompt(("system", "x"), tools=[{"type": "function"}], response_format={"type": "json_object"})

    assert sent(WIRE, version, prompt="Hi").keys() == {"model", "prompt"}


@pytest.mark.parametrize(
    ("given", "question"),
    [("Hi", "Hi"), (["a", "b"], "b"), ([], ""), ([1, 2], ""), (None, ""), (7, ""), ([[1]], "")],
)
def test_the_question_is_the_last_prompt_of_text(given: object, question: str) -> None:
    assert asked(WIRE, prompt=given).question() == question


def test_usage_is_asked_for_and_hidden_where_the_app_did_not_want_it() -> None:
    assert sent(WIRE, prompt="x", stream=True)["stream_options"] == {"include_usage": True}
    assert "stream_options" not in sent(WIRE, prompt="x")
    wanted = asked(WIRE, prompt="x", stream=True, stream_options={"include_usage": True})
    assert wanted.wants_usage


def test_a_chunk_with_text_is_content() -> None:
    tap = Tap()
    tap.feed(b'data: {"choices":[{"index":0,"text":"","finish_reason":null}]}\n\n')
    assert not tap.first_content
    tap.feed(b'data: {"choices":[{"index":0,"text":"Hi","finish_reason":null}]}\n\n')
    assert tap.first_content


def test_parameters_come_in_its_own_words() -> None:
    model = {"params": {"max_completion_tokens": 5, "reasoning_effort": "low"}}

    assert sent(WIRE, None, model, prompt="x") == {"model": "gpt-4.1", "prompt": "x", "max_tokens": 5}
