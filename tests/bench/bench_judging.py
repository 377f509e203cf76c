"""How often the brake is pulled for nothing, and how many requests a bad release lives. Asserts nothing.

A simulation over the real engine, one policy alone at α = 0.01 but for the strategy that ships: what the tables of
notes/evidence.md tell beside what is measured. A median of 400 runs has itself an error of some 3 to 6 %, and so have
the tables' of 40 to 100 runs more; a rate of 0.01 is measured as 0.01 ± 0.005. Those are the runs of `--full`, which
takes half an hour on two cores; without it there are few enough to end in minutes, and the errors are three times these.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial

from policies.evidence import YEAR_SECONDS
from tests.bench import scenes
from tests.bench.nulls import Pairs, Watched, alarms, pairs_ever, pairs_fire
from tests.bench.options import Options
from tests.bench.report import Section, Table, number
from tests.bench.trial import Scene, fires

RUNS, SOME_RUNS, QUICK_RUNS = 400, 40, 8
# Long rows: a median of 60 has an error of 10 %, and what ships is only seen to be far from being rolled back often.
DYING_RUNS, SHIPPED_RUNS = 60, 40
# Requests of both arms in a healthy run.
NULL_REQUESTS, SOME_NULL_REQUESTS, QUICK_NULL_REQUESTS = 20_000, 8_000, 2_000
PROCESSES = 2
# The rate of candidate and control at which the pairs are looked at; at one half their null just holds.
PAIR_RATES = (0.1, 0.3, 0.5, 0.7, 0.9)
# The detector's levels: the first ones are reached often enough to be measured, the last is the alarm of a busy route.
LEVELS = (1e4, 1e5, 1e6, YEAR_SECONDS)
# A limit, and requests a second. Each is watched for some weeks at a time, so often.
WATCHED = (Watched(0.05, 1), Watched(0.05, 10), Watched(0.01, 10))
WATCHED_RUNS = 2


@dataclass(frozen=True)
class Result:
    """One row: for each run the candidate's requests until the brake was pulled, None where it was not."""

    scene: Scene
    fired: Sequence[int | None]

    @property
    def share(self) -> str:
        return f"{self.scene.weight / 100:g} %"

    @property
    def rate(self) -> float:
        return sum(each is not None for each in self.fired) / len(self.fired)

    @property
    def early(self) -> float:
        """The part of the runs in which the brake was pulled before the candidate broke."""
        return sum(each == 0 for each in self.fired) / len(self.fired)

    def quantile(self, q: float) -> float:
        """Of the requests to fire; a run that never did is beyond all others."""
        held = sorted(math.inf if each is None else each for each in self.fired if each != 0) or [math.nan]
        return statistics.median(held) if q == 0.5 else held[int(q * len(held))]

    @property
    def off(self) -> str:
        """How far the median is from the table's."""
        expected = self.scene.expected
        return f"{100 * (self.quantile(0.5) / expected - 1):+.0f} %" if expected else "–"


