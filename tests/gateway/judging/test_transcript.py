"""What the content log may hold: bounded, said when cut, text only, and nothing that is named like a secret."""

from __future__ import annotations

import json

import msgspec
import pytest

from gateway.judging.transcript import SHOWN_BYTES, STREAM_BYTES, Transcript, line_of, shown
from tests.gateway.builders import Hall, body, exchange


async def kept(*parts: bytes, stream: bool = False) -> tuple[Transcript, Hall]:
    hall = Hall()
    door = Transcript(hall, stream=stream)
    await door.start(200, [(b"x-secret", b"s")])
    for part in parts[:-1]:
        await door.write(part)
    await door.end(parts[-1])
    return door, hall


async def test_all_of_a_short_answer_is_kept_and_goes_out_as_it_came() -> None:
    door, hall = await kept(b'{"a":', b"1}")

    assert (door.body, door.size, door.whole) == (b'{"a":1}', 7, True)
    assert (hall.text, hall.headers) == ('{"a":1}', {b"x-secret": b"s"})


@pytest.mark.parametrize(("stream", "most"), [(False, SHOWN_BYTES), (True, STREAM_BYTES)])
async def test_no_more_than_the_bound_is_kept_and_the_rest_goes_out(stream: bool, most: int) -> None:
    whole, _ = await kept(b"x" * most, b"", stream=stream)
    longer, hall = await kept(b"x" * (most - 1), b"yz", b"tail", stream=stream)

    assert whole.whole
    assert (len(longer.body), longer.body[-1:], longer.whole) == (most, b"y", False)
    assert hall.text.endswith("xyztail")


async def test_what_was_broken_off_is_cut() -> None:
    door, hall = await kept(b"half", b"")
    door.abort()

    assert hall.aborted
    assert line_of(door, exchange(body())).answer_cut


async def test_a_streams_text_is_bounded_too() -> None:
    event = b'data: {"choices":[{"index":0,"delta":{"content":"%s"}}]}\n\n' % (b"x" * 1000)
    door, _ = await kept(*[event] * 70, b"data: [DONE]\n\n", stream=True)

    line = line_of(door, exchange(body()))

    assert line.answer == "x" * SHOWN_BYTES
    assert line.answer_cut


async def test_characters_that_a_stream_cuts_apart_are_put_together() -> None:
    pieces = [rb"smile \ud83d", rb"\ude00", rb" half \ud83d"]
    events = [b'data: {"choices":[{"index":0,"delta":{"content":"%s"}}]}\n\n' % each for each in pieces]
    door, _ = await kept(*events, stream=True)

    line = line_of(door, exchange(body()))

    assert line.answer == "smile \U0001f600 half \ufffd"
    assert msgspec.json.encode(line)


async def test_a_stream_without_text_is_shown_as_it_went() -> None:
    event = b'data: {"choices":[{"index":0,"delta":{"tool_calls":[]}}]}\n\n'
    door, _ = await kept(event, stream=True)

    assert line_of(door, exchange(body())).answer == event.decode()


def test_a_character_on_the_bound_is_left_out() -> None:
    text, cut = shown(b"x" * (SHOWN_BYTES - 1) + "ß".encode())

    assert (text, cut) == ("x" * (SHOWN_BYTES - 1), True)


def test_what_is_no_text_is_not_shown() -> None:
    assert shown(b"\xff\xfb\x90\x44") == (None, False)
    assert shown(b"ends within \xc3") == (None, False)


@pytest.mark.parametrize(
    "sent",
    [
        {"api_key": "sk-1"},
        {"openai_api_key": 'sk-1 with a " quote'},
        {"aws_secret_access_key": "sk-1"},
        {"tools": [{"type": "mcp", "authorization": "sk-1"}]},
        {"extra_headers": {"Authorization": "Bearer sk-1"}},
        {"headers": {"X-Api-Key": "sk-1"}},
        {"vertex_credentials": {"private_key": "sk-1"}},
        {"aws_session_token": "sk-1"},
        {"refreshToken": "sk-1"},
        {"arguments": json.dumps({"api_key": "sk-1", "q": 1})},
        {"arguments": json.dumps({"body": json.dumps({"password": "sk-1"})})},
    ],
)
def test_what_is_named_like_a_secret_is_masked(sent: dict[str, object]) -> None:
    text, _ = shown(json.dumps({"messages": [], **sent, "user": "u1"}).encode())

    assert text is not None
    assert "sk-1" not in text
    assert "***" in text
    assert json.loads(text)["user"] == "u1"


def test_a_secret_that_the_bound_cuts_is_masked() -> None:
    text, cut = shown(b'{"m": "' + b"x" * (SHOWN_BYTES - 40) + b'", "api_key": "sk-1' + b"k" * 100)

    assert cut
    assert text is not None
    assert "sk-1" not in text


def test_a_prompt_about_passwords_is_no_secret() -> None:
    said = {"messages": [{"role": "user", "content": "My password: how do I reset it?"}], "max_tokens": 5}

    text, _ = shown(json.dumps(said).encode())

    assert text is not None
    assert json.loads(text) == said


def test_masking_takes_no_time_on_hostile_bodies() -> None:
    """Each is at the bound; an expression that goes back and forth would not come to its end."""
    for part in (b'"', b'"api_key', b'"api_key"', b'"api_key":"', b"\\", b'"password' + b"x" * 60):
        text, _ = shown((part * SHOWN_BYTES)[:SHOWN_BYTES])

        assert text is not None
