"""Names the numbers that people see, and makes them from outcomes and scores. Knows no store and no rule of judgement.

Numbers go by subject and measure, and only ever add up. In Redis `totals` and each `window` have a field for each
subject, with all its measures.

subject   `r|<route>` (each request once; route "" where none was found), `v|<flag>|<variant>` (each Decision), `h` (the house)
measure   `e:<ending>:<blame>` endings · `l:<bucket>`, `l_sum` seconds of answers · `f:…` to first content · `o:…` overhead ·
          `c:…` USD · `cn:<source>` where costs are known from (`unknown`: of good answers) · `k:<direction>` tokens ·
          `kn:<direction>`, `kl:…`, `kq:…` answers whose tokens are told, the sum of ln(1 + tokens) and of its square ·
          `answered` good answers to users that were made for them, `refused` those of them that only say no ·
          `sn:<metric>`, `ss:<metric>` scores' number and sum · `shielded` · of the house: `dropped`, `feedback:<word>`
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import zip_longest
from math import ceil, log, log2
from typing import TypeAlias, TypeVar

from policies.buckets import HIGHEST, LOWEST, PER_DOUBLING, Buckets, at_most, bound, bucket, quantile
from policies.outcome import NO_REQUEST, Blame, Ending, How, Outcome, Part, Release, Score
from policies.window import Histogram, Scores, Stats, Window, joined, recent, together, window_from, window_of

__all__ = [
    "Buckets", "Histogram", "Scores", "Series", "Stats", "Window", "at_most", "bound", "bucket", "joined", "quantile",
    "recent", "series_of", "series_of_score", "together", "window_from", "window_of",
]  # fmt: skip

K = TypeVar("K")

HOUSE = "h"
DROPPED = "dropped"

# Route, releases, how they were chosen, ending, blame, part.
Kind: TypeAlias = tuple[str, tuple[Release, ...], str, Ending, Blame, Part]

# How measures begin: of money and tokens; of what is a route's alone; and of that where the answer was none.
_SPENT = ("c", "k")
_ROUTES = ("o", "shielded")
_ROUTES_OF_FAILED = ("o", "shielded", "l")
# An answer from the cache was not made again: its tokens are nobody's, its speed is none of a version's.
_ROUTES_OF_CACHED = (*_ROUTES_OF_FAILED, "f")
_TOKENS = ("k",)
# What only versions are watched by.
_VERSIONS = ("kn", "kl", "kq", "answered", "refused")
# Answers that say nothing of how a version answers its users today.
_NOT_COMPARED = frozenset({Part.CACHED, Part.EVAL})


class Sums(dict[K, dict[str, float]]):
    """Numbers that add up, by measure and whatever they are of."""

    __slots__ = ()

    def add(self, key: K, measures: Mapping[str, float]) -> None:
        """Add to the numbers of one."""
        held = self.get(key)
        if held is None:
            self[key] = dict(measures)
            return
        for measure, value in measures.items():
            held[measure] = held.get(measure, 0) + value


class Series(Sums[str]):
    """Additions by subject."""

    __slots__ = ()

    def merge(self, more: Mapping[str, Mapping[str, float]]) -> None:
        """Add to the numbers of many."""
        for subject, measures in more.items():
            self.add(subject, measures)

    def tell(self, kind: Kind, measures: Mapping[str, float]) -> None:
        """Add what outcomes of one kind measured to its route and to each version in it.

        A tried candidate's and a shadow's are its version's, and no request; an eval's are nobody's, or a suite that is
        run again after a rollback would say that it helped. Its money was spent all the same.
        What the gateway cost is no version's, and how long a failure took says nothing of a version's answers.
        """
        route, releases, hows, ending, _, part = kind
        spent = _only(measures, _SPENT) if part in NO_REQUEST else measures
        self.add(route_subject(route), _without(spent, _VERSIONS))
        if part is Part.EVAL:
            return
        routes = _ROUTES if ending is Ending.OK else _ROUTES_OF_FAILED
        versions = _without(measures, _ROUTES_OF_CACHED if part is Part.CACHED else routes)
        for release, how in zip_longest(releases, hows[: len(releases)]):
            if how != How.BESIDE.value:
                self.add(version_subject(release), versions)


def route_subject(route: str) -> str:
    """The subject of a route's numbers."""
    return f"r|{route}"


def version_subject(release: Release) -> str:
    """The subject of a version's numbers."""
    return f"v|{release.flag}|{release.variant}"


def ended(ending: Ending, blame: Blame) -> str:
    """The measure that counts those that ended so."""
    return f"e:{ending.value}:{blame.value}"


def feedback(word: str) -> str:
    """The measure of the house that counts the scores of which this became."""
    return f"feedback:{word}"


