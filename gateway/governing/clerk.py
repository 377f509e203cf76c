"""The clerk of one worker: takes up records of rollbacks with open steps, and drives each under its lease.

Any worker's clerk may; one does, and another goes on where that one died. What a step is stands in deeds.py, what is due
and written in policies.governance.procedure. Knows neither HTTP nor how people are told.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Mapping
from math import inf
from typing import Protocol

from immutables import Map

from flags.change import Committed, Decide, View
from flags.edge import Edge
from flags.errors import StoreUnavailable
from flags.ledger import Author
from flags.model import Kind, StoredObject
from flags.snapshot import Snapshot
from flags.store import Store
from gateway.errors import NotReady
from policies.governance import procedure
from policies.governance.finding import Finding, clipped, lost, not_evaluated
from policies.governance.record import Noted, Record, StepName, StepState, is_over, record_key, step_of
from policies.lease import Lease, LeaseLost

log = logging.getLogger(__name__)

# Records that one worker drives at a time: each may run a suite.
AT_ONCE = 4
# Between two looks at the list of work, where a record's turn comes; and where nobody waits, unless somebody calls `wake`.
TICK_SECONDS, IDLE_SECONDS = 0.25, 1.0


# The switch comes first: while workers take it up, nothing else is written. (People are told meanwhile: notices have
# a loop of their own.)
SETTLE_SECONDS = 0.5
# Steps that end within so much time become one Change.
GATHER_SECONDS = 0.05


class Doing(Protocol):
    """What the clerk does of a record: `deeds.Deeds`."""

    async def do(self, name: StepName, change_id: str, record: Record) -> Finding | None:
        """What came of one try at a step."""
        ...

    async def figures(self, record: Record) -> Noted:
        """What the versions have done so far."""
        ...


class Clerk:
    """One worker's; `lease` makes it a lease by name, in the worker's own.

    What changes here: its tasks, the list of work, and when each record is looked at again.
    """

    def __init__(  # noqa: PLR0913  # what the office gives to it
        self,
        store: Store,
        deeds: Doing,
        *,
        snapshot: Callable[[], Snapshot],
        away: Callable[[], bool],
        lease: Callable[[str], Lease],
        monotonic: Callable[[], float] = time.monotonic,
        settle_seconds: float = SETTLE_SECONDS,
    ) -> None:
        """`settle_seconds`: how long a record rests before its first step."""
        self._store, self._deeds = store, deeds
        self._snapshot, self._away = snapshot, away
        self._lease, self._monotonic = lease, monotonic
        self._settle_seconds = settle_seconds
        self._woken = asyncio.Event()
        self._loop: asyncio.Task[None] | None = None
        self._driving: dict[str, asyncio.Task[None]] = {}
        self._records: Mapping[str, StoredObject] = Map()
        self._work: tuple[str, ...] = ()
        # Since when, and until when not again, each record of the list is known to this worker.
        self._known_since: dict[str, float] = {}
        self._again_at: dict[str, float] = {}

    def __repr__(self) -> str:
        return f"<Clerk: {len(self._work)} records with open steps, drives {sorted(self._driving)}>"

    def start(self) -> None:
        """Begin, in the running loop."""
        self._loop = asyncio.create_task(self._run(), name="clerk of rollbacks")

    def wake(self) -> None:
        """Look at the list now: a new snapshot is served."""
        self._woken.set()

    async def aclose(self) -> None:
        """Stop; what was begun another worker does. Idempotent."""
        tasks = [*self._driving.values(), *([self._loop] if self._loop else [])]
        self._loop = None
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        self._driving.clear()

    async def _run(self) -> None:
        while True:
            self._woken.clear()
            pause = IDLE_SECONDS
            # Without a snapshot there are no records yet.
            with Edge(log, "the look at the list of rollbacks"), contextlib.suppress(NotReady):
                if not self._away():
                    self._take_up()
                    pause = self._until_next()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._woken.wait()

    def _until_next(self) -> float:
        """Seconds until the next look: when a record's turn comes. Of one that is driven, its end wakes us."""
        waiting = [self._turn(name) for name in self._work if name not in self._driving]
        turn = min(waiting, default=inf) - self._monotonic()
        return min(max(turn, TICK_SECONDS), IDLE_SECONDS)

    def _turn(self, change_id: str) -> float:
        """When a record may be looked at."""
        return max(
            self._known_since.get(change_id, 0.0) + self._settle_seconds, self._again_at.get(change_id, 0.0)
        )

    def _take_up(self) -> None:
        """Begin with the records whose turn it is, the newest first, as far as there are hands."""
        now = self._monotonic()
        for change_id in self._open_records(now):
            if len(self._driving) >= AT_ONCE:
                return
            if change_id not in self._driving and now >= self._turn(change_id):
                self._driving[change_id] = asyncio.create_task(
                    self._drive(change_id), name=f"rollback {change_id}"
                )

    def _open_records(self, now: float) -> tuple[str, ...]:
        """The list of work, made anew only where a record changed."""
        records = self._snapshot().of_kind(Kind.ROLLBACK)
        if records is not self._records:
            self._records = records
            found = {name: held for name, held in records.items() if not is_over(held.document)}
            self._work = tuple(procedure.records_in(found))
            self._known_since = {name: self._known_since.get(name, now) for name in self._work}
            self._again_at = {name: at for name, at in self._again_at.items() if name in self._known_since}
        return self._work

    async def _drive(self, change_id: str) -> None:
        """One pass over a record, if nobody else is at it."""
        lease = self._lease(f"rollback:{change_id}")
        try:
            async with lease:
                if lease.held:
                    await lease.during(self._see_to(change_id))
                    lease.rest_seconds = self._pause(change_id)
        except StoreUnavailable as error:
            log.info("the rollback %s waits for Redis: %s", change_id, error)
        except LeaseLost:
            log.info("another worker goes on with the rollback %s", change_id)
        except Exception:  # the edge: what went wrong with one must not end the others
            log.exception("the rollback %s could not be driven; going on", change_id)
        finally:
            self._again_at[change_id] = self._monotonic() + self._pause(change_id)
            self._driving.pop(change_id, None)
            self._woken.set()

    def _pause(self, change_id: str) -> float:
        now = self._monotonic()
        return procedure.pause_seconds(now - self._known_since.get(change_id, now))

    async def _see_to(self, change_id: str) -> None:
        """Try all steps that are due, each once; while one takes its time, the others are looked at again."""
        running: dict[StepName, asyncio.Task[Finding | None]] = {}
        tried: set[StepName] = set()
        try:
            while (met := await self._met(change_id)) is not None:
                record, now = met
                for name in procedure.due(record, now):
                    if name not in running and name not in tried:
                        running[name] = asyncio.create_task(self._step(name, change_id, record))
                if not running:
                    break
                pause = self._pause(change_id)
                await asyncio.wait(running.values(), timeout=pause, return_when=asyncio.FIRST_COMPLETED)
                # What ends together is written together: every Change wakes the whole fleet.
                await asyncio.wait(running.values(), timeout=GATHER_SECONDS)
                ended = {name for name, task in running.items() if task.done()}
                tried = tried | ended if ended else set()
                found = {name: running.pop(name).result() for name in StepName if name in ended}
                await self._write(change_id, {name: each for name, each in found.items() if each is not None})
        finally:
            await _cancelled(running)
        await self._close(change_id)

    async def _met(self, change_id: str) -> tuple[Record, str] | None:
        """The record as it stands, with the figures noted, and Redis' time; None where there is no work on it any more."""
        view = await self._look(change_id)
        record = procedure.readable(view.objects.get(record_key(change_id)))
        if record is None or record.closed:
            return None
        if procedure.is_old(record, view.time):
            await self._change(change_id, "given up after 7 days", lambda v: procedure.given_up(v, change_id))
            return None
        if record.noted is None:
            noted = await self._deeds.figures(record)
            reason = "the figures as of the rollback, to tell later whether it helped"
            await self._change(change_id, reason, lambda v: procedure.figured(v, change_id, noted))
            return await self._met(change_id)
        return record, view.time

    async def _step(self, name: StepName, change_id: str, record: Record) -> Finding | None:
        """One try at a step; None where there is nothing to write yet."""
        try:
            found = await self._counted(name, change_id, record)
            return found or await self._deeds.do(name, change_id, record)
        except StoreUnavailable as error:
            log.info("%s of the rollback %s waits for Redis: %s", name, change_id, error)
            return None
        except Exception as error:  # the edge to other rooms' deeds: one that breaks must not end the others
            log.exception("%s of the rollback %s went wrong; it is tried again", name, change_id)
            if name is not StepName.EVALUATE:
                return None
            return not_evaluated(f"{type(error).__name__}: {error}", step_of(record, name))

    async def _write(self, change_id: str, findings: Mapping[StepName, Finding]) -> None:
        """What came of steps, into the record. Raises StoreUnavailable, and then they are tried again."""
        if not findings:
            return
        reason = "; ".join(procedure.reason_of(name, finding) for name, finding in findings.items())
        done = await self._change(
            change_id,
            clipped(reason),
            lambda view: procedure.written(view, change_id, findings),
        )
        for name, finding in findings.items():
            if done.entries and finding.state is StepState.FAILED:
                log.warning("rollback %s: %s", change_id, procedure.reason_of(name, finding))

    async def _counted(self, name: StepName, change_id: str, record: Record) -> Finding | None:
        """Before a suite runs its try is counted: one that ends its worker would else be run by each in turn."""
        compiled = self._snapshot().flags.get(record.flag)
        rules = compiled.flag.promotion if compiled else None
        if name is not StepName.EVALUATE or rules is None or rules.suite is None:
            return None
        found = lost(step_of(record, name))
        if found is None:
            reason = f"{name}: a try begins"
            await self._change(change_id, reason, lambda v: procedure.begun(v, change_id, name))
        return found

    async def _close(self, change_id: str) -> None:
        record = procedure.readable((await self._look(change_id)).objects.get(record_key(change_id)))
        if record is not None and not record.closed:
            await self._change(change_id, procedure.summary(record), lambda v: procedure.closed(v, change_id))

    async def _look(self, change_id: str) -> View:
        return (await self._change(change_id, "", lambda _: ())).view

    async def _change(self, change_id: str, reason: str, decide: Decide) -> Committed:
        author = Author(procedure.ACTOR, reason)
        return await self._store.change(author, [record_key(change_id)], decide, insist=True)


async def _cancelled(tasks: Mapping[StepName, asyncio.Task[Finding | None]]) -> None:
    """All ended."""
    for task in tasks.values():
        task.cancel()
    if tasks:
        await asyncio.wait(tasks.values())
