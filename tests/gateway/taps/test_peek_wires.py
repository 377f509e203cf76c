"""Whole answers of messages, count_tokens, responses and embeddings: is it one, what did it cost, how did it end."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable

import pytest

from gateway.errors import UpstreamGarbled
from gateway.retrieval.stores.vector_stores import passages_in
from gateway.taps.peek import JsonPeek, error_in, peek_json
from gateway.taps.peek_messages import peek_count, peek_message
from gateway.taps.peek_responses import peek_response
from gateway.wires.embeddings import Embeddings

peek_vectors = Embeddings().peek
Peek = Callable[[bytes], JsonPeek]
PEEKS = pytest.mark.parametrize("peek", [peek_message, peek_count, peek_response, peek_vectors])


def body(**fields: object) -> bytes:
    return json.dumps(fields).encode()


def test_a_message_tells_all_tokens_that_came_in_and_why_it_stopped() -> None:
    usage = {
        "input_tokens": 5,
        "cache_read_input_tokens": 100,
        "cache_creation_input_tokens": 20,
        "output_tokens": 9,
    }
    whole = body(type="message", content=[], stop_reason="tool_use", usage=usage)

    assert peek_message(whole) == JsonPeek(125, 9, 100, finish_reason="tool_use", written_tokens=20)


@pytest.mark.parametrize("usage", [None, [], {"input_tokens": None}, {"input_tokens": True}])
def test_what_a_message_does_not_tell_is_not_known(usage: object) -> None:
    assert peek_message(body(type="message", content=[], usage=usage)) == JsonPeek()


def test_a_response_tells_its_tokens_its_cost_and_its_status() -> None:
    usage = {
        "input_tokens": 9,
        "input_tokens_details": {"cached_tokens": 5},
        "output_tokens": 4,
        "output_tokens_details": {"reasoning_tokens": 2},
        "cost": 0.5,
    }
    whole = body(object="response", status="completed", error=None, usage=usage)

    assert peek_response(whole) == JsonPeek(9, 4, 5, 2, "completed", 0.5)


@pytest.mark.parametrize("status", ["queued", "in_progress"])
def test_a_response_that_still_works_in_the_background_is_an_answer(status: str) -> None:
    assert peek_response(body(id="r", status=status, background=True, error=None)).finish_reason == status


def test_a_response_that_failed_is_none() -> None:
    with pytest.raises(UpstreamGarbled, match="out of order"):
        peek_response(body(status="failed", error={"code": "server_error", "message": "out of order"}))
    with pytest.raises(UpstreamGarbled, match="the response failed"):
        peek_response(body(status="failed"))


def test_a_count_is_an_answer_that_has_used_nothing() -> None:
    assert peek_count(b'{"input_tokens": 12}') == JsonPeek()
    for wrong in (b'{"input_tokens": "12"}', b'{"type": "message"}'):
        with pytest.raises(UpstreamGarbled, match="input_tokens"):
            peek_count(wrong)


@pytest.mark.parametrize("vector", ["[0.25, -1e-3]", '"AACAPwAAAEA="', "[NaN]"])
def test_vectors_of_any_kind_are_left_alone_and_their_tokens_read(vector: str) -> None:
    data = b'{"object": "list", "data": [{"index": 0, "embedding": %b}], "usage": {"prompt_tokens": 7}}'

    assert peek_vectors(data % vector.encode()) == JsonPeek(7)


def test_an_answer_with_no_vectors_is_none() -> None:
    with pytest.raises(UpstreamGarbled, match="vectors"):
        peek_vectors(b'{"data": null, "usage": {"prompt_tokens": 7}}')


@PEEKS
@pytest.mark.parametrize(
    "wrong",
    [
        b"",
        b"  ",
        b"{}",
        b"{ }",
        b"[]",
        b"null",
        b"7",
        b"<html>",
        b'{"a":',
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b'{"error": {"message": "over"}}',
        b'{"error": "over", "data": []}',
        b'{"type": "error", "status": "failed", "error": {"type": "overloaded_error", "message": "\\ud800"}}',
        b'{"data": [], "error": {"message": "over", "code": 1e400}}',
    ],
)
def test_what_is_no_answer_is_garbled(peek: Peek, wrong: bytes) -> None:
    with pytest.raises(UpstreamGarbled) as caught:
        peek(wrong)

    assert caught.value.message.encode()


@pytest.mark.parametrize(
    "broken",
    [
        b'{"error":{"message":"\xff"}}',
        b'{"type":"\xff","data":[{"object":"\xff"}],"usage":{"input_tokens":"\xff"},"choices":[{"text":"\xff"}]}',
        b'"\xff"',
    ],
)
@pytest.mark.parametrize(
    "peek", [peek_message, peek_count, peek_response, peek_vectors, peek_json, passages_in]
)
def test_bytes_that_are_no_utf_8_are_the_upstreams_fault_and_no_bug_of_ours(
    peek: Peek, broken: bytes
) -> None:
    with contextlib.suppress(UpstreamGarbled):
        peek(broken)


def test_an_error_that_is_no_utf_8_is_quoted_as_far_as_it_can_be() -> None:
    assert "\ufffd" in error_in(b'{"error":{"message":"\xff"}}')
