"""How large a share may be of which some answers were seen: bounds that err upwards. Pure numbers; knows no flag.

A policy compares a candidate with its control by the share that the candidate gets (policies.evidence, T2): where the
share in use is an upper bound of the true one, what it finds is never stronger than it may be.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

# What a share is rounded up to: a stage of evidence begins with each, so they are few.
GRID = (1.0, 2.0, 5.0, 10.0, 20.0, 35.0, 50.0, 75.0, 99.99)
# Of the bound itself, so that a share at its edge does not move the percentage to and fro.
HEADROOM = 1.25
# 20 halvings: a bound to a millionth.
HALVINGS = 20


def upper(hits: int, of: int, doubt: float) -> float:
    """The largest share under which `hits` or fewer `of` answers have a chance of `doubt`, or a little more.

    By Chernoff's bound, exp(-n KL(k/n ‖ p)): it needs no table, and is never below the exact (Clopper-Pearson) one.
    """
    if of <= 0:
        return 1.0
    seen = hits / of
    low, high = seen, 1.0
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        if of * divergence(seen, middle) > -math.log(doubt):
            high = middle
        else:
            low = middle
    return high


def exceeds(hits: int, of: int, share: float, doubt: float) -> bool:
    """Whether so many hits have a chance of less than `doubt` where the true share is at most `share`."""
    if of <= 0 or hits <= share * of:
        return False
    return of * divergence(hits / of, share) > -math.log(doubt)


def exceeds_lately(runs: Iterable[tuple[int, int]], share: float, doubt: float) -> bool:
    """Whether any latest part of a run of (hits, of), the newest first, speaks against `share`.

    A share that rose a moment ago is not hidden by what was before.
    """
    return exceeds(*strongest(runs, share), share, doubt)


def strongest(runs: Iterable[tuple[int, int]], share: float) -> tuple[int, int]:
    """(hits, of) of the latest part that speaks most against `share`; (0, 0) where none does."""
    hits = of = 0
    found, most = (0, 0), 0.0
    for more_hits, more in runs:
        hits, of = hits + more_hits, of + more
        if hits > share * of:
            against = of * divergence(hits / of, share)
            if against > most:
                found, most = (hits, of), against
    return found


def above(runs: Sequence[tuple[int, int]], doubt: float) -> float:
    """The percentage of the grid that is above the share on the whole of a run, and in its latest part, however short."""
    hits, of = sum(each for each, _ in runs), sum(each for _, each in runs)
    found = percent(upper(hits, of, doubt))
    while found < GRID[-1]:
        hits, of = strongest(runs, found / 100)
        if not exceeds(hits, of, found / 100, doubt):
            return found
        larger = next(each for each in GRID if each > found)
        found = max(larger, percent(upper(hits, of, doubt)))
    return found


def percent(share: float) -> float:
    """The percentage of the grid that leaves headroom above `share`."""
    wanted = share * HEADROOM * 100
    return next((each for each in GRID if each >= wanted), GRID[-1])


def divergence(p: float, q: float) -> float:
    """KL(p ‖ q) of two coins, in nats."""
    if q <= 0.0 or q >= 1.0:
        return 0.0 if p == q else math.inf
    found = 0.0
    if p > 0.0:
        found += p * math.log(p / q)
    if p < 1.0:
        found += (1 - p) * math.log((1 - p) / (1 - q))
    return max(0.0, found)
