"""What is compared of a version, then and now: lengths and costs by their logarithms, shares and scores as they are. Pure.

A Sample is read from the numbers that people see (policies/window.py). Knows no baseline and no rule.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from math import log

import msgspec

from policies.buckets import LOWEST, PER_DOUBLING
from policies.policy import Metric
from policies.window import Histogram, Lengths, Stats

SCORE = "score:"


class Kind(StrEnum):
    """What shifts; a score's is `score:<metric>`."""

    OUTPUT = "output_length"
    INPUT = "input_length"
    REFUSALS = "refusals"
    COST = "cost"


class Sample(msgspec.Struct, frozen=True, omit_defaults=True):
    """`n` observations. Of lengths and costs mean and variance are those of the logarithm; `plain` is the mean as people
    know it (tokens, USD). Shares and scores lie in 0 to 1 and need no variance; a score's `plain` is as it was sent."""

    n: float
    mean: float
    variance: float = 0.0
    plain: float | None = None


def samples_of(stats: Stats, metrics: Mapping[str, Metric]) -> dict[str, Sample]:
    """All that can be compared, by kind; what was never observed is left out."""
    found: dict[str, Sample] = {}
    for kind, direction in ((Kind.OUTPUT, "output"), (Kind.INPUT, "input")):
        lengths = stats.lengths.get(direction)
        if lengths is not None and lengths.count:
            mean = stats.tokens.get(direction, 0.0) / lengths.count
            found[kind] = Sample(lengths.count, lengths.mean, lengths.variance, mean)
    if stats.answered:
        found[Kind.REFUSALS] = Sample(stats.answered, min(1.0, stats.refused / stats.answered))
    cost = _logs(stats.cost)
    if cost.count:
        found[Kind.COST] = Sample(cost.count, cost.mean, cost.variance, stats.cost.sum / cost.count)
    for name, scores in stats.scores.items():
        metric = metrics.get(name)
        if metric is not None and scores.mean is not None:
            share = (scores.mean - metric.low) / (metric.high - metric.low)
            found[SCORE + name] = Sample(scores.count, min(1.0, max(0.0, share)), 0.0, scores.mean)
    return found


def _logs(costs: Histogram) -> Lengths:
    """The logarithms of costs by their buckets; what cost nothing has none."""
    step = log(2) / PER_DOUBLING
    known = [(at * step, count) for at, count in costs.buckets.items() if at > LOWEST]
    return Lengths(
        sum(count for _, count in known),
        sum(value * count for value, count in known),
        sum(value * value * count for value, count in known),
    )
