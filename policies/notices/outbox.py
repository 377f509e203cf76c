"""The outbox in Redis: each notable entry is put there once, handed out until it is told, and never lost. Sends nothing.

No leader: any worker advances the cursor, which moves only together with the deliveries of what it passed, and any
worker claims what is due. Who dies with a claim loses it by its lease. All times are Redis'.
"""

from __future__ import annotations

import hashlib
import logging
import random
import uuid
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

import msgspec

from flags.call import Reply, scripts_in
from flags.errors import LedgerBroken
from flags.ledger import continues
from flags.model import Position
from flags.store import Store
from flags.walk import Anchor
from policies.notices.delivery import Board, Claimed, Delivery, Receipt, Result, Room, State, Told
from policies.notices.event import Event, EventKind, Severity, cut, event_of

log = logging.getLogger(__name__)

# Entries looked at in one call.
PAGE = 200
# Of what a channel answered, or of what went wrong.
FOUND_CHARS = 300
# Backoff: 1 s, 2 s, 4 s … up to 10 minutes, for a day; each wait is drawn from this share of it on, so that what failed
# together does not come back together. (claim.lua and settle.lua hold the numbers.)
LEAST_SHARE = 0.5
# Resent or dropped in one call.
REVIVED_AT_ONCE = 500
FORSAKEN_AT_ONCE = 500
MOST_LISTED = 1_000

_encode = msgspec.json.Encoder().encode
_event_from = msgspec.json.Decoder(Event).decode


@dataclass(frozen=True, slots=True)
class Addressed:
    """An event, complete, and the channels that want it."""

    event: Event
    channels: Sequence[str]


Address = Callable[[Event], Addressed]


@dataclass(frozen=True, slots=True)
class _Cursor:
    position: Position
    time: str