class Pending:
    """Rows that were handed out, and are awaited when all are: no process waits for another row's last run."""

    def __init__(self, pool: ProcessPoolExecutor, most: int) -> None:
        self._pool, self._most = pool, most

    def results(self, rows: Iterable[Scene], runs: int) -> Callable[[], list[Result]]:
        due = [(scene, self.each(partial(fires, scene), runs)) for scene in rows]
        return lambda: [Result(scene, found()) for scene, found in due]

    def each(self, run: Callable[[int], int | None], runs: int) -> Callable[[], list[int | None]]:
        runs = min(runs, self._most)
        found = self._pool.map(run, range(runs), chunksize=max(1, runs // (4 * PROCESSES)))
        return lambda: list(found)

    def watch(self, scene: Watched, runs: int) -> Callable[[], list[list[int]]]:
        found = self._pool.map(partial(alarms, scene, LEVELS), range(min(runs, self._most)))
        return lambda: list(found)


def run(options: Options) -> Section:
    """All rows, on two processes."""
    most, runs = size_of(options)
    with ProcessPoolExecutor(PROCESSES) as pool:
        pending = Pending(pool, runs)
        rows = (
            pending.results(scenes.shipped_healthy(most), SHIPPED_RUNS),
            pending.results(scenes.healthy(most), RUNS),
            pending.results(scenes.in_bounds(most), RUNS),
            pending.results(scenes.bad(), RUNS),
            pending.results((*scenes.out_of_bounds(), *scenes.shipped_bad()), RUNS),
            pending.results(scenes.dying(most), DYING_RUNS),
        )
        watched = [each if options.full else replace(each, seconds=10 * most) for each in WATCHED]
        detectors = [(each, pending.watch(each, WATCHED_RUNS if options.full else 1)) for each in watched]
        pairs = [(rate, pending.each(partial(pairs_fire, Pairs(rate)), RUNS)) for rate in PAIR_RATES]
        found = [each() for each in rows]
        shipped, healthy, kept, bad, broken, dying = found
        tables = [
            null_table("false rollbacks", [*shipped, *healthy]),
            null_table("candidates within times_safe 1.5", kept),
            fire_table("candidate requests until the brake", bad),
            fire_table("the same, where the notes have no table", broken),
            dying_table(dying, most),
            pairs_table([(rate, fired()) for rate, fired in pairs]),
            detector_table([(each, counted()) for each, counted in detectors]),
        ]
    samples = {f"{each.scene.name}, {each.share}": each.fired for results in found for each in results}
    return Section("judging", tables, samples)


def size_of(options: Options) -> tuple[int, int]:
    """Requests of both arms in a healthy run, and the most runs of a row."""
    if options.quick:
        return QUICK_NULL_REQUESTS, QUICK_RUNS
    return (NULL_REQUESTS, RUNS) if options.full else (SOME_NULL_REQUESTS, SOME_RUNS)


def null_table(title: str, results: Sequence[Result]) -> Table:
    """How often a release that keeps its bounds was rolled back."""
    rows = [
        (each.scene.name, each.share, str(len(each.fired)), f"{each.rate:.4f}", "≤ 0.01") for each in results
    ]
    note = "Rate of runs in which the brake was pulled at all, at α = 0.01."
    return Table(title, ("traffic", "share", "runs", "rate", "promise"), rows, note)


def fire_table(title: str, results: Sequence[Result]) -> Table:
    """How many requests a bad release lived."""
    rows = [
        (
            each.scene.name,
            each.share,
            number(each.quantile(0.5)),
            number(each.quantile(0.9)),
            number(each.scene.expected or math.nan),
            each.off,
        )
        for each in results
    ]
    note = "α = 0.01; one policy alone, but of the strategy that ships all six, which share it."
    return Table(title, ("release", "share", "median", "p90", "notes", "off"), rows, note)


def dying_table(results: Sequence[Result], begin: int) -> Table:
    """How many requests a release lived that had been good for long."""
    rows = [
        (
            each.scene.name,
            each.share,
            str(len(each.fired)),
            number(each.quantile(0.5)),
            number(each.quantile(0.9)),
            f"{each.early:.4f}",
        )
        for each in results
    ]
    note = (
        f"Counted from when it broke, after {begin:,} requests with 1 % of errors in both arms; limit 5 %, α = 0.01."
        " Early: the part of the runs in which the brake was pulled before."
    )
    head = ("release", "share", "runs", "median", "p90", "early")
    return Table("good for long, then broken: candidate requests until the brake", head, rows, note)


def pairs_table(results: Sequence[tuple[float, Sequence[int | None]]]) -> Table:
    """How often pairs alone pulled the brake, where the candidate is as bad as its control."""
    rows = [
        (
            f"both fail {rate:.0%}",
            str(len(fired)),
            f"{sum(each is not None for each in fired) / len(fired):.4f}",
            f"{pairs_ever(rate):.4f}",
            "≤ 0.01",
        )
        for rate, fired in results
    ]
    note = "Pairs alone at α = 0.01 (in a verdict they have a twentieth of it), 2,000 requests; exact: without restarts."
    return Table("pairs under their null", ("rates", "runs", "rate", "exact", "promise"), rows, note)


def detector_table(results: Sequence[tuple[Watched, Sequence[Sequence[int]]]]) -> Table:
    """How often the detector rang at the limit."""
    rows = []
    for watched, runs in results:
        seconds = watched.seconds * len(runs)
        name = f"limit {watched.limit:.0%}, {watched.a_second} a second"
        found = [sum(each) for each in zip(*runs, strict=True)]
        rows.append(
            (
                name,
                f"{seconds:,}",
                *(f"{n} (≤ {seconds / a:.2g})" for n, a in zip(found, LEVELS, strict=True)),
            )
        )
    note = "Alarms of a release exactly at its limit, and in brackets how many there may be on average."
    head = ("watched", "seconds", *(f"A = {level:,.0f}" for level in LEVELS))
    return Table("the detector at the limit", head, rows, note)
