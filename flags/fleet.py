"""The workers of a namespace: who is alive, and how far each has come. Knows not what a revision holds."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import msgspec

from flags.call import Calls
from flags.errors import StoreError
from flags.keys import Keys
from flags.ledger import entry_from
from flags.model import Position

# CONTRACT/DESIGN §2: a heartbeat a second; alive for 5 s after the last.
BEAT_SECONDS = 1.0
ALIVE_SECONDS = 5.0
# Rows of the dead are kept this long for operators to see, then removed.
FORGET_SECONDS = 3600.0
# Between two looks at the acknowledgements, growing: a fleet's last one comes after 1–10 ms, so looking often
# pays at first; a worker that hangs must not cost Redis thousands of looks, nor the others much of their 50 ms.
FIRST_POLL_SECONDS = 0.001
LAST_POLL_SECONDS = 0.01
POLL_GROWTH = 1.5


class WorkerInfo(msgspec.Struct, frozen=True):
    """A worker as it presents itself; `id` is unique in the namespace and new for every process."""

    id: str
    host: str = ""
    pid: int = 0
    version: str = ""
    started: str = ""


@dataclass(frozen=True, slots=True)
class WorkerState:
    """A worker as the fleet sees it. `age_seconds` is the time since its last beat."""

    info: WorkerInfo
    position: Position
    age_seconds: float

    @property
    def alive(self) -> bool:
        """Whether a write waits for it."""
        return self.age_seconds <= ALIVE_SECONDS


@dataclass(frozen=True, slots=True)
class Acks:
    """How many of the awaited workers have acknowledged; `missing` names the others."""

    acknowledged: int
    workers: int
    missing: tuple[str, ...] = ()


class _Row(msgspec.Struct, frozen=True):
    info: WorkerInfo
    revision: int
    hash: str


class Fleet:
    """Heartbeats and acknowledgements, which are one and the same row. Raises StoreUnavailable, where not said."""

    __slots__ = ("_calls", "_clock", "_keys")

    def __init__(self, calls: Calls, keys: Keys, *, clock: Callable[[], float]) -> None:
        self._calls = calls
        self._keys = keys
        self._clock = clock

    def __repr__(self) -> str:
        return f"Fleet({self._keys.namespace!r})"

    async def beat(self, info: WorkerInfo, position: Position) -> None:
        """Say that the worker lives and from now on begins no request with anything older than `position`."""
        row = msgspec.json.encode(_Row(info, position.revision, position.hash))
        await self._calls.script("beat", [self._keys.workers], [info.id, row])

    async def leave(self, worker: str) -> None:
        """Take the worker off the list: it begins no more requests, so nobody need wait for it."""
        await self._calls.run(lambda redis: redis.hdel(self._keys.workers, worker))

    async def workers(self) -> list[WorkerState]:
        """All known workers, the dead of the last hour included, by id."""
        milliseconds, flat = await self._calls.script("workers", [self._keys.workers])
        return list(states(flat, milliseconds).values())

    async def forget(self) -> None:
        """Remove the rows of workers that have been dead for an hour."""
        dead = [state.info.id for state in await self.workers() if state.age_seconds > FORGET_SECONDS]
        if dead:
            await self._calls.run(lambda redis: redis.hdel(self._keys.workers, *dead))

    async def acknowledged(self, position: Position, within_seconds: float, awaited: Sequence[str]) -> Acks:
        """Wait until all of `awaited` stand at `position` or later, at most `within_seconds`.

        Who left meanwhile is not awaited any more; who died (no beat for 5 s) is missing at once. Never raises
        StoreUnavailable: the write that we wait for stands, so a Redis that goes away now makes it a write with
        workers missing, not a write that failed.
        """
        deadline = self._clock() + within_seconds
        acks, hope = Acks(0, len(awaited), tuple(awaited)), bool(awaited)
        known, pause = {position: True}, FIRST_POLL_SECONDS
        while hope:
            with contextlib.suppress(StoreError):
                acks, hope = await self._look(position, awaited, known)
            if not hope or self._clock() >= deadline:
                break
            await asyncio.sleep(pause)
            pause = min(POLL_GROWTH * pause, LAST_POLL_SECONDS)
        return acks

    async def followed(self, position: Position, within_seconds: float) -> None:
        """Return once all who are alive stand at `position` or later, after `within_seconds` at most. Never raises."""
        with contextlib.suppress(StoreError):
            awaited = [state.info.id for state in await self.workers() if state.alive]
            await self.acknowledged(position, within_seconds, awaited)

    async def _look(
        self, position: Position, awaited: Sequence[str], known: dict[Position, bool]
    ) -> tuple[Acks, bool]:
        """Who has acknowledged now, and whether anybody else may still do so."""
        now = {state.info.id: state for state in await self.workers()}
        there = [worker for worker in awaited if worker in now]
        await self._place(position, {now[worker].position for worker in there}, known)
        missing = tuple(worker for worker in there if not known[now[worker].position])
        acks = Acks(len(there) - len(missing), len(there), missing)
        return acks, any(now[worker].alive for worker in missing)

    async def _place(self, position: Position, others: set[Position], known: dict[Position, bool]) -> None:
        """Note for each position whether it lies at or after ours, on the same history.

        A higher revision is not enough: a worker may still stand on entries that a fail-over has lost.
        """
        for other in others - known.keys():
            known[other] = other.revision > position.revision and await self._stands(other)

    async def _stands(self, position: Position) -> bool:
        at = f"{position.revision}-0"
        rows = await self._calls.run(lambda redis: redis.xrange(self._keys.ledger, at, at))
        return bool(rows) and entry_from(rows[0][1][b"e"]).hash == position.hash


def states(flat: Sequence[bytes], milliseconds: int) -> Mapping[str, WorkerState]:
    """The workers by id, from the rows of the hash as Redis answers them, at `milliseconds` of its clock."""
    found = [_state(row, milliseconds) for row in flat[1::2]]
    return {state.info.id: state for state in sorted(found, key=lambda state: state.info.id)}


def _state(row: bytes, milliseconds: int) -> WorkerState:
    seen, _, text = row.partition(b" ")
    parsed = msgspec.json.decode(text, type=_Row)
    # A beat in the future is one from before a fail-over to a clock that is behind. Who lives beats again within a
    # second; the dead must not look alive until that clock has come so far.
    age = abs(milliseconds - int(seen)) / 1000
    return WorkerState(parsed.info, Position(parsed.revision, parsed.hash), age)


def alive(flat: Sequence[bytes], milliseconds: int) -> tuple[str, ...]:
    """The ids of the workers that a write at this instant waits for."""
    return tuple(worker for worker, state in states(flat, milliseconds).items() if state.alive)
