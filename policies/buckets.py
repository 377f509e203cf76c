"""Histograms that add up: numbers sorted into logarithmic buckets, and quantiles read from them. Knows no metric.

Bucket i holds what lies above γ^(i−1) and up to γ^i. With γ = 2^(1/8) every power of two is a bound, and the middle of
a bucket is within 4.5 % of whatever fell into it (as DDSketch, Masson et al. 2019, whose γ is free).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import ceil, log2
from typing import TypeAlias

# How many observations fell into each bucket. Some counts, once read from Redis, are floats that are whole.
Buckets: TypeAlias = Mapping[int, float]

# Buckets for each doubling.
PER_DOUBLING = 8
# 2^-30 (a nanosecond; a billionth of a dollar) to 2^30: what lies outside, zero included, falls into the last ones.
LOWEST, HIGHEST = -30 * PER_DOUBLING, 30 * PER_DOUBLING


def bucket(value: float) -> int:
    """The bucket of `value`: the least i with value ≤ γ^i. Zero and less fall into the lowest."""
    if value <= 0.0:
        return LOWEST
    return max(LOWEST, min(HIGHEST, ceil(log2(value) * PER_DOUBLING)))


def bound(index: int) -> float:
    """The upper bound of a bucket, itself included; exact at powers of two."""
    return float(2.0 ** (index / PER_DOUBLING))


def middle(index: int) -> float:
    """The number that stands for a bucket: none in it is further than 4.5 % away. The lowest bucket stands for zero."""
    return 0.0 if index <= LOWEST else float(2.0 ** ((index - 0.5) / PER_DOUBLING))


def total(buckets: Buckets) -> float:
    """How many observations there are."""
    return sum(buckets.values())


def quantile(buckets: Buckets, q: float) -> float | None:
    """The q-quantile (0 ≤ q ≤ 1; the observation of rank ⌈q·n⌉) to within 4.5 %; None where nothing was observed."""
    n = total(buckets)
    if n <= 0:
        return None
    rank, seen = max(1.0, ceil(q * n)), 0.0
    for index in sorted(buckets):
        seen += buckets[index]
        if seen >= rank:
            return middle(index)
    return middle(max(buckets))


def at_most(buckets: Buckets, limit: float) -> float:
    """How many observations are ≤ `limit`; exact where `limit` is a bound, such as any power of two."""
    last = bucket(limit) if limit < bound(HIGHEST) else HIGHEST
    return sum(count for index, count in buckets.items() if index <= last)


def merged(many: Iterable[Buckets]) -> dict[int, float]:
    """The histogram of all observations together."""
    together: dict[int, float] = {}
    for buckets in many:
        for index, count in buckets.items():
            together[index] = together.get(index, 0.0) + count
    return together
