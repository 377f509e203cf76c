"""What is evidence of what: whose fault, whose coin, which hang-up, and what is none."""

from __future__ import annotations

import math
from itertools import chain

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies import evidence
from policies.case import EMPTY
from policies.observe import failed, observe, value_of
from policies.outcome import Blame, Ending, How, Outcome, Part, Release
from policies.policy import ERROR_RATE, Method, Policy
from policies.tally import Tally
from tests.policies.observed import (
    CANDIDATE,
    CONTROL,
    DEAR,
    DEARER,
    ERRORS,
    FIRST,
    MODEL,
    PLAIN_SLOWER,
    QUANTILES,
    REVISION,
    SLOW,
    SLOWER,
    a_failure,
    an_outcome,
    gain_of,
    hung_up,
    masses,
    only,
    policy_gain,
    trial,
    tried,
    watch,
)

ALL = (ERRORS, SLOW, SLOWER, FIRST, DEAR, DEARER)


class TestWhoseFault:
    def test_a_failure_of_upstream_or_version_is_bad(self) -> None:
        assert failed(a_failure()) is True
        assert failed(a_failure(blame=Blame.RELEASE)) is True
        assert failed(an_outcome()) is False

    @pytest.mark.parametrize(
        "outcome",
        [
            a_failure(blame=Blame.CLIENT, status=400),
            a_failure(blame=Blame.GATEWAY),
            a_failure(excused=True),
            tried(excused=True, blame=Blame.CLIENT),
            hung_up(),
            an_outcome(ending=Ending.REFUSED, blame=Blame.CLIENT, status=400),
        ],
    )
    def test_a_failure_of_anybody_else_counts_neither_way(self, outcome: Outcome) -> None:
        gain = gain_of(trial(ERRORS), outcome)

        assert failed(outcome) is None
        assert gain is None

    @pytest.mark.parametrize(
        ("status", "blame"), [(400, Blame.CLIENT), (429, Blame.CLIENT), (503, Blame.GATEWAY)]
    )
    def test_a_candidate_that_fails_where_its_control_answers_is_charged_whatever_the_status(
        self, status: int, blame: Blame
    ) -> None:
        gain = policy_gain(trial(ERRORS), tried(status=status, blame=blame))

        assert (gain.n, gain.bad) == (1, 1)
        # A failure, and one that the control answered.
        assert masses(gain) == [(1, 0), (1, 0)]

    def test_only_where_the_control_was_asked_is_a_failure_a_pair(self) -> None:
        assert masses(policy_gain(trial(ERRORS), a_failure())) == [(1, 0), (0, 0)]

    def test_a_controls_stumble_is_bad_beside_a_candidate_that_has_no_second_attempt_and_nowhere_else(
        self,
    ) -> None:
        stumble = an_outcome(CONTROL, stumbled=True)

        assert masses(policy_gain(trial(ERRORS), stumble)) == [(0, 1), (0, 0)]
        assert policy_gain(watch(ERRORS), stumble).bad == 0
        assert masses(policy_gain(trial(ERRORS), an_outcome(stumbled=True))) == [(0, 0), (0, 0)]


