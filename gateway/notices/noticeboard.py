"""All that a worker has for telling people, put together: outbox, channels, loop; and what operators ask of it.

Knows no HTTP. Built once a worker; `start` it in the running loop, `wake` it with every snapshot, `aclose` it in the end.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from flags.anchor import anchor
from flags.errors import NotFound, Refused
from flags.snapshot import Snapshot
from flags.store import Store
from gateway.notices.making import Maker
from gateway.notices.sender import Sender
from gateway.notices.web import Poster
from policies.notices.delivery import Board, State, Told
from policies.notices.event import Event, EventKind, Severity
from policies.notices.outbox import MOST_LISTED, Outbox


class Noticeboard:
    """One worker's part in telling people. All that asks raises StoreUnavailable when Redis is away.

    `snapshot` gives the newest one (None before the first), `away` tells that Redis is known not to answer, `clock`
    counts seconds, `base` is the address under which people reach the operators' API ("" where unknown).
    """

    def __init__(
        self,
        store: Store,
        environ: Mapping[str, str],
        snapshot: Callable[[], Snapshot | None],
        *,
        away: Callable[[], bool],
        clock: Callable[[], float],
        base: str = "",
    ) -> None:
        self._store = store
        self._poster = Poster()
        self.outbox = Outbox(store, lambda: anchor(store))
        maker = Maker(environ, store.keys.namespace, self._poster)
        self.sender = Sender(self.outbox, maker, snapshot, away=away, clock=clock, base=base)

    def __repr__(self) -> str:
        return f"<Noticeboard {self.sender!r}>"

    def start(self) -> None:
        """Begin to tell. Call it in the running loop."""
        self.sender.start()

    def wake(self) -> None:
        """There may be something new. Returns at once."""
        self.sender.wake()

    async def aclose(self) -> None:
        """Stop; idempotent. What was not told by then, another worker tells."""
        await self.sender.aclose()
        await self._poster.aclose()

    async def tell(self, event: Event) -> None:
        """Tell of something that has no entry in the ledger; once, whoever finds it, by the event's id."""
        await self.sender.tell(event)

    async def told(self, event_id: str) -> Told | None:
        """How far an event (by its entry's id) is on each channel; None for one that nobody was to be told of."""
        return await self.outbox.told(event_id)

    async def board(self, limit: int) -> Board:
        """What waits, was told lately, and is dead."""
        return await self.outbox.board(limit)

    async def resend(self, event_id: str | None) -> int:
        """Let the dead deliveries of an event (None: all) be tried again; how many.

        Raises NotFound for an event that is not known, and Refused where nothing of it is dead.
        """
        dead = (await self.outbox.board(MOST_LISTED)).of(State.DEAD)
        if event_id is not None:
            dead = [each for each in dead if each.id == event_id]
            if not dead:
                await self._refuse(event_id)
        done = await self.outbox.resend(dead)
        self.wake()
        return done

    async def _refuse(self, event_id: str) -> None:
        told = await self.outbox.told(event_id)
        if told is None:
            raise NotFound(
                f'notice "{event_id[:80]}" is not known',
                mend="pointsman notices dead lists those that failed",
            )
        states = ", ".join(f"{name}: {each.state}" for name, each in told.receipts.items())
        raise Refused(
            "not_dead",
            f"nothing of notice {event_id} is dead ({states or f'told with {told.merged}'})",
            mend="what is due is tried by itself; what was told is not told again",
        )

    async def drop(self, event_id: str) -> int:
        """Give up the dead deliveries of an event for good; how many. Raises NotFound and Refused as `resend`."""
        dead = [each for each in (await self.outbox.board(MOST_LISTED)).of(State.DEAD) if each.id == event_id]
        if not dead:
            await self._refuse(event_id)
        return await self.outbox.drop(dead)

    async def test(self, channel: str, by: str, event_id: str) -> Event:
        """Send a test by one channel, as any notice goes. Raises NotFound for a channel that does not exist."""
        event = Event(
            id=event_id,
            kind=EventKind.TEST,
            severity=Severity.INFO,
            object=f"notify/{channel}/{event_id}",
            title=f"a test of channel {channel}",
            time=await self._store.time(),
            reason="somebody wanted to see whether notices arrive",
            actor=by,
        )
        await self.sender.try_out(channel, event)
        return event
