"""All open streams of one worker: who is woken by a change, who gets a sign of life, who is cut off.

One timer for all of them, and none while there are none. Knows no flag: only whether the state that answers hang on
is another.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Callable, Sequence

import msgspec
from starlette.types import Receive, Scope, Send

from gateway.auth import Reader
from gateway.http.ofrep.place import House, State, state_of
from gateway.http.ofrep.stream import News, Stream

# Every stream has its turn this often: a sign of life, and a look whether the last one was taken and the key still holds.
# Proxies close what is silent for 30 s and more, and a key that was revoked is to end its streams within 30 s.
TURN_SECONDS = 20
TICK_SECONDS = 1.0
# A client that has not taken an event for so long does not read; it comes again and is told the newest.
STALLED_SECONDS = 5.0
# Clients that lost their streams together come again spread over this time: so many a second, between these bounds.
# A browser's provider gives up after 30 s without.
PER_SECOND, LEAST_SPREAD_SECONDS, MOST_SPREAD_SECONDS = 500, 2.0, 20.0
FIRST_PAUSE_SECONDS = 1.0
# An event waits so long for the other workers: who is told asks any of them, and need not say of what revision it was
# told. They swap within 150 ms even where both cores are busy; one that hangs must not keep back the news any longer.
FOLLOWED_SECONDS = 0.15
# How long an evaluation waits for a revision that another worker has told of already, and how many at once may: a swap
# takes milliseconds.
REACH_SECONDS = 1.0
MOST_WAITING = 10_000


class Notice(msgspec.Struct, frozen=True, rename="camel"):
    """An event's data."""

    type: str
    etag: str
    last_modified: int


