"""A stream passes byte by byte, whole events at a time, and what the gateway must know of it is known."""

from __future__ import annotations

import json
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.dialects.openai import DONE, error_event
from gateway.errors import UpstreamCut, UpstreamGarbled
from gateway.taps.sse import Tap

FACTS = ("first_content", "done", "finish_reason", "error", "input_tokens", "output_tokens", "cached_tokens")


def chunk(**choice: object) -> dict[str, object]:
    return {"id": "c", "object": "chat.completion.chunk", "model": "m", "choices": [{"index": 0, **choice}]}


def data(document: object, end: str = "\n") -> bytes:
    return f"data: {json.dumps(document, ensure_ascii=False)}{end}{end}".encode()


ROLE = data(chunk(delta={"role": "assistant", "content": "", "refusal": None}, finish_reason=None))
HELLO = data(chunk(delta={"content": "Grüße 👋"}, finish_reason=None))
STOP = data(chunk(delta={}, finish_reason="stop"))
TOKENS = {
    "prompt_tokens": 9,
    "completion_tokens": 4,
    "total_tokens": 13,
    "prompt_tokens_details": {"cached_tokens": 5, "audio_tokens": 0},
    "completion_tokens_details": {"reasoning_tokens": 2},
}
USAGE = data({"id": "c", "choices": [], "usage": TOKENS})


def fed(*pieces: bytes, hide_usage: bool = False) -> tuple[bytes, Tap]:
    tap = Tap(hide_usage=hide_usage)
    out = b"".join([tap.feed(piece) for piece in pieces])
    return out + tap.flush(), tap


def facts(tap: Tap) -> dict[str, object]:
    return {name: getattr(tap, name) for name in FACTS}


# Bytes


def test_whole_events_are_handed_on_as_the_very_object_that_came() -> None:
    tap = Tap(hide_usage=True)
    piece = ROLE + HELLO

    assert tap.feed(piece) is piece


def test_a_part_of_an_event_is_held_until_it_is_whole() -> None:
    tap = Tap()

    assert tap.feed(ROLE + HELLO[:30]) == ROLE
    assert tap.feed(HELLO[30:-1]) == b""
    assert tap.feed(HELLO[-1:] + STOP) == HELLO + STOP


def test_the_usage_chunk_is_hidden_from_an_app_that_did_not_ask_and_nothing_else_is_touched() -> None:
    out, tap = fed(ROLE + HELLO, STOP + USAGE + DONE, hide_usage=True)

    assert out == ROLE + HELLO + STOP + DONE
    assert (tap.input_tokens, tap.output_tokens, tap.cached_tokens, tap.reasoning_tokens) == (9, 4, 5, 2)


def test_the_usage_chunk_is_shown_to_an_app_that_asked() -> None:
    assert fed(ROLE + HELLO, STOP + USAGE + DONE)[0] == ROLE + HELLO + STOP + USAGE + DONE


@pytest.mark.parametrize(
    "kept",
    [
        {"choices": [], "prompt_filter_results": [{}]},
        {"choices": [], "usage": None},
        {"usage": TOKENS},
        chunk(delta={}, finish_reason="stop") | {"usage": TOKENS},
        {"choices": [], "usage": TOKENS, "error": {"message": "x"}},
    ],
)
def test_a_chunk_that_is_more_or_less_than_usage_is_never_hidden(kept: dict[str, object]) -> None:
    out, _ = fed(data(kept), hide_usage=True)

    assert out == data(kept)


COMMENT = b": OPENROUTER PROCESSING\n\n"
NAMED = b"event: message\nid: 7\nretry: 10\n" + HELLO
LINES = b'data: {"choices": [{"delta":\ndata:  {"content": "x"}}]}\n\n'
KINDS = [ROLE, HELLO, STOP, USAGE, COMMENT, NAMED, LINES, DONE, b"\n\n", b"data:[]\n\n", b"data\n\n"]


