"""Evaluates a version: runs a suite on it, keeps the report, and writes the result on the version's card.

What the ledger says rests on the version's hash: where that changed under the run, nothing is written. Knows no HTTP.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import msgspec

from flags.change import Draft, View
from flags.errors import Refused
from flags.ledger import Author
from flags.model import Document, Flag, Json, Kind, ObjectKey
from flags.store import Store
from gateway.decision import Serving
from gateway.errors import NotReady
from gateway.evals.asking import Asking
from gateway.evals.grading import Judge, Meanings, RouteGrader
from gateway.evals.reports import KEPT_SECONDS, ROUTINE_SECONDS, Reports
from gateway.evals.running import Progress, Run, Tally, run_suite
from gateway.evals.wanted import Plan, Wanted, flag_of, plan_of, variant_of
from gateway.index.shelf import Shelf
from gateway.upstream.base import Upstream
from policies.evals.report import Report
from policies.evals.suite import Suite, suite_from
from policies.governance.card import Evaluation, card_key, card_of, evaluated, written

log = logging.getLogger("pointsman.evals")

# Beside each other in one process; others wait for their turn. A run may hold 60 MB.
RUNS_AT_ONCE = 4
# Who made a report that was not made elsewhere: Report.by's own default.
OURS = "pointsman"


def _nobody(tally: Tally) -> None:
    """Nobody looks on."""


class Evaluated(NamedTuple):
    """What came of a run: its report, and what stands on the version's card (or would, where an earlier run stands)."""

    report: Report
    evaluation: Evaluation


class Evaluator:
    """Runs suites in this process. What a run writes, it writes at its end. What changes here: whose turn it is.

    All calls raise NotFound, Invalid, Refused, StoreUnavailable and NotReady, and then nothing was written.
    """

    def __init__(
        self,
        asking: Asking,
        store: Store,
        upstreams: Mapping[str, Upstream],
        shelf: Shelf,
        *,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
    ) -> None:
        """`clock` counts seconds, `now` gives Unix time."""
        self.store, self.reports = store, Reports(store)
        self._asking = asking
        self._upstreams, self._shelf = upstreams, shelf
        self._clock, self._now = clock, now
        self._turns = asyncio.Semaphore(RUNS_AT_ONCE)

    async def run(
        self, wanted: Wanted, *, plan: Plan | None = None, progress: Progress = _nobody
    ) -> Evaluated:
        """Run the suite that is wanted, else the flag's own, and write the result on the version's card.

        Waits while RUNS_AT_ONCE others run. `plan` is what `self.plan` made of it before. `progress` is called after each
        answer. Cancelled, it writes nothing.
        """
        plan = plan or await self.plan(wanted)
        async with self._turns:
            return await self._run(wanted, plan, progress)

    async def _run(self, wanted: Wanted, plan: Plan, progress: Progress = _nobody) -> Evaluated:
        judge = Judge(self._asking, plan.judge)
        meanings = Meanings(self._upstreams, self._shelf, plan.embedding, clock=self._clock)
        run = Run(plan, self._asking, RouteGrader(judge, meanings), progress)
        report = await run_suite(run, plan, clock=self._clock, now=self._now)
        facts: Document = {
            "route": plan.route,
            "repeat": plan.repeat,
            **({"judge": plan.judge} if plan.judge else {}),
            **({"served": True} if plan.served else {}),
        }
        return await self.written(report, wanted, facts)

    async def rerun(self, flag: str, *, by: str, reason: str) -> Evaluation | None:
        """The flag's own suite on what is served now, as on the card afterwards; None where the flag has no suite."""
        serving = self._ready()
        rules = flag_of(serving, flag).promotion
        if rules is None or rules.suite is None:
            return None
        wanted = Wanted(flag, None, by, reason)
        # It does not wait for others' turns: somebody waits for the rollback that it is a part of.
        return (await self._run(wanted, await self.plan(wanted))).evaluation

    async def plan(self, wanted: Wanted) -> Plan:
        """What is wanted, completed and checked, before anything is asked."""
        flag = flag_of(self._ready(), wanted.flag)
        suite = await self._suite(wanted, flag)
        return plan_of(wanted, self._ready(), suite)

    async def written(self, report: Report, wanted: Wanted, facts: Document) -> Evaluated:
        """Keep a report, and write its figures on the version's card; `facts` come to the entry's evidence.

        Raises Refused (`hash_changed`) where the version is another than when the run began.
        """
        seconds = ROUTINE_SECONDS if wanted.routine and report.passed else KEPT_SECONDS
        kept = await self.reports.keep(report, seconds=seconds)
        made = evaluation_of(report, kept, wanted.by)
        author = Author(wanted.by, wanted.reason, wanted.link, {**evidence_of(report, made), **facts})
        flag_key, key = ObjectKey(Kind.FLAG, report.flag), card_key(report.flag, report.variant)
        found: list[Evaluation] = []

        def decide(view: View) -> Sequence[Draft]:
            flag = unchanged(view, report)
            card = card_of(flag.key, flag.variants[report.variant], view.objects.get(key))
            earlier = card.evaluations.get(made.suite)
            run = msgspec.structs.replace(made, at=view.time)
            found[:] = [run]
            if stands(earlier, run, routine=wanted.routine):
                # Who runs it by routine tells what is worth telling, and not each time.
                return () if wanted.routine else (Draft(action_of(run), key, None, affects=False),)
            return (written(action_of(run), evaluated(card, run)),)

        await self.store.change(author, [flag_key, key], decide, insist=True)
        log.info("evals of %s=%s: passed %s", report.flag, report.variant, report.passed)
        return Evaluated(report, found[0])

    def flag(self, key: str, variant: str) -> Flag:
        """The flag `key`, which has the variant. Raises NotFound, NotReady."""
        flag = flag_of(self._ready(), key)
        variant_of(flag, variant)
        return flag

    async def runs_of(self, flag: Flag, suite_hash: str) -> int | None:
        """How many answers a whole run of the suite that the flag's rules name has; None for another suite.

        Raises Refused, StoreUnavailable.
        """
        rules = flag.promotion
        if rules is None or rules.suite != suite_hash:
            return None
        suite = await self._suite(Wanted(flag.key, None, "", ""), flag)
        return len(suite.cases) * rules.repeat

    def _ready(self) -> Serving:
        serving = self._asking.serving()
        if serving is None:
            raise NotReady("starting: no flags are known yet", retry_after_seconds=1)
        return serving

    async def _suite(self, wanted: Wanted, flag: Flag) -> Suite:
        """The suite that came with what is wanted, else the one that the flag's rules name."""
        if wanted.suite is not None:
            return await _read(wanted.suite, wanted.suite_name)
        rules = flag.promotion
        if rules is None or rules.suite is None:
            raise Refused(
                "no_suite",
                f'flag "{flag.key}" has no suite of its own',
                mend="give one with --suite, or declare promotion.evals",
            )
        found = await self.store.contents([rules.suite])
        if rules.suite not in found:
            raise Refused(
                "no_suite",
                f'the suite of flag "{flag.key}" ({rules.evals or rules.suite[:12]}) is not in the store',
                mend="declare it again: pointsman apply",
            )
        return await _read(found[rules.suite], rules.evals)


