"""The connections to one provider: kept ones are used again, the latest first, and never more than allowed.

Knows nothing of requests: it hands out connections and takes them back.
"""

from __future__ import annotations

import asyncio
import os
import ssl
from collections import OrderedDict

from gateway.errors import UpstreamBusy, UpstreamError, UpstreamRefused, UpstreamUnavailable
from gateway.patience import Patience, Patient, timed_out
from gateway.upstream.endpoint import Endpoint
from gateway.upstream.http1 import Connection

# 50 s: front doors close idle connections after 60 s and more, and a request sent into a closing one must be
# sent twice. Servers with less patience (uvicorn: 5 s) tell us by closing.
IDLE_SECONDS = 50.0


class Place(Patient):
    """Somebody's place in the queue for a connection: given a kept one, or (None) leave to open one."""

    __slots__ = ("connection", "given")

    def __init__(self, patience: Patience, loop: asyncio.AbstractEventLoop, expires_at: float) -> None:
        super().__init__(patience, loop, expires_at)
        self.given = False
        self.connection: Connection | None = None

    def give(self, connection: Connection | None) -> None:
        """End the wait."""
        self.connection, self.given = connection, True
        self._wake()

    def refuse(self, failure: UpstreamError) -> None:
        """End the wait with an error."""
        self._failure = failure
        self._wake()

    async def wait(self) -> Connection | None:
        """What was given. Raises UpstreamUnavailable when the time has passed."""
        while not self.given:
            if self._failure is not None:
                raise self._failure
            await self._wait()
        return self.connection

    def _give_up(self) -> None:
        self._failure = UpstreamBusy(
            "all connections to the upstream are in use; raise its max_connections or try again later",
            retry_after_seconds=1.0,
        )


