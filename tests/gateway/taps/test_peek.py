"""A whole answer is looked at once: is it one, what did it cost, how did it end."""

from __future__ import annotations

import json

import pytest

from gateway.errors import UpstreamGarbled
from gateway.taps.peek import JsonPeek, peek_json


def test_usage_and_finish_are_taken_from_a_completion() -> None:
    body = {
        "object": "chat.completion",
        "choices": [{"index": 0, "message": {"content": "x"}, "finish_reason": "length"}],
        "usage": {
            "prompt_tokens": 9,
            "completion_tokens": 4,
            "prompt_tokens_details": {"cached_tokens": 5},
            "completion_tokens_details": {"reasoning_tokens": 2},
        },
    }

    assert peek_json(json.dumps(body).encode()) == JsonPeek(9, 4, 5, 2, "length")


@pytest.mark.parametrize(
    "body",
    [
        {"choices": [{"message": {"content": "x"}}]},
        {"choices": [], "usage": None},
        {"object": "list", "data": []},
        {"choices": ["odd"], "usage": {"prompt_tokens": "?"}},
        {"choices": [{"finish_reason": ""}], "error": None},
    ],
)
def test_what_an_answer_does_not_tell_is_not_known(body: dict[str, object]) -> None:
    assert peek_json(json.dumps(body).encode()) == JsonPeek()


@pytest.mark.parametrize(
    "body", [b"", b" \n", b"<html>", b'{"choices": [', b"{}", b"[]", b"null", b"7", b'"text"', b"\xff"]
)
def test_what_is_no_answer_is_garbled(body: bytes) -> None:
    with pytest.raises(UpstreamGarbled):
        peek_json(body)


@pytest.mark.parametrize(
    "body",
    [
        {"error": {"message": "over capacity"}},
        {"error": "over capacity"},
        {"object": "error", "message": "over capacity"},
        {"choices": [{"message": {}}], "error": {"message": "over capacity", "code": 502}},
        {"choices": 7, "error": {"message": "over capacity"}},
    ],
)
def test_an_error_under_a_success_status_is_garbled_and_quoted(body: dict[str, object]) -> None:
    with pytest.raises(UpstreamGarbled, match="over capacity"):
        peek_json(json.dumps(body).encode())


def test_a_long_error_is_quoted_in_part() -> None:
    with pytest.raises(UpstreamGarbled) as caught:
        peek_json(json.dumps({"error": "x" * 10_000}).encode())
    assert len(caught.value.message) < 700


def test_what_pythons_json_reads_is_an_answer() -> None:
    """An emoji split over two deltas, numbers beyond a double: providers send it, and SDKs read it."""
    lone = peek_json(
        b'{"choices":[{"finish_reason":"stop","message":{"content":"\\ud83d"}}],"usage":{"prompt_tokens":3}}'
    )
    huge = peek_json(
        b'{"choices":[],"usage":{"prompt_tokens":1e400,"completion_tokens":' + b"9" * 400 + b"}}"
    )

    assert (lone.input_tokens, lone.finish_reason) == (3, "stop")
    assert (huge.input_tokens, huge.output_tokens) == (None, None)


@pytest.mark.parametrize(
    ("told", "usd"),
    [
        ("0.00014", 0.00014),
        ("0", 0.0),
        ("3", 3.0),
        ("-1", None),
        ("1e400", None),
        ("1e9", None),
        ("true", None),
        ('"0.1"', None),
        ('{"total_cost":0.1}', None),
        ("null", None),
    ],
)
def test_what_a_provider_says_that_it_charges_is_taken_where_it_can_be_a_cost(
    told: str, usd: float | None
) -> None:
    body = f'{{"choices":[],"usage":{{"prompt_tokens":3,"completion_tokens":1,"cost":{told}}}}}'

    peek = peek_json(body.encode())
    assert (peek.cost_usd, peek.input_tokens) == (usd, 3)


@pytest.mark.parametrize(
    "told", ["-5", "1000000001", "1" + "0" * 30, "1" + "0" * 400, "1e400", '"12"', "true"]
)
def test_what_cannot_be_a_count_of_tokens_is_not_known_and_spoils_nothing_else(told: str) -> None:
    body = (
        '{"choices":[{"message":{"content":"x"},"finish_reason":"stop"}],"usage":{"prompt_tokens":3,'
        f'"completion_tokens":{told},"completion_tokens_details":{{"reasoning_tokens":{told}}}}}}}'
    )

    peek = peek_json(body.encode())
    assert (peek.input_tokens, peek.output_tokens, peek.reasoning_tokens) == (3, None, None)
    assert peek.finish_reason == "stop"
