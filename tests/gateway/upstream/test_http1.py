"""What one connection makes of every kind of answer."""

from __future__ import annotations

import asyncio
import socket
from itertools import pairwise

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.errors import UpstreamCut, UpstreamGarbled, UpstreamTimedOut
from gateway.patience import Patience
from gateway.spec import UpstreamSpec
from gateway.upstream.native import NativeUpstream
from tests.gateway.upstream.asking import ask, everything
from tests.gateway.upstream.conftest import Make
from tests.scripted_upstream import (
    End,
    Script,
    ScriptedUpstream,
    chunked,
    cut_before_head,
    cut_mid_body,
    error_answer,
    events,
    garbage,
    hang_before_head,
    head,
    json_answer,
    stream_answer,
    unread,
)


async def test_an_answer_has_status_lower_case_headers_and_its_body(
    server: ScriptedUpstream, native: Make
) -> None:
    server.will(Script((b"HTTP/1.1 201 Made\r\nX-Thing: A b\r\nContent-Length: 5\r\n\r\nhello",)))

    answer = await ask(native())

    assert answer.status == 201
    assert list(answer.headers) == [(b"x-thing", b"A b"), (b"content-length", b"5")]
    assert await everything(answer) == b"hello"
    assert await answer.chunk() == b""


async def test_the_upstream_gets_the_body_and_head_byte_by_byte(
    server: ScriptedUpstream, native: Make
) -> None:
    await ask(native(api_key="sk-1"), b'{"a": "\xc3\xa9"}')

    [received] = server.requests
    assert received.body == b'{"a": "\xc3\xa9"}'
    assert (
        received.head
        == (
            f"POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1:{server.port}\r\ncontent-type: application/json\r\n"
            "accept: application/json, text/event-stream\r\nuser-agent: pointsman/0.1.0\r\nauthorization: Bearer sk-1\r\n"
            "accept-encoding: identity\r\ncontent-length: 11\r\n\r\n"
        ).encode()
    )


async def test_a_body_larger_than_every_buffer_arrives_whole(server: ScriptedUpstream, native: Make) -> None:
    body = bytes(range(256)) * 32 * 1024

    await ask(native(), body)

    assert server.requests[0].body == body


@given(cuts=st.sets(st.integers(min_value=1, max_value=200)))
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_an_answer_is_the_same_however_its_bytes_are_cut(cuts: set[int]) -> None:
    """Chunked, with a trailer and an interim answer before it."""
    wire = b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n" + head(transfer_encoding="chunked")
    wire += chunked(b"one ") + chunked(b"two") + b"0\r\nx-trailer: t\r\n\r\n"
    bounds = [0, *sorted(cut for cut in cuts if cut < len(wire)), len(wire)]
    pieces = tuple(wire[start:end] for start, end in pairwise(bounds))

    status, headers, body = asyncio.run(answered_to(Script(pieces)))

    assert (status, body) == (200, b"one two")
    assert headers == [(b"content-type", b"application/json"), (b"transfer-encoding", b"chunked")]


async def answered_to(script: Script) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
    loop = asyncio.get_running_loop()
    async with ScriptedUpstream() as server:
        server.will(script)
        spec = UpstreamSpec(kind="openai", base_url=server.base_url)
        upstream = NativeUpstream(spec, patience=Patience(loop), loop=loop)
        answer = await ask(upstream)
        result = answer.status, list(answer.headers), await everything(answer)
        await upstream.aclose()
        return result


async def test_interim_answers_are_passed_over(server: ScriptedUpstream, native: Make) -> None:
    server.will(Script((b"HTTP/1.1 100 Continue\r\n\r\n", 0.01, head(content_length=2) + b"ok")))

    answer = await ask(native())

    assert (answer.status, await everything(answer)) == (200, b"ok")


async def test_a_body_without_a_length_ends_where_the_connection_ends(
    server: ScriptedUpstream, native: Make
) -> None:
    server.will(Script((head() + b"to the ", 0.01, b"end", End.CLOSE)))
    upstream = native()

    assert await everything(await ask(upstream)) == b"to the end"
    assert upstream.pool.size == 0


async def test_a_body_without_a_length_is_cut_where_the_connection_is_reset(
    server: ScriptedUpstream, native: Make
) -> None:
    server.will(Script((head() + b"to the ", 0.01, End.CUT)))
    answer = await ask(native())

    with pytest.raises(UpstreamCut, match="after part of its answer"):
        await everything(answer)


async def test_an_answer_that_comes_before_the_request_was_read_is_taken_and_its_connection_is_not_kept(
    server: ScriptedUpstream, native: Make
) -> None:
    server.will(Script((head(413, content_length=3) + b"big", End.HANG), reads_body=False))
    upstream = native()

    answer = await ask(upstream, b"x" * (32 << 20))

    assert (answer.status, await everything(answer)) == (413, b"big")
    assert upstream.pool.size == 0