@given(
    st.lists(st.sampled_from(KINDS), max_size=8),
    st.sampled_from([b"\n", b"\r\n", b"\r"]),
    st.booleans(),
    st.booleans(),
    st.lists(st.integers(min_value=0, max_value=2000), max_size=12),
)
def test_however_a_stream_is_cut_the_same_bytes_pass_and_the_same_is_known(
    kinds: list[bytes], end: bytes, bom: bool, hide_usage: bool, cuts: list[int]
) -> None:
    stream = (b"\xef\xbb\xbf" if bom else b"") + b"".join(kinds).replace(b"\n", end)
    bounds = sorted({0, len(stream), *(cut for cut in cuts if cut < len(stream))})
    pieces = [stream[start:stop] for start, stop in pairwise(bounds)]

    out, tap = fed(*pieces, hide_usage=hide_usage)
    expected, whole = fed(stream, hide_usage=hide_usage)

    assert out == expected
    assert facts(tap) == facts(whole)
    hidden = [kind for kind in kinds if not (hide_usage and kind == USAGE)]
    assert (
        out.removeprefix(b"\xef\xbb\xbf") == b"".join(hidden).replace(b"\n", end) or bom or b"\n\n" in kinds
    )


@given(st.binary(max_size=300), st.integers(min_value=0, max_value=300))
def test_any_bytes_either_pass_or_are_refused_alike_however_they_are_cut(noise: bytes, cut: int) -> None:
    def outcome(*pieces: bytes) -> tuple[bytes, bool]:
        tap, out = Tap(), b""
        try:
            for piece in (*pieces, b""):
                out += tap.feed(piece)
            return out + tap.flush(), True
        except UpstreamGarbled:
            return out, False

    assert outcome(noise[:cut], noise[cut:]) == outcome(noise)


@given(st.lists(st.sampled_from([b": a", b"\n", b"\r", b"\r\n"]), max_size=10))
def test_a_stream_fed_byte_by_byte_passes_like_the_whole(parts: list[bytes]) -> None:
    stream = b"".join(parts)

    one_by_one, _ = fed(*(stream[index : index + 1] for index in range(len(stream))))

    assert one_by_one == fed(stream)[0]


def test_every_event_ends_at_once_in_every_line_ending() -> None:
    for end in ("\n", "\r\n", "\r"):
        tap = Tap()
        event = data(chunk(delta={"content": "x"}), end)
        assert tap.feed(event) == event
        assert tap.first_content


def test_an_event_that_never_ends_is_given_up_at_the_limit() -> None:
    tap = Tap(limit=100)
    assert tap.feed(b"data: " + b"x" * 94) == b""

    with pytest.raises(UpstreamGarbled, match="100"):
        tap.feed(b"x")


def test_a_long_event_in_small_pieces_passes() -> None:
    event = data(chunk(delta={"audio": {"data": "A" * 1_000_000}}))

    out, tap = fed(*(event[start : start + 1000] for start in range(0, len(event), 1000)))

    assert out == event
    assert tap.first_content


# The end


@pytest.mark.parametrize("tail", [b"data: [DONE]", b"data: [DONE]\n", b"data: [DONE]\r\n"])
def test_a_last_event_without_its_empty_line_is_completed(tail: bytes) -> None:
    out, tap = fed(HELLO, tail)

    assert out == HELLO + DONE
    assert tap.done


def test_an_event_cut_in_the_middle_is_dropped_at_the_end() -> None:
    out, tap = fed(HELLO, STOP[:40])

    assert out == HELLO
    assert not tap.ended_well


@pytest.mark.parametrize(
    ("stream", "well"),
    [(HELLO, False), (HELLO + STOP, True), (HELLO + DONE, True), (HELLO + STOP + DONE, True), (b"", False)],
)
def test_a_stream_ended_well_if_a_finish_reason_or_done_came(stream: bytes, *, well: bool) -> None:
    assert fed(stream)[1].ended_well is well


def test_an_empty_finish_reason_is_no_end() -> None:
    assert not fed(data(chunk(delta={"content": "x"}, finish_reason="")))[1].ended_well


# First content


@pytest.mark.parametrize(
    "delta",
    [
        {"content": "x"},
        {"role": "assistant", "content": "x"},
        {"refusal": "no"},
        {"reasoning": "hm"},
        {"reasoning_content": "hm"},
        {"tool_calls": [{"index": 0, "function": {"name": "f", "arguments": ""}}]},
        {"function_call": {"name": "f"}},
        {"audio": {"id": "a"}},
        {"content": [{"type": "text", "text": "x"}]},
    ],
)
def test_whatever_a_user_could_see_is_content(delta: dict[str, object]) -> None:
    assert fed(data(chunk(delta=delta)))[1].first_content


