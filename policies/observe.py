"""What a batch of Outcomes, or one score, is evidence of: gains for the cases on the docket.

Whose fault it was, whose coin, which hang-up counts: those rules stand here and nowhere else (DESIGN §5). Knows no
store, no clock and no verdict; the docket and the control's quantiles are passed in.

A *trial* hears of its candidate and of its control where the coin gave them, and of a targeted candidate for the
absolute test alone. A *watch* hears of the watched release, from each request without a trial's candidate in it. What
the shield answered, what a pin chose, and what was decided before the flag's last change is no evidence.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple, Protocol, TypeAlias

from policies.case import Case, Docket, Judged, RouteCases, key_of
from policies.counts import CaseGain
from policies.lane import Lane, Readings, Side
from policies.outcome import EVIDENCE, Blame, Ending, How, Outcome, Part, Release, Score
from policies.policy import COST, ERROR_RATE, LATENCY, TTFT, MetricKind, Policy
from policies.tally import UNITS_ENOUGH

# The control's quantiles for a case and a policy id; none while they are not known.
Thresholds: TypeAlias = Callable[[str, str], Sequence[float]]

# Looked up once: in an Enum that costs as much as the comparison, and there are several for each outcome.
_OK, _FAILED, _ABANDONED = Ending.OK, Ending.FAILED, Ending.ABANDONED
_TRIED = Part.TRIED
_CHARGED = frozenset({Blame.UPSTREAM, Blame.RELEASE})
_WATCHABLE = frozenset({How.COIN.value, How.TARGETED.value, How.PLAIN.value})
_COIN, _TARGETED, _BESIDE = How.COIN.value, How.TARGETED.value, How.BESIDE.value
_NO_ROUTE = RouteCases(MappingProxyType({}), ())


def observe(outcomes: Iterable[Outcome], docket: Docket, thresholds: Thresholds) -> list[CaseGain]:
    """What the outcomes add to each case, and for each policy of it; cases that gain nothing are left out.

    Adding up gains of any split of a batch gives what the whole batch gives, but for units that are in several
    parts: those are told in each, and counted once by whoever adds.
    """
    bench = _Bench(docket, thresholds)
    for group, told in _groups(outcomes, docket).items():
        seats = bench.seats(group)
        if seats:
            _hear(seats, told, tried=group.tried, alone=len(group.how) - group.how.count(_BESIDE) == 1)
    return bench.gains()


def observe_score(score: Score, docket: Docket) -> list[CaseGain]:
    """What one score adds; nothing where it is about a decision from before the flag's last change."""
    bench = _Bench(docket, lambda case, policy: ())
    group = _Group(score.route, tried=False, revision=None, how=score.how, releases=score.releases)
    for seat in bench.seats(group):
        if score.decided_at >= seat.sums.case.since:
            for policy in seat.policies:
                if policy.metric.name == score.metric and policy.metric.kind is MetricKind.SCORE:
                    badness = policy.metric.badness(score.value)
                    seat.sums.lane(policy).take(Readings(exact=((badness, score.unit),)), seat.side)
    return bench.gains()


def failed(outcome: Outcome) -> bool | None:
    """Whether this counts as an error of its releases; None: neither way.

    A candidate that was tried failed on a request that its control answered, whosever fault a status calls it.
    """
    if outcome.ending is _OK:
        return False
    if outcome.excused or outcome.ending is _ABANDONED:
        return None
    if outcome.part is _TRIED:
        return True
    return True if outcome.ending is _FAILED and outcome.blame in _CHARGED else None


class _Group(NamedTuple):
    """What a case goes by: outcomes that are alike in this are evidence for the same cases."""

    route: str
    tried: bool
    # None: of a score, which knows when it was decided, not by which revision.
    revision: int | None
    how: str
    releases: tuple[Release, ...]


