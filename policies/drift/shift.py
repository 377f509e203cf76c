"""Whether a version behaves otherwise than its baseline: sure enough to be told, and large enough to matter. Pure.

Looked at once a minute, over the last hour and over the last six, for a month: 43,200 looks × 2 spans × some 8 kinds
are 700,000 tests of one version. Each is granted 2·10⁻⁹ two-sided (z ≥ 6; for shares and scores a likelihood
ratio of e¹⁸, which holds for everything between 0 and 1): 0.14 % in a month by Bonferroni's bound, less in truth, for
the looks overlap; 500 simulated months told nothing (tests/policies/drift/test_shift.py has a part of them).
Missing data is never a shift.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import exp, inf, log, sqrt

from policies.drift.sample import SCORE, Kind, Sample

# Standard errors between two means; see above.
SURE_Z = 6.0
# What is asked of twice as many: the same surety as z = 6 (z² / 2), and natural logarithms.
SURE_LOG_RATIO = SURE_Z**2 / 2
# Below this a mean of logarithms is not normal far out, and a single user's run is not yet diluted.
LEAST_OBSERVATIONS = 200.0
LEAST_SCORES = 50.0
# What matters: a quarter more (or less by the same factor), 2 points and double the refusals, 5 points of a score.
RATIO = 1.25
REFUSALS_MORE, REFUSALS_TIMES = 0.02, 2.0
SCORE_POINTS = 0.05


@dataclass(frozen=True, slots=True)
class Shift:
    """One kind of behaviour that is not what it was. `sure` is z, or the root of twice the log ratio; `ratio` of means."""

    kind: str
    before: Sample
    after: Sample
    sure: float
    ratio: float

    @property
    def rises(self) -> bool:
        """Whether there is more of it now."""
        return self.after.mean > self.before.mean


def shifts(baseline: Mapping[str, Sample], now: Mapping[str, Sample]) -> Iterator[Shift]:
    """All that has shifted, by kind; what either side does not know has not."""
    for kind, before in baseline.items():
        after = now.get(kind)
        if after is None:
            continue
        found = _shares(kind, before, after) if _is_share(kind) else _logs(kind, before, after)
        if found is not None:
            yield found


def least(kind: str) -> float:
    """So many observations of a kind are needed on either side."""
    return LEAST_SCORES if kind.startswith(SCORE) else LEAST_OBSERVATIONS


def _is_share(kind: str) -> bool:
    return kind == Kind.REFUSALS or kind.startswith(SCORE)


def _logs(kind: str, before: Sample, after: Sample) -> Shift | None:
    if min(before.n, after.n) < least(kind):
        return None
    change = after.mean - before.mean
    if abs(change) < log(RATIO):
        return None
    error = sqrt(before.variance / before.n + after.variance / after.n)
    sure = abs(change) / error if error else inf
    return Shift(kind, before, after, min(sure, 1e6), exp(change)) if sure >= SURE_Z else None


def _shares(kind: str, before: Sample, after: Sample) -> Shift | None:
    if min(before.n, after.n) < least(kind):
        return None
    change = after.mean - before.mean
    if kind == Kind.REFUSALS:
        matters = change >= REFUSALS_MORE and after.mean >= REFUSALS_TIMES * before.mean
    else:
        matters = abs(change) >= SCORE_POINTS
    if not matters:
        return None
    both = (before.n * before.mean + after.n * after.mean) / (before.n + after.n)
    ratio = before.n * divergence(before.mean, both) + after.n * divergence(after.mean, both)
    if ratio < SURE_LOG_RATIO:
        return None
    times = after.mean / before.mean if before.mean else 1e6
    return Shift(kind, before, after, sqrt(2 * ratio), min(times, 1e6))


def divergence(p: float, q: float) -> float:
    """Kullback and Leibler's, of two coins: by it the odds of a mean p under q fall with every observation (Hoeffding)."""
    return _term(p, q) + _term(1 - p, 1 - q)


def _term(p: float, q: float) -> float:
    if p <= 0.0:
        return 0.0
    return p * log(p / q) if q > 0.0 else inf
