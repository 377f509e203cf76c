"""Requests and answers as the conventions' messages, on each wire that has some, whatever was sent."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.judging.messages import MOST_PARTS, TEXT_CHARACTERS, answered_in, asked_in

WIRES = ("chat", "completions", "messages", "responses")


def told(wire: str, **body: Any) -> Any:
    found = asked_in(json.dumps(body).encode(), wire)
    return json.loads(found) if found else None


def text(role: str, content: str) -> dict[str, Any]:
    return {"role": role, "parts": [{"type": "text", "content": content}]}


@pytest.mark.parametrize(
    ("wire", "body", "expected"),
    [
        ("chat", {"messages": [{"role": "user", "content": "Hi"}]}, [text("user", "Hi")]),
        (
            "messages",
            {
                "system": "Be kind.",
                "messages": [{"role": "user", "content": [{"type": "text", "text": "Hi"}]}],
            },
            [text("system", "Be kind."), text("user", "Hi")],
        ),
        (
            "responses",
            {"instructions": "Be kind.", "input": "Hi"},
            [text("system", "Be kind."), text("user", "Hi")],
        ),
        (
            "responses",
            {"input": [{"role": "user", "content": [{"type": "input_text", "text": "Hi"}]}]},
            [text("user", "Hi")],
        ),
        ("completions", {"prompt": "Once"}, [text("user", "Once")]),
    ],
)
def test_each_wire_has_its_messages(wire: str, body: Any, expected: Any) -> None:
    assert told(wire, **body) == expected


def test_of_an_image_only_that_it_is_one_is_told() -> None:
    content = [{"type": "image_url", "image_url": {"url": "data:secret"}}, {"type": "text", "text": "What?"}]

    (message,) = told("chat", messages=[{"role": "user", "content": content}])

    assert message["parts"] == [{"type": "image_url"}, {"type": "text", "content": "What?"}]


def test_of_a_long_conversation_the_end_is_told() -> None:
    said = [{"role": "user", "content": "x" * 1000} for _ in range(100)] + [
        {"role": "user", "content": "last"}
    ]

    found = told("chat", messages=said)

    assert found[-1] == text("user", "last")
    assert sum(len(part["content"]) for each in found for part in each["parts"]) == TEXT_CHARACTERS
    empty = [{"role": "user", "content": []}] * (2 * MOST_PARTS)
    assert len(told("chat", messages=empty)) == MOST_PARTS


@pytest.mark.parametrize(
    ("body", "ended", "reason"),
    [
        (b'{"choices":[{"finish_reason": "length"}]}', True, "length"),
        (b'data: {"finish_reason":null}\n\ndata: {"finish_reason":"tool_calls"}', True, "tool_calls"),
        (b'{"stop_reason":"end_turn"}', True, "end_turn"),
        (b"", True, "stop"),
        (b"", False, "error"),
    ],
)
def test_an_answer_says_why_it_ended(body: bytes, ended: bool, reason: str) -> None:
    (message,) = json.loads(answered_in("Hello", body, ended=ended))

    assert message == {**text("assistant", "Hello"), "finish_reason": reason}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: (
        st.lists(inner) | st.dictionaries(st.sampled_from(["role", "content", "type", "text"]), inner)
    ),
)
FIELDS = st.dictionaries(st.sampled_from(["messages", "system", "instructions", "input", "prompt"]), JSON)


@given(FIELDS | JSON, st.sampled_from(WIRES))
def test_whatever_was_sent_nothing_is_raised(body: Any, wire: str) -> None:
    found = asked_in(json.dumps(body).encode(), wire)

    assert not found or isinstance(json.loads(found), list)


def test_what_is_no_json_has_no_messages() -> None:
    assert asked_in(b"\xff", "chat") == ""
    assert asked_in(b"[" * 100_000, "chat") == ""
