"""One simulated trial over the real engine: outcomes → observe → Tally → weigh, until the brake is pulled.

Seeded, and without a clock: the same seed gives the same trial. Failures are told as the request path tells them:
before the first content the shield asks the control, which excuses what it fails as well.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random

from gateway.shield import FAILURES_IN_A_ROW, REST_SECONDS
from policies.buckets import bucket
from policies.case import Case, Docket, Judged, RouteCases, key_of
from policies.counts import CaseGain, EventGain, PolicyGain
from policies.evidence import bound, events_of, log_t1, quantiles_of
from policies.exhibit import exhibit_of
from policies.judge import weigh
from policies.observe import observe, observe_score
from policies.outcome import Blame, CostSource, Ending, How, Outcome, Part, Release, Score
from policies.policy import COST, LATENCY, TTFT, MetricKind, Policy
from policies.tally import UNITS_ENOUGH, Tally
from policies.thresholds import above
from policies.verdict import Standing
from tests.bench.traffic import Drawn, Traffic

ROUTE = "bot"
CANDIDATE, CONTROL = Release("bot.prompt", "v7", 1), Release("bot.prompt", "v6", 1)
# A layer that is not judged here, with a trial of its own.
OTHER_CANDIDATE, OTHER_CONTROL = Release("bot.model", "m2", 1), Release("bot.model", "m1", 1)
# The control's requests before the trial, from which its quantiles are taken.
WARM = 1_000
# Requests a second: the shield's rest is told in seconds, and what has no failure in it is flushed every 250 ms.
PER_SECOND = 200
FLUSH = PER_SECOND // 4
# Of which metrics Drawn.spent tells, in its order.
SPENT = (LATENCY, TTFT, COST)


@dataclass(frozen=True)
class Scene:
    """What is simulated: policies, their traffic, the candidate's part of 10,000, and when to give up."""

    name: str
    policies: tuple[Policy, ...]
    traffic: Traffic
    weight: int
    # All requests, of both arms.
    most: int
    # The median of candidate requests to fire that notes/evidence.md tells; None: it tells none.
    expected: float | None = None
    # The request from which on the candidate's are counted: before, it was healthy.
    since: int = 0


def fires(scene: Scene, seed: int) -> int | None:
    """The candidate's requests (from `since` on) until the brake is pulled; None when it never was."""
    rng = Random(f"{scene.name}/{scene.weight}/{seed}")
    court = Court(scene, rng)
    number = seen = 0
    for drawn in scene.traffic.requests(rng, scene.weight / 10_000):
        number += drawn.idle
        if number >= scene.most:
            return None
        seen += drawn.candidate and number >= scene.since
        if court.hears(drawn, number):
            return seen
        number += 1
    return None


@dataclass
class Shielding:
    """What gateway.shield does with a failure. What changes here: its run of failures, and until when it rests."""

    failures: int = 0
    until: float = 0.0

    def outcome(self, drawn: Drawn, now: float) -> Outcome:
        """What is recorded of a request that failed, `now` in seconds."""
        if drawn.midstream:
            return failure_of(drawn)
        if now < self.until:
            return failure_of(drawn, excused=True)
        if not (drawn.candidate or drawn.other):
            return failure_of(drawn)
        self.failures = self.failures + 1 if drawn.again else 0
        if self.failures >= FAILURES_IN_A_ROW:
            self.until = now + REST_SECONDS
        return failure_of(drawn, excused=drawn.again, tried=True)


@dataclass
class Clean:
    """Requests without a failure, of which a policy of errors needs only how many there were, and who of those that
    the candidate answered was new. What changes here: both."""

    candidate: int = 0
    control: int = 0
    plain: int = 0
    met: set[str] = field(default_factory=set)

    def note(self, drawn: Drawn) -> None:
        """One more, and those of the control before it."""
        self.pass_over(drawn.idle + (not drawn.candidate))
        if drawn.candidate:
            self.candidate += 1
            self.plain += not drawn.unit
            if drawn.unit and len(self.met) < UNITS_ENOUGH:
                self.met.add(drawn.unit)

    def pass_over(self, control: int) -> None:
        """So many of the control, and no more is known of them."""
        self.control += control

    def onto(self, gains: Sequence[CaseGain], case: Case, policies: Sequence[Policy]) -> list[CaseGain]:
        """What `observe` would have found, had these been among its outcomes: test_trial.py compares."""
        if not (self.candidate or self.control):
            return list(gains)
        found = next((gain for gain in gains if gain.case == case.key), CaseGain(case.key, case.weight))
        if self.candidate and not found.policies:
            found.policies = [nothing(policy) for policy in policies]
        found.candidate += self.candidate
        found.control += self.control
        found.met_plain += self.plain
        found.met = sorted({*found.met, *self.met})[:UNITS_ENOUGH]
        for each in found.policies:
            each.n += self.candidate
        return [*(gain for gain in gains if gain is not found), found]


