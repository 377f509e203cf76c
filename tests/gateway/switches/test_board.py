"""How the switches stand: made once where nothing hangs on the request, else for each one."""

from __future__ import annotations

from typing import Any

import pytest

from flags.model import Context, Rollout
from gateway.switches.board import USUAL, Stand, Switchboard, stands_as_usual, switchboard
from gateway.switches.shipped import with_switches
from gateway.switches.table import BY_KEY
from tests.gateway.switches.boards import snapshot

CACHE = "gateway.cache"
RULE = {"if": [{"==": [{"var": "route"}, "bot"]}, "off"]}


def board(flags: dict[str, Any]) -> Switchboard:
    return switchboard(with_switches(snapshot(flags)))


def test_as_shipped_all_requests_share_one_stand() -> None:
    assert board({}).always is USUAL
    assert switchboard(snapshot({})).always is USUAL


def test_a_switch_that_is_off_is_off_for_all() -> None:
    stood = board({CACHE: {"serve": "off"}, "gateway.content-logging": {"serve": "on"}})

    assert stood.always == Stand(cache=False, content_logging=True)


def test_a_number_stands_in_place_of_each_routes_own() -> None:
    numbers = {"usual": 100, "some": 5, "none": 0}
    flags = {
        "gateway.judge": {"variants": numbers, "serve": "some"},
        "gateway.keep-alive": {"variants": {"short": 2.5}},
        "gateway.retries": {"variants": {"one": 1}},
    }

    assert board(flags).always == Stand(judge=5.0, keep_alive=2.5, retries=1.0)


def test_a_rule_decides_for_each_request_and_the_others_stay() -> None:
    stood = board({CACHE: {"targeting": RULE}, "gateway.shield": {"serve": "off"}})

    assert stood.always is None
    assert stood.reads_attributes
    assert stood.stand(Context("u", {"route": "bot"}), 0) == Stand(cache=False, shield=False)
    assert stood.stand(Context("u", {"route": "other"}), 0) == Stand(shield=False)


def test_a_rollout_gives_each_user_one_side_and_reads_no_attribute() -> None:
    stood = board({CACHE: {"rollout": Rollout("off", 30)}})

    sides = [stood.stand(Context(f"user-{n}"), 0).cache for n in range(1000)]

    assert not stood.reads_attributes
    assert sides == [stood.stand(Context(f"user-{n}"), 0).cache for n in range(1000)]
    assert 240 < sides.count(False) < 360


def test_a_withdrawn_variant_gives_the_safe_one() -> None:
    assert board({CACHE: {"serve": "off", "safe": "on", "withdrawn": frozenset({"off"})}}).always is USUAL


@pytest.mark.parametrize(
    "state",
    [
        {"enabled": False, "serve": "off"},
        {"serve": None, "safe": None},
        {"variants": {"on": "yes", "off": "no"}, "serve": "off"},
    ],
)
def test_disabled_without_a_variant_or_holding_what_it_does_not_take_it_stands_as_usual(
    state: dict[str, Any],
) -> None:
    assert board({CACHE: state}).always is USUAL


def test_what_a_switch_does_not_take_is_told(caplog: pytest.LogCaptureFixture) -> None:
    board({CACHE: {"variants": {"half": 50}}})

    assert "gateway.cache: variant half is not true or false; it stands as usual" in caplog.text


def test_a_rule_that_fails_leaves_what_is_served() -> None:
    stood = board({CACHE: {"serve": "off", "targeting": {"if": [True, "neither"]}}})

    assert stood.stand(Context("u"), 0) == Stand(cache=False)


@pytest.mark.parametrize(
    ("state", "usual"),
    [
        ({}, True),
        ({"serve": "off"}, False),
        ({"targeting": RULE}, False),
        ({"rollout": Rollout("off", 0)}, False),
    ],
)
def test_what_does_not_stand_as_usual_for_everybody_can_be_told(state: dict[str, Any], usual: bool) -> None:
    flag = snapshot({CACHE: state}).flags[CACHE]

    assert stands_as_usual(BY_KEY[CACHE], flag) is usual