class TestWhoseCoin:
    @pytest.mark.parametrize(
        ("how", "requests", "n", "events"),
        [("c", 1, 1, 1), ("t", 0, 1, 0), ("p", 0, 0, 0), ("d", 0, 0, 0), ("", 0, 0, 0)],
    )
    def test_a_candidate_is_judged_by_what_the_coin_gave_and_absolutely_by_what_targeting_gave(
        self, how: str, requests: int, n: int, events: int
    ) -> None:
        gain = gain_of(trial(ERRORS), a_failure(how=how))

        found = gain.policies[0] if gain else None
        assert (gain.candidate if gain else 0) == requests
        assert (found.n if found else 0) == n
        assert (found.events[0].candidate if found else 0) == events

    def test_a_control_is_heard_only_where_the_coin_gave_it(self) -> None:
        heard = gain_of(trial(ERRORS), a_failure(CONTROL))

        assert heard is not None
        assert (heard.candidate, heard.control) == (0, 1)
        assert masses(heard.policies[0]) == [(0, 1), (0, 0)]
        assert gain_of(trial(ERRORS), a_failure(CONTROL, how="td")) is None

    def test_another_life_of_the_same_version_is_no_evidence(self) -> None:
        assert gain_of(trial(ERRORS), a_failure(Release("bot.prompt", "v7", 1))) is None

    def test_what_was_decided_before_the_flags_last_change_is_no_evidence(self) -> None:
        assert gain_of(trial(ERRORS), a_failure(revision=REVISION - 1)) is None
        assert gain_of(trial(ERRORS), a_failure(revision=REVISION)) is not None

    def test_what_the_shield_answered_is_no_evidence(self) -> None:
        assert gain_of(trial(*ALL), a_failure(CONTROL, part=Part.SHIELD)) is None

    def test_without_cases_nothing_is_evidence(self) -> None:
        assert observe([a_failure()], EMPTY, lambda case, policy: ()) == []


class TestPairs:
    def test_a_failure_that_the_control_shared_is_no_observation_but_a_request_without_a_pair(self) -> None:
        """Or of two versions that fail half of the time a third of what is counted would be pairs, not a quarter."""
        gain = policy_gain(trial(ERRORS), tried(), tried(excused=True), tried(excused=True))

        pairs = gain.events[1]
        assert (gain.n, pairs.candidate, pairs.control) == (1, 1, 2)
        assert (pairs.plain_candidate, pairs.plain_control) == (1, 2)


class TestTwoTrialsOnOneRoute:
    """What one layer's candidate breaks it breaks for both arms of the other's trial."""

    NEIGHBOUR = Release("bot.model", "m2", 1)

    def broken_by_it(self, release: Release, how: str) -> Outcome:
        """The shield put the neighbour on its control, and all was well."""
        return tried(releases=(release, self.NEIGHBOUR), how=f"{how}c")

    def test_the_control_beside_a_tried_neighbour_is_charged_as_the_candidate_is(self) -> None:
        outcomes = [self.broken_by_it(CANDIDATE, "c")] * 3 + [self.broken_by_it(CONTROL, "b")] * 27

        bad = policy_gain(trial(ERRORS), *outcomes).events[0]

        assert (bad.candidate, bad.control) == (3, 27)

    def test_a_candidate_that_was_not_tried_alone_makes_no_pair(self) -> None:
        """Or the candidate would go because every request in which its neighbour is dead is mended by the shield."""
        pairs = policy_gain(trial(ERRORS), self.broken_by_it(CANDIDATE, "c"), tried()).events[1]

        assert pairs.candidate == 1

    def test_a_control_beside_makes_no_difference_to_a_pair(self) -> None:
        beside = tried(releases=(CANDIDATE, Release("bot.model", "m1", 1)), how="cb")

        assert policy_gain(trial(ERRORS), beside).events[1].candidate == 1


