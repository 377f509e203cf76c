"""Fixes what "slow" and "dear" mean in a trial: the control's quantiles when it began, once for the whole fleet.

Predictable, as the tests need it: taken from what the control did before, and never moved. Knows windows; no request.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from typing import Protocol

from policies.buckets import Buckets, bound, bucket, quantile, total
from policies.case import Case
from policies.evidence import quantiles_of
from policies.policy import TTFT, MetricKind, Policy
from policies.roster import Roster
from policies.series import Window, recent, version_subject

log = logging.getLogger(__name__)

# The control's latest observations; with fewer than the least of them nothing is fixed yet (notes/evidence.md).
WANTED, LEAST = 1_000, 200
# First the latest minutes; all that is kept only every so often, because hours are many numbers.
MINUTES, ALL_MINUTES = 10, 360
ALL_EVERY_ROUNDS = 15
# Trials looked at in one round; the others come in the next.
MOST_AT_ONCE = 20


class Readings(Protocol):
    """What is asked of the measures here."""

    async def windows(self, minutes: int, subjects: Sequence[str]) -> list[Window]:
        """One Window a minute, newest last, of some subjects."""
        ...

    async def fix_thresholds(self, case: str, policy_id: str, values: Sequence[float]) -> tuple[float, ...]:
        """Fix them, once; those that hold."""
        ...


class Thresholds:
    """Fixes thresholds of new trials. What changes here: which are fixed already, and how often was looked."""

    def __init__(self, readings: Readings, roster: Roster) -> None:
        self._readings, self._roster = readings, roster
        self._fixed: set[tuple[str, str]] = set()
        self._rounds: dict[str, int] = {}

    def __repr__(self) -> str:
        return f"<Thresholds {len(self._fixed)} fixed, {len(self._rounds)} trials waiting>"

    async def greet(self) -> int:
        """Fix what can be fixed of the trials that are new: until then nobody can find them slow. Raises StoreUnavailable."""
        new = [each for each in self._wanted() if each[0] not in self._rounds][:MOST_AT_ONCE]
        # Noted first: a trial that has to wait has its turn with the others.
        self._rounds |= {key: 0 for key, _ in new}
        return sum([await self._fix(*each, everything=True) for _, each in new])

    async def round(self) -> int:
        """Fix what can be fixed; how many were. To be called every 2 s. Raises StoreUnavailable."""
        wanted = dict(self._wanted())
        self._rounds = {key: self._rounds.get(key, -1) + 1 for key in wanted}
        # Those that were looked at least often have their turn.
        turn = sorted(wanted, key=lambda key: self._rounds[key])[:MOST_AT_ONCE]
        fixed = 0
        for key in turn:
            fixed += await self._fix(*wanted[key], everything=self._rounds[key] % ALL_EVERY_ROUNDS == 0)
        return fixed

    def _wanted(self) -> Iterator[tuple[str, tuple[Case, list[Policy]]]]:
        """The trials that lack thresholds, with the policies that need them."""
        cases = self._roster.docket.cases
        self._fixed = {(case, policy) for case, policy in self._fixed if case in cases}
        for case in self._roster.docket.of_flag.values():
            if case.control is None:
                continue
            policies = [
                policy
                for policy in case.policies
                if quantiles_of(policy) and (case.key, policy.id) not in self._fixed
            ]
            if policies:
                yield case.key, (case, policies)

    async def _fix(self, case: Case, policies: Sequence[Policy], *, everything: bool) -> int:
        assert case.control is not None
        minutes = ALL_MINUTES if everything else MINUTES
        windows = await self._readings.windows(minutes, (version_subject(case.control),))
        fixed = 0
        for policy in policies:
            measure = measure_of(policy)
            buckets = recent(windows, case.control.flag, case.control.variant, measure, WANTED)
            if total(buckets) < LEAST:
                continue
            values = [above(buckets, q) for q in quantiles_of(policy)]
            held = await self._readings.fix_thresholds(case.key, policy.id, values)
            self._fixed.add((case.key, policy.id))
            log.info("case %s, policy %s: thresholds %s", case.key, policy.name, held)
            fixed += 1
        return fixed


def above(buckets: Buckets, q: float) -> float:
    """The upper bound of the bucket that the q-quantile falls into.

    Not its middle: where all of the control's observations are alike, all of them would lie above that.
    """
    return bound(bucket(quantile(buckets, q) or 0.0))


def measure_of(policy: Policy) -> str:
    """The histogram (of Stats) that a policy's metric is observed in."""
    if policy.metric.kind is MetricKind.COST:
        return "cost"
    return "first_content" if policy.metric.name == TTFT.name else "seconds"