async def _read(document: Json, name: str) -> Suite:
    """The suite in a resolved document; on a thread, because 10,000 cases take a quarter of a second."""
    return await asyncio.to_thread(suite_from, document, name=name)


def stands(earlier: Evaluation | None, run: Evaluation, *, routine: bool) -> bool:
    """Whether the card keeps its earlier run of the suite: an outage says nothing of a version, and what passes day after
    day would move the figures that drift is measured by."""
    if earlier is None:
        return False
    return (routine and earlier.passed == run.passed) or (run.passed is None and earlier.passed is not None)


def unchanged(view: View, report: Report) -> Flag:
    """The flag whose version was evaluated, where that is still the same. Raises NotFound, Refused."""
    flag = view.flag(report.flag)
    variant = flag.variants.get(report.variant)
    if variant is None or variant.hash != report.hash:
        now = "gone" if variant is None else f"another content ({variant.hash[:12]})"
        raise Refused(
            "hash_changed",
            f'flag "{flag.key}": {report.variant} is {now}; what was evaluated was {report.hash[:12]}',
            mend=f"evaluate it again: pointsman eval run {flag.key} {report.variant}",
        )
    return flag


def action_of(run: Evaluation) -> str:
    """What the ledger calls it: only a pass is plainly an `eval`."""
    return "eval" if run.passed else "eval.failed"


def evaluation_of(report: Report, kept: str, by: str) -> Evaluation:
    """What a card says of a run; `kept` is the report's id."""
    gated = report.gated
    return Evaluation(
        suite=report.suite_hash,
        passed=gated.passed,
        pass_rate=gated.pass_rate,
        score=gated.score,
        cases=gated.cases,
        not_evaluated=gated.not_evaluated,
        report=kept,
        at=report.started,
        by=by,
        name=report.suite,
        repeat=report.repeat,
    )


def evidence_of(report: Report, run: Evaluation) -> dict[str, Json]:
    """The figures of a run, for the ledger."""
    return {
        "suite": report.suite,
        "suite_hash": report.suite_hash,
        "passed": run.passed,
        "pass_rate": run.pass_rate,
        "score": run.score,
        "cases": run.cases,
        "not_evaluated": run.not_evaluated,
        "report": run.report,
        "thresholds": {
            "min_pass_rate": report.thresholds.min_pass_rate,
            "min_score": report.thresholds.min_score,
        },
        **({"made_by": report.by} if report.by != OURS else {}),
    }
