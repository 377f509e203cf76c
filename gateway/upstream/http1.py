"""One keep-alive HTTP/1.1 connection to a provider, and the exchanges made on it, one at a time.

Knows no OpenAI, no pool and no retry: bytes go out, a status, headers and bytes come back,
or an UpstreamError.
"""

from __future__ import annotations

import asyncio
import socket
from typing import Protocol, cast

import httptools

from gateway.errors import UpstreamCut, UpstreamError, UpstreamGarbled
from gateway.patience import Patience, Patient, hung_up, timed_out
from gateway.upstream.base import Headers

# 64 KiB: what nginx and the big providers' front doors allow for a whole head, with room to spare.
MAX_HEAD_BYTES = 64 * 1024
# Above this much unread answer we stop reading from the socket, so that TCP slows the provider down.
HIGH_WATER_BYTES = 64 * 1024
# Bodies up to this size are joined to their head (one write, one small copy); above, the copy costs more.
JOIN_BYTES = 64 * 1024
# Larger bodies are written in pieces of this size, as the socket takes them: a transport copies what it cannot send.
PIECE_BYTES = 256 * 1024


class StaleConnection(UpstreamCut):
    """Raised when a kept connection died before the first byte of an answer: worth one try on a fresh one."""


class Keeper(Protocol):
    """Who owns connections."""

    def release(self, connection: Connection) -> None:
        """The connection is clean and may carry another exchange."""
        ...

    def lost(self, connection: Connection) -> None:
        """The connection is gone or will be; told at least once."""
        ...


class NativeAnswer(Patient):
    """A question that was sent and its answer (implements `base.Answer`): the caller's only handle."""

    __slots__ = ("_buffered", "_chunks", "_connection", "_ended", "_fields", "_headed", "headers", "status")

    def __init__(
        self, connection: Connection, patience: Patience, loop: asyncio.AbstractEventLoop, expires_at: float
    ) -> None:
        super().__init__(patience, loop, expires_at)
        self.status = 0
        self._fields: list[tuple[bytes, bytes]] = []
        self.headers: Headers = self._fields
        self._connection: Connection | None = connection
        self._chunks: list[bytes] = []
        self._buffered = 0
        self._headed = False
        self._ended = False

    async def head(self) -> None:
        """Return when status and headers are here. Raises UpstreamError; the connection is then closed."""
        try:
            while not self._headed:
                if self._failure is not None:
                    raise self._failure
                await self._wait()
        except asyncio.CancelledError:
            self.close()
            raise

    async def chunk(self) -> bytes:
        """What came since the last call; waits if that is nothing. b"" at the answer's proper end."""
        while not self._chunks:
            if self._ended:
                self._settle()
                return b""
            if self._failure is not None:
                raise self._failure
            await self._wait()
        return self._take()

    def close(self) -> None:
        """Keep the connection if the whole answer is here, else hang up; who still waits gets UpstreamCut."""
        if not self._ended:
            self.fail(hung_up())
        self._chunks.clear()
        self._settle()

    def fail(self, failure: UpstreamError) -> None:
        """No more of this answer will come: the caller gets what is buffered, then `failure`."""
        if self._failure is None:
            self._failure = failure
        self._settle()
        self._wake()

    def _give_up(self) -> None:
        self.fail(timed_out(self.phase))

    def _take(self) -> bytes:
        chunks = self._chunks
        self._chunks = []
        if self._buffered > HIGH_WATER_BYTES and self._connection is not None:
            self._connection.resume()
        self._buffered = 0
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)

    def _settle(self) -> None:
        """Part with the connection, which decides by itself whether it is fit for another exchange."""
        connection = self._connection
        if connection is not None:
            self._connection = None
            self._patience.forget(self)
            connection.finish(clean=self._ended)

    def __repr__(self) -> str:
        state = "ended" if self._ended else f"failed: {self._failure}" if self._failure else "open"
        return f"<NativeAnswer {self.status} {state}, {self._buffered} bytes unread>"


