"""Messages and count_tokens: orders as blocks in front of the system, other messages before the app's."""

from __future__ import annotations

import pytest

from gateway.dialects.dialect import ANTHROPIC
from gateway.errors import BadRequest
from gateway.wires.count_tokens import CountTokens
from gateway.wires.messages import Messages
from tests.gateway.wires.asking import asked, prompt, sent, sent_bytes

WIRES = pytest.mark.parametrize("wire", [Messages(), CountTokens()], ids=lambda wire: wire.name)
WIRE = Messages()
SERVED = prompt(
    ("system", "Be brief."), ("user", "Example?"), ("assistant", "Yes."), ("developer", "Be kind.")
)
OURS = [{"type": "text", "text": "Be brief."}, {"type": "text", "text": "Be kind."}]
TALK = [{"role": "user", "content": "Example?"}, {"role": "assistant", "content": "Yes."}]
HI = {"role": "user", "content": "Hi"}
CACHED = {"type": "text", "text": "Mine.", "cache_control": {"type": "ephemeral"}}


@WIRES
@pytest.mark.parametrize(
    ("given", "theirs"),
    [("Mine.", [{"type": "text", "text": "Mine."}]), ([CACHED], [CACHED]), ([], []), (None, []), ("", [])],
)
def test_orders_are_blocks_in_front_of_the_system(
    wire: Messages, given: object, theirs: list[object]
) -> None:
    assert sent(wire, SERVED, messages=[HI], system=given)["system"] == [*OURS, *theirs]


@WIRES
def test_other_messages_come_before_the_apps(wire: Messages) -> None:
    assert sent(wire, SERVED, messages=[HI])["messages"] == [*TALK, HI]


def test_the_apps_own_stays_as_it_was_written() -> None:
    raw = b'{"model":"support-bot","messages":[ {"role":"user","content":"\\u00e4"}],"system":[ {"text" : "\\u0001"}]}'
    out = sent_bytes(WIRE, raw, SERVED)

    assert b'{"role":"user","content":"\\u00e4"}]' in out
    assert b'{"text" : "\\u0001"}]' in out
    assert b'"system":[ {"text" : "\\u0001"}]' in sent_bytes(WIRE, raw)


def test_what_renders_to_nothing_is_left_out_for_empty_blocks_are_refused() -> None:
    version = prompt(("system", "{{ extra }}"), ("user", "{{ extra }}"), variables={"extra": " "})
    body = sent(WIRE, version, messages=[HI])

    assert (body["messages"], "system" in body) == ([HI], False)


@pytest.mark.parametrize("odd", [7, True, {"type": "text"}])
def test_a_system_that_nothing_can_come_before_is_refused(odd: object) -> None:
    with pytest.raises(BadRequest, match="system: expected a string or an array"):
        sent(WIRE, SERVED, messages=[HI], system=odd)
    assert sent(WIRE, messages=[HI], system=odd)["system"] == odd


@WIRES
@pytest.mark.parametrize("odd", [None, 7, "Hi", {}])
def test_messages_must_be_an_array(wire: Messages, odd: object) -> None:
    with pytest.raises(BadRequest, match="messages: "):
        asked(wire, messages=odd)


@pytest.mark.parametrize(
    ("messages", "question"),
    [
        ([HI], "Hi"),
        ([HI, {"role": "user", "content": [{"type": "tool_result", "content": "42"}]}], "Hi"),
        ([{"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "image"}]}], "a"),
        ([{"role": "assistant", "content": "x"}], ""),
        ([7], ""),
        ([], ""),
    ],
)
def test_the_question_is_the_last_user_text(messages: list[object], question: str) -> None:
    assert asked(WIRE, messages=messages).question() == question


def test_tools_and_format_of_the_prompt_come_in_anthropics_shape() -> None:
    tool = {
        "type": "function",
        "function": {"name": "f", "description": "d", "parameters": {"type": "object"}},
    }
    form = {"type": "json_schema", "json_schema": {"name": "s", "schema": {"type": "object"}}}
    version = prompt(("system", "x"), tools=[tool], response_format=form)
    body = sent(WIRE, version, messages=[HI])

    assert body["tools"] == [{"name": "f", "description": "d", "input_schema": {"type": "object"}}]
    assert body["output_config"] == {"format": {"type": "json_schema", "schema": {"type": "object"}}}
    own = sent(WIRE, version, messages=[HI], tools=[], output_config={"format": None, "effort": "low"})
    assert (own["tools"], own["output_config"]) == ([], {"format": None, "effort": "low"})


def test_the_apps_user_is_its_metadata() -> None:
    assert asked(WIRE, messages=[HI], metadata={"user_id": "anna"}).metadata() == {"user_id": "anna"}


def test_counting_takes_no_parameters_of_an_answer() -> None:
    model = {"params": {"max_tokens": 5, "temperature": 0.2, "thinking": {"type": "disabled"}}}

    assert sent(CountTokens(), None, model, messages=[HI]) == {
        "model": "gpt-4.1",
        "messages": [HI],
        "thinking": {"type": "disabled"},
    }
    assert sent(WIRE, None, model, messages=[HI])["max_tokens"] == 5


@WIRES
def test_it_answers_in_anthropics_dialect(wire: Messages) -> None:
    assert wire.dialect is ANTHROPIC