class Hub:
    """What changes here: the streams, the state that was told last and how, the telling of a newer one, who waits for a
    revision, and the next tick."""

    def __init__(self, house: House, *, draw: Callable[[], float]) -> None:
        """`draw` gives numbers from 0 to 1, which keep clients from coming all at once."""
        self._house, self._draw = house, draw
        self._loop = asyncio.get_running_loop()
        self._turns: tuple[set[Stream], ...] = tuple(set() for _ in range(TURN_SECONDS))
        self._open = self._serial = self._turn = 0
        # The open streams of each who has one.
        self._holders: Counter[str] = Counter()
        self._state: State | None = None
        self._news = News("", b"")
        self._telling: asyncio.Task[None] | None = None
        self._waiting: set[asyncio.Future[None]] = set()
        self._tick: asyncio.TimerHandle | None = None
        self._poked = False

    def __repr__(self) -> str:
        return f"<Hub of {self._open} streams at {self._news.mark or 'nothing yet'}>"

    def __len__(self) -> int:
        return self._open

    def held(self, holder: str) -> int:
        """How many streams are open for `holder`, a key or an address."""
        return self._holders[holder]

    def poke(self) -> None:
        """What is served may have changed, or the process stops: called as often as may be, looked at once a turn."""
        if not self._poked:
            self._poked = True
            self._loop.call_soon(self._look)

    def pause_seconds(self) -> float:
        """How long a client is to wait before it comes again; each another time."""
        spread = min(max(self._open / PER_SECOND, LEAST_SPREAD_SECONDS), MOST_SPREAD_SECONDS)
        return FIRST_PAUSE_SECONDS + self._draw() * spread

    async def serve(
        self,
        reader: Reader,
        last: str,
        wire: tuple[Scope, Receive, Send],
        headers: Sequence[tuple[bytes, bytes]],
        *,
        holder: str = "",
    ) -> None:
        """Keep `reader` told until one of both ends; `last` is the id of the event that the client had last, `holder` for
        whom the stream counts.

        Who names none has an event at once: between the answer that gave the address and this moment flags may have
        changed, and clients do not ask again by themselves. They ask with their ETag, so mostly it costs a 304.
        """
        self._look()
        stream = Stream(reader, wire, lambda: self._news, self._known(last))
        turn = self._turns[self._serial % TURN_SECONDS]
        self._serial += 1
        self._open += 1
        self._holders[holder] += 1
        turn.add(stream)
        if self._tick is None:
            self._tick = self._loop.call_later(TICK_SECONDS, self.tick)
        try:
            await stream.run(headers, self.pause_seconds())
        finally:
            turn.discard(stream)
            self._open -= 1
            self._holders[holder] -= 1
            if self._holders[holder] <= 0:
                del self._holders[holder]

    def _known(self, last: str) -> str:
        """The mark of what a client knows whose last event had the id `last`."""
        state = self._state
        if state is None:
            return ""
        # The revision alone, where somebody keeps nothing else.
        return state.mark if last == str(state.revision) else last.partition("-")[2]

    async def reached(self, revision: int) -> None:
        """Return once this worker serves `revision` or a later one, after a second at most."""
        # Most are not behind, and a timeout that nobody needs costs a quarter of a 304.
        if not self._behind(revision):
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(REACH_SECONDS):
                while self._behind(revision):
                    waiter: asyncio.Future[None] = self._loop.create_future()
                    self._waiting.add(waiter)
                    try:
                        await waiter
                    finally:
                        self._waiting.discard(waiter)

    def _behind(self, revision: int) -> bool:
        serving = self._house.serving
        away = self._house.stopping() or len(self._waiting) >= MOST_WAITING
        return serving is not None and serving.snapshot.revision < revision and not away

    def _look(self) -> None:
        self._poked = False
        for waiter in self._waiting:
            if not waiter.done():
                waiter.set_result(None)
        if self._house.stopping():
            self._end()
            return
        state, told = self._current(), self._state
        if state is None or state == told:
            return
        # Who is away from the store could not know how far the others are.
        if told is None or state.mark == told.mark or not self._open or self._house.degraded():
            self._tell(state)
        elif self._telling is None:
            self._telling = self._loop.create_task(self._tell_once_followed())

    def _current(self) -> State | None:
        serving = self._house.serving
        return None if serving is None else state_of(self._house, serving)

    async def _tell_once_followed(self) -> None:
        """Tell of what is served once no worker answers with anything older; go on until the newest is told."""
        try:
            while (state := self._current()) is not None and state != self._state:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(FOLLOWED_SECONDS):
                        await self._house.followed(FOLLOWED_SECONDS)
                self._tell(state)
        finally:
            self._telling = None

    def _tell(self, state: State) -> None:
        changed = self._state is None or state.mark != self._state.mark
        self._state = state
        if changed:
            self._news = News(state.mark, frame(state, int(self._house.now())))
            for stream in self._streams():
                stream.wake()

    def _end(self) -> None:
        if self._telling is not None:
            self._telling.cancel()
        for stream in self._streams():
            stream.end() if stream.since is None else stream.cut()

    def _streams(self) -> list[Stream]:
        return [stream for turn in self._turns for stream in turn]

    def tick(self) -> None:
        """Once a second: cut off who does not read, and give those their turn who are at it."""
        self._tick = None
        now, keys = self._loop.time(), self._house.keys
        for stream in self._streams():
            if stream.since is not None and now - stream.since >= STALLED_SECONDS:
                stream.cut()
        for stream in list(self._turns[self._turn % TURN_SECONDS]):
            if stream.stuck():
                stream.cut()
            elif keys.holds(stream.reader):
                stream.sign()
            else:
                stream.end()
        self._turn += 1
        if self._open:
            self._tick = self._loop.call_later(TICK_SECONDS, self.tick)


def frame(state: State, now: int) -> bytes:
    """The event that tells of `state`, seen at `now` (Unix seconds)."""
    data = msgspec.json.encode(Notice("refetchEvaluation", state.tag, now))
    return b"id: %s\nevent: message\ndata: %s\n\n" % (state.id.encode(), data)
