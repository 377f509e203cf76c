"""Which differences are told, which are chance, and how often chance is told all the same."""

from __future__ import annotations

import random
from itertools import accumulate
from math import ceil, comb, exp, log, sqrt

import pytest

from policies.drift.sample import Sample
from policies.drift.shift import SURE_LOG_RATIO, Shift, divergence, shifts

MINUTES_A_MONTH = 43_200


def lengths(mean: float, n: float = 5_000, spread: float = 1.0) -> Sample:
    return Sample(n, log(mean), spread**2, mean)


def share(mean: float, n: float = 2_000) -> Sample:
    return Sample(n, mean)


def found(kind: str, before: Sample, after: Sample) -> Shift | None:
    return next(shifts({kind: before}, {kind: after}), None)


def test_answers_half_as_long_are_told_with_how_sure_that_is() -> None:
    shift = found("output_length", lengths(200), lengths(100))

    assert shift is not None
    assert (round(shift.ratio, 3), shift.rises) == (0.5, False)
    assert shift.sure > 30


@pytest.mark.parametrize(("mean", "is_told"), [(126, True), (124, False), (81, False), (79, True)])
def test_a_length_matters_from_a_quarter_on_either_way(mean: float, is_told: bool) -> None:
    assert (found("output_length", lengths(100, 1e6), lengths(mean, 1e6)) is not None) is is_told


def test_what_is_large_and_not_sure_is_not_told() -> None:
    assert found("output_length", lengths(100, 200, spread=1.5), lengths(200, 200, spread=1.5)) is None


@pytest.mark.parametrize("n", [0, 1, 199])
def test_few_observations_are_never_a_shift(n: int) -> None:
    assert found("cost", lengths(1, 1e6), lengths(9, n)) is None
    assert found("cost", lengths(1, n), lengths(9, 1e6)) is None


def test_what_one_side_does_not_know_has_not_shifted() -> None:
    assert [*shifts({"cost": lengths(1)}, {})] == []
    assert [*shifts({}, {"cost": lengths(1)})] == []


def test_lengths_that_never_vary_are_told_when_they_change() -> None:
    assert found("input_length", lengths(8, spread=0), lengths(16, spread=0)) is not None
    assert found("input_length", lengths(8, spread=0), lengths(8, spread=0)) is None


def test_refusals_are_told_when_they_double_and_are_two_points_more() -> None:
    assert found("refusals", share(0.01), share(0.06)) is not None
    assert found("refusals", share(0.0), share(0.03)) is not None
    assert found("refusals", share(0.04, 1e6), share(0.07, 1e6)) is None
    assert found("refusals", share(0.005, 1e6), share(0.02, 1e6)) is None


def test_fewer_refusals_are_not_told() -> None:
    assert found("refusals", share(0.5), share(0.01)) is None


def test_a_score_matters_from_five_points_on_either_way() -> None:
    assert found("score:accuracy", share(0.9), share(0.8)) is not None
    assert found("score:accuracy", share(0.8), share(0.9)) is not None
    assert found("score:accuracy", share(0.9, 1e6), share(0.86, 1e6)) is None


def test_four_refusals_after_ten_in_ten_thousand_are_chance() -> None:
    """A normal approximation calls this 7 standard errors; it happens once in 16,000 windows."""
    assert found("refusals", share(0.001, 10_000), share(4 / 200, 200)) is None


@pytest.mark.parametrize("p", [0.0, 0.001, 0.2, 0.5])
def test_the_odds_bound_the_tail_of_a_coin(p: float) -> None:
    """Hoeffding's bound holds where p is known: what is above it comes less often than e⁻¹⁸."""
    n = 300
    least = next((k for k in range(n + 1) if k / n > p and n * divergence(k / n, p) >= SURE_LOG_RATIO), n + 1)

    tail = sum(_binomial(n, k, p) for k in range(least, n + 1))

    assert tail <= exp(-SURE_LOG_RATIO)


def _binomial(n: int, k: int, p: float) -> float:
    return comb(n, k) * p**k * (1 - p) ** (n - k)


@pytest.mark.parametrize("seed", range(3))
def test_a_month_of_looks_at_what_does_not_change_tells_nothing(seed: int) -> None:
    """One look a minute over an hour and over six, at lengths that spread over decades and at rare refusals.

    Five hundred whole months (300 at one answer a minute, 200 at four) told nothing; here are three of a tenth each.
    """
    draw = random.Random(seed)
    per_minute = 5
    logs, squares, refused = [0.0], [0.0], [0.0]
    for _ in range(MINUTES_A_MONTH // 10):
        # Log-normal, with a tenth of very short ones: as answers are.
        drawn = [draw.gauss(5, 1) if draw.random() < 0.9 else draw.gauss(1, 0.3) for _ in range(per_minute)]
        logs.append(sum(drawn))
        squares.append(sum(each * each for each in drawn))
        refused.append(sum(draw.random() < 0.01 for _ in range(per_minute)))
    sums = [[*accumulate(each)] for each in (logs, squares, refused)]

    def span(first: int, last: int) -> dict[str, Sample]:
        n = (last - first) * per_minute
        total, square, no = (each[last] - each[first] for each in sums)
        mean = total / n
        return {
            "output_length": Sample(n, mean, (square - total * mean) / (n - 1)),
            "refusals": Sample(n, no / n),
        }

    baseline = span(0, ceil(200 / per_minute))
    told = [
        shift
        for minute in range(400, len(logs))
        for minutes in (60, 360)
        for shift in shifts(baseline, span(minute - minutes, minute))
    ]

    assert told == []


def test_a_real_shift_is_told_within_the_hour() -> None:
    draw = random.Random(1)
    before = [draw.gauss(5, 1) for _ in range(500)]
    after = [draw.gauss(5 + log(0.5), 1) for _ in range(60 * 5)]

    assert found("output_length", _sample(before), _sample(after)) is not None


def _sample(logs: list[float]) -> Sample:
    n, mean = len(logs), sum(logs) / len(logs)
    return Sample(n, mean, sqrt(sum((each - mean) ** 2 for each in logs) / (n - 1)) ** 2)
