"""Whether a rollback helped: at the bounds, and never for want of data."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.governance.helped import (
    CLEARLY_FEWER,
    CLEARLY_LESS,
    ERRORS_AT_MOST,
    LEAST_REQUESTS,
    MOST_REQUESTS,
    counted,
    figures_of,
    judged,
    since,
    too_few,
    wanted,
)
from policies.governance.record import Cause, Figures
from policies.outcome import Blame, Ending
from policies.policy import ACCURACY, COST, ERROR_RATE, HALLUCINATION, LATENCY, TTFT
from policies.window import Histogram, Scores, Stats

ERRORS = Cause("brake", "error_rate", requests=20, bad=0.6, limit=0.05)
NOTHING = Figures()


def errors(failed: int, of: int) -> Figures:
    return Figures(judged=of, failed=failed)


class TestErrors:
    def test_at_the_limit_it_helped(self) -> None:
        found = judged(ERRORS, ERROR_RATE, NOTHING, errors(1, 20))

        assert found is not None
        assert found.helped
        assert found.detail == "error rate 5.0 % (limit 5.0 %, before: 60.0 %), of 20 requests"

    def test_above_the_limit_half_of_what_fired_it_is_clearly_better(self) -> None:
        at = judged(ERRORS, ERROR_RATE, NOTHING, errors(6, 20))
        above = judged(ERRORS, ERROR_RATE, NOTHING, errors(7, 20))

        assert at is not None
        assert above is not None
        assert (at.helped, above.helped, CLEARLY_FEWER) == (True, False, 0.5)

    def test_what_is_as_bad_as_before_did_not_help(self) -> None:
        found = judged(ERRORS, ERROR_RATE, NOTHING, errors(60, 100))

        assert found is not None
        assert found.helped is False

    def test_one_request_too_few_says_nothing(self) -> None:
        assert judged(ERRORS, ERROR_RATE, NOTHING, errors(0, 19)) is None

    def test_nothing_answered_is_waited_for(self) -> None:
        assert judged(ERRORS, ERROR_RATE, NOTHING, NOTHING) is None

    def test_without_a_limit_it_is_held_to_what_fired_it(self) -> None:
        found = judged(replace_cause(limit=None), ERROR_RATE, NOTHING, errors(6, 20))

        assert found is not None
        assert found.helped

    def test_without_limit_and_past_nothing_can_be_said(self) -> None:
        found = judged(replace_cause(limit=None, bad=None), ERROR_RATE, NOTHING, errors(0, 20))

        assert found is not None
        assert found.helped is None
        assert "nothing to compare it with" in found.detail


class TestOthers:
    def test_latency_with_a_limit_is_the_share_above_it(self) -> None:
        cause = Cause("slow", "latency", requests=20, bad=0.5, limit=2.0)
        fast, slow = {"0": 95.0}, {"16": 5.0}

        at = judged(cause, LATENCY, NOTHING, Figures(answers=100, seconds=1, buckets={**fast, **slow}))
        above = judged(cause, LATENCY, Figures(answers=10, buckets={"16": 1, "0": 9}),
                       Figures(answers=100, seconds=1, buckets={"0": 94.0, "16": 6.0}))  # fmt: skip

        assert at is not None
        assert above is not None
        assert (at.helped, above.helped) == (True, False)

    def test_latency_without_a_limit_is_the_mean_against_the_version_that_was_left(self) -> None:
        cause = Cause("slow", "latency", requests=20)
        left = Figures(answers=50, seconds=100.0)

        at = judged(cause, LATENCY, left, Figures(answers=20, seconds=20 * 2.0 * CLEARLY_LESS))
        above = judged(cause, LATENCY, left, Figures(answers=20, seconds=20 * 1.51))
        alone = judged(cause, LATENCY, NOTHING, Figures(answers=20, seconds=1.0))

        assert [found and found.helped for found in (at, above, alone)] == [True, False, None]

    def test_cost(self) -> None:
        cause = Cause("dear", "cost", requests=20, bad=0.9, limit=0.01)

        at = judged(cause, COST, NOTHING, Figures(priced=20, cost_usd=0.2))
        above = judged(cause, COST, Figures(priced=10, cost_usd=0.12), Figures(priced=20, cost_usd=0.21))

        assert [found and found.helped for found in (at, above)] == [True, False]

    def test_answers_whose_cost_is_unknown_say_nothing_of_cost(self) -> None:
        cause = Cause("dear", "cost", requests=20, limit=0.01)

        assert judged(cause, COST, NOTHING, Figures(judged=500, answers=500)) is None

    @pytest.mark.parametrize(("metric", "good", "bad"), [(ACCURACY, 16.0, 15.9), (HALLUCINATION, 4.0, 4.1)])
    def test_scores_go_by_their_own_direction(self, metric: Any, good: float, bad: float) -> None:
        limit = good / 20
        cause = Cause("score", metric.name, requests=20, limit=limit)

        at = judged(cause, metric, NOTHING, Figures(scores=20, score=good))
        past = judged(cause, metric, NOTHING, Figures(scores=20, score=bad))

        assert [found and found.helped for found in (at, past)] == [True, False]


class TestByHand:
    def test_it_is_held_to_the_strategys_own_bound_on_errors(self) -> None:
        at = judged(Cause(), None, NOTHING, errors(5, 100))
        above = judged(Cause(), None, NOTHING, errors(6, 100))

        assert [found and found.helped for found in (at, above)] == [True, False]
        assert ERRORS_AT_MOST == 0.05

    def test_latency_and_cost_are_told_beside_the_version_that_was_left(self) -> None:
        left = Figures(judged=40, failed=20, answers=20, seconds=20.0, priced=20, cost_usd=0.4)
        gained = Figures(judged=20, failed=0, answers=20, seconds=5.0, priced=20, cost_usd=0.2)

        found = judged(Cause(), None, left, gained)

        assert found is not None
        assert found.detail == (
            "error rate 0.0 % (limit 5.0 %, before: 50.0 %), of 20 requests; "
            "250 ms an answer (before: 1 s); $0.01 a request (before: $0.02)"
        )

    def test_a_slower_version_that_fails_less_helped(self) -> None:
        left = Figures(judged=40, failed=20, answers=20, seconds=2.0)

        found = judged(Cause(), None, left, Figures(judged=20, answers=20, seconds=200.0))

        assert found is not None
        assert found.helped


class TestHowMany:
    @pytest.mark.parametrize(
        ("fired", "needed"),
        [(0, LEAST_REQUESTS), (19, 20), (20, 20), (21, 21), (1000, 1000), (1001, MOST_REQUESTS)],
    )
    def test_as_many_as_fired_it_within_bounds(self, fired: int, needed: int) -> None:
        assert wanted(Cause(requests=fired)) == needed

    def test_the_last_word_names_both_numbers(self) -> None:
        found = too_few(replace_cause(requests=40), ERROR_RATE, errors(0, 7))

        assert (found.helped, found.detail) == (None, "too few requests to say: 7 of 40")


class TestFigures:
    STATS = Stats(
        endings={
            (Ending.OK, Blame.NONE): 8.0,
            (Ending.FAILED, Blame.UPSTREAM): 2.0,
            (Ending.FAILED, Blame.CLIENT): 5.0,
            (Ending.ABANDONED, Blame.CLIENT): 3.0,
        },
        seconds=Histogram({4: 8.0}, 10.0),
        first_content=Histogram({1: 8.0}, 2.0),
        cost=Histogram({-20: 4.0}, 0.5),
        scores={"accuracy": Scores(4.0, 3.0)},
    )

    def test_what_a_client_did_wrong_is_not_judged(self) -> None:
        found = figures_of(self.STATS, None)

        assert found == Figures(judged=10.0, failed=2.0, answers=8.0, seconds=10.0, priced=4.0, cost_usd=0.5)

    def test_buckets_are_kept_where_the_cause_bounds_seconds_and_of_the_right_ones(self) -> None:
        assert figures_of(self.STATS, LATENCY).buckets == {"4": 8.0}
        assert figures_of(self.STATS, TTFT) == Figures(
            judged=10.0, failed=2.0, answers=8.0, seconds=2.0, priced=4.0, cost_usd=0.5, buckets={"1": 8.0}
        )
        assert figures_of(self.STATS, ERROR_RATE).buckets == {}

    def test_the_causes_score_is_taken(self) -> None:
        found = figures_of(self.STATS, ACCURACY)

        assert (found.scores, found.score) == (4.0, 3.0)

    def test_an_empty_version_has_none(self) -> None:
        assert figures_of(Stats(), LATENCY) == Figures()

    def test_what_came_since_is_the_difference(self) -> None:
        then = Figures(judged=10, failed=4, buckets={"1": 3.0, "2": 1.0})
        now = Figures(judged=15, failed=4, buckets={"1": 4.0, "2": 1.0, "3": 2.0})

        assert since(now, then) == Figures(judged=5, buckets={"1": 1.0, "3": 2.0})

    def test_numbers_that_were_lost_are_no_gain(self) -> None:
        """Redis lost its totals: nothing is known, which is not a recovery."""
        gained = since(Figures(judged=3), Figures(judged=100, failed=50))

        assert judged(ERRORS, ERROR_RATE, NOTHING, gained) is None


@given(
    failed=st.integers(0, 2000),
    good=st.integers(0, 2000),
    limit=st.none() | st.floats(0.001, 0.9),
    bad=st.none() | st.floats(0.001, 1.0),
)
def test_nothing_helps_on_fewer_requests_than_it_takes(
    failed: int, good: int, limit: float | None, bad: float | None
) -> None:
    cause = replace_cause(limit=limit, bad=bad, requests=50)

    found = judged(cause, ERROR_RATE, NOTHING, errors(failed, failed + good))

    assert (found is None) == (failed + good < 50)
    if found is not None and found.helped:
        rate = failed / (failed + good)
        assert (limit is not None and rate <= limit) or (bad is not None and rate <= bad / 2)


def test_what_counts_depends_on_the_metric() -> None:
    found = Figures(judged=1, answers=2, priced=3, scores=4)

    assert [counted(metric, found) for metric in (None, ERROR_RATE, TTFT, COST, ACCURACY)] == [1, 1, 2, 3, 4]


def replace_cause(**fields: Any) -> Cause:
    usual = {"policy": "brake", "metric": "error_rate", "requests": 20, "bad": 0.6, "limit": 0.05}
    return Cause(**{**usual, **fields})
