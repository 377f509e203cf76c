"""Runs flags' own suites again and again against what is served, each by one worker of the fleet, and tells of drift.

A version that does not pass any more, or scores significantly below its last passing run, has drifted though its
content did not change: the model behind the name did. Knows no policy.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable

from flags.change import Draft
from flags.errors import FlagError
from flags.ledger import Author
from flags.model import Flag, Json, Kind, ObjectKey
from flags.slices import in_slices
from flags.snapshot import Snapshot
from gateway.errors import GatewayError
from gateway.evals.evaluator import Evaluator
from gateway.evals.wanted import Wanted
from policies.brake import Bell
from policies.evals.gate import Thresholds
from policies.governance.card import Evaluation, cards_in
from policies.lease import Lease, LeaseLost

log = logging.getLogger("pointsman.evals")

ACTOR = "automation/evals"
# One in a thousand by chance: a suite that runs every day cries wolf once in three years.
Z_LIMIT = 3.09
# What has drifted is told once a day, not with every run.
TELL_EVERY_SECONDS = 86_400.0


class Schedule:
    """The suites that are due. What is due the fleet knows: this process keeps nothing."""

    def __init__(self, evaluator: Evaluator, snapshot: Callable[[], Snapshot], bell: Bell) -> None:
        self._evaluator, self._snapshot, self._bell = evaluator, snapshot, bell

    async def round(self) -> None:
        """Run what is due and nobody else runs, one suite after the other. Raises StoreUnavailable."""
        flags = [each.flag async for each in in_slices(self._snapshot().flags.values()) if is_due(each.flag)]
        for flag in sorted(flags, key=lambda each: each.key):
            await self._alone(flag)

    async def _alone(self, flag: Flag) -> None:
        assert flag.promotion is not None
        async with Lease(self._evaluator.store, lease_name(flag)) as lease:
            if not lease.held:
                return
            try:
                await lease.during(self._run(flag))
            except LeaseLost:
                log.warning("the scheduled evals of %s were given up: another worker has them", flag.key)
            except (FlagError, GatewayError) as error:
                log.warning("the scheduled evals of %s did not run: %s", flag.key, error)
            # Not where this worker ends in the middle: then another takes it up at once.
            lease.rest_seconds = flag.promotion.every_seconds or 0.0

    async def _run(self, flag: Flag) -> None:
        served = flag.served
        assert served is not None
        before = cards_in(self._snapshot().objects, flag)[served].evaluations.get(_suite(flag))
        wanted = Wanted(flag.key, None, ACTOR, "the suite's schedule", routine=True)
        report, run = await self._evaluator.run(wanted)
        if report.variant == served:
            await self._tell(flag, before, run, report.thresholds)

    async def _tell(
        self, flag: Flag, before: Evaluation | None, run: Evaluation, thresholds: Thresholds
    ) -> None:
        why, action = drifted(before, run), "drift"
        if run.passed is None:
            why, action = f"{run.not_evaluated} of {run.cases} cases could not be evaluated", "eval.failed"
        name = f"{action}|{flag.key}|{flag.served}|{run.suite[:12]}"
        if why is None or not await self._bell.alarm(name, TELL_EVERY_SECONDS):
            return
        evidence: dict[str, Json] = {
            "metric": "eval",
            "variant": flag.served,
            "suite_hash": run.suite,
            "pass_rate": run.pass_rate,
            "score": run.score,
            "passed": run.passed,
            "report": run.report,
            "min_pass_rate": thresholds.min_pass_rate,
            **({"pass_rate_before": before.pass_rate, "score_before": before.score} if before else {}),
        }
        key = ObjectKey(Kind.FLAG, flag.key)
        author = Author(ACTOR, f"the scheduled evals of {flag.served}: {why}", None, evidence)
        note = Draft(action, key, None, affects=False)
        await self._evaluator.store.change(
            author, [key], lambda view: [note] if key in view.objects else [], insist=True
        )


def is_due(flag: Flag) -> bool:
    """Whether the flag's suite runs on a schedule."""
    return (
        flag.promotion is not None
        and flag.promotion.every_seconds is not None
        and flag.promotion.suite is not None
        and flag.enabled
        and flag.served is not None
    )


def lease_name(flag: Flag) -> str:
    """What is served, by which suite: where either changes, the next run is due at once."""
    served = flag.variants.get(flag.served or "")
    content = "" if served is None else served.hash[:16]
    return f"eval|{flag.key}|{content}|{_suite(flag)[:16]}"


def drifted(before: Evaluation | None, run: Evaluation) -> str | None:
    """Why a run tells of drift; None where it does not. What could not be evaluated tells nothing."""
    if run.passed is None:
        return None
    if not run.passed:
        more = " any more" if before is not None and before.passed else ""
        figures = f"pass rate {run.pass_rate:.3g}, score {run.score:.3g}"
        return f"it does not pass {run.name or run.suite[:12]}{more}: {figures}"
    if before is None or not before.passed:
        return None
    pairs = (("pass rate", before.pass_rate, run.pass_rate), ("score", before.score, run.score))
    for name, then, now in pairs:
        if falls((then, before.cases * before.repeat), (now, run.cases * run.repeat)):
            return f"{name} {now:.3g}, when it last passed {then:.3g}"
    return None


def falls(then: tuple[float, int], now: tuple[float, int]) -> bool:
    """Whether a mean of values between 0 and 1 fell by more than chance makes it: each is (mean, how many).

    The test for two proportions; what lies between 0 and 1 spreads no more than they do.
    """
    (a, n), (b, m) = then, now
    if not n or not m:
        return False
    pooled = (a * n + b * m) / (n + m)
    spread = math.sqrt(max(0.0, pooled * (1 - pooled)) * (1 / n + 1 / m))
    return spread > 0 and (a - b) / spread > Z_LIMIT


def _suite(flag: Flag) -> str:
    return (flag.promotion.suite if flag.promotion else None) or ""
