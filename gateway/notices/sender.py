"""One worker's loop: what is notable goes into the outbox, and what is due goes out. Never slows a request or a rollback.

Woken by new entries, else by the clock. Every worker runs one; which of them does what, the outbox decides. Knows no
protocol of a channel.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from flags.edge import Edge
from flags.errors import NotFound, StoreUnavailable
from flags.model import Position
from flags.snapshot import Snapshot
from gateway.membership import routes_of
from gateway.notices.channel import Notice, NotSent
from gateway.notices.making import Maker, Wired, addressed, audit_link
from policies.notices.delivery import Claimed, Delivery, Result, Room, State
from policies.notices.event import Event, EventKind, Severity
from policies.notices.outbox import PAGE, Address, Addressed

log = logging.getLogger("pointsman.notices")

# What is due again, or what another worker left, is at most this late.
TICK_SECONDS = 1.0
# While nothing waits in the whole fleet: only what a worker did not put into the outbox before it died is found so late.
QUIET_SECONDS = 5.0
# What is new is looked at so long after it came, up to twice that: first all workers take up the switch, then the first of
# them that looks finds the work and the others find it done.
GATHER_SECONDS = 0.03
# Sent at once: in all, and by one channel. Each channel has one place of its own beside, so that however many hang, none
# holds another up.
AT_ONCE, AT_ONCE_EACH = 8, 2
# Between an attempt's deadline and the end of its claim: to note how it ended, also where Redis stalls meanwhile.
LEASE_BEYOND_SECONDS = 30.0
# A channel is gone when this worker's snapshots have not had it for so long: another's may be newer.
GONE_AFTER_SECONDS = 60.0
# A worker that ends lets what is being sent end too, but not for long.
LINGER_SECONDS = 1.0


class Queue(Protocol):
    """What is asked of the outbox here. All raise StoreUnavailable."""

    async def advance(self, address: Address, upto: Position) -> int:
        """Put in what is notable of the next entries; how many were looked at."""
        ...

    async def add(self, *addressed: Addressed) -> None:
        """Put in events that have no entry."""
        ...

    async def claim(self, rooms: Sequence[Room]) -> Claimed:
        """What is due."""
        ...

    async def settle(self, delivery: Delivery, result: Result, found: str) -> State | None:
        """Note how it ended."""
        ...

    async def forsake(self, channel: str, why: str) -> int:
        """Drop what waits for a channel."""
        ...


class Sender:
    """What changes here: its tasks, what it could not note yet, since when channels have been missing, whether
    nothing is to be done, and when it looked last.

    `snapshot` gives the newest one (None before the first), `away` tells that Redis is known not to
    answer, `clock` counts seconds, `base` is the address under which people reach this server ("" where unknown).
    """

    def __init__(  # noqa: PLR0913  # what the noticeboard gives to it
        self,
        outbox: Queue,
        maker: Maker,
        snapshot: Callable[[], Snapshot | None],
        *,
        away: Callable[[], bool],
        clock: Callable[[], float],
        base: str = "",
        draw: Callable[[], float] = random.random,
    ) -> None:
        self._draw = draw
        self._outbox, self._maker, self._snapshot = outbox, maker, snapshot
        self._away, self._clock, self._base = away, clock, base
        self._sending: dict[asyncio.Task[None], str] = {}
        # At most as many as are sent at once: nothing is claimed before these are noted.
        self._owed: list[tuple[Delivery, Result, str]] = []
        self._missing: dict[str, float] = {}
        self._quiet = False
        # That there is something new, or (then nothing is gathered) that a channel can take the next of what waits.
        self._woken, self._freed = asyncio.Event(), False
        self._loop: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        return f"<Sender {len(self._sending)} being sent, {len(self._owed)} to note>"

    def start(self) -> None:
        """Begin. Call it in the running loop."""
        self._loop = asyncio.create_task(self._run(), name="notices")

    def wake(self) -> None:
        """There is something new: look now. Returns at once."""
        self._woken.set()

    async def aclose(self) -> None:
        """Stop. May be called again. What was not sent by then, another worker sends."""
        loop, self._loop = self._loop, None
        if loop is not None:
            loop.cancel()
            await asyncio.wait([loop])
        if self._sending:
            await asyncio.wait(self._sending, timeout=LINGER_SECONDS)
        for task in tuple(self._sending):
            task.cancel()
        if self._sending:
            await asyncio.wait(self._sending)

    async def round(self) -> int:
        """Take in what is new, send what is due; how many deliveries were begun. Raises StoreUnavailable."""
        snapshot = self._snapshot()
        if snapshot is None:
            return 0
        channels = self._maker.channels(snapshot)
        await self._note_owed()
        address = self._address(snapshot, channels)
        passed = 0
        while (page := await self._outbox.advance(address, snapshot.position)) >= PAGE:
            passed += page
        claimed = await self._outbox.claim(self._rooms(channels))
        for delivery in claimed.deliveries:
            task = asyncio.create_task(self._send(delivery, channels[delivery.channel]))
            self._sending[task] = delivery.channel
            task.add_done_callback(self._ended)
        await self._forsake(claimed.channels - channels.keys(), address)
        # Where we passed entries another may have been faster, and not have come so far.
        self._quiet = not (passed + page or claimed.channels or self._owed)
        return len(claimed.deliveries)

    async def try_out(self, channel: str, event: Event) -> None:
        """Put a test event into the outbox for one channel. Raises NotFound, with the channels that there are."""
        snapshot = self._snapshot()
        channels = self._maker.channels(snapshot) if snapshot is not None else {}
        if channel not in channels:
            known = ", ".join(sorted(channels)) or "none"
            raise NotFound(
                f'channel "{channel}" does not exist (channels: {known})', mend="declare it under `notify`"
            )
        await self._outbox.add(Addressed(event, [channel]))
        self.wake()

    async def tell(self, event: Event) -> None:
        """Put an event that has no entry into the outbox, for all channels that want it. Raises StoreUnavailable."""
        snapshot = self._snapshot()
        if snapshot is not None:
            await self._outbox.add(self._address(snapshot, self._maker.channels(snapshot))(event))
            self.wake()

    def _address(self, snapshot: Snapshot, channels: Mapping[str, Wired]) -> Address:
        def address(event: Event) -> Addressed:
            routes = tuple(routes_of(event.flag, snapshot)) if event.flag else ()
            return addressed(event, channels, routes, audit_link(self._base, event))

        return address

    def _rooms(self, channels: Mapping[str, Wired]) -> list[Room]:
        """Where there is room: one for each channel that sends nothing, more as long as few are sent in all."""
        busy = [*self._sending.values()]
        free = max(0, AT_ONCE - len(busy))
        rooms = []
        for name, wired in channels.items():
            own = 1 if name not in busy else 0
            more = min(free, AT_ONCE_EACH - busy.count(name) - own)
            if own + more > 0:
                free -= more
                rooms.append(Room(name, own + more, wired.seconds + LEASE_BEYOND_SECONDS))
        return rooms

    async def _send(self, delivery: Delivery, wired: Wired) -> None:
        """One attempt, and its end noted."""
        event, result = delivery.event, Result.TOLD
        try:
            # The channel keeps its own deadline; this one is for a bug in that.
            async with asyncio.timeout(wired.seconds + LEASE_BEYOND_SECONDS / 3):
                found = await wired.channel.send(Notice(event, delivery.more))
        except NotSent as error:
            result, found = Result.FAILED, str(error)
        except TimeoutError:
            result, found = Result.FAILED, "the channel did not end in time"
        except Exception:  # the edge: what a channel's library raises must cost no notice
            log.exception("channel %s failed in a way that it should not", delivery.channel)
            result, found = Result.FAILED, "failed by a fault of ours; the server's log says more"
        await self._noted(delivery, result, found)

    async def _noted(self, delivery: Delivery, result: Result, found: str) -> None:
        try:
            state = await self._outbox.settle(delivery, result, found)
        except StoreUnavailable:
            self._owed.append((delivery, result, found))
            return
        if result is Result.FAILED:
            again = "it is tried again" if state is State.DUE else "no more attempts"
            log.warning(
                "notice %s to %s: attempt %d failed: %s; %s",
                *(delivery.event.kind, delivery.channel, delivery.attempt, found, again),
            )

    async def _note_owed(self) -> None:
        """Note what ended while Redis was away, before anybody's claim on it is given out again."""
        while self._owed:
            delivery, result, found = self._owed[0]
            await self._outbox.settle(delivery, result, found)
            del self._owed[0]

    async def _forsake(self, unknown: frozenset[str], address: Address) -> None:
        """Drop, and tell of, what waits for channels that have been gone for a while."""
        now = self._clock()
        self._missing = {name: self._missing.get(name, now) for name in unknown}
        for name in [each for each, since in self._missing.items() if now - since >= GONE_AFTER_SECONDS]:
            dropped = await self._outbox.forsake(name, "the channel is declared no more")
            del self._missing[name]
            if dropped:
                await self._outbox.add(address(channel_gone(name, dropped, self._snapshot())))

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._sending.pop(task, None)
        if not task.cancelled() and task.exception() is not None:
            log.error("a delivery could not be noted: %s", task.exception())
        self._freed = True
        self.wake()

    async def _run(self) -> None:
        while True:
            try:
                async with asyncio.timeout(QUIET_SECONDS if self._quiet else TICK_SECONDS):
                    await self._woken.wait()
            except TimeoutError:
                pass
            if not self._freed:
                await asyncio.sleep(GATHER_SECONDS * (1.0 + self._draw()))
            self._woken.clear()
            self._quiet = self._freed = False
            if self._away():
                continue
            with Edge(log, "notices"):
                await self.round()


def channel_gone(name: str, dropped: int, snapshot: Snapshot | None) -> Event:
    """The news that nobody will be told by a channel any more."""
    revision = snapshot.position.revision if snapshot is not None else 0
    return Event(
        id=f"gone-{name}-{revision}",
        kind=EventKind.CHANNEL_GONE,
        severity=Severity.WARNING,
        object=f"notify/{name}",
        title=f"channel {name} is declared no more; {dropped} notices for it were dropped",
        time="",
        reason="a channel was removed from the config while notices were waiting for it",
        actor="automation/notices",
        revision=revision,
    )
