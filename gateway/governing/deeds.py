"""The steps of a governed rollback, done: each looks at the world once and tells what it found.

What a finding means, and how it is written, stands in policies.governance. Nothing here holds a lease or keeps a state;
every deed may be done again. All raise StoreUnavailable where Redis is away.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Protocol

from flags.errors import FlagError, LedgerBroken, StoreUnavailable
from flags.ledger import Entry, entry_from, is_sealed
from flags.model import Kind
from flags.snapshot import Snapshot
from flags.store import Store
from gateway.compiling import spec
from gateway.errors import GatewayError
from policies.act import elapsed, milliseconds
from policies.governance import changelog, helped
from policies.governance import finding as found_to_be
from policies.governance.card import Evaluation
from policies.governance.finding import Finding
from policies.governance.procedure import ACTOR, HELPED_SECONDS
from policies.governance.record import Figures, Noted, Record, StepName, StepState, step_of
from policies.notices.delivery import Receipt
from policies.outcome import Release
from policies.policy import Metric, metrics_in
from policies.series import version_subject
from policies.window import Stats, Window, joined

# One look at the acknowledgements waits so long: a fleet's last one comes after some 10 ms.
ACKNOWLEDGE_SECONDS = 1.0
# A suite that runs longer hangs, as far as a rollback can wait for it.
EVALUATE_SECONDS = 1_800.0
# Where the Change is looked for: beside the entry that opened its record; further back where the record was met late.
NEAR, LOOK_BACK = 8, 200
# What a version did "before": its last hour, long enough for a rate and too short for last week's.
BEFORE_MINUTES = 60


class Evaluator(Protocol):
    """Who runs suites."""

    async def rerun(self, flag: str, *, by: str, reason: str) -> Evaluation | None:
        """The flag's suite on what is served now; None where it has none."""
        ...


class Telling(Protocol):
    """Who knows who was told: `receipts.Receipts`."""

    async def of(self, event_id: str, revision: int) -> Sequence[Receipt] | None:
        """How the deliveries of an event stand; None while the outbox has not come to its revision."""
        ...


class Numbers(Protocol):
    """What was measured: `policies.measures.Measures`."""

    async def totals(self, subjects: Sequence[str] = ()) -> Window:
        """All numbers since ever."""
        ...

    async def windows(self, minutes: int = ..., subjects: Sequence[str] = ()) -> list[Window]:
        """The last minutes, one Window each."""
        ...


# No request goes through such a flag; and only such a one lands on the caller's own default.
UNMEASURED = "nothing is measured of a flag without a layer"
# Where the operators' API has kept reports, by their ids.
REPORTS = "/admin/v1/evals/"


