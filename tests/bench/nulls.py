"""The tests that look at one arm alone, where their null just holds: the pairs of the shield, and the watch's detector.

Seeded. Counts go straight into the formulas of policies.evidence, because there is nothing to observe in between.
"""

from __future__ import annotations

import math
from bisect import bisect
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from random import Random

from policies.counts import Event, Second, Segment
from policies.evidence import closes, grid, log_factors, log_mean, log_paired, odds

# Every pair that may pull the brake by itself is judged by α = 0.01.
NEEDED = math.log(100.0)


@dataclass(frozen=True)
class Pairs:
    """Candidate and control fail at the same rate, on the same requests independently of each other."""

    rate: float
    most: int = 2_000


def pairs_fire(scene: Pairs, seed: int) -> int | None:
    """The candidate's requests until the pairs alone (restarts and all) pull the brake; None: never."""
    rng = Random(f"pairs/{scene.rate}/{seed}")
    paired = scene.rate * (1.0 - scene.rate)
    if not paired:
        return None
    segments = [Segment(1_000, events=(Event(),))]
    total = 0
    while total < scene.most:
        gap = 1 + int(math.log(1.0 - rng.random()) / math.log(1.0 - paired))
        total += gap
        last = segments.pop()
        if closes(last.n, total - gap, 0.0, 0.0):
            segments.append(last)
            last = Segment(1_000, events=(Event(),))
        pairs = last.events[0].candidate + 1
        segments.append(Segment(1_000, last.n + gap, events=(Event(pairs, 0.0, pairs, 0.0),)))
        if log_paired(segments, 0, 1.0) >= NEEDED:
            return total
    return None


def pairs_ever(rate: float, most: int = 2_000) -> float:
    """The exact chance that the pairs, without restarts, ever pull the brake within `most` requests.

    A walk over all (requests, pairs): the bound is a number of pairs, and what reaches it is taken out.
    """
    paired = rate * (1.0 - rate)
    alive, gone, bound = [1.0], 0.0, 1
    for n in range(1, most + 1):
        while _evidence(n, bound) < NEEDED and bound <= n:
            bound += 1
        alive = [
            (alive[s] * (1.0 - paired) if s < len(alive) else 0.0) + (alive[s - 1] * paired if s else 0.0)
            for s in range(min(n, len(alive)) + 1)
        ]
        gone += math.fsum(alive[bound:])
        del alive[bound:]
    return gone


def _evidence(n: int, pairs: int) -> float:
    points = odds(0.25)
    return log_mean([pairs * a + (n - pairs) * b for a, b in zip(points[::2], points[1::2], strict=True)])


@dataclass(frozen=True)
class Watched:
    """A release that serves everybody, at exactly its limit: so many requests a second, for so many seconds."""

    limit: float
    a_second: int
    seconds: int = 1_000_000


def alarms(scene: Watched, levels: Sequence[float], seed: int) -> list[int]:
    """How often the detector reached each level; after each alarm it begins anew, each level by itself."""
    rng = Random(f"watch/{scene.limit}/{scene.a_second}/{seed}")
    table, ladder = likelihoods(scene), ladder_of(scene)
    found, running = [0] * len(levels), [[0.0] * len(grid(scene.limit)) for _ in levels]
    for _ in range(scene.seconds):
        factors = table[bisect(ladder, rng.random())]
        for place, level in enumerate(levels):
            held = [(old + 1.0) * factor for old, factor in zip(running[place], factors, strict=True)]
            reached = sum(held) >= level * len(held)
            found[place] += reached
            running[place] = [0.0] * len(held) if reached else held
    return found


def likelihoods(scene: Watched) -> list[list[float]]:
    """L_k of a second, by the number of its failures: what `evidence.advance` multiplies by."""
    points = odds(scene.limit)
    seconds = (Second(0, scene.a_second, float(bad)) for bad in range(scene.a_second + 1))
    return [[math.exp(each) for each in log_factors(second, points)] for second in seconds]


def ladder_of(scene: Watched) -> list[float]:
    """The binomial distribution of a second's failures, cumulated; its last step is left out for 1."""
    return [*accumulate(_binomial(scene.a_second, scene.limit))][:-1]


def _binomial(n: int, p: float) -> Iterator[float]:
    return (math.comb(n, k) * p**k * (1.0 - p) ** (n - k) for k in range(n + 1))
