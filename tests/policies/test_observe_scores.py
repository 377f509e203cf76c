"""What a score is evidence of, when it comes and about whom."""

from __future__ import annotations

from dataclasses import replace

import pytest

from flags.model import Flag, Layer, Rollout, Variant
from policies import evidence
from policies.case import Docket, Judged, RouteCases, docket_of
from policies.counts import CaseGain, PolicyGain
from policies.observe import observe_score
from policies.outcome import Release, Score
from policies.policy import ACCURACY, Policy, policies_in
from tests.policies.observed import CANDIDATE, HELPFUL, MODEL, STARS, masses, only, trial


def heard(policy: Policy, value: float, docket: Docket | None = None, **fields: object) -> CaseGain | None:
    usual: dict[str, object] = {
        "key": "k", "route": "bot", "releases": (CANDIDATE, MODEL), "how": "cd", "unit": "ann",
        "metric": policy.metric.name, "value": value, "decided_at": 100,
    }  # fmt: skip
    score = Score(**{**usual, **fields})  # type: ignore[arg-type]  # fields by name
    return only(observe_score(score, docket or trial(policy)))


def counted(policy: Policy, value: float) -> PolicyGain:
    gain = heard(policy, value)
    assert gain is not None
    assert gain.candidate == gain.met_plain == 0  # a score is no request
    return gain.policies[0]


def test_a_boolean_score_is_a_failure_or_none() -> None:
    policy = Policy("p", HELPFUL, limit=0.9)
    bad, good = counted(policy, 0), counted(policy, 1)

    assert (bad.n, bad.bad, masses(bad)) == (1, 1, [(1, 0)])
    assert (good.n, good.bad, masses(good)) == (1, 0, [(0, 0)])


def test_a_number_is_as_bad_as_it_lies_in_its_range() -> None:
    relative, absolute = Policy("p", STARS, times_safe=1.5), Policy("p", STARS, limit=4)
    gain = counted(relative, 2)

    assert (gain.bad, masses(gain)) == (0.75, [(0.75, 0)])
    assert gain.events[0].candidate_units == ["ann", 0.75]
    assert counted(absolute, 2).bets == pytest.approx(evidence.bets(0.75, 0.25))


def test_of_another_metric_route_or_life_it_is_no_evidence() -> None:
    policy = Policy("p", ACCURACY, times_safe=1.5)

    assert heard(policy, 0, metric="other") is None
    assert heard(policy, 0, route="other") is None
    assert heard(policy, 0, how="pd") is None
    assert heard(policy, 0, releases=(Release("bot.prompt", "v7", 1), MODEL)) is None


def test_of_a_decision_from_before_the_flags_last_change_it_is_no_evidence() -> None:
    """The candidate's share was another then."""
    policy = Policy("p", ACCURACY, times_safe=1.5)
    docket = since(101, trial(policy))

    assert heard(policy, 0, docket, decided_at=100) is None
    assert heard(policy, 0, docket, decided_at=101) is not None


def since(second: int, docket: Docket) -> Docket:
    (case,) = docket.cases.values()
    case = replace(case, since=second)
    routes = {"bot": RouteCases({CANDIDATE.flag: Judged(case, case.policies)}, ())}
    return Docket({case.key: case}, routes, {})


@pytest.mark.parametrize(
    ("changed_at", "since"),
    [("1970-01-01T00:01:40.500Z", 101), ("1970-01-01T00:01:40Z", 100), ("", 0), ("soon", 0)],
)
def test_a_case_hears_scores_from_the_first_whole_second_after_its_flags_change(
    changed_at: str, since: int
) -> None:
    """A token tells whole seconds only."""
    variants = {name: Variant(name, name) for name in ("v6", "v7")}
    flag = Flag("bot.prompt", variants, "v6", "v6", rollout=Rollout("v7", 10), changed_at=changed_at)
    docket = docket_of({flag.key: flag}, {"bot": {Layer.PROMPT: flag.key}}, policies_in({}, {}))

    assert docket.cases["bot.prompt/v7/1"].since == since
