"""What a span of time looked like, for people: requests, endings, latency, cost, scores. Knows no store and no clock.

A Window is read from the fields that policies/series.py names. Windows add up: hours from minutes, a layer from its versions.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TypeVar

from policies.buckets import Buckets, merged, quantile, total
from policies.outcome import Blame, CostSource, Ending

K = TypeVar("K")

NO_BUCKETS: Buckets = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Scores:
    """The scores of one metric, as sent."""

    count: float = 0.0
    sum: float = 0.0

    @property
    def mean(self) -> float | None:
        """The mean, None where there are none."""
        return self.sum / self.count if self.count else None


@dataclass(frozen=True, slots=True)
class Lengths:
    """How long texts were: the sum of ln(1 + tokens), and of its square, over `count` of them."""

    count: float = 0.0
    logs: float = 0.0
    squares: float = 0.0

    @property
    def mean(self) -> float:
        """The mean logarithm; 0 where there are none."""
        return self.logs / self.count if self.count else 0.0

    @property
    def variance(self) -> float:
        """The logarithms' variance; 0 where there are fewer than two."""
        if self.count < 2:
            return 0.0
        return max(0.0, (self.squares - self.logs * self.mean) / (self.count - 1))

    def plus(self, more: Lengths) -> Lengths:
        """Both together."""
        return Lengths(self.count + more.count, self.logs + more.logs, self.squares + more.squares)


@dataclass(frozen=True, slots=True)
class Histogram:
    """Observations in buckets, and their sum."""

    buckets: Buckets = field(default_factory=lambda: NO_BUCKETS)
    sum: float = 0.0

    @property
    def count(self) -> float:
        """How many there are."""
        return total(self.buckets)

    def quantile(self, q: float) -> float | None:
        """To within 4.5 %; None where nothing was observed."""
        return quantile(self.buckets, q)


@dataclass(frozen=True, slots=True)
class Stats:
    """The numbers of one route, or of one version.

    A route's count each request once; a version's count Decisions, so a shielded request counts for the candidate
    (failed) and for its control. `seconds` are those of answers: a route's also of failed ones, a version's only of good ones.
    `costs` counts requests by where their cost is known from; `cost` holds the USD of those that are known.
    """

    endings: Mapping[tuple[Ending, Blame], float] = field(default_factory=dict)
    seconds: Histogram = Histogram()
    first_content: Histogram = Histogram()
    overhead: Histogram = Histogram()
    cost: Histogram = Histogram()
    costs: Mapping[CostSource, float] = field(default_factory=dict)
    tokens: Mapping[str, float] = field(default_factory=dict)
    scores: Mapping[str, Scores] = field(default_factory=dict)
    shielded: float = 0.0
    # By direction: input and output. Of versions only, as are refusals.
    lengths: Mapping[str, Lengths] = field(default_factory=dict)
    answered: float = 0.0
    refused: float = 0.0

    @property
    def requests(self) -> float:
        """All of them, however they ended."""
        return sum(self.endings.values())

    def ended(self, ending: Ending) -> float:
        """Those that ended so, whoever was to blame."""
        return sum(count for (each, _), count in self.endings.items() if each is ending)

    @property
    def failed(self) -> float:
        """Failed ones that were not the client's doing."""
        return self.ended(Ending.FAILED) - self.endings.get((Ending.FAILED, Blame.CLIENT), 0.0)

    @property
    def error_rate(self) -> float | None:
        """Failed ones of those that the upstream or the version decided (good or failed); None where there are none."""
        judged = self.failed + self.ended(Ending.OK)
        return self.failed / judged if judged else None

    @property
    def cost_per_request(self) -> float | None:
        """USD, over the requests whose cost is known; None where none is."""
        known = self.cost.count
        return self.cost.sum / known if known else None


NO_STATS = Stats()


@dataclass(frozen=True, slots=True)
class Window:
    """All numbers of a span of time. `start` in Unix seconds of Redis' clock (0: since ever), `seconds` its length.

    `versions` go by (flag, variant). `feedback` counts what became of scores sent in, by a word (accepted, late…).
    """

    start: int = 0
    seconds: int = 0
    routes: Mapping[str, Stats] = field(default_factory=dict)
    versions: Mapping[tuple[str, str], Stats] = field(default_factory=dict)
    feedback: Mapping[str, float] = field(default_factory=dict)
    dropped: float = 0.0

    def route(self, name: str) -> Stats:
        """A route's numbers; empty ones where nothing came."""
        return self.routes.get(name, NO_STATS)

    def version(self, flag: str, variant: str) -> Stats:
        """A version's numbers; empty ones where it answered nothing."""
        return self.versions.get((flag, variant), NO_STATS)

    def flag(self, key: str) -> Stats:
        """All versions of one flag together: what its layer did."""
        return together(stats for (flag, _), stats in self.versions.items() if flag == key)


def window_from(fields: Mapping[str, float], start: int = 0, seconds: int = 0) -> Window:
    """A Window from numbers by `<subject>|<measure>`."""
    subjects: dict[str, dict[str, float]] = {}
    for name, value in fields.items():
        subject, _, measure = name.rpartition("|")
        subjects.setdefault(subject, {})[measure] = value
    return window_of(subjects, start, seconds)


