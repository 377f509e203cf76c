"""Which of the equal targets is asked first: by weight, or the fastest one."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.balance import EXPLORE_SECONDS, FAILED_SECONDS, Balance, Paces, drawn, order

TWO = Balance(("a", "b"), (1.0, 1.0), by_latency=True)
LOTS = [n / 1000 for n in range(1000)]


@pytest.fixture
def paces() -> Paces:
    found = Paces()
    for target in ("a", "b"):
        found.note(target, 1.0, 100.0, stream=True)
    return found


def test_each_target_is_first_as_often_as_its_weight_says() -> None:
    firsts = Counter(drawn((90.0, 9.0, 1.0), lot)[0] for lot in LOTS)

    assert firsts == {0: 900, 1: 90, 2: 10}


def test_who_steps_in_is_drawn_by_weight_too() -> None:
    """With the first one down its share is parted among the others as they are weighted."""
    seconds = Counter(order[1] for lot in LOTS if (order := drawn((90.0, 8.0, 2.0), lot))[0] == 0)

    assert seconds == {1: 720, 2: 180}


@given(st.lists(st.floats(1e-6, 1e6), min_size=1, max_size=8), st.floats(0, 1, exclude_max=True))
def test_every_target_comes_exactly_once(weights: list[float], lot: float) -> None:
    assert sorted(drawn(weights, lot)) == [*range(len(weights))]


def test_the_fastest_is_asked_and_the_others_stand_behind_it(paces: Paces) -> None:
    for _ in range(20):
        paces.note("b", 0.2, 100.0, stream=True)

    found = [order(TWO, lot, paces, 101.0, stream=True) for lot in (0.1, 0.9)]

    assert found == [[1, 0], [1, 0]]


def test_targets_about_as_fast_share_by_weight(paces: Paces) -> None:
    paces.note("b", 1.2, 100.0, stream=True)

    assert [order(TWO, lot, paces, 101.0, stream=True)[0] for lot in (0.1, 0.9)] == [0, 1]


def test_an_unknown_target_is_asked_by_one_request_and_waited_for_by_the_next() -> None:
    paces = Paces()
    paces.note("a", 1.0, 100.0, stream=True)

    firsts = [order(TWO, 0.1, paces, 101.0, stream=True)[0] for _ in range(3)]

    assert firsts == [1, 0, 0]


def test_a_target_long_unseen_is_asked_again(paces: Paces) -> None:
    for _ in range(20):
        paces.note("b", 5.0, 100.0, stream=True)
    paces.note("a", 1.0, 100.0 + EXPLORE_SECONDS, stream=True)

    before = order(TWO, 0.1, paces, 100.0 + EXPLORE_SECONDS - 0.1, stream=True)
    after = order(TWO, 0.1, paces, 100.0 + EXPLORE_SECONDS, stream=True)

    assert [before, after] == [[0, 1], [1, 0]]


def test_who_may_not_explore_leaves_that_to_another_request() -> None:
    paces = Paces()
    paces.note("a", 1.0, 100.0, stream=True)

    first = order(TWO, 0.9, paces, 101.0, stream=True, explores=False)
    then = order(TWO, 0.1, paces, 101.0, stream=True)

    assert [first, then] == [[0, 1], [1, 0]]


def test_no_target_wins_by_failing_fast(paces: Paces) -> None:
    paces.note("b", 0.001, 100.0, stream=True, failed=True)

    assert paces.of("b", stream=True) == pytest.approx(1.0 + 0.2 * (FAILED_SECONDS - 1.0))
    assert order(TWO, 0.9, paces, 101.0, stream=True) == [0, 1]


def test_whole_answers_say_nothing_of_first_contents(paces: Paces) -> None:
    paces.note("a", 30.0, 100.0, stream=False)

    assert paces.of("a", stream=True) == 1.0


def test_the_table_is_bounded() -> None:
    paces = Paces(most=3)

    for n in range(10):
        paces.note(str(n), 1.0, 0.0, stream=False)

    assert repr(paces) == "<Paces of 1 targets>"
