"""What the gateway's own switches may hold, and how they stand with it."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flags.model import NAME
from gateway.cli.verbs import switch as verb
from gateway.switches.board import Stand
from gateway.switches.table import BY_KEY, SWITCHES

CACHE, JUDGE = BY_KEY["gateway.cache"], BY_KEY["gateway.judge"]
RETRIES, KEEP_ALIVE = BY_KEY["gateway.retries"], BY_KEY["gateway.keep-alive"]


@pytest.mark.parametrize(
    ("switch", "value", "fits"),
    [
        (CACHE, True, True),
        (CACHE, 50, False),
        (CACHE, "off", False),
        (JUDGE, 0, True),
        (JUDGE, 100, True),
        (JUDGE, 100.5, False),
        (JUDGE, -1, False),
        (JUDGE, math.nan, False),
        (JUDGE, {"percent": 5}, False),
        (JUDGE, None, False),
        (RETRIES, 2, True),
        (RETRIES, 2.5, False),
        (KEEP_ALIVE, 2.5, True),
        (KEEP_ALIVE, 601, False),
        (RETRIES, 10**400, False),
    ],
)
def test_a_switch_takes_booleans_and_its_own_numbers(switch: Any, value: Any, fits: bool) -> None:
    assert switch.fits(value) is fits


def test_the_command_that_throws_them_names_them() -> None:
    assert [each.key for each in SWITCHES if each.key not in (verb.help or "")] == []


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(), st.lists))
def test_whatever_a_switch_takes_it_stands_for_something(value: Any) -> None:
    for switch in SWITCHES:
        if switch.fits(value):
            found = switch.setting(value)

            assert found is None or isinstance(found, bool | float)


def test_on_is_each_routes_own_and_off_is_none_of_it() -> None:
    assert (JUDGE.setting(True), JUDGE.setting(False), JUDGE.setting(5)) == (None, 0.0, 5.0)
    assert (CACHE.setting(True), CACHE.setting(False)) == (True, False)


def test_by_themselves_all_stand_as_a_stand_does() -> None:
    for switch in SWITCHES:
        assert NAME.fullmatch(switch.key)
        assert getattr(Stand(), switch.field) == switch.setting(switch.usual)
    assert {switch.field for switch in SWITCHES} == set(Stand.__struct_fields__)
