"""What goes wrong in one of many things is told, and ends none of the others."""

from __future__ import annotations

import asyncio
import logging

import pytest

from flags.edge import Edge
from flags.errors import StoreUnavailable

log = logging.getLogger("pointsman.test")


def test_a_bug_is_told_with_its_traceback_and_what_comes_behind_is_done(
    caplog: pytest.LogCaptureFixture,
) -> None:
    done = False
    with Edge(log, "the look at %s", "100 %"):
        raise ZeroDivisionError
    done = True

    assert done
    assert "the look at 100 % went wrong; going on" in caplog.text
    assert "ZeroDivisionError" in caplog.text


def test_that_redis_is_away_is_one_quiet_line(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO), Edge(log, "the look"):
        raise StoreUnavailable("it sleeps")

    assert [(each.levelname, each.message) for each in caplog.records] == [
        ("INFO", "the look: waiting for Redis: it sleeps")
    ]
    assert "Traceback" not in caplog.text


@pytest.mark.parametrize("error", [asyncio.CancelledError, KeyboardInterrupt, SystemExit])
def test_whoever_is_told_to_stop_stops(error: type[BaseException]) -> None:
    with pytest.raises(error), Edge(log, "the look"):
        raise error


def test_what_goes_well_is_not_told(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG), Edge(log, "the look"):
        pass

    assert not caplog.records
