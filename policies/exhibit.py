"""What a judge looks at, and what the ledger keeps of it: small, plain, and enough to judge again from alone.

Made from the fleet's counts (or from a ledger's entry), read by judge.py. Knows no formula's outcome and no store.
Whatever stands in Redis becomes an exhibit without an error: odd numbers are brought within bounds, what is missing
is nothing seen.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeAlias

import msgspec

from policies import evidence
from policies.case import Case
from policies.counts import CaseCounts, Event, PolicyCounts, Second, Segment
from policies.evidence import EventKind
from policies.policy import Method, Metric, MetricKind, Policy

# From so many different units on, a failing unit is counted once and not each of its requests.
UNITS_NEEDED = 20
# Seconds that an exhibit holds at most, of odds and of bets: 20 KB are all that evidence may take in the ledger.
MAX_SECONDS, MAX_BET_SECONDS = 500, 100
# Digits of a log factor's sum: beyond these nothing is decided, and each costs a byte.
_DIGITS = 9


# What is counted of bad events: each unit once, requests, or requests that the control confirmed (and units).
Counting: TypeAlias = Literal["units", "requests", "pairs"]


class EvidenceInvalid(ValueError):
    """Raised when a ledger's evidence lacks a field, or holds something else than was expected there."""


class Measure(msgspec.Struct, frozen=True):
    """The policy, as far as judging goes, and the part of α that is its own in this case."""

    name: str
    metric: str
    kind: MetricKind
    boolean: bool
    higher_is_better: bool
    low: float
    high: float
    limit: float | None
    times_safe: float | None
    quantile: float
    method: Method
    alpha: float
    share: float
    window_seconds: float
    min_count: int

    @classmethod
    def of(cls, case: Case, policy: Policy) -> Measure:
        metric = policy.metric
        return cls(
            policy.name, metric.name, metric.kind, metric.boolean, metric.higher_is_better, metric.low, metric.high,
            policy.limit, policy.times_safe, policy.quantile, policy.method, policy.alpha, case.share(policy),
            policy.window_seconds, policy.min_count,
        )  # fmt: skip

    @property
    def policy(self) -> Policy:
        """The same policy, for the functions that read one."""
        metric = Metric(
            self.metric, self.kind, higher_is_better=self.higher_is_better, low=self.low, high=self.high,
            boolean=self.boolean,
        )  # fmt: skip
        return Policy(
            self.name, metric, limit=self.limit, times_safe=self.times_safe, quantile=self.quantile, method=self.method,
            alpha=self.alpha, window_seconds=self.window_seconds, min_count=self.min_count,
        )  # fmt: skip


class Subject(msgspec.Struct, frozen=True):
    """Who is judged: a release of a flag (None: a route, which has nothing to go back to), and its control's variant."""

    key: str
    flag: str | None
    variant: str | None
    generation: int | None
    control: str | None

    @classmethod
    def of(cls, case: Case) -> Subject:
        subject, control = case.subject, case.control.variant if case.control is not None else None
        if subject is None:
            return cls(case.key, None, None, None, control)
        return cls(case.key, subject.flag, subject.variant, subject.generation, control)


class Stretch(msgspec.Struct, frozen=True):
    """A segment's counts, of units or of requests: for each kind of event the candidate's and the control's. `memory`
    as in Segment."""

    weight: int
    n: int
    bad: float
    bets: tuple[float, ...]
    events: tuple[tuple[float, float], ...]
    memory: int = 0


