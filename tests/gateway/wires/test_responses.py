"""Responses: orders in front of the instructions, other messages before the input, and what may be asked again."""

from __future__ import annotations

import json

import pytest

from gateway.errors import BadRequest, UpstreamCut
from gateway.wires.responses import Responses
from tests.gateway.wires.asking import asked, prompt, sent, sent_bytes

WIRE = Responses()
SERVED = prompt(
    ("system", "Be brief."), ("user", "Example?"), ("assistant", "Yes."), ("developer", "Be kind.")
)
ORDERS = "Be brief.\n\nBe kind."
TALK = [{"role": "user", "content": "Example?"}, {"role": "assistant", "content": "Yes."}]
ITEM = {"role": "user", "content": [{"type": "input_text", "text": "Hi"}]}


@pytest.mark.parametrize(
    ("given", "expected"), [("Mine.", ORDERS + "\n\nMine."), (None, ORDERS), ("", ORDERS + "\n\n")]
)
def test_orders_come_in_front_of_the_instructions(given: str | None, expected: str) -> None:
    assert sent(WIRE, SERVED, input="Hi", instructions=given)["instructions"] == expected


@pytest.mark.parametrize(
    ("given", "expected"),
    [("Hi", [*TALK, {"role": "user", "content": "Hi"}]), ([ITEM], [*TALK, ITEM]), ([], TALK), (None, TALK)],
)
def test_other_messages_come_before_the_input(given: object, expected: object) -> None:
    assert sent(WIRE, SERVED, input=given)["input"] == expected


def test_an_input_that_nothing_comes_before_goes_as_it_came() -> None:
    raw = b'{"model":"support-bot","input": "\\u00e4\\u0001" }'

    assert b'"\\u00e4\\u0001"' in sent_bytes(WIRE, raw, prompt(("system", "x")))
    assert b'"content":"\\u00e4\\u0001"' in sent_bytes(WIRE, raw, SERVED)


@pytest.mark.parametrize("odd", [7, True, {"role": "user"}])
def test_what_a_prompt_cannot_come_before_is_refused(odd: object) -> None:
    with pytest.raises(BadRequest, match="input: expected a string or an array"):
        sent(WIRE, SERVED, input=odd)
    with pytest.raises(BadRequest, match="instructions: expected a string"):
        sent(WIRE, SERVED, instructions=[odd])
    assert sent(WIRE, input=odd, instructions=[odd])["input"] == odd


@pytest.mark.parametrize(
    ("given", "question"),
    [
        ("Hi", "Hi"),
        ([{"role": "user", "content": "a"}, ITEM, {"type": "function_call", "arguments": "{}"}], "Hi"),
        ([{"type": "function_call_output", "output": "x"}], ""),
        (None, ""),
        (7, ""),
        ([7], ""),
    ],
)
def test_the_question_is_the_last_user_items_text(given: object, question: str) -> None:
    assert asked(WIRE, input=given).question() == question


@pytest.mark.parametrize(
    ("fields", "may"),
    [
        ({}, True),
        ({"store": False, "background": None, "stream": True}, True),
        ({"store": True}, False),
        ({"background": True}, False),
        ({"previous_response_id": "r"}, False),
        ({"conversation": {"id": "c"}}, False),
        ({"store": "odd"}, False),
    ],
)
def test_what_leaves_something_behind_is_asked_once(fields: dict[str, object], may: bool) -> None:
    assert WIRE.replayable(asked(WIRE, input="x", **fields)) is may


def test_a_prompt_that_the_provider_keeps_has_its_own_variables() -> None:
    theirs = {"id": "pmpt_1", "variables": {"company": "Acme"}}

    assert sent(WIRE, SERVED, prompt=theirs)["prompt"] == theirs
    version = prompt(("system", "For {{ company }}."))
    ours = sent(WIRE, version, prompt={"variables": {"company": "Acme"}})
    assert (ours["instructions"], "prompt" in ours) == ("For Acme.", False)


def test_tools_and_format_of_the_prompt_come_in_its_own_words_unless_the_app_sends_some() -> None:
    tool = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
    form = {"type": "json_schema", "json_schema": {"name": "s", "schema": {"type": "object"}}}
    version = prompt(("system", "x"), tools=[tool], response_format=form)
    body = sent(WIRE, version, input="x", text={"verbosity": "low"})

    assert body["tools"] == [{"type": "function", "name": "f", "parameters": {"type": "object"}}]
    assert body["text"] == {
        "verbosity": "low",
        "format": {"type": "json_schema", "name": "s", "schema": {"type": "object"}},
    }
    assert sent(WIRE, version, input="x", tools=[])["tools"] == []


def test_an_error_event_has_the_fields_of_both_and_then_it_is_done() -> None:
    event = WIRE.dialect.error_event(UpstreamCut("closed"))
    name, data, done = event.decode().replace("\n\n", "\n").splitlines()
    told = json.loads(data.removeprefix("data: "))

    assert (name, done) == ("event: error", "data: [DONE]")
    assert (told["type"], told["message"], told["code"]) == ("error", "closed", "upstream_closed")
    assert told["error"]["message"] == "closed"
    assert told["sequence_number"] == 0