class Pool:
    """What changes here: which connections exist, which are idle, who waits. Implements `http1.Keeper`."""

    def __init__(
        self,
        endpoint: Endpoint,
        patience: Patience,
        loop: asyncio.AbstractEventLoop,
        *,
        tls: ssl.SSLContext | None = None,
        max_connections: int = 1024,
    ) -> None:
        self._endpoint = endpoint
        self._patience = patience
        self._loop = loop
        self._tls = tls
        self._max_connections = max_connections
        self.idle_seconds = IDLE_SECONDS
        self._connections: set[Connection] = set()
        self._idle: list[Connection] = []
        self._opening = 0
        self._queue: OrderedDict[Place, None] = OrderedDict()
        self._sweep: asyncio.TimerHandle | None = None
        self._retired = False
        self._closed = False

    @property
    def size(self) -> int:
        """Connections that are open or being opened."""
        return len(self._connections) + self._opening

    @property
    def idle_count(self) -> int:
        """Connections that wait for a request."""
        return len(self._idle)

    def kept(self) -> Connection | None:
        """An idle connection, the one used last; None where there is none."""
        return self._idle.pop() if self._idle else None

    async def take(self, connect_seconds: float, expires_at: float, *, fresh: bool = False) -> Connection:
        """A connection: a kept one, else a new one, else the first to become free.

        `fresh` prefers a new one over a kept one. Raises UpstreamRefused, UpstreamTimedOut (phase connect, or
        first_content where `expires_at` comes before), UpstreamUnavailable (none became free in time).
        """
        if self._closed:
            raise _closed()
        if not fresh and self._idle:
            return self._idle.pop()
        until = min(self._loop.time() + connect_seconds, expires_at)
        if self.size >= self._max_connections and self._idle:
            self._idle.pop(0).abort()
        if self.size >= self._max_connections:
            connection = await self._wait_in_queue(until)
            if connection is not None:
                return connection
        else:
            self._opening += 1
        return await self._open(until, "first_content" if until == expires_at else "connect")

    def release(self, connection: Connection) -> None:
        """Keep a clean connection for the next who asks."""
        if self._retired:
            connection.abort()
        elif self._queue:
            self._next_place().give(connection)
        else:
            connection.idle_since = self._loop.time()
            self._idle.append(connection)
            if self._sweep is None:
                self._sweep = self._loop.call_later(self.idle_seconds, self._close_idle)

    def lost(self, connection: Connection) -> None:
        """Forget a connection; its place is free."""
        if connection in self._connections:
            self._connections.remove(connection)
            if connection in self._idle:
                self._idle.remove(connection)
            self._grant()

    def retire(self) -> None:
        """Close what is idle now and everything else once its answer is through. Idempotent."""
        self._retired = True
        if self._sweep is not None:
            self._sweep.cancel()
            self._sweep = None
        for connection in tuple(self._idle):
            connection.abort()

    def close(self) -> None:
        """Close every connection, answers under way included; who waits for one is refused. Idempotent."""
        self._closed = True
        self.retire()
        while self._queue:
            self._next_place().refuse(_closed())
        for connection in tuple(self._connections):
            connection.abort()

    async def _wait_in_queue(self, until: float) -> Connection | None:
        place = Place(self._patience, self._loop, until)
        self._queue[place] = None
        try:
            return await place.wait()
        except asyncio.CancelledError:
            self._return(place)
            raise
        finally:
            self._queue.pop(place, None)
            self._patience.forget(place)

    def _next_place(self) -> Place:
        return self._queue.popitem(last=False)[0]

    def _return(self, place: Place) -> None:
        """Who was given something left without it: pass it on."""
        if place.connection is not None and place.connection.is_open:
            self.release(place.connection)
        elif place.given and place.connection is None:
            self._opening -= 1
            self._grant()

    def _grant(self) -> None:
        """Let the first in the queue open a connection, where one more may be open."""
        if self._queue and self.size < self._max_connections:
            self._opening += 1
            self._next_place().give(None)

    async def _open(self, until: float, phase: str) -> Connection:
        """Make a connection (name, TCP and TLS); the place for it is already counted in `_opening`."""
        connection = None
        try:
            async with asyncio.timeout_at(until):
                _, connection = await self._loop.create_connection(
                    lambda: Connection(self, self._loop),
                    self._endpoint.host,
                    self._endpoint.port,
                    ssl=self._tls,
                    server_hostname=self._endpoint.server_name,
                )
        except TimeoutError as error:
            raise timed_out(phase) from error
        except OSError as error:  # ssl.SSLError and socket.gaierror are some
            raise _refused(error) from error
        finally:
            self._opening -= 1
            if connection is None:
                self._grant()
        self._connections.add(connection)
        if self._closed:
            connection.abort()
            raise _closed()
        return connection

    def _close_idle(self) -> None:
        """Close what has been idle for too long; the oldest lie at the bottom."""
        self._sweep = None
        now = self._loop.time()
        for connection in [each for each in self._idle if each.idle_since + self.idle_seconds <= now]:
            connection.abort()
        if self._idle:
            self._sweep = self._loop.call_at(self._idle[0].idle_since + self.idle_seconds, self._close_idle)

    def __repr__(self) -> str:
        idle, waiting = len(self._idle), len(self._queue)
        return f"<Pool {self._endpoint.authority}: {self.size - idle} busy, {idle} idle, {waiting} waiting>"


def _closed() -> UpstreamUnavailable:
    return UpstreamUnavailable("the upstream was closed: it is not configured any more, or this process ends")


def _refused(error: OSError) -> UpstreamError:
    if isinstance(error, ssl.SSLCertVerificationError):
        reason = f"its certificate is not accepted: {error.verify_message}"
    elif isinstance(error, ssl.SSLError):
        reason = f"TLS was not agreed: {error.reason or error}"
    else:
        # By its number: asyncio's own text names the address, which is none of an app's business.
        number = error.errno or 0
        reason = os.strerror(number) if number > 0 else error.strerror or type(error).__name__
    return UpstreamRefused(f"no connection to the upstream: {reason}")
