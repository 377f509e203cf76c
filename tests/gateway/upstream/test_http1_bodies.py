"""Bodies of every kind and size, both ways, on one connection."""

from __future__ import annotations

import asyncio

import pytest

from gateway.errors import UpstreamTimedOut
from gateway.upstream.base import UpstreamRequest
from gateway.upstream.http1 import JOIN_BYTES, PIECE_BYTES
from tests.gateway.upstream.asking import ask, everything
from tests.gateway.upstream.conftest import Make
from tests.scripted_upstream import Script, ScriptedUpstream, chunked, head, unread

BINARY = bytes(range(256)) * 1024


@pytest.mark.parametrize("method", ["GET", "DELETE", "POST"])
@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 204 No\r\n\r\n",
        b"HTTP/1.1 204 No\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/1.1 304 Same\r\netag: x\r\n\r\n",
        b"HTTP/1.1 304 Same\r\ncontent-length: 100\r\n\r\n",
        b"HTTP/1.1 304 Same\r\ntransfer-encoding: chunked\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Hints\r\nlink: x\r\n\r\nHTTP/1.1 204 No\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
    ],
)
async def test_an_answer_that_has_no_body_ends_at_its_head_whatever_it_says_of_one(
    server: ScriptedUpstream, native: Make, method: str, answer: bytes
) -> None:
    """RFC 9110 §6.4.1: 1xx, 204 and 304 never have one. The connection is good for the next request."""
    server.will(Script((answer,)), Script((head(content_length=2) + b"ok",)))
    upstream = native()

    first = await upstream.send(UpstreamRequest("/files/f", b"", method=method))
    assert await everything(first) == b""
    second = await upstream.send(UpstreamRequest("/files/f", b"", method=method))

    assert await everything(second) == b"ok"
    assert server.connections == 1


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_bytes_of_any_kind_come_through_as_they_are(
    server: ScriptedUpstream, native: Make, method: str
) -> None:
    parts = [BINARY[start : start + 4096] for start in range(0, len(BINARY), 4096)]
    chunks = (*(chunked(part) for part in parts), b"0\r\n\r\n")
    server.will(
        Script((head(200, "audio/mpeg", transfer_encoding="chunked"), *chunks)),
        Script((head(200, "application/octet-stream", content_length=len(BINARY)), *parts)),
    )
    upstream = native()
    for _ in range(2):
        answer = await upstream.send(UpstreamRequest("/files/f/content", b"", method=method))
        assert await everything(answer) == BINARY

    assert server.connections == 1


async def test_a_binary_body_streams(server: ScriptedUpstream, native: Make) -> None:
    """Its first bytes are here before its last were sent."""
    steps = (head(200, "audio/mpeg", content_length=6), b"\xff\xfb\0", 0.03, b"end")
    server.will(Script(steps))
    answer = await native().send(UpstreamRequest("/audio/speech", b"{}"))

    assert await answer.chunk() == b"\xff\xfb\0"
    assert await everything(answer) == b"end"


@pytest.mark.parametrize(
    "size",
    [
        0,
        1,
        JOIN_BYTES,
        JOIN_BYTES + 1,
        PIECE_BYTES,
        PIECE_BYTES + 1,
        2 * PIECE_BYTES,
        3 * PIECE_BYTES + 7,
        32 << 20,
    ],
)
async def test_a_body_of_any_size_arrives_whole_and_the_connection_is_kept(
    server: ScriptedUpstream, native: Make, size: int
) -> None:
    body = (BINARY * (size // len(BINARY) + 1))[:size]
    upstream = native()
    for _ in range(2):
        await everything(await ask(upstream, body))

    assert [received.body == body for received in server.requests] == [True, True]
    assert server.connections == 1


async def test_a_large_body_waits_in_our_hands_until_the_upstream_reads(
    server: ScriptedUpstream, native: Make
) -> None:
    """What the transport could not send is copied into its buffer: a piece or two, never the whole."""
    server.will(unread())
    upstream = native()
    asking = asyncio.ensure_future(ask(upstream, b"x" * (32 << 20), seconds=0.3))
    while not server.requests:
        await asyncio.sleep(0.005)

    [connection] = upstream.pool._connections
    assert 0 < connection._transport.get_write_buffer_size() <= 2 * PIECE_BYTES
    with pytest.raises(UpstreamTimedOut):
        await asking
    assert upstream.pool.size == 0


async def test_an_early_answer_ends_a_large_body(server: ScriptedUpstream, native: Make) -> None:
    """The connection on which half of it was sent is of no use to anybody."""
    server.will(Script((head(413, content_length=3) + b"big",), reads_body=False))
    upstream = native()
    answer = await ask(upstream, b"x" * (32 << 20))

    assert (answer.status, await everything(answer)) == (413, b"big")
    assert upstream.pool.size == 0
    assert b"chat.completion" in await everything(await ask(upstream))