class Connection(asyncio.Protocol):
    """The transport's and the parser's side: it feeds the one exchange that is under way."""

    __slots__ = (
        "_exchange", "_framed", "_head_bytes", "_interim", "_keep", "_keeper", "_loop", "_parser", "_paused",
        "_surplus", "_transport", "_unsent", "_used", "idle_since",
    )  # fmt: skip

    def __init__(self, keeper: Keeper, loop: asyncio.AbstractEventLoop) -> None:
        self._keeper = keeper
        self._loop = loop
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._exchange: NativeAnswer | None = None
        self._used = False
        self._paused = False
        self._unsent: memoryview | None = None
        self._reset()
        self.idle_since = 0.0

    @property
    def is_open(self) -> bool:
        """Whether another exchange may be tried; a peer that has closed may not have been heard of yet."""
        return self._transport is not None and not self._transport.is_closing()

    def begin(self, head: bytes, body: bytes, patience: Patience, expires_at: float) -> NativeAnswer:
        """Send one request. Raises StaleConnection when the peer is known to have gone.

        Nobody waits until the socket has taken the body: that would hide an early answer.
        """
        transport = self._transport
        if transport is None or transport.is_closing():
            self._keeper.lost(self)
            raise StaleConnection("the kept connection was closed by the upstream")
        self._exchange = exchange = NativeAnswer(self, patience, self._loop, expires_at)
        if len(body) <= JOIN_BYTES:
            transport.write(head + body)
        else:
            transport.write(head)
            self._unsent = memoryview(body)
            self._send_on(transport)
        return exchange

    def _send_on(self, transport: asyncio.Transport) -> None:
        """Write what is left of a large body until the transport has enough; it calls when it wants more."""
        while self._unsent is not None and not self._paused and not transport.is_closing():
            unsent = self._unsent
            self._unsent = unsent[PIECE_BYTES:] if len(unsent) > PIECE_BYTES else None
            transport.write(unsent[:PIECE_BYTES])

    def finish(self, *, clean: bool) -> None:
        """The exchange parted. A connection whose answer or request is not through is of no further use."""
        self._exchange = None
        transport = self._transport
        if transport is None:
            return
        whole = self._unsent is None and not transport.get_write_buffer_size()
        if not (clean and whole and self._keep) or self._surplus:
            self.abort()
            return
        self._used = True
        self._reset()
        self._keeper.release(self)

    def resume(self) -> None:
        """Read on after the exchange's buffer was above its high water."""
        transport = self._transport
        if transport is not None and not transport.is_closing():
            transport.resume_reading()

    def abort(self) -> None:
        """Close at once, without waiting for anything that is under way. Idempotent."""
        self._keeper.lost(self)
        self._unsent = None
        if self._transport is not None:
            self._transport.abort()

    def _reset(self) -> None:
        self._head_bytes = 0
        self._interim = False
        self._framed = False
        self._keep = False
        self._surplus = False

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        # Both loops do it by themselves today; without it Nagle meets delayed ACK, a step of 40 ms.
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def pause_writing(self) -> None:
        self._paused = True

    def resume_writing(self) -> None:
        self._paused = False
        if self._transport is not None:
            self._send_on(self._transport)

    def data_received(self, data: bytes) -> None:
        exchange = self._exchange
        if exchange is None:
            self.abort()  # nobody asked: whatever this is, it is no answer
            return
        if not exchange._headed:
            self._head_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self._unreadable(exchange, error)
            return
        if not exchange._headed and self._head_bytes > MAX_HEAD_BYTES:
            self._too_long(exchange)
        elif exchange._buffered > HIGH_WATER_BYTES and self._exchange is not None and not exchange._ended:
            cast("asyncio.Transport", self._transport).pause_reading()
        exchange._wake()

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = self._unsent = None
        del self._parser  # it holds our callbacks: a circle that only the garbage collector would find
        self._keeper.lost(self)
        exchange = self._exchange
        if exchange is None:
            return
        if exchange._headed and not self._framed and exc is None:
            exchange._ended = True  # a body without a length ends where the connection ends
            exchange._wake()
        elif not exchange._ended:
            exchange.fail(self._cut(exchange, exc))

    # httptools: callbacks of the parser, in the order of the bytes

    def on_message_begin(self) -> None:
        exchange = self._exchange
        if exchange is None or exchange._ended:
            self._surplus = True

    def on_header(self, name: bytes, value: bytes) -> None:
        exchange = self._exchange
        if exchange is not None and not exchange._headed:
            exchange._fields.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        exchange = self._exchange
        if exchange is None or exchange._headed:
            return
        status = self._parser.get_status_code()
        self._interim = status < 200
        if self._interim:
            exchange._fields.clear()
            return
        if status > 599:  # no such class of answers; our own server could not pass it on either
            exchange.fail(
                UpstreamGarbled(f"the upstream answered with status {status}, which HTTP does not know")
            )
            return
        exchange.status = status
        for name, value in exchange._fields:
            if name == b"content-length" or (
                name == b"transfer-encoding" and value.lower().endswith(b"chunked")
            ):
                self._framed = True
            elif name == b"content-encoding" and value.lower() not in (b"", b"identity"):
                exchange.fail(_compressed(status, value))
                return
        if (
            self._head_bytes > MAX_HEAD_BYTES
            and sum(len(n) + len(v) for n, v in exchange._fields) > MAX_HEAD_BYTES
        ):
            self._too_long(exchange)
            return
        exchange._headed = True

    def on_body(self, body: bytes) -> None:
        exchange = self._exchange
        if exchange is not None and body and not exchange._ended:  # what follows the end is another's
            exchange._chunks.append(body)
            exchange._buffered += len(body)

    def on_message_complete(self) -> None:
        exchange = self._exchange
        if self._interim:
            self._interim = False
        elif exchange is not None and not exchange._ended:
            self._keep = self._parser.should_keep_alive()
            exchange._ended = True

    # what can be wrong with an answer

    def _unreadable(self, exchange: NativeAnswer, error: Exception) -> None:
        if exchange._ended:
            self._surplus = True  # the answer is whole; what follows it condemns the connection alone
            exchange._wake()
        else:
            exchange.fail(UpstreamGarbled(f"the upstream's answer is not HTTP/1.1: {error}"))

    def _too_long(self, exchange: NativeAnswer) -> None:
        exchange.fail(
            UpstreamGarbled(f"the head of the upstream's answer is longer than {MAX_HEAD_BYTES} bytes")
        )

    def _cut(self, exchange: NativeAnswer, cause: Exception | None) -> UpstreamError:
        how = f"broke the connection ({cause})" if cause else "closed the connection"
        if self._head_bytes:
            part = "after part of its answer" if exchange._headed else "within the head of its answer"
            return UpstreamCut(f"the upstream {how} {part}")
        if self._used:
            return StaleConnection(f"the upstream {how}, which had been kept, before it answered")
        return UpstreamCut(f"the upstream {how} before it answered")

    def __repr__(self) -> str:
        state = "closed" if not self.is_open else "busy" if self._exchange else "idle"
        return f"<Connection {state}>"


def _compressed(status: int, encoding: bytes) -> UpstreamGarbled:
    return UpstreamGarbled(
        f"the upstream compressed its answer (status {status}, {encoding.decode('latin-1')!r}) although "
        "identity was asked for; switch compression off there"
    )