async def test_an_answer_without_a_body_ends_at_its_head(server: ScriptedUpstream, native: Make) -> None:
    server.will(Script((b"HTTP/1.1 204 No\r\n\r\n",)))
    upstream = native()

    assert await everything(await ask(upstream)) == b""
    assert upstream.pool.idle_count == 1


async def test_a_stream_comes_event_by_event(server: ScriptedUpstream, native: Make) -> None:
    first, *rest = events("a", "b")
    server.will(stream_answer(first, 0.03, b"".join(rest)))
    answer = await ask(native())

    assert await answer.chunk() == first
    assert await everything(answer) == b"".join(rest)


async def test_what_came_before_a_cut_is_given_out_before_the_cut_is_told(
    server: ScriptedUpstream, native: Make
) -> None:
    server.will(stream_answer(b"data: 1\n\n", end=End.CUT))
    answer = await ask(native())

    assert await answer.chunk() == b"data: 1\n\n"
    with pytest.raises(UpstreamCut):
        await answer.chunk()
    with pytest.raises(UpstreamCut):
        await answer.chunk()


@pytest.mark.parametrize("end", [End.CUT, End.CLOSE])
async def test_a_stream_without_its_last_chunk_is_cut(
    server: ScriptedUpstream, native: Make, end: End
) -> None:
    server.will(stream_answer(*events("a"), end=end))
    answer = await ask(native())

    with pytest.raises(UpstreamCut):
        await everything(answer)


async def test_a_body_shorter_than_its_length_is_cut(server: ScriptedUpstream, native: Make) -> None:
    server.will(cut_mid_body())
    answer = await ask(native())

    with pytest.raises(UpstreamCut, match="closed the connection after part of its answer"):
        await everything(answer)


async def test_a_connection_cut_before_the_head_is_cut_and_not_tried_again(
    server: ScriptedUpstream, native: Make
) -> None:
    server.will(cut_before_head())

    with pytest.raises(UpstreamCut, match="before it answered"):
        await ask(native())
    assert len(server.requests) == 1


async def test_a_connection_cut_within_the_head_is_cut(server: ScriptedUpstream, native: Make) -> None:
    server.will(Script((b"HTTP/1.1 200 OK\r\ncontent-", End.CLOSE)))

    with pytest.raises(UpstreamCut, match="within the head"):
        await ask(native())


@pytest.mark.parametrize(
    "wire",
    [
        b"\x16\x03\x01 no HTTP",
        b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\ncontent-length: 4\r\n\r\nabcd",
        b"HTTP/1.1 200 OK\r\ncontent-length: many\r\n\r\n",
        b"HTTP/1.1 101 Switch\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n",
    ],
)
async def test_a_head_that_is_not_http_is_garbled(
    server: ScriptedUpstream, native: Make, wire: bytes
) -> None:
    server.will(Script((wire, End.HANG)))
    upstream = native()

    with pytest.raises(UpstreamGarbled, match=r"not HTTP/1\.1"):
        await ask(upstream)
    assert upstream.pool.size == 0


async def test_a_chunk_that_is_not_one_is_garbled(server: ScriptedUpstream, native: Make) -> None:
    server.will(Script((head(transfer_encoding="chunked"), b"xyz\r\n", End.HANG)))
    answer = await ask(native())

    with pytest.raises(UpstreamGarbled):
        await answer.chunk()


async def test_garbage_hangs_nobody_up_but_the_one_who_sent_it(
    server: ScriptedUpstream, native: Make
) -> None:
    server.will(garbage())
    upstream = native()

    with pytest.raises(UpstreamGarbled):
        await ask(upstream)
    assert (await ask(upstream)).status == 200