def _groups(outcomes: Iterable[Outcome], docket: Docket) -> dict[_Group, list[Outcome]]:
    """The outcomes that may be evidence, by what they are evidence for."""
    live: dict[str, bool] = {}
    found: dict[tuple[str, bool, int, str, tuple[Release, ...]], list[Outcome]] = {}
    for each in outcomes:
        heard = live.get(each.route)
        if heard is None:
            cases = docket.routes.get(each.route, _NO_ROUTE)
            heard = live[each.route] = bool(cases.trials or cases.watches)
        if heard and each.part in EVIDENCE:
            key = (each.route, each.part is _TRIED, each.revision, each.how, each.releases)
            group = found.get(key)
            if group is None:
                group = found[key] = []
            group.append(each)
    return {_Group(*key): group for key, group in found.items()}


class _Sums:
    """One case's gain in the making. What changes here: all of it."""

    __slots__ = ("_lanes", "_thresholds", "candidate", "case", "control", "met", "met_plain")

    def __init__(self, case: Case, thresholds: Thresholds) -> None:
        self.case, self._thresholds = case, thresholds
        self.candidate = self.control = self.met_plain = 0
        self.met: set[str] = set()
        self._lanes: dict[str, Lane] = {}

    def lane(self, policy: Policy) -> Lane:
        lane = self._lanes.get(policy.id)
        if lane is None:
            case, known = self.case, self._thresholds(self.case.key, policy.id)
            trial = case.control is not None
            lane = self._lanes[policy.id] = Lane(policy, trial=trial, weight=case.weight, thresholds=known)
        return lane

    def count(self, outcomes: Sequence[Outcome], side: Side) -> None:
        """Count the requests: those that went well or badly, for whoever judges how many were seen."""
        if side is Side.CONTROL:
            self.control += sum(failed(each) is not None for each in outcomes)
            return
        if side is Side.TARGETED:
            return
        units = [each.unit for each in outcomes if failed(each) is not None]
        self.candidate += len(units)
        if side is Side.CANDIDATE:
            self.met_plain += units.count("")
            for unit in units:
                if unit and len(self.met) < UNITS_ENOUGH:
                    self.met.add(unit)

    def gain(self) -> CaseGain | None:
        policies = [gain for lane in self._lanes.values() if (gain := lane.gain()) is not None]
        if not (policies or self.candidate or self.control):
            return None
        return CaseGain(
            self.case.key,
            self.case.weight,
            self.candidate,
            self.control,
            self.met_plain,
            sorted(self.met),
            policies,
        )


class _Seat(NamedTuple):
    """A case that hears of a group of outcomes, on which side of it they are, and the policies that count them."""

    sums: _Sums
    side: Side
    policies: Sequence[Policy]


class _Bench:
    """The cases of one batch. What changes here: the sums."""

    def __init__(self, docket: Docket, thresholds: Thresholds) -> None:
        self._docket, self._thresholds = docket, thresholds
        self._sums: dict[str, _Sums] = {}

    def seats(self, group: _Group) -> list[_Seat]:
        """Who hears of it."""
        cases = self._docket.routes.get(group.route, _NO_ROUTE)
        seats = [*self._trials(cases, group)]
        if cases.watches and not any(map(self._is_candidate, group.releases)):
            seats += self._watches(cases, group)
        return seats

    def gains(self) -> list[CaseGain]:
        return [gain for sums in self._sums.values() if (gain := sums.gain()) is not None]

    def _trials(self, cases: RouteCases, group: _Group) -> Iterator[_Seat]:
        for release, how in zip(group.releases, group.how, strict=False):
            judged = cases.trials.get(release.flag)
            if judged is None or _is_old(group, judged.case):
                continue
            if release == judged.case.subject and how in (_COIN, _TARGETED):
                yield self._seat(judged, Side.CANDIDATE if how == _COIN else Side.TARGETED)
            elif release == judged.case.control and how in (_COIN, _BESIDE):
                yield self._seat(judged, Side.CONTROL)

    def _watches(self, cases: RouteCases, group: _Group) -> Iterator[_Seat]:
        served = {
            release for release, how in zip(group.releases, group.how, strict=False) if how in _WATCHABLE
        }
        for judged in cases.watches:
            subject = judged.case.subject
            heard = not group.tried if subject is None else subject in served
            if heard and not _is_old(group, judged.case):
                yield self._seat(judged, Side.WATCHED)

    def _is_candidate(self, release: Release) -> bool:
        case = self._docket.cases.get(key_of(release))
        return case is not None and case.control is not None

    def _seat(self, judged: Judged, side: Side) -> _Seat:
        key = judged.case.key
        sums = self._sums.get(key)
        if sums is None:
            sums = self._sums[key] = _Sums(judged.case, self._thresholds)
        return _Seat(sums, side, judged.policies)


