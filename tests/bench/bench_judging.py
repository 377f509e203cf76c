"""How often the brake is pulled for nothing, and how many requests a bad release lives. Asserts nothing.

A simulation over the real engine, one policy alone at α = 0.01: what the tables of notes/evidence.md tell beside what
is measured. A median of 400 runs has itself an error of some 3 to 6 %, and so have the tables' of 40 to 100 runs more.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial

from policies.policy import ACCURACY, COST, ERROR_RATE, LATENCY, Policy
from tests.bench.options import Options
from tests.bench.report import Section, Table, number
from tests.bench.trial import (
    Cost,
    DeadNeighbour,
    Errors,
    Latency,
    Outage,
    Quality,
    Scene,
    Users,
    fires,
)

RUNS, QUICK_RUNS = 400, 16
# Requests of both arms in a healthy run, at a tenth of the traffic and (as many more go to the candidate) at half.
NULL_REQUESTS, QUICK_NULL_REQUESTS = 20_000, 2_000
PROCESSES = 2
# What a healthy release is judged by; ten per cent and half of the traffic are where rollouts stand.
LIMIT = Policy("limit", ERROR_RATE, limit=0.05)
TWICE = Policy("twice", ERROR_RATE, times_safe=1.0)
SLOWER = Policy("slower", LATENCY, times_safe=1.1)
# The mean of the simulated cost is 1 USD.
DEARER = Policy("dearer", COST, limit=1.2)
WORSE = Policy("worse", ACCURACY, limit=0.82)

# Candidate requests to fire as notes/evidence.md has them: by share, control's rate, candidate's rate.
COMBINED = {1_000: {1.0: 4, 0.5: 8, 0.2: 30, 0.1: 293}, 5_000: {1.0: 9, 0.5: 19, 0.2: 69, 0.1: 279}}
RELATIVE = {
    500: {(0.01, 0.05): 146, (0.01, 0.1): 46, (0.02, 0.06): 207, (0.02, 0.5): 7, (0.01, 1.0): 3},
    5_000: {(0.01, 0.05): 325, (0.01, 0.1): 122, (0.02, 0.06): 447, (0.02, 0.5): 19, (0.01, 1.0): 9},
}
SLOWDOWNS = {
    (1.3, 1.0): 240,
    (1.5, 1.0): 75,
    (2.0, 1.0): 23,
    (3.0, 1.0): 10,
    (10.0, 0.05): 164,
    (10.0, 0.1): 66,
}
COSTS = {1.5: 281, 2.0: 41, 3.0: 13}
QUALITIES = {0.78: 100, 0.75: 34, 0.7: 17, 0.6: 9}


@dataclass(frozen=True)
class Result:
    """One row: for each run the candidate's requests until the brake was pulled, None where it was not."""

    scene: Scene
    fired: Sequence[int | None]

    @property
    def rate(self) -> float:
        return sum(each is not None for each in self.fired) / len(self.fired)

    def quantile(self, q: float) -> float:
        """Of the requests to fire; a run that never did is beyond all others."""
        held = sorted(math.inf if each is None else each for each in self.fired)
        return statistics.median(held) if q == 0.5 else held[int(q * len(held))]

    @property
    def off(self) -> float:
        """How far the median is from the table's, in %."""
        return 100 * (self.quantile(0.5) / (self.scene.expected or math.nan) - 1)


