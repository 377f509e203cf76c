"""What the simulated users ask, rate, and read from an answer."""

from __future__ import annotations

import pytest

from gateway.demo.traffic import USERS, score, user, version


@pytest.mark.parametrize(
    ("header", "layer", "found"),
    [
        ("prompt=v7;model=small", "prompt", "v7"),
        ("prompt=v7;model=small", "model", "small"),
        ("model=small", "prompt", None),
        ("", "prompt", None),
    ],
)
def test_versions_are_read_from_the_header(header: str, layer: str, found: str | None) -> None:
    """A layer that is not named has none."""
    assert version({"x-pointsman-versions": header}, layer) == found


def test_an_error_before_any_route_names_no_version() -> None:
    """There is no such header then."""
    assert version({}, "prompt") is None


@pytest.mark.parametrize(
    ("text", "number", "value"),
    [
        ("This is simulated-small. You asked: Where is my refund?", 7, 1.0),
        ("This is simulated-small. You asked: Where is my refund?", 20, 0.0),
        ("Ask somebody else.", 7, 0.0),
        ("", 7, 0.0),
    ],
)
def test_users_rate_by_what_they_read(text: str, number: int, value: float) -> None:
    """Three words help nobody, and every twentieth user is never content."""
    assert score(text, number) == value


def test_users_come_again() -> None:
    """After all have asked, the first asks again, by the same key."""
    assert user(USERS + 7) == user(7) != user(8)