def grouped(outcomes: Iterable[Outcome]) -> dict[Kind, list[Outcome]]:
    """Outcomes that are alike in all that is no number, together."""
    groups: dict[Kind, list[Outcome]] = {}
    for each in outcomes:
        kind = (each.route, each.releases, each.how, each.ending, each.blame, each.part)
        group = groups.get(kind)
        if group is None:
            groups[kind] = [each]
        else:
            group.append(each)
    return groups


def series_of(outcomes: Iterable[Outcome]) -> Series:
    """What `outcomes` add."""
    return series_of_groups(grouped(outcomes))


def series_of_groups(groups: Mapping[Kind, Sequence[Outcome]]) -> Series:
    """What outcomes add that are grouped already."""
    series = Series()
    for kind, group in groups.items():
        series.tell(kind, measures_of(kind, group))
    return series


def series_of_score(score: Score) -> Series:
    """What one score adds: to its route, and to each version that answered."""
    series = Series()
    measures = {f"sn:{score.metric}": 1, f"ss:{score.metric}": score.value}
    series.add(route_subject(score.route), measures)
    for release in score.releases:
        series.add(version_subject(release), measures)
    return series


def measures_of(kind: Kind, group: Sequence[Outcome]) -> dict[str, float]:
    """What outcomes of one kind add, whoever's numbers it goes to: see Series.tell."""
    _, _, _, ending, blame, part = kind
    measures = _spent(group, answered=ending is Ending.OK)
    if part is Part.CACHED:
        measures = _without(measures, _TOKENS)
    measures[ended(ending, blame)] = len(group)
    if part is Part.TRIED:
        return measures
    _first_content(measures, group)
    if ending is Ending.OK and part not in _NOT_COMPARED:
        _lengths(measures, group)
    if ending in (Ending.OK, Ending.FAILED):
        _histogram(measures, "l", [each.seconds for each in group])
    _histogram(measures, "o", [each.overhead_seconds for each in group])
    if part is Part.SHIELD:
        measures["shielded"] = len(group)
    return measures


def _only(measures: Mapping[str, float], begins: tuple[str, ...]) -> dict[str, float]:
    return {name: value for name, value in measures.items() if name.startswith(begins)}


def _without(measures: Mapping[str, float], begins: tuple[str, ...]) -> dict[str, float]:
    return {name: value for name, value in measures.items() if not name.startswith(begins)}


def _first_content(measures: dict[str, float], group: Sequence[Outcome]) -> None:
    seconds = [each.first_content_seconds for each in group if each.first_content_seconds is not None]
    if seconds:
        _histogram(measures, "f", seconds)


def _spent(group: Sequence[Outcome], *, answered: bool) -> dict[str, float]:
    """Tokens by direction, and USD where known. What was not `answered` may have cost nothing: unknown it is no gap."""
    given, made, cached, hidden = 0, 0, 0, 0
    costs: list[float] = []
    measures: dict[str, float] = {}
    for each in group:
        given += each.input_tokens or 0
        made += each.output_tokens or 0
        cached += each.cached_tokens or 0
        hidden += each.reasoning_tokens or 0
        if each.cost_usd is not None:
            costs.append(each.cost_usd)
        if each.cost_usd is not None or answered:
            source = "cn:" + each.cost_source
            measures[source] = measures.get(source, 0) + 1
    counts = (("k:input", given), ("k:output", made), ("k:cached", cached), ("k:reasoning", hidden))
    measures |= {name: count for name, count in counts if count}
    if costs:
        _histogram(measures, "c", costs)
    return measures


def _lengths(measures: dict[str, float], group: Sequence[Outcome]) -> None:
    """How long questions and answers are, by their logarithms: lengths spread over decades, and of such numbers two
    means can only be compared so. And how many answers were refusals."""
    for direction, counts in (
        ("input", [each.input_tokens for each in group]),
        ("output", [each.output_tokens for each in group]),
    ):
        logs = [log(1 + count) for count in counts if count is not None]
        if logs:
            measures["kn:" + direction] = len(logs)
            measures["kl:" + direction] = sum(logs)
            measures["kq:" + direction] = sum([each * each for each in logs])
    measures["answered"] = len(group)
    refused = sum([each.refused for each in group])
    if refused:
        measures["refused"] = refused


def _histogram(measures: dict[str, float], name: str, values: Sequence[float]) -> None:
    """Add the buckets of `values` and their sum. buckets.bucket, written out: it is the dearest line here."""
    counts: dict[int, int] = {}
    for value in values:
        at = ceil(log2(value) * PER_DOUBLING) if value > 0.0 else LOWEST
        counts[at] = counts.get(at, 0) + 1
    for at, count in counts.items():
        field = f"{name}:{min(HIGHEST, max(LOWEST, at))}"
        measures[field] = measures.get(field, 0) + count
    measures[name + "_sum"] = sum(values)
