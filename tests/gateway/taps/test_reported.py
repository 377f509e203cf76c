"""As whom a provider answers is read from whole answers and from a stream's first content, on every wire."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gateway.taps.named import MessagesTap, ResponsesTap
from gateway.taps.peek import peek_json
from gateway.taps.peek_messages import peek_message
from gateway.taps.peek_responses import peek_response
from gateway.taps.reported import NAME_CHARACTERS, names_in
from gateway.taps.sse import Tap
from gateway.wires.embeddings import Embeddings

CHOICE = {"index": 0, "message": {"role": "assistant", "content": "Hi"}, "finish_reason": "stop"}


def body(**fields: Any) -> bytes:
    return json.dumps(fields).encode()


def chunk(delta: dict[str, Any], **fields: Any) -> bytes:
    return b"data: " + body(choices=[{"index": 0, "delta": delta}], **fields) + b"\n\n"


def event(**fields: Any) -> bytes:
    return f"event: {fields['type']}\n".encode() + b"data: " + body(**fields) + b"\n\n"


def test_a_whole_chat_answer_names_its_model_and_its_fingerprint() -> None:
    seen = peek_json(body(model="gpt-4o-2024-08-06", system_fingerprint="fp_1", choices=[CHOICE]))

    assert (seen.model, seen.fingerprint, seen.refused) == ("gpt-4o-2024-08-06", "fp_1", False)


@pytest.mark.parametrize("odd", [None, 7, "", ["gpt"], {"name": "gpt"}])
def test_a_name_that_is_none_is_no_name_and_the_answer_is_an_answer(odd: Any) -> None:
    seen = peek_json(body(model=odd, system_fingerprint=odd, choices=[CHOICE]))

    assert (seen.model, seen.fingerprint, seen.finish_reason) == (None, None, "stop")


def test_an_answer_of_an_odd_shape_names_its_model_too() -> None:
    seen = peek_json(body(model="m", system_fingerprint="fp", choices=[{"finish_reason": 7}]))

    assert (seen.model, seen.fingerprint) == ("m", "fp")


def test_only_names_at_the_top_count_and_only_their_beginning() -> None:
    assert names_in(body(choices=[{"model": "inner"}], model="x" * 1000)) == ("x" * NAME_CHARACTERS, None)


def test_a_refusal_in_a_message_is_seen() -> None:
    refusing = {**CHOICE, "message": {"role": "assistant", "content": None, "refusal": "I cannot."}}

    assert peek_json(body(choices=[refusing])).refused
    assert not peek_json(body(choices=[{**CHOICE, "message": {"refusal": None}}])).refused


def test_a_stream_is_asked_once_with_its_first_content() -> None:
    tap = Tap()

    tap.feed(chunk({"role": "assistant"}, model="", system_fingerprint=None))
    tap.feed(chunk({"content": "a"}, model="gpt", system_fingerprint="fp_1"))
    tap.feed(chunk({"content": "b"}, model="other", system_fingerprint="fp_2"))

    assert (tap.model, tap.fingerprint, tap.refused) == ("gpt", "fp_1", False)


def test_a_stream_that_begins_with_a_refusal_refuses() -> None:
    tap = Tap()

    tap.feed(chunk({"refusal": "I cannot"}, model="gpt"))

    assert (tap.first_content, tap.refused) == (True, True)


def test_messages_name_their_model_whole_and_as_they_begin() -> None:
    tap = MessagesTap()

    tap.feed(event(type="message_start", message={"model": "claude-x", "usage": {}}))
    seen = peek_message(body(type="message", model="claude-x", content=[], usage={}))

    assert (tap.model, seen.model) == ("claude-x", "claude-x")


def test_responses_name_their_model_whole_and_as_they_begin() -> None:
    tap = ResponsesTap()

    tap.feed(event(type="response.created", response={"model": "o9", "status": "in_progress"}))
    tap.feed(event(type="response.refusal.delta", delta="No"))
    seen = peek_response(body(status="completed", model="o9", output=[]))

    assert (tap.model, tap.refused) == ("o9", True)
    assert (seen.model, seen.refused) == ("o9", False)


def test_a_response_that_refuses_is_seen_and_one_that_speaks_of_refusal_is_not() -> None:
    def saying(**part: Any) -> bytes:
        return body(status="completed", output=[{"type": "message", "content": [part]}])

    assert peek_response(saying(type="refusal", refusal="No.")).refused
    assert not peek_response(saying(type="output_text", text='a "refusal"')).refused


def test_vectors_name_their_model() -> None:
    assert Embeddings().peek(body(data=[], model="embed-3")).model == "embed-3"