def window_of(subjects: Mapping[str, Mapping[str, float]], start: int = 0, seconds: int = 0) -> Window:
    """A Window from measures by subject: see series.py for both."""
    routes: dict[str, Stats] = {}
    versions: dict[tuple[str, str], Stats] = {}
    house: Mapping[str, float] = {}
    for subject, measures in subjects.items():
        match subject.split("|"):
            case ["r", route]:
                routes[route] = _stats(measures)
            case ["v", flag, variant]:
                versions[flag, variant] = _stats(measures)
            case ["h"]:
                house = measures
            case _:
                pass
    feedback = {key.partition(":")[2]: value for key, value in house.items() if key.startswith("feedback:")}
    return Window(start, seconds, routes, versions, feedback, house.get("dropped", 0.0))


def joined(windows: Iterable[Window]) -> Window:
    """One Window of many: from the earliest start on, as long as all together."""
    many = list(windows)
    names = {name for window in many for name in window.routes}
    versions = {key for window in many for key in window.versions}
    return Window(
        min((window.start for window in many), default=0),
        sum(window.seconds for window in many),
        {name: together(window.route(name) for window in many) for name in sorted(names)},
        {key: together(window.version(*key) for window in many) for key in sorted(versions)},
        _sums(window.feedback for window in many),
        sum(window.dropped for window in many),
    )


def together(many: Iterable[Stats]) -> Stats:
    """The numbers of several added up."""
    all_of = [stats for stats in many if stats is not NO_STATS]
    if len(all_of) == 1:
        return all_of[0]
    return Stats(
        _sums(stats.endings for stats in all_of),
        _histogram(stats.seconds for stats in all_of),
        _histogram(stats.first_content for stats in all_of),
        _histogram(stats.overhead for stats in all_of),
        _histogram(stats.cost for stats in all_of),
        _sums(stats.costs for stats in all_of),
        _sums(stats.tokens for stats in all_of),
        _scores(all_of),
        sum(stats.shielded for stats in all_of),
        _all_lengths(all_of),
        sum(stats.answered for stats in all_of),
        sum(stats.refused for stats in all_of),
    )


def recent(windows: Iterable[Window], flag: str, variant: str, measure: str, wanted: float) -> Buckets:
    """The latest observations of a version, from as few windows (newest first in time) as hold `wanted` of them.

    `measure` is the name of a histogram of Stats: seconds, first_content, cost.
    """
    found: list[Buckets] = []
    for window in sorted(windows, key=lambda window: window.start, reverse=True):
        histogram: Histogram = getattr(window.version(flag, variant), measure)
        found.append(histogram.buckets)
        wanted -= histogram.count
        if wanted <= 0:
            break
    return merged(found)


def _stats(measures: Mapping[str, float]) -> Stats:
    """The numbers of one subject."""
    parts: dict[str, dict[str, float]] = {}
    for name, value in measures.items():
        kind, _, key = name.partition(":")
        parts.setdefault(kind, {})[key] = value
    empty: dict[str, float] = {}
    counts = parts.get("sn", empty)
    sums = parts.get("ss", empty)
    return Stats(
        dict(_endings(parts.get("e", empty))),
        _read_histogram(parts, "l"),
        _read_histogram(parts, "f"),
        _read_histogram(parts, "o"),
        _read_histogram(parts, "c"),
        dict(_costs(parts.get("cn", empty))),
        parts.get("k", empty),
        {metric: Scores(count, sums.get(metric, 0.0)) for metric, count in counts.items()},
        sum(parts.get("shielded", empty).values()),
        _lengths(parts),
        sum(parts.get("answered", empty).values()),
        sum(parts.get("refused", empty).values()),
    )


def _endings(counts: Mapping[str, float]) -> Iterator[tuple[tuple[Ending, Blame], float]]:
    for key, value in counts.items():
        ending, _, blame = key.partition(":")
        if ending in _ENDINGS and blame in _BLAMES:
            yield (Ending(ending), Blame(blame)), value


def _costs(counts: Mapping[str, float]) -> Iterator[tuple[CostSource, float]]:
    for source in CostSource:
        if source.value in counts:
            yield source, counts[source.value]


_ENDINGS = frozenset(each.value for each in Ending)
_BLAMES = frozenset(each.value for each in Blame)


def _lengths(parts: Mapping[str, Mapping[str, float]]) -> dict[str, Lengths]:
    logs, squares = parts.get("kl", {}), parts.get("kq", {})
    return {
        direction: Lengths(count, logs.get(direction, 0.0), squares.get(direction, 0.0))
        for direction, count in parts.get("kn", {}).items()
    }


def _all_lengths(many: Iterable[Stats]) -> dict[str, Lengths]:
    added: dict[str, Lengths] = {}
    for stats in many:
        for direction, lengths in stats.lengths.items():
            added[direction] = added.get(direction, Lengths()).plus(lengths)
    return added


def _read_histogram(parts: Mapping[str, Mapping[str, float]], kind: str) -> Histogram:
    """The histogram whose buckets are `kind:<index>` and whose sum is `<kind>s`."""
    buckets = parts.get(kind)
    if not buckets:
        return Histogram()
    counts = {int(index): value for index, value in buckets.items()}
    return Histogram(counts, sum(parts.get(kind + "_sum", {}).values()))


def _histogram(many: Iterable[Histogram]) -> Histogram:
    all_of = list(many)
    return Histogram(merged(each.buckets for each in all_of), sum(each.sum for each in all_of))


def _sums(many: Iterable[Mapping[K, float]]) -> dict[K, float]:
    added: dict[K, float] = {}
    for each in many:
        for key, value in each.items():
            added[key] = added.get(key, 0.0) + value
    return added


def _scores(many: Iterable[Stats]) -> dict[str, Scores]:
    added: dict[str, Scores] = {}
    for stats in many:
        for metric, scores in stats.scores.items():
            held = added.get(metric, Scores())
            added[metric] = Scores(held.count + scores.count, held.sum + scores.sum)
    return added
