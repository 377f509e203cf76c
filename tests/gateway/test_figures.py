"""Numbers as people read them."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.cli import figures


@pytest.mark.parametrize(
    ("value", "told"),
    [(None, "–"), (0.0, "0 µs"), (0.00012, "120 µs"), (0.31, "310 ms"), (0.9994, "999 ms"), (1.234, "1.23 s"), (123.4, "123 s")],
)  # fmt: skip
def test_seconds(value: float | None, told: str) -> None:
    assert figures.seconds(value) == told


@pytest.mark.parametrize(
    ("value", "told"),
    [(None, "–"), (0.0, "0 %"), (0.0001, "<0.1 %"), (0.0005, "0.1 %"), (0.123, "12.3 %"), (1.0, "100 %")],
)
def test_shares_that_are_not_zero_do_not_look_like_zero(value: float | None, told: str) -> None:
    assert figures.share(value) == told


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (None, "–"),
        (0.0, "0.00"),
        (12.345, "12.35"),
        (0.0123, "0.012"),
        (0.00012, "0.00012"),
        (0.0000123, "1.2e-05"),
    ],
)
def test_dollars(value: float | None, told: str) -> None:
    assert figures.dollars(value) == told


@pytest.mark.parametrize(
    ("ratio", "told"),
    [
        (-1.0, "░░░░░░░░ 0 %"),
        (0.38, "▓▓▓░░░░░ 38 %"),
        (0.999, "▓▓▓▓▓▓▓░ 99 %"),
        (1.0, "▓▓▓▓▓▓▓▓ 100 %"),
        (7.0, "▓▓▓▓▓▓▓▓ 100 %"),
    ],
)
def test_a_bar_is_full_only_where_the_brake_is_pulled(ratio: float, told: str) -> None:
    assert figures.bar(ratio) == told


@given(st.floats(allow_nan=False))
def test_every_bar_is_as_long(ratio: float) -> None:
    assert len(figures.bar(ratio).partition(" ")[0]) == figures.BAR_CELLS


def bar(policy: str, ratio: float, **more: Any) -> dict[str, Any]:
    return {"policy": policy, "ratio": ratio, "standing": "undecided", "reason": "", "dry_run": False, **more}


def test_the_policy_nearest_to_the_brake_is_shown_and_of_two_the_one_that_acts() -> None:
    bars = [bar("slow", 0.1), bar("shy", 0.5, dry_run=True), bar("errors", 0.5)]

    assert figures.evidence(bars) == "▓▓▓▓░░░░ 50 % errors"
    assert figures.evidence(bars[:2]) == "▓▓▓▓░░░░ 50 % shy (dry run)"
    assert figures.evidence([]) == ""


def test_a_route_with_nothing_to_go_back_to_is_told_from_half_way_on() -> None:
    assert figures.alarms([bar("slow", 0.49), bar("errors", 0.5)]) == [
        "nothing to roll back: ▓▓▓▓░░░░ 50 % errors"
    ]


def test_unknown_costs_are_told_beside_the_mean_of_the_known() -> None:
    assert figures.cost({"cost_per_request": 0.02, "cost_unknown": 3}) == "0.02 (3 unknown)"
    assert figures.cost({"cost_per_request": 0.02, "cost_unknown": 0}) == "0.02"
    assert figures.cost({"cost_per_request": None, "cost_unknown": 3}) == "–"


def test_numbers_end_together_and_words_begin_together() -> None:
    assert figures.columns([("a", 1, "x"), ("bbb", 1000, "")], right=[1]) == ["a       1  x", "bbb  1000"]
    assert figures.columns([]) == []


def test_breakers_that_are_well_are_not_told() -> None:
    rows = [{"target": name, "state": name} for name in ("closed", "off", "open", "forced_open")]

    assert [line.rpartition(": ")[2] for line in figures.breakers(rows)] == ["open", "forced_open"]


def test_a_rollout_in_steps_tells_which() -> None:
    rollout = {"variant": "v7", "percent": 5.0, "step": 1, "state": "paused", "steps": [1, 5, 25]}

    assert figures.rollout(rollout) == "v7 at 5 %, step 2 of 3 (paused)"
    assert figures.rollout({**rollout, "step": None, "state": "running"}) == "v7 at 5 %"
    assert figures.rollout(None) == ""


def test_a_rollout_that_runs_tells_its_next_step_and_what_that_waits_for() -> None:
    rollout = {
        "variant": "v7", "percent": 5.0, "step": 1, "state": "running", "steps": [1, 5, 25],
        "since": "2026-01-01T23:59:00.000Z", "hold_seconds": 90.0, "min_requests": 1_500,
    }  # fmt: skip

    assert figures.rollout(rollout) == "v7 at 5 %, step 2 of 3, 25 % after 00:00:30Z and 1,500 requests"
    assert figures.rollout({**rollout, "min_requests": 0}).endswith("25 % after 00:00:30Z")
    assert figures.rollout({**rollout, "step": 2}).endswith(
        "step 3 of 3, 100 % after 00:00:30Z and 1,500 requests"
    )
