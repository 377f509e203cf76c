"""Whether a rollback helped: the metric that fired it, on the version landed on, since the Change. Pure.

Missing data never means helped: it is waited for, and in the end it is said that there was too little. Knows no store.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from policies.buckets import Buckets, at_most, total
from policies.governance.record import Cause, Figures
from policies.outcome import Ending
from policies.policy import TTFT, Metric, MetricKind
from policies.window import Stats

# Below so many requests a rate says nothing; DESIGN §5 has the same number for its detectors.
LEAST_REQUESTS = 20
# A policy that took more than this to fire need not wait as long again: a rate is known to about 1.5 % by then.
MOST_REQUESTS = 1_000
# "As errors above 5 %" of the strategy that ships: what a rollback by hand is held to, which names no metric.
ERRORS_AT_MOST = 0.05
# Clearly better, where the bound itself is not met: half the bad ones, or three quarters of the seconds or the money.
CLEARLY_FEWER, CLEARLY_LESS = 0.5, 0.75


@dataclass(frozen=True, slots=True)
class Found:
    """Whether it helped, and the numbers in words; `helped` None: that cannot be said."""

    helped: bool | None
    detail: str


@dataclass(frozen=True, slots=True)
class _Side:
    """The metric on one side of its bound: what it is now, what it was when it fired, what it may be."""

    what: str
    now: float
    fired: float | None
    limit: float | None
    clearly: float
    unit: str = "%"

    @property
    def recovered(self) -> bool:
        below = self.limit is not None and self.now <= self.limit
        return below or (self.fired is not None and self.fired > 0 and self.now <= self.clearly * self.fired)

    def __str__(self) -> str:
        notes = [] if self.limit is None else [f"limit {_told(self.limit, self.unit)}"]
        notes += [] if self.fired is None else [f"before: {_told(self.fired, self.unit)}"]
        return f"{self.what} {_told(self.now, self.unit)}" + (f" ({', '.join(notes)})" if notes else "")


def figures_of(stats: Stats, metric: Metric | None) -> Figures:
    """What is needed of a version's numbers; `metric` is the cause's, None where a person did it."""
    seconds = stats.first_content if metric == TTFT else stats.seconds
    timed = metric is not None and metric.kind is MetricKind.SECONDS
    score = stats.scores.get(metric.name) if metric is not None else None
    return Figures(
        judged=stats.failed + stats.ended(Ending.OK),
        failed=stats.failed,
        answers=seconds.count,
        seconds=seconds.sum,
        priced=stats.cost.count,
        cost_usd=stats.cost.sum,
        scores=score.count if score else 0.0,
        score=score.sum if score else 0.0,
        buckets={str(at): count for at, count in seconds.buckets.items()} if timed else {},
    )


def since(now: Figures, then: Figures) -> Figures:
    """What came between two looks at numbers that only ever add up."""
    names = [name for name in Figures.__struct_fields__ if name != "buckets"]
    gained = {name: max(0.0, getattr(now, name) - getattr(then, name)) for name in names}
    buckets = {at: count - then.buckets.get(at, 0.0) for at, count in now.buckets.items()}
    return Figures(**gained, buckets={at: count for at, count in buckets.items() if count > 0})


def wanted(cause: Cause) -> int:
    """How many judged requests it takes: as many as fired it, within reason."""
    return min(max(cause.requests, LEAST_REQUESTS), MOST_REQUESTS)


def counted(metric: Metric | None, figures: Figures) -> int:
    """How many of the requests tell something of the metric."""
    kinds: Mapping[MetricKind, float] = {
        MetricKind.ERROR: figures.judged,
        MetricKind.SECONDS: figures.answers,
        MetricKind.COST: figures.priced,
        MetricKind.SCORE: figures.scores,
    }
    return int(kinds[MetricKind.ERROR if metric is None else metric.kind])


def judged(cause: Cause, metric: Metric | None, left: Figures, gained: Figures) -> Found | None:
    """Whether it helped; None while too few requests were judged.

    `metric` None: a rollback by hand, held to its error rate; `left` is what the version that was left did before.
    """
    n = counted(metric, gained)
    if n < wanted(cause):
        return None
    side = _side(cause, metric, left, gained)
    told = f"{side}, of {n} requests"
    if metric is None:
        told += _beside(left, gained)
    if side.limit is None and side.fired is None:
        return Found(None, f"{told}: there is nothing to compare it with")
    return Found(side.recovered, told)


def too_few(cause: Cause, metric: Metric | None, gained: Figures) -> Found:
    """What is said when the time is up."""
    return Found(None, f"too few requests to say: {counted(metric, gained)} of {wanted(cause)}")


def _side(cause: Cause, metric: Metric | None, left: Figures, gained: Figures) -> _Side:
    if metric is None or metric.kind is MetricKind.ERROR:
        enough = left.judged >= LEAST_REQUESTS
        before = left.failed / left.judged if enough else None
        fired = before if cause.bad is None else cause.bad
        limit = ERRORS_AT_MOST if metric is None else cause.limit
        return _Side("error rate", gained.failed / gained.judged, fired, limit, CLEARLY_FEWER)
    if metric.kind is MetricKind.SCORE:
        limit = None if cause.limit is None else metric.badness(cause.limit)
        before = metric.badness(left.score / left.scores) if left.scores else None
        now = metric.badness(gained.score / gained.scores)
        return _Side(f"{metric.name}, as a share of bad", now, before, limit, CLEARLY_FEWER)
    if metric.kind is MetricKind.COST:
        before = left.cost_usd / left.priced if left.priced else None
        now = gained.cost_usd / gained.priced
        return _Side("cost of a request", now, before, cause.limit, CLEARLY_LESS, "$")
    if cause.limit is not None:
        what = f"{metric.name} above {_told(cause.limit, 's')}"
        now, before = _over(gained, cause.limit), (_over(left, cause.limit) if left.answers else None)
        return _Side(what, now, before, 1.0 - cause.quantile, CLEARLY_FEWER)
    before = left.seconds / left.answers if left.answers else None
    return _Side(metric.name, gained.seconds / gained.answers, before, None, CLEARLY_LESS, "s")


def _beside(left: Figures, gained: Figures) -> str:
    """Latency and cost, which a rollback by hand is told but not held to: an older model may well be slower."""
    told = ""
    if gained.answers:
        before = f" (before: {_told(left.seconds / left.answers, 's')})" if left.answers else ""
        told += f"; {_told(gained.seconds / gained.answers, 's')} an answer{before}"
    if gained.priced:
        before = f" (before: {_told(left.cost_usd / left.priced, '$')})" if left.priced else ""
        told += f"; {_told(gained.cost_usd / gained.priced, '$')} a request{before}"
    return told


def _over(figures: Figures, limit: float) -> float:
    """The share of answers that took longer."""
    buckets: Buckets = {int(at): count for at, count in figures.buckets.items()}
    return 1.0 - at_most(buckets, limit) / total(buckets) if buckets else 1.0


def _told(value: float, unit: str) -> str:
    if unit == "%":
        return f"{value:.1%}".replace("%", " %")
    if unit == "$":
        return f"${value:.3g}"
    return f"{value * 1000:.0f} ms" if value < 1 else f"{value:.3g} s"
