"""An answer that is played within the process: parts of bytes, waits and faults, one after the other.

Knows no script and no wire format.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterator
from typing import Literal

import msgspec

from gateway.errors import UpstreamCut
from gateway.patience import Patience, Patient, hung_up
from gateway.upstream.base import Headers


class Part(msgspec.Struct, frozen=True):
    """Wait, then send `data`; with a `fault`, then wait for ever (hang) or break off (cut)."""

    data: bytes = b""
    wait_seconds: float = 0.0
    fault: Literal["hang", "cut"] | None = None


class Script(msgspec.Struct, frozen=True):
    """A whole answer: what comes before its head, the head, the parts of its body."""

    opening: Part
    status: int
    headers: tuple[tuple[bytes, bytes], ...]
    parts: Iterator[Part]


class Playback(Patient):
    """Implements `base.Answer`. It is a member of `running` until it ended, failed or was closed."""

    __slots__ = ("_ended", "_parts", "_running", "headers", "status")

    def __init__(
        self,
        script: Script,
        running: set[Playback],
        *,
        patience: Patience,
        loop: asyncio.AbstractEventLoop,
        expires_at: float,
    ) -> None:
        super().__init__(patience, loop, expires_at)
        self.status = script.status
        self.headers: Headers = script.headers
        self._parts = script.parts
        self._ended = False
        self._running = running
        running.add(self)

    async def begin(self, opening: Part) -> None:
        """Play what comes before the head. Raises UpstreamError; the answer is then over."""
        try:
            await self._play(opening)
        except asyncio.CancelledError:
            self.close()
            raise

    async def chunk(self) -> bytes:
        """The next part's bytes; b"" at the end."""
        if self._failure is not None:
            raise self._failure
        for part in self._parts:
            await self._play(part)
            if part.data:
                return part.data
        self._ended = True
        self._leave()
        return b""

    def close(self) -> None:
        """Let go; who still waits gets UpstreamCut."""
        if not self._ended:
            self._fail(hung_up())
        self._wake()

    async def _play(self, part: Part) -> None:
        if part.wait_seconds or part.fault == "hang":
            await self._pause(math.inf if part.fault == "hang" else part.wait_seconds)
        else:
            await asyncio.sleep(0)  # a long answer leaves room for the other requests of this process
        if part.fault == "cut":
            self._fail(UpstreamCut("the simulated upstream cut its answer, as its script says"))
        if self._failure is not None:
            raise self._failure

    async def _pause(self, seconds: float) -> None:
        over = False

        def end() -> None:
            # A flag, not the clock: uvloop counts whole milliseconds, and may call a rounding error early.
            nonlocal over
            over = True
            self._wake()

        timer = self._loop.call_later(seconds, end) if seconds < math.inf else None
        try:
            while self._failure is None and not over:
                await self._wait()
        finally:
            if timer is not None:
                timer.cancel()

    def _give_up(self) -> None:
        super()._give_up()
        self._leave()

    def _fail(self, failure: UpstreamCut) -> None:
        if self._failure is None:
            self._failure = failure
        self._leave()

    def _leave(self) -> None:
        self._patience.forget(self)
        self._running.discard(self)

    def __repr__(self) -> str:
        state = "ended" if self._ended else f"failed: {self._failure}" if self._failure else "playing"
        return f"<Playback {self.status} {state}>"