class Outbox:
    """The outbox of one namespace; keeps no state of its own. All raise StoreUnavailable when Redis is away.

    `anchor` tells the ledger's size and root, or raises LedgerBroken, which is itself an event.
    """

    __slots__ = ("_anchor", "_chance", "_keys", "_new_token", "_scripts", "_store")

    def __init__(
        self,
        store: Store,
        anchor: Callable[[], Awaitable[Anchor]],
        *,
        new_token: Callable[[], str] = lambda: uuid.uuid4().hex,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._store, self._keys, self._anchor = store, store.keys, anchor
        self._scripts = scripts_in("policies")
        self._new_token, self._chance = new_token, chance

    def __repr__(self) -> str:
        return f"Outbox({self._keys.namespace!r})"

    # What comes in

    async def advance(self, address: Address, upto: Position) -> int:
        """Put the notable ones of the next entries into the outbox, up to `upto`; how many were looked at.

        `upto` is where the caller's snapshot stands: what it says of channels must be as new as the entries. The
        first call ever only notes where the ledger ends: nothing old is told.
        """
        cursor = await self._cursor()
        if cursor is None:
            await self._tell(None, await self._end(), ())
            return 0
        if cursor.position == upto:
            return 0
        try:
            page = await self._store.read_log(cursor.position.revision, PAGE)
        except LedgerBroken as error:
            return await self._passed_over(cursor, error, address)
        entries = [each for each in page if each.revision <= upto.revision]
        if not entries:
            return await self._looked_back(cursor, address)
        if not continues(entries, cursor.position):
            return await self._start_over(cursor, address)
        end = _Cursor(entries[-1].position, entries[-1].time)
        found = [event for event in map(event_of, entries) if event is not None]
        await self._tell(cursor, end, await self._completed(found, address))
        return len(entries)

    async def add(self, *addressed: Addressed) -> None:
        """Put events without an entry into the outbox; those that it knows already are not added again."""
        await self._tell("-", None, addressed)

    async def _completed(self, events: list[Event], address: Address) -> list[Addressed]:
        """The events as they are sent: with the ledger's anchor, and with the news that it has none."""
        anchor = ""
        try:
            anchor = str(await self._anchor())
        except LedgerBroken as error:
            events = [*events, chain_broken(error, await self._store.time())]
        return [address(msgspec.structs.replace(event, anchor=anchor)) for event in events]

    async def _looked_back(self, cursor: _Cursor, address: Address) -> int:
        """Nothing new: unless the ledger now ends before the cursor, or elsewhere."""
        head = (await self._store.head()).position
        if head.revision > cursor.position.revision or head == cursor.position:
            return 0
        return await self._start_over(cursor, address)

    async def _start_over(self, cursor: _Cursor, address: Address) -> int:
        """The ledger is another one than that which we followed: say so, and go on at its end.

        Of what it holds, that which is newer than the last that was looked at is news.
        """
        end = await self._end()
        try:
            last = await self._store.read_log(max(0, end.position.revision - PAGE), PAGE)
        except LedgerBroken as error:
            return await self._passed_over(cursor, error, address)
        fresh = [
            entry for entry in last if entry.time > cursor.time and entry.revision <= end.position.revision
        ]
        notable = [event for event in map(event_of, fresh) if event is not None]
        told = [history_changed(cursor.position, end.position, await self._store.time()), *notable]
        await self._tell(cursor, end, await self._completed(told, address))
        log.warning("notices go on at revision %d: the ledger's history changed", end.position.revision)
        return len(fresh)

    async def _passed_over(self, cursor: _Cursor, error: LedgerBroken, address: Address) -> int:
        """Entries that cannot be read: say so, and go on at the end, or nobody would hear of anything any more."""
        time = await self._store.time()
        await self._tell(cursor, await self._end(), [address(chain_broken(error, time))])
        return 0

    async def _cursor(self) -> _Cursor | None:
        key = self._keys.notices_cursor
        found = await self._store.calls.run(lambda redis: redis.hmget(key, ["revision", "hash", "time"]))
        if found[0] is None:
            return None
        return _Cursor(Position(int(found[0]), (found[1] or b"").decode()), (found[2] or b"").decode())

    async def _end(self) -> _Cursor:
        return _Cursor((await self._store.head()).position, await self._store.time())

    async def _tell(
        self, seen: _Cursor | str | None, to: _Cursor | None, addressed: Sequence[Addressed]
    ) -> bool:
        """One call of tell.lua; False where another worker was faster."""
        before = (
            (str(seen.position.revision), seen.position.hash)
            if isinstance(seen, _Cursor)
            else (seen or "", "")
        )
        after = (to.position.revision, to.position.hash, to.time) if to is not None else (0, "", "")
        wanted = [each for each in addressed if each.channels]
        args: list[str | bytes | int] = [self._keys.prefix, *before, *after, len(wanted)]
        for event, channels in ((each.event, each.channels) for each in wanted):
            args += [event.id, f"{event.kind}|{event.object}", _encode(event), len(channels), *channels]
        keys = [self._keys.notices_cursor, self._keys.notices_channels, self._keys.notices_dead]
        return bool(await self._store.calls.script(self._scripts["tell"], keys, args) == b"told")

    # What goes out

    async def claim(self, rooms: Sequence[Room]) -> Claimed:
        """What is due, as far as there is room; each must be settled before its lease is over."""
        token = self._new_token()
        args: list[str | bytes | int] = [self._keys.prefix, token, len(rooms)]
        for room in rooms:
            args += [room.channel, room.most, round(room.lease_seconds * 1000)]
        channels, rows = await self._store.calls.script(
            self._scripts["claim"], [self._keys.notices_channels], args
        )
        return Claimed(tuple(_deliveries(rows, token)), frozenset(name.decode() for name in channels))

    async def settle(self, delivery: Delivery, result: Result, found: str) -> State | None:
        """Note how an attempt ended; its state from now on, None where another has it meanwhile."""
        wait = round(1000 * (LEAST_SHARE + (1 - LEAST_SHARE) * self._chance()))
        args: list[str | bytes | int] = [
            self._keys.prefix, delivery.event.id, delivery.channel, delivery.token, result.value,
            cut(found, FOUND_CHARS), wait,
        ]  # fmt: skip
        keys = [self._keys.notices_channels, self._keys.notices_told, self._keys.notices_dead]
        answer: bytes = await self._store.calls.script(self._scripts["settle"], keys, args)
        return None if answer == b"lost" else State(answer.decode())

    async def forsake(self, channel: str, why: str) -> int:
        """Drop what waits for a channel that is there no more; how many there were."""
        dropped, left = 0, 1
        while left:
            args: list[str | bytes | int] = [self._keys.prefix, channel, why, FORSAKEN_AT_ONCE]
            keys = [self._keys.notices_channels]
            done, left = await self._store.calls.script(self._scripts["forsake"], keys, args)
            dropped += done
        return dropped

    # For people

    async def board(self, limit: int) -> Board:
        """What waits, was told and is dead, at most `limit` of each."""
        keys = [self._keys.notices_channels, self._keys.notices_told, self._keys.notices_dead]
        args: list[str | bytes | int] = [self._keys.prefix, min(limit, MOST_LISTED)]
        waiting, dead, rows = await self._store.calls.script(self._scripts["notices"], keys, args)
        return Board(int(waiting), int(dead), tuple(_receipts(rows)))

    async def told(self, event_id: str) -> Told | None:
        """How far an event is on each channel; None for one that nobody was to be told of, or that is long past."""
        key = self._keys.notice(event_id)
        fields = await self._store.calls.run(lambda redis: redis.hgetall(key))
        if not fields:
            return None
        found = {name.decode(): value.decode() for name, value in fields.items()}
        event = _event_from(found["event"]) if "event" in found else None
        channels = sorted(name.partition("|")[2] for name in found if name.startswith("state|"))
        receipts = {channel: _receipt_of(found, channel, event, event_id) for channel in channels}
        return Told(receipts, found.get("merged"))

    async def resend(self, dead: Sequence[Receipt]) -> int:
        """Let dead deliveries be tried again at once, as new ones; how many were still dead."""
        return await self._revive(dead, "due")

    async def drop(self, dead: Sequence[Receipt]) -> int:
        """Give dead deliveries up for good; how many were still dead."""
        return await self._revive(dead, "dropped")

    async def _revive(self, dead: Sequence[Receipt], state: str) -> int:
        done = 0
        for at in range(0, len(dead), REVIVED_AT_ONCE):
            page = dead[at : at + REVIVED_AT_ONCE]
            pairs = [text for each in page for text in (each.id, each.channel)]
            args: list[str | bytes | int] = [self._keys.prefix, state, len(page), *pairs]
            keys = [self._keys.notices_channels, self._keys.notices_dead]
            done += int(await self._store.calls.script(self._scripts["revive"], keys, args))
        return done


def history_changed(held: Position, now: Position, time: str) -> Event:
    """The news that the ledger is no longer the one that was followed; the same for every worker that finds it."""
    mark = hashlib.sha256(f"{held}|{now}".encode()).hexdigest()[:32]
    return Event(
        id=f"history-{mark}",
        kind=EventKind.HISTORY_CHANGED,
        severity=Severity.CRITICAL,
        object="ledger",
        title="the ledger's history changed",
        time=time,
        reason=f"it was followed to revision {held.revision} ({held.hash[:12]}…) and now ends at revision "
        f"{now.revision} ({now.hash[:12]}…): a fail-over lost Changes, or somebody altered it",
        actor="automation/notices",
        revision=now.revision,
        hash=now.hash,
    )


def chain_broken(error: LedgerBroken, time: str) -> Event:
    """The news that the ledger does not hold together; the same for every worker that finds the same break."""
    mark = hashlib.sha256(error.message.encode()).hexdigest()[:32]
    return Event(
        id=f"chain-{mark}",
        kind=EventKind.CHAIN_BROKEN,
        severity=Severity.CRITICAL,
        object="ledger",
        title="the audit chain is broken",
        time=time,
        reason=cut(error.message, 1_000),
        actor="automation/notices",
    )


def _deliveries(rows: Sequence[Reply], token: str) -> list[Delivery]:
    columns = zip(rows[::5], rows[1::5], rows[2::5], rows[3::5], rows[4::5], strict=True)
    return [
        Delivery(_event_from(event), channel.decode(), int(attempts), int(more), token)
        for _, channel, event, attempts, more in columns
    ]


def _receipts(rows: Sequence[Reply]) -> list[Receipt]:
    found = []
    for at in range(0, len(rows), 11):
        one, channel, state, due, event, attempts, first, when, error, detail, more = rows[at : at + 11]
        found.append(
            Receipt(
                id=one.decode(),
                channel=channel.decode(),
                state=State(state.decode()),
                attempts=int(attempts),
                first_ms=int(first),
                at_ms=int(when),
                found=(detail if state == b"told" else error).decode(errors="replace"),
                due_ms=int(float(due)) if due else 0,
                more=int(more),
                event=_event_from(event),
            )
        )
    return found


def _receipt_of(fields: dict[str, str], channel: str, event: Event | None, event_id: str) -> Receipt:
    def field(name: str, usual: str = "0") -> str:
        return fields.get(f"{name}|{channel}", usual)

    state = State(field("state"))
    return Receipt(
        id=event_id,
        channel=channel,
        state=state,
        attempts=int(field("attempts")),
        first_ms=int(field("first")),
        at_ms=int(field("at")),
        found=field("detail" if state is State.TOLD else "error", ""),
        more=int(fields.get("more", "0")),
        event=event,
    )
