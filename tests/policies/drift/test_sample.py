"""What is compared of a version is read from the numbers that people see; what was never observed is left out."""

from __future__ import annotations

from math import exp, log

import pytest

from policies.drift.sample import samples_of
from policies.outcome import Blame, Ending, Outcome, Part, Release
from policies.policy import ACCURACY, Metric, MetricKind
from policies.series import series_of
from policies.window import Histogram, Scores, Stats, window_of

RELEASE = Release("bot.prompt", "v7", 1)
STARS = Metric("stars", MetricKind.SCORE, higher_is_better=True, low=1, high=5)


def outcome(
    output: int | None = 100, *, part: Part = Part.WHOLE, refused: bool = False, **more: float
) -> Outcome:
    return Outcome(
        "r",
        "bot",
        (RELEASE,),
        Ending.OK,
        Blame.NONE,
        200,
        0.1,
        output_tokens=output,
        how="d",
        part=part,
        refused=refused,
        cost_usd=more.get("cost"),
    )


def stats(*outcomes: Outcome) -> Stats:
    return window_of(series_of(outcomes)).version("bot.prompt", "v7")


def test_lengths_are_compared_by_logarithms_and_told_in_tokens() -> None:
    found = samples_of(stats(outcome(9), outcome(99), outcome(999)), {})["output_length"]

    assert (found.n, found.plain) == (3, pytest.approx(369))
    assert exp(found.mean) == pytest.approx(100)
    assert found.variance == pytest.approx(log(10) ** 2)


def test_of_tokens_that_nobody_told_nothing_is_known() -> None:
    found = samples_of(stats(outcome(None)), {})

    assert [*found] == ["refusals"]


def test_refusals_are_a_share_of_the_answers() -> None:
    found = samples_of(stats(outcome(), outcome(), outcome(), outcome(refused=True)), {})["refusals"]

    assert (found.n, found.mean) == (4, 0.25)


@pytest.mark.parametrize("part", [Part.CACHED, Part.EVAL])
def test_what_was_not_made_for_a_user_is_not_compared(part: Part) -> None:
    assert samples_of(stats(outcome(part=part, refused=True)), {}) == {}


def test_costs_are_read_from_their_buckets() -> None:
    found = samples_of(stats(outcome(cost=0.01), outcome(cost=0.0)), {})["cost"]

    assert found.n == 1
    assert exp(found.mean) == pytest.approx(0.01, rel=0.1)


def test_scores_are_compared_within_their_range_and_told_as_sent() -> None:
    held = Stats(scores={"stars": Scores(4, 12), "accuracy": Scores(2, 1), "unknown": Scores(9, 9)})

    found = samples_of(held, {"stars": STARS, "accuracy": ACCURACY})

    assert (found["score:stars"].mean, found["score:stars"].plain) == (0.5, 3)
    assert found["score:accuracy"].mean == 0.5
    assert len(found) == 2


def test_nothing_is_known_of_nothing() -> None:
    assert samples_of(Stats(cost=Histogram()), {}) == {}