def run(options: Options) -> Section:
    """All rows, on two processes."""
    runs = QUICK_RUNS if options.quick else RUNS
    requests = QUICK_NULL_REQUESTS if options.quick else NULL_REQUESTS
    with ProcessPoolExecutor(PROCESSES) as pool:

        def results(scenes: Iterator[Scene], count: int) -> list[Result]:
            # All rows are handed out before the first is awaited, so that no process waits for a row's last run.
            size = max(1, count // (4 * PROCESSES))
            due = [(each, pool.map(partial(fires, each), range(count), chunksize=size)) for each in scenes]
            return [Result(scene, list(found)) for scene, found in due]

        healthy = results(null_scenes(requests), runs)
        bad = results(bad_scenes(), runs)
    samples = {
        f"{each.scene.name}, share {each.scene.weight / 100:g} %": each.fired for each in healthy + bad
    }
    return Section("judging", [null_table(healthy), fire_table(bad)], samples)


def null_scenes(most: int) -> Iterator[Scene]:
    """Healthy traffic: every rollback is false."""
    for weight, length in ((1_000, most), (5_000, most * 2 // 5)):
        yield Scene("both arms at 3 %", LIMIT, Errors(0.03, 0.03), weight, length)
        yield Scene("both arms at the limit, 5 %", LIMIT, Errors(0.05, 0.05), weight, length)
        yield Scene("sticky heavy-tailed users", LIMIT, Users(), weight, length)
        yield Scene("sticky heavy-tailed users, times_safe 1", TWICE, Users(), weight, length)
        yield Scene("an outage of both arms", LIMIT, Outage(begin=length // 4), weight, length)
        yield Scene("another layer's candidate dead", LIMIT, DeadNeighbour(), weight, length)
    yield Scene("latency alike, times_safe 1.1", SLOWER, Latency(1.0), 1_000, most // 4)
    yield Scene("cost alike", DEARER, Cost(1.0), 1_000, most // 8)
    yield Scene("both arms cost twice the limit", DEARER, Cost(1.0, both=2.4), 1_000, most // 8)
    yield Scene("scores of both arms at the limit", WORSE, Quality(0.82, 0.82), 1_000, most // 8)
    yield Scene("scores of both arms far below it", WORSE, Quality(0.6, 0.6), 1_000, most // 8)


def bad_scenes() -> Iterator[Scene]:
    """Releases that are worse, and how soon the notes say that it shows."""
    for weight, rates in COMBINED.items():
        for rate, expected in rates.items():
            name = f"errors {rate:.0%}, control 1 %, limit 5 %"
            yield Scene(name, LIMIT, Errors(0.01, rate), weight, 60_000, expected)
    for weight, pairs in RELATIVE.items():
        for (control, candidate), expected in pairs.items():
            name = f"errors {control:.0%} → {candidate:.0%}, times_safe 1"
            yield Scene(name, TWICE, Errors(control, candidate), weight, 60_000, expected)
    for (times, part), expected in SLOWDOWNS.items():
        name = f"latency × {times:g}" + (f" in {part:.0%} of requests" if part < 1 else "")
        yield Scene(name, SLOWER, Latency(times, part), 1_000, 60_000, expected)
    for times, expected in COSTS.items():
        yield Scene(f"cost × {times:g}, limit 1.2 × baseline", DEARER, Cost(times), 1_000, 60_000, expected)
    for mean, expected in QUALITIES.items():
        name = f"scores {mean:g}, baseline .85, limit .82"
        yield Scene(name, WORSE, Quality(0.85, mean), 1_000, 60_000, expected)


def null_table(results: Sequence[Result]) -> Table:
    """How often a healthy release was rolled back."""
    rows = [
        (
            each.scene.name,
            f"{each.scene.weight / 100:g} %",
            str(len(each.fired)),
            f"{each.rate:.4f}",
            "≤ 0.01",
        )
        for each in results
    ]
    note = "Rate of runs in which the brake was pulled at all, at α = 0.01."
    return Table("false rollbacks", ("traffic", "share", "runs", "rate", "promise"), rows, note)


def fire_table(results: Sequence[Result]) -> Table:
    """How many requests a bad release lived."""
    rows = [
        (
            each.scene.name,
            f"{each.scene.weight / 100:g} %",
            number(each.quantile(0.5)),
            number(each.quantile(0.9)),
            number(each.scene.expected or math.nan),
            f"{each.off:+.0f} %",
        )
        for each in results
    ]
    head = ("release", "share", "median", "p90", "notes", "off")
    return Table("candidate requests until the brake", head, rows, "α = 0.01, one policy alone.")