class Trial(msgspec.Struct, frozen=True, tag_field="formula", tag="trial/1"):
    """A candidate beside its control. `first` is the number of the first segment here, from 1."""

    policy: Measure
    case: Subject
    counting: Counting
    events: tuple[EventKind, ...]
    thresholds: tuple[float, ...]
    first: int
    segments: tuple[Stretch, ...]

    @property
    def counts(self) -> tuple[Segment, ...]:
        """As the formulas read them; the events' counts are those to be used, whatever was counted."""
        return tuple(
            Segment(
                each.weight, each.n, each.bad, each.bets, tuple(Event(*pair, *pair) for pair in each.events)
            )
            for each in self.segments
        )

    @property
    def forgotten(self) -> int:
        """How many of the eldest segments no test by units may read.

        Whoever was counted there may be counted again later, and no coin decides a second time in which arm: evidence
        of both times would multiply what was tossed once. From where all units were forgotten a test begins anew.
        """
        if self.counting == "requests" or not self.segments:
            return 0
        last = self.segments[-1].memory
        return next(index for index, each in enumerate(self.segments) if each.memory == last)

    @property
    def n(self) -> int:
        """The candidate's observations."""
        return sum(each.n for each in self.segments)

    @property
    def bad(self) -> float:
        """Bad ones among them; of a mean the sum of the values."""
        return sum(each.bad for each in self.segments)


class Watch(msgspec.Struct, frozen=True, tag_field="formula", tag="watch/1"):
    """A release that serves everybody: `n` observations in `watched_seconds`, the detector's `statistic` as it stands.

    `seconds` are the latest ones, oldest first, as (n, bad, log factors of the bets): only these can prove a breach.
    """

    policy: Measure
    case: Subject
    n: int
    bad: float
    watched_seconds: float
    statistic: float
    seconds: tuple[tuple[int, float, tuple[float, ...]], ...]

    @property
    def alarm(self) -> float:
        """The statistic's bound A."""
        return evidence.alarm_at(self.n, self.watched_seconds)


class Window(msgspec.Struct, frozen=True, tag_field="formula", tag="threshold/1"):
    """The sums of a plain threshold's window, which ended at `until` (Unix seconds)."""

    policy: Measure
    case: Subject
    until: int
    n: int
    bad: float
    control_n: int
    control_bad: float


Exhibit: TypeAlias = Trial | Watch | Window


def exhibit_of(case: Case, policy: Policy, counts: CaseCounts, now_ms: int) -> Exhibit:
    """What there is to judge `policy` by in `case`."""
    measure, judged = Measure.of(case, policy), Subject.of(case)
    found = counts.policies.get(policy.id, PolicyCounts())
    if policy.method is Method.THRESHOLD:
        return _window(measure, judged, found, now_ms)
    if case.control is None:
        seen = _watch(measure, judged, found, max(0.0, (now_ms - counts.since_ms) / 1000))
        wanted = policy.limit is not None and seen.statistic >= seen.alarm and bool(found.seconds)
        return (
            msgspec.structs.replace(seen, seconds=_proof(policy, found.seconds, seen.alarm))
            if wanted
            else seen
        )
    kinds = evidence.events_of(policy)
    return _trial(measure, judged, found, kinds, _counting(counts, found, kinds))


def exhibit_from(document: Mapping[str, Any]) -> Exhibit:
    """The exhibit in a ledger's evidence. Raises EvidenceInvalid; the message names the field."""
    try:
        found: Exhibit = msgspec.convert(dict(document), Exhibit)
    except (msgspec.ValidationError, TypeError) as error:
        raise EvidenceInvalid(str(error)) from error
    return found


def _trial(
    measure: Measure, judged: Subject, found: PolicyCounts, kinds: tuple[EventKind, ...], counting: Counting
) -> Trial:
    kept = found.segments[-evidence.SEGMENTS_KEPT :]
    return Trial(
        measure,
        judged,
        counting,
        kinds,
        tuple(evidence.signed(each) for each in found.thresholds),
        found.first + len(found.segments) - len(kept),
        tuple(_stretch(segment, len(kinds), units=counting != "requests") for segment in kept),
    )


def _counting(counts: CaseCounts, found: PolicyCounts, kinds: tuple[EventKind, ...]) -> Counting:
    """Units, where there are enough of them. Of a few users' failed requests those count that the control confirmed;
    where none did (failures in mid-stream) all of them.

    Seconds, USD and scores nobody confirms, and healthy requests are bad events too: one heavy user's would all be
    the candidate's, and look as if it were slow or dear. These are always counted by units.
    """
    if counts.units >= UNITS_NEEDED or EventKind.PAIRED not in kinds:
        return "units"
    place = kinds.index(EventKind.PAIRED)
    confirmed = any(each.events[place].candidate > 0 for each in found.segments if place < len(each.events))
    return "pairs" if confirmed else "requests"


