"""One simulated trial over the real engine: outcomes → observe → Tally → judge, until the brake is pulled.

Seeded, and without a clock: the same seed gives the same trial. One policy alone judges one candidate.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from random import Random
from typing import NamedTuple, Protocol

from policies.case import Case, Docket, Judged, RouteCases
from policies.counts import CaseGain
from policies.evidence import quantiles_of
from policies.judge import judge
from policies.observe import observe, observe_score
from policies.outcome import Blame, CostSource, Ending, How, Outcome, Release, Score
from policies.policy import MetricKind, Policy
from policies.tally import Tally
from policies.verdict import Standing

ROUTE = "bot"
CANDIDATE, CONTROL = Release("bot.prompt", "v7", 1), Release("bot.prompt", "v6", 1)
# A layer that is not judged here, with a trial of its own.
OTHER_CANDIDATE, OTHER_CONTROL = Release("bot.model", "m2", 1), Release("bot.model", "m1", 1)
# The control's requests before the trial, from which its quantiles are taken.
WARM = 1_000


class Drawn(NamedTuple):
    """One request. `value`: 1 for a failure, seconds, USD, a score; `other`: whether the other layer's coin fell
    to its candidate, None where there is none."""

    candidate: bool
    value: float
    unit: str = ""
    other: bool | None = None


class Traffic(Protocol):
    """What requests come, and how they go."""

    def requests(self, rng: Random, share: float) -> Iterator[Drawn]:
        """Without end; the coin gives the candidate `share` of them."""
        ...


@dataclass(frozen=True)
class Errors:
    """Failures at a constant rate in each arm."""

    control: float
    candidate: float

    def requests(self, rng: Random, share: float) -> Iterator[Drawn]:
        while True:
            candidate = rng.random() < share
            yield Drawn(candidate, float(rng.random() < (self.candidate if candidate else self.control)))


@dataclass(frozen=True)
class Outage:
    """Both arms alike: a healthy rate, and a span of requests in which most of them fail."""

    healthy: float = 0.01
    broken: float = 0.6
    begin: int = 4_000
    length: int = 500

    def requests(self, rng: Random, share: float) -> Iterator[Drawn]:
        number = 0
        while True:
            rate = self.broken if self.begin <= number < self.begin + self.length else self.healthy
            yield Drawn(rng.random() < share, float(rng.random() < rate))
            number += 1


@dataclass(frozen=True)
class DeadNeighbour:
    """Both arms alike; but another layer's candidate, at a tenth of the requests, fails every one."""

    healthy: float = 0.01
    part: float = 0.1

    def requests(self, rng: Random, share: float) -> Iterator[Drawn]:
        while True:
            other = rng.random() < self.part
            yield Drawn(rng.random() < share, float(other or rng.random() < self.healthy), other=other)


@dataclass(frozen=True)
class Users:
    """Sticky users whose activity is heavy-tailed (Pareto); a few fail often, whichever version they are given."""

    users: int = 2_000
    tail: float = 1.2
    unlucky: float = 0.05
    fails_often: float = 0.5
    fails_rarely: float = 0.01

    def requests(self, rng: Random, share: float) -> Iterator[Drawn]:
        # A user keeps its bucket, and its luck.
        draws = [(rng.random() < share, rng.random() < self.unlucky) for _ in range(self.users)]
        activity = list(accumulate(rng.paretovariate(self.tail) for _ in range(self.users)))
        while True:
            (user,) = rng.choices(range(self.users), cum_weights=activity)
            candidate, unlucky = draws[user]
            rate = self.fails_often if unlucky else self.fails_rarely
            yield Drawn(candidate, float(rng.random() < rate), f"u{user}")


@dataclass(frozen=True)
class Latency:
    """Lognormal seconds; the candidate `times` slower, in all or only in a `part` of its requests."""

    times: float
    part: float = 1.0
    sigma: float = 0.6

    def requests(self, rng: Random, share: float) -> Iterator[Drawn]:
        while True:
            candidate = rng.random() < share
            slow = candidate and rng.random() < self.part
            yield Drawn(candidate, math.exp(rng.gauss(0.0, self.sigma)) * (self.times if slow else 1.0))


@dataclass(frozen=True)
class Cost:
    """Lognormal USD of mean `both` and sigma 1; the candidate `times` dearer."""

    times: float
    both: float = 1.0

    def requests(self, rng: Random, share: float) -> Iterator[Drawn]:
        while True:
            candidate = rng.random() < share
            yield Drawn(
                candidate, self.both * math.exp(rng.gauss(-0.5, 1.0)) * (self.times if candidate else 1.0)
            )


@dataclass(frozen=True)
class Quality:
    """Beta scores with a mean in each arm; `spread` is the sum of Beta's two parameters."""

    control: float
    candidate: float
    spread: float = 9.0

    def requests(self, rng: Random, share: float) -> Iterator[Drawn]:
        while True:
            candidate = rng.random() < share
            mean = self.candidate if candidate else self.control
            yield Drawn(candidate, rng.betavariate(mean * self.spread, (1.0 - mean) * self.spread))