class TestWatch:
    @pytest.mark.parametrize(("how", "n"), [("c", 1), ("t", 1), ("d", 1), ("p", 0)])
    def test_hears_of_every_choice_but_a_pin(self, how: str, n: int) -> None:
        assert policy_gain(watch(ERRORS), a_failure(CONTROL, how=f"c{how}")).n == n

    def test_is_not_charged_with_what_another_layers_candidate_may_have_broken(self) -> None:
        """Or the served model would go because a prompt on trial is dead."""
        docket = watch(ERRORS, beside=trial(ERRORS))
        gain = only(
            each
            for each in observe([a_failure()] * 50, docket, lambda case, policy: ())
            if each.case == "bot.model/m1/1"
        )

        assert gain is None

    def test_a_route_with_nothing_to_go_back_to_is_watched_as_a_whole(self) -> None:
        gain = gain_of(watch(ERRORS, subject=None), a_failure(CONTROL), an_outcome(CONTROL))

        assert gain is not None
        assert (gain.case, gain.candidate) == ("route/bot", 2)
        assert (gain.policies[0].n, gain.policies[0].bad) == (2, 1)

    def test_a_watched_version_that_was_tried_is_charged(self) -> None:
        gain = policy_gain(watch(ERRORS), tried(releases=(MODEL,), how="d"))

        assert (gain.n, gain.bad) == (1, 1)

    def test_brings_the_detectors_odds_or_its_bets(self) -> None:
        assert policy_gain(watch(ERRORS), an_outcome()).odds == evidence.odds(0.05)
        told = policy_gain(watch(DEAR), an_outcome(cost_usd=0.02))
        assert told.odds == []
        assert told.bets == pytest.approx(evidence.bets(0.2, 0.1))
        assert told.bad == 0.02


class TestTime:
    def test_an_answer_beyond_the_limit_is_slow_and_one_at_it_is_not(self) -> None:
        gain = policy_gain(trial(SLOW), an_outcome(seconds=2.0), an_outcome(seconds=2.001))

        assert (gain.n, gain.bad) == (2, 1)
        assert masses(gain) == [(1, 0)]

    def test_a_hang_up_is_slow_only_where_the_bound_had_passed_already(self) -> None:
        gain = policy_gain(
            trial(SLOW), hung_up(seconds=2.0), hung_up(seconds=30.0), hung_up(CONTROL, seconds=30.0)
        )

        assert (gain.n, gain.bad) == (1, 1)
        assert masses(gain) == [(1, 1)]

    def test_a_candidate_that_hangs_is_charged_though_its_users_leave_and_the_shield_stands_in(self) -> None:
        gain = policy_gain(trial(SLOW), tried(seconds=30.0), tried(seconds=0.1))

        assert (gain.n, gain.bad) == (1, 1)

    def test_a_failure_is_slow_where_it_took_longer_than_the_bound_on_either_side_and_else_no_observation(
        self,
    ) -> None:
        late, soon = a_failure(seconds=30.0), a_failure(seconds=0.1)

        assert (policy_gain(trial(SLOW), late).n, policy_gain(trial(SLOW), late).bad) == (1, 1)
        assert gain_of(trial(SLOW), soon) is None or policy_gain(trial(SLOW), soon).n == 0
        assert masses(policy_gain(trial(SLOW), a_failure(CONTROL, seconds=30.0))) == [(0, 1)]

    def test_each_percentile_is_an_event_of_its_own_and_the_candidates_is_times_safe_times_as_far(
        self,
    ) -> None:
        times, thresholds = SLOWER.times_safe or 0.0, QUANTILES[SLOWER.id]
        values = [1.0, *(each * times for each in thresholds), thresholds[2] * times + 0.1]
        gain = policy_gain(trial(SLOWER), *(an_outcome(seconds=value) for value in values))
        control = policy_gain(trial(SLOWER), *(an_outcome(CONTROL, seconds=value) for value in values))

        assert masses(gain) == [(3, 0), (2, 0), (1, 0)]
        assert [mass for _, mass in masses(control)] == [4, 3, 2]
        assert (gain.n, gain.bad) == (5, 0)

    def test_until_the_controls_percentiles_are_known_nothing_is_relative(self) -> None:
        gain = observe([an_outcome(seconds=50.0)], trial(SLOWER), lambda case, policy: ())[0].policies[0]

        assert masses(gain) == [(0, 0)] * 3

    def test_first_content_counts_where_there_was_any_and_else_the_wait_for_it(self) -> None:
        gain = policy_gain(
            trial(FIRST),
            an_outcome(first_content_seconds=1.1, seconds=9.0),
            hung_up(first_content_seconds=0.2, seconds=9.0),
            hung_up(first_content_seconds=None, seconds=1.1),
            hung_up(first_content_seconds=None, seconds=0.9),
        )

        assert (gain.n, gain.bad) == (3, 2)

    def test_a_plain_threshold_takes_times_safe_of_the_controls_one_quantile(self) -> None:
        gain = policy_gain(trial(PLAIN_SLOWER), an_outcome(seconds=3.0), an_outcome(seconds=3.1))

        assert (gain.kind, gain.n, gain.bad, gain.events) == ("threshold", 2, 1, [])
        assert observe([an_outcome()], trial(PLAIN_SLOWER), lambda case, policy: ())[0].policies == []