def _stretch(segment: Segment, kinds: int, *, units: bool) -> Stretch:
    events = (*segment.events, *[Event()] * kinds)[:kinds]
    pairs = ((e.candidate_units, e.control_units) if units else (e.candidate, e.control) for e in events)
    return Stretch(
        segment.weight,
        int(evidence.count(segment.n)),
        evidence.count(segment.bad),
        tuple(_brief(each) for each in segment.bets),
        tuple((_brief(candidate), _brief(control)) for candidate, control in pairs),
        segment.memory,
    )


def _brief(value: float) -> float:
    return round(evidence.signed(value), _DIGITS)


def _window(measure: Measure, judged: Subject, found: PolicyCounts, now_ms: int) -> Window:
    begin = now_ms / 1000 - measure.window_seconds
    # Seconds after `now` are a clock that jumped back: they count again when it has come there.
    held = [each for each in found.seconds if begin < each.second <= now_ms / 1000]
    return Window(
        measure,
        judged,
        now_ms // 1000,
        int(sum(evidence.count(each.n) for each in held)),
        sum(evidence.count(each.bad) for each in held),
        int(sum(evidence.count(each.control_n) for each in held)),
        sum(evidence.count(each.control_bad) for each in held),
    )


def _watch(measure: Measure, judged: Subject, found: PolicyCounts, watched_seconds: float) -> Watch:
    held = [evidence.count(each) for each in found.detector]
    n, bad = int(evidence.count(found.n)), evidence.count(found.bad)
    return Watch(measure, judged, n, bad, watched_seconds, sum(held) / len(held) if held else 0.0, ())


def _proof(
    policy: Policy, seconds: Sequence[Second], alarm: float
) -> tuple[tuple[int, float, tuple[float, ...]], ...]:
    """The fewest latest seconds from which the detector, begun anew, reaches its alarm; all of them if none do.

    More than the ledger has room for are put together: one beginning instead of several, so never more evidence.
    """
    most = MAX_BET_SECONDS if evidence.by_mean(policy) else MAX_SECONDS
    kept = [_second(each) for each in seconds]
    enough = _latest(policy, kept, alarm)
    if len(enough) > most:
        enough = _latest(policy, _grouped(kept, math.ceil(len(kept) / most)), alarm)
    return tuple((each.n, each.bad, each.bets) for each in enough[-most:])


def _second(second: Second) -> Second:
    bets = tuple(_brief(each) for each in second.bets)
    return Second(second.second, int(evidence.count(second.n)), evidence.count(second.bad), bets)


def _latest(policy: Policy, seconds: Sequence[Second], alarm: float) -> Sequence[Second]:
    found = evidence.log_restarted(log_factors(policy, seconds))
    enough = [index for index, log_r in enumerate(found) if log_r >= math.log(alarm)]
    return seconds[enough[-1] if enough else 0 :]


def _grouped(seconds: Sequence[Second], size: int) -> list[Second]:
    groups = [seconds[max(0, end - size) : end] for end in range(len(seconds), 0, -size)]
    return [_together(group) for group in reversed(groups)]


def _together(group: Sequence[Second]) -> Second:
    bets = tuple(_brief(math.fsum(parts)) for parts in zip(*(each.bets for each in group), strict=False))
    return Second(group[0].second, sum(each.n for each in group), sum(each.bad for each in group), bets)


def log_factors(policy: Policy, seconds: Sequence[Second]) -> list[list[float]]:
    """ln L_k of each second under the policy's limit."""
    odds = [] if evidence.by_mean(policy) else evidence.odds(evidence.bound(policy))
    return [evidence.log_factors(second, odds) for second in seconds]
