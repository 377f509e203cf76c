"""The simulation's shortcuts change nothing, and its failures are those that the request path tells."""

from __future__ import annotations

import math
from itertools import islice
from random import Random

import pytest

from policies.case import key_of
from policies.counts import Second
from policies.evidence import advance, odds
from policies.observe import observe
from policies.outcome import Part
from policies.policy import ERROR_RATE, MetricKind, Policy
from policies.tally import Tally
from tests.bench.nulls import NEEDED, Watched, ladder_of, likelihoods, pairs_ever
from tests.bench.traffic import Drawn, Errors, Traffic, Users
from tests.bench.trial import (
    CANDIDATE,
    Clean,
    Scene,
    Shielding,
    docket_of,
    failure_of,
    fires,
    outcome_of,
)

LIMIT = (Policy("limit", ERROR_RATE, limit=0.05),)
DEAD, SHARED = Drawn(candidate=True, value=1.0), Drawn(candidate=True, value=1.0, again=True)


@pytest.mark.parametrize("traffic", [Errors(0.3, 0.4), Users(users=40)])
@pytest.mark.parametrize("count", [1, 60, 700])
def test_good_requests_that_are_only_counted_are_those_that_are_observed(
    traffic: Traffic, count: int
) -> None:
    scene = Scene("", LIMIT, traffic, 3_000, 0)
    docket, case = docket_of(scene), docket_of(scene).cases[key_of(CANDIDATE)]
    drawn = [*islice(traffic.requests(Random(1), 0.3), count)]
    failures = [failure_of(each, tried=each.candidate) for each in drawn if each.value]
    good = [outcome_of(each, MetricKind.ERROR) for each in drawn if not each.value]
    idle = [outcome_of(Drawn(candidate=False, value=0.0), MetricKind.ERROR)] * sum(
        each.idle for each in drawn
    )
    clean = Clean()
    for each in drawn:
        clean.note(each) if not each.value else clean.pass_over(each.idle)
    whole, counted = Tally(case.key), Tally(case.key)
    for gain in observe([*failures, *good, *idle], docket, lambda case, policy: ()):
        whole.add(gain, 0)
    for gain in clean.onto(observe(failures, docket, lambda case, policy: ()), case, LIMIT):
        counted.add(gain, 0)

    assert counted.counts == whole.counts


def test_requests_that_are_passed_over_are_as_many_as_there_would_be() -> None:
    drawn = [*islice(Errors(0.02, 0.5).requests(Random(2), 0.1), 40_000)]
    requests = len(drawn) + sum(each.idle for each in drawn)
    candidates = sum(each.candidate for each in drawn)

    assert candidates / requests == pytest.approx(0.1, rel=0.03)
    assert sum(each.candidate and each.value for each in drawn) / candidates == pytest.approx(0.5, rel=0.03)
    assert (len(drawn) - candidates) / (requests - candidates) == pytest.approx(0.02, rel=0.1)


def test_a_failure_that_the_control_answers_is_tried_and_one_that_it_shares_is_excused() -> None:
    shield = Shielding()

    told = [shield.outcome(each, 0.0) for each in (DEAD, SHARED)]

    assert [(each.part, each.excused) for each in told] == [(Part.TRIED, False), (Part.TRIED, True)]


def test_what_is_excused_while_the_shield_rests_counts_neither_way() -> None:
    docket = docket_of(Scene("", LIMIT, Errors(0.1, 0.1), 1_000, 0))
    excused = [failure_of(Drawn(candidate, 1.0), excused=True) for candidate in (True, False)]

    assert observe(excused, docket, lambda case, policy: ()) == []


def test_after_ten_shared_failures_the_shield_rests_and_both_arms_are_excused() -> None:
    shield = Shielding()
    for _ in range(10):
        shield.outcome(SHARED, 0.0)

    told = [shield.outcome(Drawn(candidate, 1.0), 9.9) for candidate in (True, False)]

    assert [(each.part, each.excused) for each in told] == [(Part.WHOLE, True)] * 2
    assert shield.outcome(DEAD, 10.0).part is Part.TRIED


def test_what_broke_in_midstream_nobody_answers_for_it() -> None:
    told = Shielding().outcome(DEAD._replace(midstream=True), 0.0)

    assert (told.part, told.excused) == (Part.WHOLE, False)


def test_the_same_seed_gives_the_same_trial() -> None:
    scene = Scene("dead", LIMIT, Errors(0.01, 1.0), 1_000, 2_000)

    assert [fires(scene, 7), fires(scene, 7)] == [fires(scene, 7)] * 2


def test_a_second_of_the_detector_multiplies_as_the_engine_does() -> None:
    watched = Watched(0.05, 10)
    held = (3.0,) * 8

    for bad, factors in enumerate(likelihoods(watched)):
        told = advance(held, Second(0, 10, float(bad)), odds(0.05))
        assert told == pytest.approx(
            [(old + 1.0) * factor for old, factor in zip(held, factors, strict=True)]
        )
    assert ladder_of(watched)[0] == pytest.approx(0.95**10)


def test_pairs_at_their_null_reach_the_brake_with_less_than_alpha() -> None:
    assert 0.001 < pairs_ever(0.5, 400) <= math.exp(-NEEDED)
    assert pairs_ever(0.0, 50) == 0.0