def nothing(policy: Policy) -> PolicyGain:
    """A trial's gain without an observation."""
    return PolicyGain(policy.id, "trial", events=[EventGain() for _ in events_of(policy)])


class Court:
    """The one case, its evidence, and who judges it. What changes here: what was heard, and what is still to be added.

    Observed is as the gauge does it: what has waited for 250 ms, and at once what could pull the brake.
    """

    def __init__(self, scene: Scene, rng: Random) -> None:
        self._policies = scene.policies
        self._thresholds = {policy.id: quantiles(scene, policy, rng) for policy in scene.policies}
        self._docket, self._tally = docket_of(scene), Tally(key_of(CANDIDATE))
        self._case = self._docket.cases[self._tally.case_key]
        for policy, thresholds in self._thresholds.items():
            self._tally.fix(policy, thresholds)
        self._absolute = absolute(self._case, self._policies)
        self._shield = Shielding()
        self._outcomes: list[Outcome] = []
        self._scores: list[Score] = []
        self._clean = Clean()
        self._due, self._telling = FLUSH, False

    def hears(self, drawn: Drawn, number: int) -> bool:
        """Whether the brake is pulled by this request; `number` came before it."""
        if number >= self._due:
            self._due = number + FLUSH
            if self._flush():
                return True
        self._note(drawn, number / PER_SECOND)
        # Of what has everything only a failure is flushed at once.
        return self._telling and (drawn.spent is None or drawn.value > 0.5) and self._flush()

    def _note(self, drawn: Drawn, now: float) -> None:
        match self._policies[0].metric.kind:
            case MetricKind.SCORE:
                self._scores.append(score_of(self._policies[0], drawn))
                self._telling |= self._tells(drawn)
            case MetricKind.ERROR if drawn.value > 0.5:
                self._clean.pass_over(drawn.idle)
                outcome = self._shield.outcome(drawn, now)
                # What is excused while the shield rests counts neither way; test_trial.py holds observe to it.
                if drawn.spent is not None or outcome.part is Part.TRIED or not outcome.excused:
                    self._outcomes.append(outcome)
                    self._telling |= drawn.candidate and not outcome.excused
            case MetricKind.ERROR if drawn.spent is None:
                self._clean.note(drawn)
            case kind:
                self._outcomes.append(outcome_of(drawn, kind))
                self._telling |= self._tells(drawn)

    def _tells(self, drawn: Drawn) -> bool:
        """Whether a candidate's observation of another metric than errors can bring a breach nearer."""
        if not drawn.candidate or drawn.spent is not None:
            return drawn.candidate
        policy = self._policies[0]
        if policy.metric.kind is MetricKind.SCORE:
            return drawn.value < (policy.limit or 1.0)
        limit = math.inf if policy.limit is None else policy.limit
        bounds = (each * (policy.times_safe or 1.0) for each in self._thresholds[policy.id])
        return drawn.value > min([limit, *bounds])

    def _flush(self) -> bool:
        """Add what is pending; whether any policy's bound is breached then."""
        gains = observe(self._outcomes, self._docket, lambda case, policy: self._thresholds[policy])
        for score in self._scores:
            gains += observe_score(score, self._docket)
        gains = self._clean.onto(gains, self._case, self._policies)
        for gain in gains:
            if gain.case == self._case.key:
                self._tally.add(gain, 0)
        told, self._telling = self._telling, False
        self._outcomes, self._scores, self._clean = [], [], Clean()
        return told and self._breached()

    def _breached(self) -> bool:
        counts = self._tally.counts
        if self._absolute is not None:
            # A limit's tests must all pass: where the first does not, the others need not be asked.
            p0, needed = self._absolute
            found = counts.policies[self._policies[0].id]
            if log_t1(found.segments, p0) < needed:
                return False
        rulings = (weigh(exhibit_of(self._case, policy, counts, 0), policy) for policy in self._policies)
        return any(ruling.standing is Standing.BREACHED for ruling in rulings)


