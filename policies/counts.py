"""The numbers that evidence is made of: what a batch adds (gains), and what the fleet has (counts). Shapes only.

Everything adds up in any order, from any worker; nothing here knows Redis, time or a rule. The structs that cross
to Redis are arrays in MessagePack; policies/scripts/flush.lua reads them by position.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

import msgspec


class EventGain(msgspec.Struct, array_like=True, gc=False):
    """Bad events of one kind that a batch adds, on the candidate's and on the control's side.

    `candidate` and `control` count requests (a score's badness may be a fraction of one); the `plain` ones of them
    came from nobody that was named, each a unit of its own. The lists name the other units with what each
    brings: unit, mass, unit, mass…; of a unit only the first ever is counted.
    """

    candidate: float = 0.0
    control: float = 0.0
    plain_candidate: float = 0.0
    plain_control: float = 0.0
    candidate_units: list[str | float] = msgspec.field(default_factory=list)
    control_units: list[str | float] = msgspec.field(default_factory=list)


class PolicyGain(msgspec.Struct, array_like=True, gc=False):
    """What a batch adds for one policy in one case.

    kind "trial": `n` candidate's observations, `bad` bad ones among them (absolute test), `bets` the summed log
    factors of each fixed bet (T3), `events` for the relative test, in the order of the policy's events.
    kind "watch": `n`, `bad`, `bets` of the watched release; `odds` the policy's log likelihood ratios, bad then
    good for each point of its grid (empty where bets are used), with which the script advances the detector.
    kind "threshold": `n` and `bad` (summed badness) of the judged side, `control_n` and `control_bad` of the other.
    """

    policy: str
    kind: str
    n: int = 0
    bad: float = 0.0
    control_n: int = 0
    control_bad: float = 0.0
    bets: list[float] = msgspec.field(default_factory=list)
    events: list[EventGain] = msgspec.field(default_factory=list)
    odds: list[float] = msgspec.field(default_factory=list)


class CaseGain(msgspec.Struct, array_like=True, gc=False):
    """What a batch adds to one case. `weight` is the candidate's part of 10,000 under which it was decided.

    `candidate` and `control` count requests that the coin decided (rollout steps ask for a minimum of them).
    `met` names the units that the candidate met; `met_plain` counts its requests from nobody that was named.
    """

    case: str
    weight: int
    candidate: int = 0
    control: int = 0
    met_plain: int = 0
    met: list[str] = msgspec.field(default_factory=list)
    policies: list[PolicyGain] = msgspec.field(default_factory=list)


class ScoreGain(msgspec.Struct, array_like=True, gc=False):
    """One score's additions, made only if `key` is new."""

    key: str
    series: dict[str, dict[str, float]]
    cases: list[CaseGain] = msgspec.field(default_factory=list)


class Batch(msgspec.Struct, array_like=True, gc=False):
    """One flush: counted once, however often it is sent, by (worker, number).

    `series` are additions to the totals and to the current minute, by subject and measure (policies/series.py). `requests`:
    what answered, then the requests that it answered, `id/seconds since it was decided/unit`, separated by blanks.
    `breakers`: by `route|target`, calls and failures of this worker's breakers since its last batch.
    """

    worker: str
    number: int
    series: dict[str, dict[str, float]] = msgspec.field(default_factory=dict)
    cases: list[CaseGain] = msgspec.field(default_factory=list)
    requests: list[tuple[str, str]] = msgspec.field(default_factory=list)
    scores: list[ScoreGain] = msgspec.field(default_factory=list)
    breakers: dict[str, tuple[int, int]] = msgspec.field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Event:
    """Bad events of one kind: requests, then units."""

    candidate: float = 0.0
    control: float = 0.0
    candidate_units: float = 0.0
    control_units: float = 0.0


@dataclass(frozen=True, slots=True)
class Segment:
    """Counts taken under one weight. A segment closes when it is long (evidence.closes), or the weight changes, or the
    units that were counted are forgotten; `memory` numbers what is remembered of them."""

    weight: int
    n: int = 0
    bad: float = 0.0
    bets: tuple[float, ...] = ()
    events: tuple[Event, ...] = ()
    memory: int = 0


@dataclass(frozen=True, slots=True)
class Second:
    """The fleet's counts of one second of Redis' clock."""

    second: int
    n: int
    bad: float = 0.0
    bets: tuple[float, ...] = ()
    control_n: int = 0
    control_bad: float = 0.0


@dataclass(frozen=True, slots=True)
class PolicyCounts:
    """All that the fleet knows for one policy in one case.

    `thresholds` are the control's 50th, 90th and 99th percentile, fixed when the case began (empty: not known yet).
    `detector` is one Shiryaev–Roberts statistic for each point of the grid; `seconds` the latest finished seconds,
    oldest first (for a watch only when asked for, for `method: threshold` those of the window). `first` is the number
    of the first of `segments`, from 1: the latest are kept (evidence.SEGMENTS_KEPT).
    """

    segments: tuple[Segment, ...] = ()
    thresholds: tuple[float, ...] = ()
    detector: tuple[float, ...] = ()
    seconds: tuple[Second, ...] = ()
    first: int = 1

    @property
    def n(self) -> int:
        """Observations of the judged side, in the segments at hand."""
        return sum(segment.n for segment in self.segments)

    @property
    def bad(self) -> float:
        """Bad ones among them."""
        return sum(segment.bad for segment in self.segments)


NO_POLICIES: Mapping[str, PolicyCounts] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class CaseCounts:
    """All that the fleet knows of one case; times in milliseconds of Redis' clock.

    `candidate` and `control` count the requests that the coin decided at the present weight; `judged` all of the
    judged side since `since`. `units` are the different units that the candidate has met (counted up to 20).
    """

    since_ms: int = 0
    units: int = 0
    candidate: int = 0
    control: int = 0
    judged: int = 0
    policies: Mapping[str, PolicyCounts] = field(default_factory=lambda: NO_POLICIES)