@pytest.mark.parametrize(
    "document",
    [
        chunk(delta={"role": "assistant"}),
        chunk(delta={"role": "assistant", "content": "", "refusal": None, "tool_calls": []}),
        chunk(delta={"role": "assistant", "content": None}),
        chunk(delta={}),
        chunk(delta=None),
        {"choices": []},
        {"choices": None},
        {},
        [],
        7,
    ],
)
def test_a_role_or_nothing_is_no_content(document: object) -> None:
    out, tap = fed(data(document))

    assert not tap.first_content
    assert out == data(document)


def test_content_of_any_choice_counts() -> None:
    choices = [{"index": 0, "delta": {"role": "assistant"}}, {"index": 1, "delta": {"content": "x"}}]

    assert fed(data({"choices": choices}))[1].first_content


def test_text_of_the_older_completions_is_content() -> None:
    assert fed(data({"choices": [{"text": "x"}]}))[1].first_content


# Usage


def test_the_usage_told_last_counts_on_whatever_chunk() -> None:
    running = chunk(delta={"content": "x"}) | {"usage": {"prompt_tokens": 9, "completion_tokens": 1}}

    _, tap = fed(data(running) * 3 + USAGE)

    assert (tap.input_tokens, tap.output_tokens) == (9, 4)


@pytest.mark.parametrize(
    ("usage", "tokens"),
    [
        ({"prompt_tokens": 3.0, "completion_tokens": 1.0}, (3, 1)),
        ({"prompt_tokens": "3", "completion_tokens": -1}, (None, None)),
        ({"prompt_tokens": 3, "completion_tokens": 1, "prompt_tokens_details": []}, (3, 1)),
        ({"prompt_tokens": True, "completion_tokens": 1.5}, (None, None)),
        ([], (None, None)),
    ],
)
def test_usage_of_an_odd_shape_is_read_as_far_as_it_can_be(usage: object, tokens: tuple[int, int]) -> None:
    document = {"choices": [], "usage": usage}

    _, tap = fed(data(document))

    assert (tap.input_tokens, tap.output_tokens) == tokens


# Errors


@pytest.mark.parametrize(
    ("event", "message"),
    [
        (data({"error": {"message": "over", "code": 502}}), "over"),
        (data({"error": "over"}), "over"),
        (data({"error": {"detail": "over"}}), '{"detail":"over"}'),
        (data(chunk(delta={"content": ""}, finish_reason="error") | {"error": {"message": "over"}}), "over"),
        (data({"object": "error", "message": "over", "code": 400}), "over"),
        (b'event: error\ndata: {"message": "over"}\n\n', "over"),
        (b"event: error\ndata: over\n\n", "over"),
        (data({"choices": "odd", "error": {"message": "over"}}), "over"),
    ],
)
def test_an_error_inside_the_stream_is_known_and_relayed(event: bytes, message: str) -> None:
    out, tap = fed(ROLE, event)

    assert out == ROLE + event
    assert tap.error == message


@pytest.mark.parametrize("error", [None, "", False])
def test_an_error_that_is_none_is_none(error: object) -> None:
    assert fed(data(chunk(delta={"content": "x"}) | {"error": error}))[1].error is None


def test_what_came_before_an_unreadable_event_passes_and_then_it_is_refused() -> None:
    tap = Tap()

    assert tap.feed(HELLO + b"data: <html>\n\n" + STOP) == HELLO
    with pytest.raises(UpstreamGarbled, match="not JSON"):
        tap.feed(STOP)
    with pytest.raises(UpstreamGarbled):
        tap.flush()
    assert not tap.ended_well


def test_an_unreadable_event_alone_is_refused_at_once() -> None:
    with pytest.raises(UpstreamGarbled):
        Tap().feed(b"data: {\n\n")


def test_json_nested_beyond_reason_is_refused_and_ends_nothing_else() -> None:
    with pytest.raises(UpstreamGarbled):
        Tap().feed(b"data: " + b"[" * 100_000 + b"\n\n")


def test_an_error_event_is_an_event_and_the_end() -> None:
    event = error_event(UpstreamCut("it broke\n"))

    out, tap = fed(HELLO + event)
    assert out == HELLO + event
    assert tap.done
    assert tap.error == "it broke\n"
    assert json.loads(event.split(b"\n")[0][6:]) == {
        "error": {"message": "it broke\n", "type": "upstream_error", "param": None, "code": "upstream_closed"}
    }


def test_what_a_provider_charges_comes_with_the_last_usage() -> None:
    usage = b'data: {"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":1,"cost":0.5}}\n\n'
    tap = Tap()
    tap.feed(HELLO + usage)

    assert tap.cost_usd == 0.5