def absolute(case: Case, policies: Sequence[Policy]) -> tuple[float, float] | None:
    """What T1 is about, and what it must reach, where a limit on errors is all that is judged."""
    policy, *others = policies
    if (
        others
        or policy.metric.kind is not MetricKind.ERROR
        or policy.limit is None
        or policy.times_safe is not None
    ):
        return None
    return bound(policy), -math.log(policy.alpha * case.share(policy))


def quantiles(scene: Scene, policy: Policy, rng: Random) -> tuple[float, ...]:
    """The control's, from its last requests before the trial, by the histograms that the gateway keeps."""
    wanted = quantiles_of(policy)
    if not wanted:
        return ()
    control = scene.traffic.requests(rng, 0.0)
    buckets = Counter(bucket(value_of(policy, next(control))) for _ in range(WARM))
    return tuple(above(buckets, q) for q in wanted)


def value_of(policy: Policy, drawn: Drawn) -> float:
    """What a policy of seconds or USD observes of a request."""
    return drawn.value if drawn.spent is None else drawn.spent[SPENT.index(policy.metric)]


def outcome_of(drawn: Drawn, kind: MetricKind) -> Outcome:
    """The Outcome of a request that went well."""
    seconds, first, usd = drawn.spent or (1.0, 1.0, None)
    return Outcome(
        request_id="",
        route=ROUTE,
        releases=(releases := releases_of(drawn)),
        ending=Ending.OK,
        blame=Blame.NONE,
        status=200,
        seconds=drawn.value if kind is MetricKind.SECONDS else seconds,
        first_content_seconds=first,
        cost_usd=drawn.value if kind is MetricKind.COST else usd,
        cost_source=CostSource.CONFIG,
        how=How.COIN.value * len(releases),
        revision=1,
        unit=drawn.unit,
    )


def failure_of(drawn: Drawn, *, excused: bool = False, tried: bool = False) -> Outcome:
    """The Outcome of a request that failed; `tried`: the shield asked the control, as gateway.shield.tried_of tells."""
    releases = releases_of(drawn)
    return Outcome(
        request_id="",
        route=ROUTE,
        releases=releases,
        ending=Ending.FAILED,
        blame=Blame.UPSTREAM,
        status=502,
        # It failed when its first content was due.
        seconds=drawn.spent[1] if drawn.spent else 1.0,
        how="".join(
            How.BESIDE if tried and each in (CONTROL, OTHER_CONTROL) else How.COIN for each in releases
        ),
        revision=1,
        unit=drawn.unit,
        part=Part.TRIED if tried else Part.WHOLE,
        excused=excused,
    )


def releases_of(drawn: Drawn) -> tuple[Release, ...]:
    """What was asked first."""
    other = () if drawn.other is None else (OTHER_CANDIDATE if drawn.other else OTHER_CONTROL,)
    return (CANDIDATE if drawn.candidate else CONTROL, *other)


def score_of(policy: Policy, drawn: Drawn) -> Score:
    """The Score of a request."""
    release = CANDIDATE if drawn.candidate else CONTROL
    return Score("", ROUTE, (release,), How.COIN.value, drawn.unit, policy.metric.name, drawn.value)


def docket_of(scene: Scene) -> Docket:
    """The scene's candidate on trial, and the other layer's."""
    trials = {
        subject.flag: Judged(
            Case(key_of(subject), subject, control, weight, 1, scene.policies, (ROUTE,)),
            scene.policies,
        )
        for subject, control, weight in (
            (CANDIDATE, CONTROL, scene.weight),
            (OTHER_CANDIDATE, OTHER_CONTROL, 1_000),
        )
    }
    cases = {judged.case.key: judged.case for judged in trials.values()}
    known = {policy.name: policy for policy in scene.policies}
    return Docket(cases, {ROUTE: RouteCases(trials, ())}, known)
