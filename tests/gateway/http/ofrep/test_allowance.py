"""How often one caller may ask."""

from __future__ import annotations

import pytest

from gateway.http.ofrep.allowance import MOST_CALLERS, Allowance


def test_a_second_s_worth_may_come_at_once_and_then_one_waits() -> None:
    allowance = Allowance()

    waits = [allowance.take(b"a", 2, 100.0) for _ in range(3)]

    assert waits == [0, 0, pytest.approx(0.5)]


def test_what_was_told_to_wait_is_let_through_after_it() -> None:
    allowance = Allowance()
    wait = [allowance.take(b"a", 0.5, 100.0) for _ in range(2)][-1]

    assert wait == pytest.approx(2.0)
    assert allowance.take(b"a", 0.5, 100.0 + wait - 0.01) > 0
    assert allowance.take(b"a", 0.5, 100.0 + wait) == 0


def test_who_waits_long_gets_no_more_than_a_second_s_worth() -> None:
    allowance = Allowance()
    allowance.take(b"a", 2, 0.0)

    assert [allowance.take(b"a", 2, 1000.0) == 0 for _ in range(3)] == [True, True, False]


def test_callers_do_not_take_from_each_other() -> None:
    allowance = Allowance()
    allowance.take(b"a", 1, 0.0)

    assert allowance.take(b"b", 1, 0.0) == 0


def test_only_so_many_are_remembered_and_the_longest_silent_are_forgotten() -> None:
    allowance = Allowance()

    for number in range(MOST_CALLERS + 1):
        allowance.take(b"%d" % number, 1, 0.0)

    assert repr(allowance) == f"<Allowance of {MOST_CALLERS} callers>"
    assert allowance.take(b"0", 1, 0.0) == 0
    assert allowance.take(b"%d" % MOST_CALLERS, 1, 0.0) > 0