class TestCost:
    def test_unknown_cost_is_not_zero(self) -> None:
        gain = policy_gain(trial(DEAR), an_outcome(cost_usd=None), an_outcome(cost_usd=0.0))

        assert gain.n == 1

    def test_only_an_answer_has_a_cost(self) -> None:
        assert policy_gain(trial(DEAR), a_failure(cost_usd=1.0), hung_up(cost_usd=1.0)).n == 0

    def test_bets_on_the_limit_and_on_the_control(self) -> None:
        gain = policy_gain(trial(DEAR), an_outcome(cost_usd=0.02), an_outcome(CONTROL, cost_usd=0.01))

        mine = evidence.relative_bets(0.2, 0.1, 1000, control=False)
        others = evidence.relative_bets(0.1, 0.1, 1000, control=True)
        assert gain.bets == pytest.approx(evidence.bets(0.2, 0.1))
        assert [*chain(*masses(gain))] == pytest.approx([*chain(*zip(mine, others, strict=True))])


class TestPlainThreshold:
    def test_counts_both_arms(self) -> None:
        policy = Policy("plain", ERROR_RATE, limit=0.05, times_safe=2, method=Method.THRESHOLD)
        gain = policy_gain(
            trial(policy), a_failure(), an_outcome(), a_failure(CONTROL), an_outcome(CONTROL, stumbled=True),
            an_outcome(CONTROL), a_failure(how="td"),
        )  # fmt: skip

        assert (gain.kind, gain.n, gain.bad) == ("threshold", 2, 1)
        assert (gain.control_n, gain.control_bad) == (3, 2)


class TestUnits:
    def test_a_user_brings_one_event_of_a_kind_in_a_batch_and_nobody_is_a_user_each_time(self) -> None:
        many = [*([a_failure(unit="ann")] * 5), *([a_failure()] * 3), a_failure(CONTROL, unit="bob")]
        event = policy_gain(trial(ERRORS), *many).events[0]

        assert (event.candidate, event.plain_candidate, event.candidate_units) == (8, 3, ["ann", 1.0])
        assert (event.control, event.plain_control, event.control_units) == (1, 0, ["bob", 1.0])

    def test_a_unit_on_both_sides_counts_on_the_one_where_it_was_first(self) -> None:
        event = policy_gain(trial(ERRORS), a_failure(CONTROL, unit="ann"), a_failure(unit="ann")).events[0]

        assert (event.candidate_units, event.control_units) == ([], ["ann", 1.0])

    def test_the_candidates_users_are_named_up_to_twenty(self) -> None:
        gain = gain_of(trial(ERRORS), *(an_outcome(unit=f"u{n}") for n in range(30)), an_outcome())

        assert gain is not None
        assert (len(gain.met), gain.met_plain, gain.candidate) == (20, 1, 31)

    def test_an_app_that_sends_one_constant_user_is_one_unit_that_blinds_nobody(self) -> None:
        """With fewer than 20 users met, requests are judged."""
        tally = Tally("bot.prompt/v7/2")
        for second in range(8):
            gain = gain_of(trial(ERRORS), a_failure(unit="app"), an_outcome(CONTROL, unit="app"))
            assert gain is not None
            tally.add(gain, second * 1000)

        event = tally.counts.policies[ERRORS.id].segments[0].events[0]
        assert (tally.counts.units, event.candidate, event.candidate_units) == (1, 8, 1)


