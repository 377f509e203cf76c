"""Signs of life on a stream that is silent for long: an SSE comment, so that what stands between does not hang up.

Knows a door and a clock, no upstream. No task and no timer belong to a request: Patience looks at all of them.

WHATWG HTML §9.2: a line that begins with a colon is a comment, and every reader leaves it out.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from gateway.patience import Patience
from gateway.wires.base import STREAM_HEAD

if TYPE_CHECKING:  # at run time a circle: an Exchange has one of these
    from gateway.exchange import Exchange

COMMENT = b": keep-alive\n\n"
# How often a stream is looked at whose sign of life is due and may not go out yet.
LOOK_SECONDS = 1.0


class KeepAlive:
    """Writes a comment when nothing went out for `seconds`; the first one brings the response's head along.

    What changes here: when something went out last (`since`, set by who writes), whether the answer is `held` (it is on
    trial, and another may take its place: its head must wait), and the one comment that is on its way. While a client
    does not take that one there is no second.
    """

    __slots__ = ("_head", "_patience", "_seconds", "_task", "_x", "expires_at", "held", "since")

    def __init__(
        self,
        x: Exchange,
        seconds: float,
        patience: Patience,
        head: Callable[[Exchange], Sequence[tuple[bytes, bytes]]],
    ) -> None:
        """`head` gives the headers of an answer of which nothing has come yet."""
        self._x, self._seconds, self._patience, self._head = x, seconds, patience, head
        self._task: asyncio.Task[None] | None = None
        self.held = False
        self.since = x.clock()
        self.expires_at = self.since + seconds
        patience.watch(self)

    def __repr__(self) -> str:
        return f"<KeepAlive since={self.since:.3f} held={self.held} writing={self._task is not None}>"

    def expire(self) -> None:
        """Called by Patience: write a comment where one is due, and look again."""
        now = self._x.clock()
        due = self.since + self._seconds
        if now < due:
            self.expires_at = due
        elif (self.held and not self._x.started) or self._task is not None:
            self.expires_at = now + min(LOOK_SECONDS, self._seconds)
        else:
            self.since, self.expires_at = now, now + self._seconds
            self._task = asyncio.get_running_loop().create_task(self._write())
        self._patience.watch(self)

    async def _write(self) -> None:
        x = self._x
        try:
            if not x.started:
                x.started = True
                await x.door.start(200, [*STREAM_HEAD, *self._head(x)])
            await x.door.write(COMMENT)
        finally:
            self._task = None

    async def settled(self) -> None:
        """Return when no comment is on its way: whoever writes a head, or the end, must come after it."""
        if self._task is not None:
            await self._task

    async def over(self) -> None:
        """The answer ends: no comment is begun any more, and none is on its way."""
        self._patience.forget(self)
        await self.settled()

    def close(self) -> None:
        """Write no more; what waits for a client that has left is given up. Idempotent."""
        self._patience.forget(self)
        if self._task is not None:
            self._task.cancel()
