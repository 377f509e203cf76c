"""An answer that a task of ours makes while the caller takes it. Knows no litellm and no wire."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Coroutine

from gateway.errors import UpstreamError, UpstreamGarbled
from gateway.patience import Patience, Patient, hung_up
from gateway.upstream.base import Headers

# Events made ahead of the caller; when so many lie here the provider waits.
MAX_AHEAD = 16


class TranslatedAnswer(Patient):
    """Implements `base.Answer`. It is a member of `running` while its task is.

    What changes here: what was made and not taken yet, and how it ended. Whoever makes calls `starts`, `put`, `end`
    or `fail`; whoever takes calls `head`, `chunk` and `close`.
    """

    __slots__ = ("_ended", "_made", "_room", "_running", "headers", "status", "task")

    def __init__(
        self,
        running: set[TranslatedAnswer],
        *,
        patience: Patience,
        loop: asyncio.AbstractEventLoop,
        expires_at: float,
    ) -> None:
        super().__init__(patience, loop, expires_at)
        self.status = 0
        self.headers: Headers = ()
        self.task: asyncio.Task[None] | None = None
        self._running = running
        self._made: deque[bytes] = deque()
        self._room = asyncio.Event()
        self._ended = False

    async def head(self, work: Coroutine[object, object, None]) -> None:
        """Have `work` done, and return once it said how the answer starts. Raises UpstreamError."""
        self._running.add(self)
        self.task = self._loop.create_task(work)
        self.task.add_done_callback(self._worked)
        try:
            while not self.status:
                if self._failure is not None:
                    raise self._failure
                await self._wait()
        except asyncio.CancelledError:
            self.close()
            raise

    async def chunk(self) -> bytes:
        """What was made since the last call; waits if that is nothing. b"" at the proper end."""
        while not self._made:
            if self._ended:
                self._patience.forget(self)
                return b""
            if self._failure is not None:
                raise self._failure
            await self._wait()
        data = self._made.popleft() if len(self._made) == 1 else b"".join(self._made)
        self._made.clear()
        self._room.set()
        return data

    def close(self) -> None:
        """Let go: the task is cancelled, and with it the provider's stream. Idempotent."""
        if not self._ended:
            self.fail(hung_up())
        self._made.clear()
        self._patience.forget(self)
        if self.task is not None and not self._ended:
            self.task.cancel()

    def starts(self, status: int, headers: Headers) -> None:
        """The head is known."""
        self.status, self.headers = status, headers
        self._wake()

    async def put(self, data: bytes) -> None:
        """More of the answer; waits while too much of it lies here."""
        self._made.append(data)
        self._wake()
        while len(self._made) >= MAX_AHEAD:
            self._room.clear()
            await self._room.wait()

    def end(self, data: bytes = b"") -> None:
        """The answer is whole."""
        if data:
            self._made.append(data)
        self._ended = True
        self._wake()

    def fail(self, failure: UpstreamError) -> None:
        """No more will come: the caller gets what is there, then `failure`."""
        if self._failure is None and not self._ended:
            self._failure = failure
        self._wake()

    def _give_up(self) -> None:
        super()._give_up()
        if self.task is not None:
            self.task.cancel()

    def _worked(self, task: asyncio.Task[None]) -> None:
        self._running.discard(self)
        if task.cancelled():
            self.fail(hung_up())
        elif task.exception() is not None:
            self.fail(UpstreamGarbled("the answer could not be translated"))
        if self._failure is not None:
            self._patience.forget(self)

    def __repr__(self) -> str:
        state = "ended" if self._ended else f"failed: {self._failure}" if self._failure else "open"
        return f"<TranslatedAnswer {self.status} {state}, {len(self._made)} events untaken>"
