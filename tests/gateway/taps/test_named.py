"""The streams of messages and responses pass byte by byte, and what the gateway must know of them is known."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import UpstreamGarbled
from gateway.taps.named import MessagesTap, ResponsesTap
from gateway.taps.sse import Tap
from tests.scripted_wires import ACCENTED, MESSAGES, RESPONSES, TEXTS, Wire

TAPS: dict[Wire, Callable[[], Tap]] = {MESSAGES: MessagesTap, RESPONSES: ResponsesTap}
BOTH = pytest.mark.parametrize("wire", list(TAPS), ids=lambda wire: wire.path)


def fed(tap: Tap, *pieces: bytes) -> bytes:
    return b"".join([tap.feed(piece) for piece in pieces]) + tap.flush()


def event(kind: str, **fields: object) -> bytes:
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **fields})}\n\n".encode()


def facts(tap: Tap) -> tuple[object, ...]:
    return (
        tap.first_content,
        tap.done,
        tap.finish_reason,
        tap.error,
        tap.input_tokens,
        tap.output_tokens,
        tap.cached_tokens,
    )


@BOTH
def test_a_whole_stream_ends_well_and_tells_its_tokens(wire: Wire) -> None:
    tap = TAPS[wire]()
    pieces = wire.events(*TEXTS)

    assert fed(tap, *pieces) == b"".join(pieces)
    assert (tap.first_content, tap.ended_well, tap.done, tap.error) == (True, True, True, None)
    assert (tap.input_tokens, tap.output_tokens) == (7, 3)


@BOTH
def test_whole_events_are_handed_on_as_the_very_object_that_came(wire: Wire) -> None:
    tap = TAPS[wire]()
    piece = b"".join(wire.events(*TEXTS))

    assert tap.feed(piece) is piece


@BOTH
def test_first_content_is_the_first_text_and_nothing_before_it(wire: Wire) -> None:
    tap = TAPS[wire]()

    fed(tap, *wire.opening())
    assert not tap.first_content
    tap.feed(wire.piece("Hi", 0))
    assert tap.first_content
    assert not tap.ended_well


@BOTH
@pytest.mark.parametrize("ends", [b"\n", b"\r\n", b"\r"])
@given(data=st.data())
def test_it_does_not_matter_where_a_stream_is_cut_nor_how_its_lines_end(
    wire: Wire, ends: bytes, data: st.DataObject
) -> None:
    whole = b"".join(wire.events(*ACCENTED)).replace(b"\n", ends)
    places = sorted(data.draw(st.sets(st.integers(1, len(whole) - 1), max_size=12)))
    pieces = [whole[a:b] for a, b in zip([0, *places], [*places, len(whole)], strict=True)]
    straight, cut = TAPS[wire](), TAPS[wire]()
    fed(straight, *wire.events(*ACCENTED))

    assert fed(cut, *pieces) == whole
    assert facts(cut) == facts(straight)


@BOTH
def test_an_error_within_the_stream_is_relayed_and_known(wire: Wire) -> None:
    tap = TAPS[wire]()
    pieces = [*wire.opening(), wire.piece("Hi", 0), wire.error_event("broken")]

    assert fed(tap, *pieces) == b"".join(pieces)
    assert (tap.error, tap.ended_well) == ("broken", False)


@BOTH
@pytest.mark.parametrize("name", ["", "event: error\n", "event: other\n"])
def test_an_error_is_known_however_its_event_is_called(wire: Wire, name: str) -> None:
    tap = TAPS[wire]()
    tap.feed(wire.opening()[0])
    tap.feed(f'{name}data: {{"type": "error", "error": {{"message": "broken"}}}}\n\n'.encode())

    assert tap.error == "broken"


@BOTH
def test_usage_on_every_chunk_counts_as_told_last(wire: Wire) -> None:
    tap = TAPS[wire]()
    texts = [wire.piece(text, number, usage=True) for number, text in enumerate(TEXTS)]
    fed(tap, *wire.opening(), *texts, *wire.ending(*TEXTS, usage=False))

    assert (tap.ended_well, tap.input_tokens, tap.output_tokens) == (True, 7, 3)


@BOTH
def test_a_stream_that_closes_early_did_not_end_well(wire: Wire) -> None:
    tap = TAPS[wire]()
    fed(tap, *wire.opening(), *wire.pieces(*TEXTS))

    assert not tap.ended_well


@BOTH
@pytest.mark.parametrize(
    "payload", ["{", '{"type": "x"} {', "nonsense", '{"type": tru}', "[" * 100_000, '{"a":' * 100_000]
)
def test_what_is_no_json_is_garbled(wire: Wire, payload: str) -> None:
    tap = TAPS[wire]()

    with pytest.raises(UpstreamGarbled):
        fed(tap, wire.opening()[0], f"event: x\ndata: {payload}\n\n".encode(), b": more\n\n")


@BOTH
@pytest.mark.parametrize(
    "odd",
    [
        '{"type": 7, "delta": [], "usage": 3, "message": "x", "response": [], "error": null}',
        '{"type": "message_start", "message": {"usage": {"input_tokens": "many"}}}',
        '{"type": "response.completed", "response": {"usage": {"input_tokens": 1e400, "output_tokens": -1}}}',
        '{"type": "response.output_text.delta", "delta": "\\ud83d"}',
        '{"type": "content_block_delta", "delta": {"type": "text_delta", "text": "\\ud83d"}}',
        '{"type": "content_block_start", "content_block": "text"}',
        '{"type": "ping", "n": NaN}',
        "[]",
        "null",
        '"text"',
    ],
)
def test_odd_events_pass_as_they_came(wire: Wire, odd: str) -> None:
    tap = TAPS[wire]()
    piece = f"event: odd\ndata: {odd}\n\n".encode()

    assert fed(tap, wire.opening()[0], piece).endswith(piece)
    assert tap.error is None


# Messages


def test_cached_tokens_count_among_those_that_came_in() -> None:
    tap = MessagesTap()
    usage = {
        "input_tokens": 5,
        "cache_read_input_tokens": 100,
        "cache_creation_input_tokens": 20,
        "output_tokens": 1,
    }
    tap.feed(event("message_start", message={"usage": usage}))

    assert (tap.input_tokens, tap.cached_tokens, tap.output_tokens) == (125, 100, None)
    tap.feed(event("message_delta", delta={"stop_reason": "max_tokens"}, usage={"output_tokens": 9}))
    assert (tap.input_tokens, tap.output_tokens, tap.finish_reason) == (125, 9, "max_tokens")
    assert (tap.first_content, tap.done) == (False, False)


@pytest.mark.parametrize(
    ("block", "shows"),
    [
        ({"type": "text", "text": ""}, False),
        ({"type": "text", "text": "x"}, True),
        ({"type": "thinking", "thinking": "", "signature": ""}, False),
        ({"type": "tool_use", "id": "t", "name": "weather", "input": {}}, True),
        ({"type": "redacted_thinking", "data": "…"}, True),
    ],
)
def test_a_block_that_begins_with_something_is_content(block: dict[str, object], shows: bool) -> None:
    tap = MessagesTap()
    tap.feed(event("content_block_start", index=0, content_block=block))

    assert tap.first_content is shows


@pytest.mark.parametrize(
    "delta",
    [
        {"type": "text_delta", "text": "x"},
        {"type": "thinking_delta", "thinking": "x"},
        {"type": "input_json_delta", "partial_json": "{"},
    ],
)
def test_every_kind_of_delta_is_content_unless_it_is_empty(delta: dict[str, str]) -> None:
    empty, full = MessagesTap(), MessagesTap()
    nothing = {name: value if name == "type" else "" for name, value in delta.items()}
    empty.feed(event("content_block_delta", index=0, delta=nothing))
    full.feed(event("content_block_delta", index=0, delta=delta))

    assert (empty.first_content, full.first_content) == (False, True)


def test_a_stop_reason_without_message_stop_is_an_end() -> None:
    tap = MessagesTap()
    fed(tap, *MESSAGES.events(*TEXTS)[:-1])

    assert (tap.done, tap.ended_well, tap.finish_reason) == (False, True, "end_turn")


# Responses


@pytest.mark.parametrize(
    "kind",
    [
        "response.output_text.delta",
        "response.refusal.delta",
        "response.function_call_arguments.delta",
        "response.reasoning_summary_text.delta",
        "response.custom_tool_call_input.delta",
    ],
)
def test_every_delta_of_a_response_is_content_unless_it_is_empty(kind: str) -> None:
    empty, full = ResponsesTap(), ResponsesTap()
    empty.feed(event(kind, delta=""))
    full.feed(event(kind, delta="x"))

    assert (empty.first_content, full.first_content) == (False, True)


def test_a_response_that_failed_is_an_error() -> None:
    tap = ResponsesTap()
    fed(tap, *RESPONSES.opening(), RESPONSES.failed("out of order"))

    assert (tap.error, tap.ended_well) == ("out of order", False)


def test_an_incomplete_response_has_ended_well_and_says_so() -> None:
    tap = ResponsesTap()
    usage = {
        "input_tokens": 9,
        "input_tokens_details": {"cached_tokens": 5},
        "output_tokens": 4,
        "output_tokens_details": {"reasoning_tokens": 2},
        "cost": 0.25,
    }
    tap.feed(event("response.incomplete", response={"status": "incomplete", "error": None, "usage": usage}))

    assert (tap.done, tap.finish_reason) == (True, "incomplete")
    assert (tap.input_tokens, tap.output_tokens, tap.cached_tokens, tap.reasoning_tokens) == (9, 4, 5, 2)
    assert tap.cost_usd == 0.25


def test_a_stream_without_its_last_event_did_not_end_well() -> None:
    tap = ResponsesTap()
    fed(tap, *RESPONSES.events(*TEXTS)[:-1])

    assert not tap.ended_well