def _is_old(group: _Group, case: Case) -> bool:
    return group.revision is not None and group.revision < case.revision


def _hear(seats: Sequence[_Seat], told: Sequence[Outcome], *, tried: bool, alone: bool) -> None:
    """Let every policy of every seat count the metric it is about; each is read once.

    `alone`: no other layer was put on its control with the candidate. Else nobody knows who of them was mended by it,
    and the failure is one half of no pair.
    """
    readings: dict[str, Readings] = {}
    for seat in seats:
        seat.sums.count(told, seat.side)
        for policy in seat.policies:
            name = policy.metric.name
            reader = _READERS.get(name)
            if reader is not None:
                if name not in readings:
                    read = reader(told, tried=tried)
                    readings[name] = read if alone else read._replace(paired=0)
                seat.sums.lane(policy).take(readings[name], seat.side)


def _errors(told: Sequence[Outcome], *, tried: bool) -> Readings:
    clean = 0
    bad, stumbled = [], []
    for each in told:
        if each.ending is _OK:
            clean += 1
            if each.stumbled:
                stumbled.append((1.0, each.unit))
        elif failed(each):
            bad.append((1.0, each.unit))
    shared = sum(each.excused and each.blame in _CHARGED for each in told) if tried else 0
    return Readings(clean, bad, stumbled=stumbled, paired=len(bad) if tried else 0, shared=shared)


def _latency(told: Sequence[Outcome], *, tried: bool) -> Readings:
    if tried:
        return Readings(at_least=[(each.seconds, each.unit) for each in told if not each.excused])
    exact = [(each.seconds, each.unit) for each in told if each.ending is _OK]
    if len(exact) == len(told):
        return Readings(exact=exact)
    return Readings(exact=exact, at_least=[(each.seconds, each.unit) for each in told if _waited(each)])


def _waited(outcome: Outcome) -> bool:
    """Whether somebody waited in vain: until he left, or until it failed, on either side alike. A control's failures
    without a place here would make those of a candidate look slow."""
    return outcome.ending is _ABANDONED or bool(failed(outcome))


def _ttft(told: Sequence[Outcome], *, tried: bool) -> Readings:
    if tried:
        return _latency(told, tried=True)
    exact = [
        (each.first_content_seconds, each.unit)
        for each in told
        if each.first_content_seconds is not None and not each.excused
    ]
    if len(exact) == len(told):
        return Readings(exact=exact)
    gone = (each for each in told if _waited(each) and each.first_content_seconds is None)
    return Readings(exact=exact, at_least=[(each.seconds, each.unit) for each in gone])


def _cost(told: Sequence[Outcome], *, tried: bool) -> Readings:
    return Readings(
        exact=[
            (each.cost_usd, each.unit) for each in told if each.cost_usd is not None and each.ending is _OK
        ]
    )


class _Reader(Protocol):
    def __call__(self, told: Sequence[Outcome], *, tried: bool) -> Readings: ...


# How outcomes are read for each metric that is measured; scores come by feedback.
_READERS: Mapping[str, _Reader] = MappingProxyType(
    {ERROR_RATE.name: _errors, LATENCY.name: _latency, TTFT.name: _ttft, COST.name: _cost}
)


def value_of(outcome: Outcome, metric: str) -> float | None:
    """What an outcome is to a metric that has quantiles (seconds, USD); None where it says nothing of it."""
    reader = _READERS.get(metric)
    exact = reader((outcome,), tried=outcome.part is _TRIED).exact if reader is not None else ()
    return exact[0][0] if exact else None
