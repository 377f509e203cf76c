"""One policy's sums in one case, while a batch is being observed. Knows values and units; no outcome, no case.

An observation is a value (1 for a failure, seconds, USD, a score's badness: more is worse) and the unit it came from.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from math import inf, nextafter
from typing import NamedTuple, TypeAlias

from policies import evidence
from policies.counts import EventGain, PolicyGain
from policies.evidence import EventKind
from policies.policy import Method, MetricKind, Policy

# Of a kind of bad event in a batch: as many as a full buffer holds outcomes. Later units are left to the next batch.
UNITS_CAP = 10_000
# A value is bad from one half on (compared by `>`): a failure is 1, a boolean score's badness 0 or 1.
_HALF = nextafter(0.5, 0.0)
_NO_BETS = evidence.bets(0.5, 0.5)

# A value, and the unit it came from ("" for nobody that was named).
Observed: TypeAlias = tuple[float, str]


class Side(Enum):
    """Whom an observation is about. A targeted candidate counts for the absolute test, not for the relative one."""

    CANDIDATE = auto()
    TARGETED = auto()
    CONTROL = auto()
    WATCHED = auto()


class Readings(NamedTuple):
    """One metric of several requests.

    `clean` observations were good, whatever the bound. `at_least`: nobody waited longer, so each counts as slow where
    the bound had passed already, else neither way. `stumbled`: good ones whose first attempt had failed; a control's
    are bad in the relative test, because a candidate has no second attempt.
    """

    clean: int = 0
    exact: Sequence[Observed] = ()
    at_least: Sequence[Observed] = ()
    stumbled: Sequence[Observed] = ()
    # Of the bad ones, those that the control answered (the shield asked it on the same request); and failures beside
    # them that the control shared: no observations, but requests on which there might have been a pair.
    paired: int = 0
    shared: int = 0


@dataclass(slots=True)
class _Bad:
    """Bad events of one kind. What changes here: all of it."""

    # Beyond this a value is an event, on the candidate's and on the control's side.
    over: tuple[float, float]
    candidate: float = 0.0
    control: float = 0.0
    plain_candidate: float = 0.0
    plain_control: float = 0.0
    candidate_units: dict[str, float] = field(default_factory=dict)
    control_units: dict[str, float] = field(default_factory=dict)

    def add(self, observed: Sequence[Observed], *, candidate: bool, masses: bool) -> None:
        """Events, of mass 1 or of their value; of a unit only the first, on whichever side it was."""
        mine, others = self.candidate_units, self.control_units
        if not candidate:
            mine, others = others, mine
        mass = plain = 0.0
        for value, unit in observed:
            weight = value if masses else 1.0
            mass += weight
            if not unit:
                plain += weight
            elif unit not in mine and unit not in others and len(mine) < UNITS_CAP:
                mine[unit] = weight
        if candidate:
            self.candidate += mass
            self.plain_candidate += plain
        else:
            self.control += mass
            self.plain_control += plain

    def gain(self) -> EventGain:
        return EventGain(
            self.candidate,
            self.control,
            self.plain_candidate,
            self.plain_control,
            _listed(self.candidate_units),
            _listed(self.control_units),
        )


def _listed(units: dict[str, float]) -> list[str | float]:
    return [each for pair in units.items() for each in pair]


class Lane:
    """What one policy gains in one case. What changes here: its sums, by `take`."""

    __slots__ = (
        "_bad", "_bad_over", "_bets", "_blind", "_control_bad", "_control_n", "_events", "_kind", "_least", "_masses",
        "_n", "_pairs", "_policy", "_rivals", "_stake", "_weight",
    )  # fmt: skip

    def __init__(self, policy: Policy, *, trial: bool, weight: int, thresholds: Sequence[float]) -> None:
        threshold = policy.method is Method.THRESHOLD
        self._policy, self._weight = policy, weight
        self._kind = "threshold" if threshold else "trial" if trial else "watch"
        kinds = evidence.events_of(policy) if self._kind == "trial" else ()
        self._events = tuple(_Bad(_event_over(kind, policy, thresholds)) for kind in kinds)
        # Those that are no events but bets on both arms' means: each takes a part of every observation.
        self._rivals = tuple(
            event for kind, event in zip(kinds, self._events, strict=True) if kind in evidence.RELATIVE_BETS
        )
        self._masses = EventKind.MASS in kinds
        self._least = tuple(min((event.over[side] for event in self._events), default=inf) for side in (0, 1))
        self._pairs = next(
            (e for k, e in zip(kinds, self._events, strict=True) if k is EventKind.PAIRED), None
        )
        # Until the control's quantile is known, a plain threshold relative to it has nothing to count.
        self._blind = threshold and len(thresholds) < len(evidence.quantiles_of(policy))
        # Beyond this an observation is bad; None: badness adds up.
        self._bad_over = None if evidence.by_mean(policy) else _bad_over(policy, thresholds)
        self._stake = _stake(policy)
        self._n = self._control_n = 0
        self._bad = self._control_bad = 0.0
        self._bets: list[float] = []

    def take(self, readings: Readings, side: Side) -> None:
        """Count the readings, once."""
        if self._blind:
            return
        if side is Side.CONTROL:
            self._take_control(readings)
            return
        if side is Side.TARGETED and self._kind == "threshold" and self._policy.times_safe is not None:
            return  # one count serves both bounds, and the relative one wants the coin's alone
        exact = readings.exact
        self._n += readings.clean + len(exact)
        self._bad += self._badness(exact)
        if self._stake is not None:
            self._bet(exact, *self._stake)
        if readings.at_least:
            self._take_slow(readings.at_least)
        if self._pairs is not None:
            self._pairs.candidate += readings.paired
            self._pairs.plain_candidate += readings.paired
            self._pairs.control += readings.shared
            self._pairs.plain_control += readings.shared
        if side is Side.CANDIDATE:
            self._add_events((*exact, *readings.at_least), candidate=True)

    def gain(self) -> PolicyGain | None:
        """What was gained; None where that is nothing."""
        events = [event.gain() for event in self._events]
        if not (self._n or self._control_n or any(event.candidate or event.control for event in events)):
            return None
        return PolicyGain(
            policy=self._policy.id,
            kind=self._kind,
            n=self._n,
            bad=self._bad,
            control_n=self._control_n,
            control_bad=self._control_bad,
            bets=self._bets,
            events=events,
            odds=self._odds(),
        )

    def _take_slow(self, at_least: Sequence[Observed]) -> None:
        """Hang-ups, and candidates that were given up: observed only where they were slow by then."""
        if self._bad_over is None or self._bad_over == inf:
            self._n += sum(value > self._least[0] for value, _ in at_least)
        else:
            slow = self._badness(at_least)
            self._n += int(slow)
            self._bad += slow

    def _take_control(self, readings: Readings) -> None:
        if self._kind == "threshold":
            slow = [each for each in readings.at_least if self._badness([each])]
            self._control_n += readings.clean + len(readings.exact) + len(slow)
            self._control_bad += self._badness(readings.exact) + len(slow) + len(readings.stumbled)
        else:
            told = (*readings.exact, *readings.at_least, *readings.stumbled)
            self._add_events(told, candidate=False)

    def _badness(self, exact: Sequence[Observed]) -> float:
        """How many are bad; of means, their sum."""
        over = self._bad_over
        if over is None:
            return sum(value for value, _ in exact)
        return sum(value > over for value, _ in exact)

    def _bet(self, exact: Sequence[Observed], cap: float, m0: float) -> None:
        made = [self._bets or _NO_BETS, *(evidence.bets(value / cap, m0) for value, _ in exact)]
        if exact:
            self._bets = [sum(factors) for factors in zip(*made, strict=True)]

    def _add_events(self, observed: Sequence[Observed], *, candidate: bool) -> None:
        side = 0 if candidate else 1
        found = [each for each in observed if each[0] > self._least[side]]
        for event in self._events if found else ():
            hits = [each for each in found if each[0] > event.over[side]]
            if hits:
                event.add(hits, candidate=candidate, masses=self._masses)
        if self._rivals and self._stake is not None and observed:
            self._rival(observed, *self._stake, candidate=candidate)

    def _rival(self, observed: Sequence[Observed], cap: float, m0: float, *, candidate: bool) -> None:
        units = [unit for _, unit in observed]
        made = [
            evidence.relative_bets(value / cap, m0, self._weight, control=not candidate)
            for value, _ in observed
        ]
        for rival, factors in zip(self._rivals, zip(*made, strict=True), strict=True):
            rival.add([*zip(factors, units, strict=True)], candidate=candidate, masses=True)

    def _odds(self) -> list[float]:
        if self._kind != "watch" or evidence.by_mean(self._policy):
            return []
        return evidence.odds(evidence.bound(self._policy))


def _event_over(kind: EventKind, policy: Policy, thresholds: Sequence[float]) -> tuple[float, float]:
    """A value above this is an event of the kind, of the candidate and of the control; without quantiles none is."""
    match kind:
        case EventKind.BAD:
            return _HALF, _HALF
        case EventKind.MASS:
            return 0.0, 0.0
        case EventKind.OVER_LIMIT if policy.limit is not None:
            return policy.limit, policy.limit
        case EventKind.OVER_50 | EventKind.OVER_90 | EventKind.OVER_99:
            index = evidence.OVER_QUANTILES.index(kind)
            over = thresholds[index] if index < len(thresholds) else inf
            return over * (policy.times_safe or 1.0), over
        case _:
            return inf, inf


def _bad_over(policy: Policy, thresholds: Sequence[float]) -> float:
    """A value above this is bad by the absolute bound, or by a plain threshold's relative one."""
    if policy.metric.kind is not MetricKind.SECONDS:
        return _HALF
    if policy.limit is not None:
        return policy.limit
    relative = policy.method is Method.THRESHOLD and policy.times_safe is not None and thresholds
    return (policy.times_safe or 0.0) * thresholds[0] if relative else inf


def _stake(policy: Policy) -> tuple[float, float] | None:
    """By what a value is divided, and the mean that is still good, where the absolute test bets."""
    if policy.method is Method.THRESHOLD or policy.limit is None or not evidence.by_mean(policy):
        return None
    cap = evidence.cap(policy) if policy.metric.kind is MetricKind.COST else 1.0
    return cap, evidence.bound(policy)