@pytest.mark.parametrize(("size", "fits"), [(60 * 1024, True), (70 * 1024, False)])
async def test_a_head_is_taken_up_to_64_kib(
    server: ScriptedUpstream, native: Make, size: int, *, fits: bool
) -> None:
    fields = "".join(f"x-{number}: {'v' * 1000}\r\n" for number in range(size // 1010))
    server.will(Script((f"HTTP/1.1 200 OK\r\n{fields}content-length: 2\r\n\r\nok".encode(),)))

    if fits:
        assert await everything(await ask(native())) == b"ok"
    else:
        with pytest.raises(UpstreamGarbled, match="longer than 65536"):
            await ask(native())


async def test_a_header_without_an_end_is_given_up(server: ScriptedUpstream, native: Make) -> None:
    server.will(Script((b"HTTP/1.1 200 OK\r\nx: ", *[b"y" * 8192] * 1000, End.HANG)))

    with pytest.raises(UpstreamGarbled, match="longer than 65536"):
        await ask(native())
    await server.requests[0].closed.wait()


async def test_a_compressed_answer_is_refused_and_says_why(server: ScriptedUpstream, native: Make) -> None:
    server.will(json_answer(b"\x1f\x8b", content_encoding="gzip"))

    with pytest.raises(UpstreamGarbled, match=r"gzip.*identity"):
        await ask(native())


async def test_an_error_answer_is_an_answer(server: ScriptedUpstream, native: Make) -> None:
    server.will(error_answer(429, retry_after=7))
    upstream = native()

    answer = await ask(upstream)

    assert (answer.status, dict(answer.headers)[b"retry-after"]) == (429, b"7")
    assert b"scripted" in await everything(answer)
    assert upstream.pool.idle_count == 1


# Deadlines


async def test_a_head_that_does_not_come_times_out_and_hangs_up(
    server: ScriptedUpstream, native: Make
) -> None:
    server.will(hang_before_head())

    with pytest.raises(UpstreamTimedOut) as caught:
        await ask(native(), seconds=0.02)
    assert caught.value.phase == "first_content"
    await server.requests[0].closed.wait()


async def test_an_upstream_that_does_not_read_times_out(server: ScriptedUpstream, native: Make) -> None:
    server.will(unread())

    with pytest.raises(UpstreamTimedOut):
        await ask(native(), b"x" * (32 << 20), seconds=0.05)


async def test_a_stream_that_stops_times_out_in_the_phase_that_the_caller_says(
    server: ScriptedUpstream, native: Make
) -> None:
    server.will(stream_answer(b"data: 1\n\n", End.HANG))
    answer = await ask(native())
    assert await answer.chunk() == b"data: 1\n\n"

    answer.expires_at, answer.phase = asyncio.get_running_loop().time() + 0.02, "between_chunks"

    with pytest.raises(UpstreamTimedOut) as caught:
        await answer.chunk()
    assert caught.value.phase == "between_chunks"
    await server.requests[0].closed.wait()


async def test_a_deadline_that_passes_while_nobody_waits_ends_nothing(
    server: ScriptedUpstream, native: Make
) -> None:
    server.will(stream_answer(b"data: 1\n\n", 0.06, b"data: 2\n\n"))
    answer = await ask(native(), seconds=0.02)
    await asyncio.sleep(0.1)

    answer.expires_at = asyncio.get_running_loop().time() + 30

    assert await everything(answer) == b"data: 1\n\ndata: 2\n\n"


# Letting go


async def test_closing_in_the_middle_hangs_up_at_once(server: ScriptedUpstream, native: Make) -> None:
    server.will(stream_answer(b"data: 1\n\n", End.HANG))
    upstream = native()
    answer = await ask(upstream)
    await answer.chunk()

    answer.close()
    answer.close()

    await server.requests[0].closed.wait()
    assert upstream.pool.size == 0


async def test_who_waits_when_the_answer_is_closed_is_told(server: ScriptedUpstream, native: Make) -> None:
    server.will(stream_answer(b"data: 1\n\n", End.HANG))
    answer = await ask(native())
    await answer.chunk()
    asyncio.get_running_loop().call_soon(answer.close)

    with pytest.raises(UpstreamCut, match="closed by the gateway"):
        await answer.chunk()


async def test_closing_after_the_whole_answer_came_keeps_the_connection(
    server: ScriptedUpstream, native: Make
) -> None:
    server.will(json_answer(b"{}"))
    upstream = native()
    answer = await ask(upstream)

    answer.close()

    assert upstream.pool.idle_count == 1


async def test_a_caller_cancelled_while_it_waits_for_the_head_hangs_up(
    server: ScriptedUpstream, native: Make
) -> None:
    server.will(hang_before_head())
    upstream = native()
    task = asyncio.ensure_future(ask(upstream))
    while not server.requests:
        await asyncio.sleep(0.001)

    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    await server.requests[0].closed.wait()
    assert upstream.pool.size == 0


# The socket


async def test_nagle_is_off(server: ScriptedUpstream, native: Make) -> None:
    upstream = native()
    await everything(await ask(upstream))

    [connection] = upstream.pool._connections
    raw = connection._transport.get_extra_info("socket")
    assert raw.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0


async def test_a_slow_consumer_slows_the_upstream_down(server: ScriptedUpstream, native: Make) -> None:
    """64 MiB are offered; what nobody takes stays with the upstream, but for some socket buffers."""
    piece, count = b"x" * (64 << 10), 1024
    server.will(stream_answer(*[piece] * count))
    answer = await ask(native())
    await answer.chunk()
    [received] = server.requests

    before = -1
    while before != received.sent:
        before = received.sent
        await asyncio.sleep(0.05)

    assert received.sent < 16 << 20
    assert answer._buffered < 1 << 20
    size = len(piece)
    answer.expires_at = asyncio.get_running_loop().time() + 30
    while part := await answer.chunk():
        size += len(part)
    assert size >= len(piece) * (count - 1)
