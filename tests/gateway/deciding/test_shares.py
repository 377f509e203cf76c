from __future__ import annotations

import math
import random

from hypothesis import given
from hypothesis import strategies as st

from gateway.deciding.shares import GRID, divergence, exceeds, exceeds_lately, percent, upper


@given(of=st.integers(1, 400), part=st.floats(0, 1), doubt=st.sampled_from([0.05, 1e-3, 1e-5]))
def test_the_bound_is_never_below_the_exact_one(of: int, part: float, doubt: float) -> None:
    hits = round(part * of)

    bound = upper(hits, of, doubt)

    assert bound >= hits / of - 1e-6
    # Clopper and Pearson: at the bound so few hits have a chance of `doubt` at most.
    assert bound > 1 - 1e-6 or _at_most(hits, of, bound) <= doubt * 1.01


def test_the_bound_holds_as_often_as_it_says() -> None:
    draw = random.Random(7)
    below = 0
    for _ in range(2_000):
        hits = sum(draw.random() < 0.2 for _ in range(60))
        below += upper(hits, 60, 0.01) < 0.2

    assert below <= 2_000 * 0.01


def test_nothing_is_known_of_no_answers() -> None:
    assert upper(0, 0, 0.01) == 1.0
    assert not exceeds(0, 0, 0.1, 0.01)


def test_a_share_at_its_bound_does_not_exceed_it() -> None:
    assert not exceeds(200, 1_000, 0.2, 1e-4)
    assert exceeds(300, 1_000, 0.2, 1e-4)


def test_a_share_that_rose_a_moment_ago_is_not_hidden_by_an_hour_before() -> None:
    runs = [(10, 20), (10, 20), *[(2, 20)] * 3_600]

    assert exceeds_lately(runs, 0.2, 1e-3)
    assert not exceeds(sum(h for h, _ in runs), sum(n for _, n in runs), 0.2, 1e-3)


def test_a_steady_share_below_the_bound_is_never_taken_for_a_rise() -> None:
    draw = random.Random(3)
    found = 0
    for _ in range(50):
        runs = [(sum(draw.random() < 0.1 for _ in range(10)), 10) for _ in range(300)]
        found += exceeds_lately(runs, 0.2, 1e-4)

    assert found == 0


def test_percentages_are_few_and_leave_headroom() -> None:
    assert [percent(share) for share in (0.0, 0.05, 0.1, 0.39, 0.4, 0.5, 0.9, 1.0)] == [
        1.0, 10.0, 20.0, 50.0, 50.0, 75.0, 99.99, 99.99,
    ]  # fmt: skip
    assert max(GRID) < 100


def test_two_coins_that_are_alike_diverge_by_nothing() -> None:
    assert divergence(0.3, 0.3) == 0
    assert divergence(0.3, 1.0) == math.inf
    assert divergence(1.0, 1.0) == 0


def _at_most(hits: int, of: int, share: float) -> float:
    return sum(math.comb(of, k) * share**k * (1 - share) ** (of - k) for k in range(hits + 1))