class Deeds:
    """All steps, over one store. `snapshot` gives this process's newest one."""

    def __init__(
        self,
        store: Store,
        numbers: Numbers,
        *,
        snapshot: Callable[[], Snapshot],
        evaluator: Evaluator,
        telling: Telling,
    ) -> None:
        self._store, self._numbers, self._snapshot = store, numbers, snapshot
        self._evaluator, self._telling = evaluator, telling
        self._steps: Mapping[StepName, Callable[[str, Record], Awaitable[Finding | None]]] = {
            StepName.LOCATE: _done_with_the_change,
            StepName.RESTORE: _done_with_the_change,
            StepName.ACKNOWLEDGE: self._acknowledge,
            StepName.EVALUATE: self._evaluate,
            StepName.LOG: self._log,
            StepName.CHANGELOG: self._note_change,
            StepName.NOTIFY: self._notify,
            StepName.HELPED: self._help,
        }

    def __repr__(self) -> str:
        return f"Deeds({self._store!r})"

    async def do(self, name: StepName, change_id: str, record: Record) -> Finding | None:
        """What came of one try at a step; None where there is nothing to be said yet."""
        return await self._steps[name](change_id, record)

    async def figures(self, record: Record) -> Noted:
        """What the version landed on, and the one that was left, have done so far."""
        metric = self._metric(record)
        landing = await self._so_far(record, metric)
        if record.origin is None:
            return Noted(landing, Figures())
        subject = version_subject(Release(record.flag, record.origin, 0))
        lately = joined(await self._numbers.windows(BEFORE_MINUTES, [subject]))
        left = helped.figures_of(lately.version(record.flag, record.origin), metric)
        if helped.counted(metric, left) < helped.LEAST_REQUESTS:
            ever = await self._numbers.totals([subject])
            left = helped.figures_of(ever.version(record.flag, record.origin), metric)
        return Noted(landing, left)

    async def _acknowledge(self, change_id: str, record: Record) -> Finding | None:
        entry, _ = await self._entry(change_id, record)
        if entry is None:
            # The step `log` says so; where its record is known, the Change is.
            entry = next(iter(await self._store.read_log(record.opened - 1, 1)), None)
        if entry is None:
            return None
        living = [state.info.id for state in await self._store.workers() if state.alive]
        acks = await self._store.acknowledged(entry.position, ACKNOWLEDGE_SECONDS, living)
        after = milliseconds(await self._store.time()) - milliseconds(record.at)
        return found_to_be.acknowledged(acks, after, noted=step_of(record, StepName.ACKNOWLEDGE))

    async def _evaluate(self, _: str, record: Record) -> Finding | None:
        step = step_of(record, StepName.EVALUATE)
        if record.to is None or self._is_unmeasured(record):
            # A suite asks routes, so whatever it were, it could not be run.
            return Finding(StepState.DONE, f"{UNMEASURED}; there is nothing to evaluate")
        gone = self._overtaken(record)
        if gone is not None:
            return gone
        try:
            async with asyncio.timeout(EVALUATE_SECONDS):
                reason = f"rollback of {record.origin}: {record.reason}"
                run = await self._evaluator.rerun(record.flag, by=ACTOR, reason=reason)
        except StoreUnavailable:
            raise
        except TimeoutError:
            return found_to_be.not_evaluated(f"not finished within {EVALUATE_SECONDS / 60:.0f} minutes", step)
        except (FlagError, GatewayError) as error:
            return found_to_be.not_evaluated(str(error), step)
        link = REPORTS + run.report if run is not None and run.report else None
        return found_to_be.evaluated(run, step, link=link)

    async def _log(self, change_id: str, record: Record) -> Finding | None:
        entry, sealed = await self._entry(change_id, record)
        return found_to_be.logged(change_id, entry, sealed=sealed)

    async def _note_change(self, change_id: str, record: Record) -> Finding | None:
        entry, _ = await self._entry(change_id, record)
        told = changelog.logged(record.flag, entry) if entry else None
        fields = [change.field for change in told.changes] if told else []
        return found_to_be.changelogged(fields, record.flag)

    async def _notify(self, change_id: str, record: Record) -> Finding | None:
        configured = bool(self._snapshot().of_kind(Kind.NOTIFY))
        entry, _ = await self._entry(change_id, record)
        # Of a Change that is not found any more, its record's own entry is near enough.
        revision = record.opened if entry is None else entry.revision
        receipts = await self._telling.of(change_id, revision)
        return found_to_be.notified(receipts, record.at, configured=configured)

    async def _help(self, _: str, record: Record) -> Finding | None:
        if record.noted is None:
            return None
        if record.to is None or self._is_unmeasured(record):
            # Said at once: nothing that could be waited for would come.
            return Finding(StepState.DONE, f"{UNMEASURED}; whether it helped is not known")
        metric = self._metric(record)
        gained = helped.since(await self._so_far(record, metric), record.noted.landing)
        found = helped.judged(record.cause, metric, record.noted.left, gained)
        if found is not None:
            return found_to_be.helped(found)
        gone = self._overtaken(record)
        if gone is not None:
            return gone
        if elapsed(record.at, await self._store.time()) >= HELPED_SECONDS:
            return found_to_be.helped(helped.too_few(record.cause, metric, gained))
        return None

    async def _so_far(self, record: Record, metric: Metric | None) -> Figures:
        """The figures, since ever, of the version that the rollback landed on."""
        if record.to is None:
            return Figures()
        subject = version_subject(Release(record.flag, record.to, 0))
        stats: Stats = (await self._numbers.totals([subject])).version(record.flag, record.to)
        return helped.figures_of(stats, metric)

    async def _entry(self, change_id: str, record: Record) -> tuple[Entry | None, bool]:
        """The Change itself as the ledger has it, and whether it meets its hash."""
        for back in (NEAR, LOOK_BACK):
            page = await self._store.read_log_bytes(max(0, record.opened - back), back + NEAR)
            for text in page:
                entry = _entry_in(text)
                if entry is not None and entry.id == change_id:
                    return entry, is_sealed(text, entry)
        return None, False

    def _overtaken(self, record: Record) -> Finding | None:
        """Where the flag serves, and lands on, another version by now."""
        compiled = self._snapshot().flags.get(record.flag)
        if compiled is None:
            return found_to_be.overtaken(record, None)
        if record.to in (compiled.flag.served, compiled.flag.safe):
            return None
        return found_to_be.overtaken(record, compiled.flag.served)

    def _is_unmeasured(self, record: Record) -> bool:
        """Whether the flag is one that no request goes through."""
        compiled = self._snapshot().flags.get(record.flag)
        return compiled is not None and compiled.flag.layer is None

    def _metric(self, record: Record) -> Metric | None:
        """What fired it; None for a person's hand, and for what the gateway does not measure."""
        specs = {name: spec(held.document) for name, held in self._snapshot().of_kind(Kind.METRIC).items()}
        return metrics_in(specs).get(record.cause.metric)


async def _done_with_the_change(_: str, record: Record) -> Finding | None:
    """For a record that was opened without these steps: its Change did both."""
    return Finding(StepState.DONE, f"{record.to}, by the Change itself")


def _entry_in(text: bytes) -> Entry | None:
    """The entry, None for one that was made unreadable: whoever audits the ledger hears of that."""
    try:
        return entry_from(text)
    except LedgerBroken:
        return None