class TestBadDays:
    def test_a_clients_own_400s_by_the_thousand_are_no_evidence(self) -> None:
        """The shield asked the control, which refused as well."""
        refused = [
            part
            for n in range(2000)
            for part in (
                tried(status=400, blame=Blame.CLIENT, excused=True, unit=f"u{n}"),
                a_failure(CONTROL, status=400, blame=Blame.CLIENT, part=Part.SHIELD, unit=f"u{n}"),
            )
        ]

        assert gain_of(trial(*ALL), *refused) is None

    def test_a_candidate_whose_parameters_make_the_provider_answer_400_is_charged_each_time(self) -> None:
        refused = [tried(status=400, blame=Blame.CLIENT) for _ in range(10)]
        gain = policy_gain(trial(ERRORS), *refused)

        assert (gain.n, gain.bad, gain.events[0].candidate) == (10, 10, 10)

    def test_an_outage_that_the_control_shares_is_charged_to_neither(self) -> None:
        outage = [part for _ in range(50) for part in (tried(excused=True), a_failure(CONTROL, excused=True))]

        gain = policy_gain(trial(ERRORS), *outage)

        assert (gain.n, gain.bad, gain.events[0].candidate, gain.events[0].control) == (0, 0, 0, 0)
        assert gain_of(trial(*(each for each in ALL if each is not ERRORS)), *outage) is None

    def test_users_that_leave_early_are_no_evidence(self) -> None:
        assert (
            gain_of(trial(*ALL), *(hung_up(seconds=0.2, first_content_seconds=None) for _ in range(500)))
            is None
        )


def test_the_value_of_an_outcome_is_what_quantiles_are_taken_of() -> None:
    told = an_outcome(seconds=1.5, first_content_seconds=0.25, cost_usd=0.5)

    assert [value_of(told, metric) for metric in ("latency", "ttft", "cost")] == [1.5, 0.25, 0.5]
    assert [value_of(tried(), metric) for metric in ("latency", "ttft", "cost", "accuracy")] == [None] * 4


OUTCOMES = st.builds(
    an_outcome,
    st.sampled_from([CANDIDATE, CONTROL]),
    ending=st.sampled_from(Ending),
    blame=st.sampled_from(Blame),
    part=st.sampled_from(Part),
    how=st.tuples(st.sampled_from(How), st.sampled_from(How)).map(lambda pair: pair[0].value + pair[1].value),
    seconds=st.floats(0, 10),
    first_content_seconds=st.none() | st.floats(0, 10),
    cost_usd=st.none() | st.floats(0, 1),
    unit=st.sampled_from(["", "ann", "bob", "cid"]),
    stumbled=st.booleans(),
    excused=st.booleans(),
)


@given(st.lists(OUTCOMES, max_size=30), st.data())
def test_batches_add_up_however_they_are_cut(outcomes: list[Outcome], data: st.DataObject) -> None:
    docket = watch(ERRORS, SLOW, DEAR, beside=trial(*ALL, PLAIN_SLOWER))
    cut = data.draw(st.integers(0, len(outcomes)))

    def tallied(*batches: list[Outcome]) -> dict[str, Tally]:
        tallies: dict[str, Tally] = {}
        for batch in batches:
            for gain in observe(batch, docket, lambda case, policy: QUANTILES.get(policy, ())):
                tallies.setdefault(gain.case, Tally(gain.case)).add(gain, 1000)
        return tallies

    whole, parts = tallied(outcomes), tallied(outcomes[:cut], outcomes[cut:])

    assert whole.keys() == parts.keys()
    for key, tally in whole.items():
        one, other = tally.counts, parts[key].counts
        assert (one.candidate, one.control, one.judged, one.units) == (
            other.candidate, other.control, other.judged, other.units,
        )  # fmt: skip
        for policy, counts in one.policies.items():
            assert counts.n == other.policies[policy].n
            assert math.isclose(counts.bad, other.policies[policy].bad)
