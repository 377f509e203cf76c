"""Builders of outcomes, cases and policies for the tests of observation: one candidate, v7, against its control, v6."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from policies.case import Case, Docket, Judged, RouteCases, key_of
from policies.counts import CaseGain, PolicyGain
from policies.observe import observe
from policies.outcome import Blame, Ending, Outcome, Part, Release
from policies.policy import (
    COST,
    ERROR_RATE,
    LATENCY,
    TTFT,
    Method,
    Metric,
    MetricKind,
    Policy,
)

CANDIDATE, CONTROL = Release("bot.prompt", "v7", 2), Release("bot.prompt", "v6", 1)
MODEL = Release("bot.model", "m1", 1)
ERRORS = Policy("errors", ERROR_RATE, limit=0.05, times_safe=2)
SLOW = Policy("slow", LATENCY, limit=2.0)
SLOWER = Policy("slower", LATENCY, times_safe=1.5)
FIRST = Policy("first", TTFT, limit=1.0)
DEAR = Policy("dear", COST, limit=0.01)
DEARER = Policy("dearer", COST, times_safe=1.5)
HELPFUL = Metric("helpful", MetricKind.SCORE, higher_is_better=True, boolean=True)
STARS = Metric("stars", MetricKind.SCORE, higher_is_better=True, low=1, high=5)
PLAIN_SLOWER = Policy("plain", LATENCY, times_safe=1.5, method=Method.THRESHOLD)
REVISION = 9
QUANTILES = {SLOWER.id: (1.0, 2.0, 4.0), DEARER.id: (0.001, 0.01, 0.1), PLAIN_SLOWER.id: (2.0,)}


def trial(*policies: Policy, weight: int = 1000) -> Docket:
    """v7 on trial at 10 %."""
    case = Case(key_of(CANDIDATE), CANDIDATE, CONTROL, weight, REVISION, policies, ("bot",))
    routes = {"bot": RouteCases({CANDIDATE.flag: Judged(case, policies)}, ())}
    return Docket({case.key: case}, routes, {})


def watch(*policies: Policy, subject: Release | None = MODEL, beside: Docket | None = None) -> Docket:
    """The model is watched (None: the route), with or without v7 on trial."""
    key = "route/bot" if subject is None else key_of(subject)
    case = Case(key, subject, None, 0, 0 if subject is None else REVISION, policies, ("bot",))
    tried = {} if beside is None else beside.routes["bot"].trials
    cases = {} if beside is None else beside.cases
    return Docket({**cases, key: case}, {"bot": RouteCases(tried, (Judged(case, policies),))}, {})


def an_outcome(release: Release = CANDIDATE, **fields: object) -> Outcome:
    """A good answer in one second, the prompt by the coin, to nobody that was named."""
    usual: dict[str, object] = {
        "request_id": "r1",
        "route": "bot",
        "releases": (release, MODEL),
        "ending": Ending.OK,
        "blame": Blame.NONE,
        "status": 200,
        "seconds": 1.0,
        "first_content_seconds": 0.5,
        "how": "cd",
        "revision": REVISION,
    }
    return Outcome(**{**usual, **fields})  # type: ignore[arg-type]  # fields by name


def a_failure(release: Release = CANDIDATE, **fields: object) -> Outcome:
    """The upstream failed."""
    return an_outcome(release, **{"ending": Ending.FAILED, "blame": Blame.UPSTREAM, "status": 500, **fields})


def tried(**fields: object) -> Outcome:
    """The candidate failed, and its control stood in: only what was on trial is named."""
    return a_failure(CANDIDATE, **{"releases": (CANDIDATE,), "how": "c", "part": Part.TRIED, **fields})


def hung_up(release: Release = CANDIDATE, **fields: object) -> Outcome:
    """The client left."""
    return an_outcome(release, **{"ending": Ending.ABANDONED, "blame": Blame.CLIENT, "status": 499, **fields})


def gain_of(docket: Docket, *outcomes: Outcome) -> CaseGain | None:
    """What the one case gains."""
    return only(observe(outcomes, docket, lambda case, policy: QUANTILES.get(policy, ())))


def only(gains: Iterable[CaseGain]) -> CaseGain | None:
    """The one gain, or none."""
    found = list(gains)
    assert len(found) < 2
    return found[0] if found else None


def policy_gain(docket: Docket, *outcomes: Outcome) -> PolicyGain:
    """What the one policy of the one case gains; an empty gain where that is nothing."""
    gain = gain_of(docket, *outcomes)
    return gain.policies[0] if gain and gain.policies else PolicyGain("", "")


def masses(gain: PolicyGain) -> Sequence[tuple[float, float]]:
    """Of each event the candidate's and the control's mass."""
    return [(event.candidate, event.control) for event in gain.events]