@dataclass(frozen=True)
class Scene:
    """What is simulated: one policy, its traffic, the candidate's part of 10,000, and when to give up."""

    name: str
    policy: Policy
    traffic: Traffic
    weight: int
    # All requests, of both arms.
    most: int
    # The median of candidate requests to fire that notes/evidence.md tells; None: it must not fire.
    expected: float | None = None


def fires(scene: Scene, seed: int) -> int | None:
    """The candidate's requests until the brake is pulled; None when it never was."""
    rng = Random(f"{scene.name}/{scene.weight}/{seed}")
    thresholds = quantiles(scene, rng)
    docket, tally = docket_of(scene), Tally(key_of(CANDIDATE))
    case = docket.cases[tally.case_key]
    tally.fix(scene.policy.id, thresholds)
    pending: list[Drawn] = []
    seen = 0
    for number, drawn in enumerate(scene.traffic.requests(rng, scene.weight / 10_000)):
        pending.append(drawn)
        seen += drawn.candidate
        # No test gains by a good observation: those are observed together with the next bad one.
        if drawn.candidate and tells(scene.policy, drawn.value, thresholds):
            for gain in gains(scene, pending, docket, thresholds):
                if gain.case == case.key:
                    tally.add(gain, 0)
            pending.clear()
            if judge(case, scene.policy, tally.counts, 0).standing is Standing.BREACHED:
                return seen
        if number >= scene.most:
            break
    return None


def quantiles(scene: Scene, rng: Random) -> tuple[float, ...]:
    """The control's, from its last requests before the trial."""
    wanted = quantiles_of(scene.policy)
    if not wanted:
        return ()
    control = scene.traffic.requests(rng, 0.0)
    values = sorted(next(control).value for _ in range(WARM))
    return tuple(values[int(q * WARM)] for q in wanted)


def tells(policy: Policy, value: float, thresholds: Sequence[float]) -> bool:
    """Whether a candidate's observation can bring a breach nearer."""
    match policy.metric.kind:
        case MetricKind.ERROR:
            return value > 0.5
        case MetricKind.SECONDS:
            return value > (min(thresholds) if thresholds else policy.limit or 0.0)
        case MetricKind.COST:
            return value > (policy.limit or 0.0)
        case _:
            return value < (policy.limit or 1.0)


def gains(
    scene: Scene, drawn: Sequence[Drawn], docket: Docket, thresholds: Sequence[float]
) -> Iterator[CaseGain]:
    """What the requests are evidence of, by the real rules."""
    if scene.policy.metric.kind is MetricKind.SCORE:
        for each in drawn:
            yield from observe_score(score_of(scene.policy, each), docket)
    else:
        kind = scene.policy.metric.kind
        yield from observe(
            [outcome_of(kind, each) for each in drawn], docket, lambda case, policy: thresholds
        )


def outcome_of(kind: MetricKind, drawn: Drawn) -> Outcome:
    """The Outcome of a request."""
    failed = kind is MetricKind.ERROR and drawn.value > 0.5
    other = () if drawn.other is None else (OTHER_CANDIDATE if drawn.other else OTHER_CONTROL,)
    releases = (CANDIDATE if drawn.candidate else CONTROL, *other)
    return Outcome(
        request_id="",
        route=ROUTE,
        releases=releases,
        ending=Ending.FAILED if failed else Ending.OK,
        blame=Blame.UPSTREAM if failed else Blame.NONE,
        status=502 if failed else 200,
        seconds=drawn.value if kind is MetricKind.SECONDS else 1.0,
        cost_usd=drawn.value if kind is MetricKind.COST else None,
        cost_source=CostSource.CONFIG,
        how=How.COIN.value * len(releases),
        revision=1,
        unit=drawn.unit,
    )


def score_of(policy: Policy, drawn: Drawn) -> Score:
    """The Score of a request."""
    release = CANDIDATE if drawn.candidate else CONTROL
    return Score("", ROUTE, (release,), How.COIN.value, drawn.unit, policy.metric.name, drawn.value)


def docket_of(scene: Scene) -> Docket:
    """The scene's candidate on trial, and the other layer's."""
    policies = (scene.policy,)
    trials = {
        subject.flag: Judged(
            Case(key_of(subject), subject, control, weight, 1, policies, (ROUTE,)),
            policies,
        )
        for subject, control, weight in (
            (CANDIDATE, CONTROL, scene.weight),
            (OTHER_CANDIDATE, OTHER_CONTROL, 1_000),
        )
    }
    cases = {judged.case.key: judged.case for judged in trials.values()}
    return Docket(cases, {ROUTE: RouteCases(trials, ())}, {scene.policy.name: scene.policy})


def key_of(release: Release) -> str:
    """The case's key."""
    return f"{release.flag}/{release.variant}/{release.generation}"
