"""What the demo calls a success, and each way in which it is none."""

from __future__ import annotations

import pytest

from gateway.demo.stage import Typed
from gateway.demo.summary import all_hold, checks, first_good_seconds, lines, server_milliseconds
from gateway.demo.tally import Sample

BRAKE = Typed("pointsman rollback", 0, "p: v7 → v6, all 2 workers switched in 12 ms (revision 6)", 10.0, 10.3)
GOOD = [
    Sample(1.0, 1.1, "v6"),
    Sample(5.0, 5.4, "v7", "503"),
    # Begun before the command's return: v7 may still answer it.
    Sample(10.1, 10.5, "v7"),
    Sample(10.2, 10.28, "v6"),
    *(Sample(11.0 + number / 30, 11.1 + number / 30, "v6") for number in range(20)),
]


def held(samples: list[Sample], brake: Typed = BRAKE) -> list[bool]:
    return [check.holds for check in checks(samples, brake, safe="v6", bad="v7")]


def test_a_good_show_holds() -> None:
    """Requests under way at the command's return may end on the old version."""
    assert all_hold(GOOD, BRAKE, safe="v6", bad="v7")


@pytest.mark.parametrize(
    ("more", "broken"),
    [
        (Sample(10.31, 10.4, "v7"), [2, 3]),
        (Sample(10.31, 10.4, "v6", "500"), [3, 4]),
        (Sample(2.0, 2.1, "v6", "500"), [4]),
        (Sample(2.0, 2.1, None, "APIConnectionError"), [4]),
    ],
)
def test_one_bad_answer_breaks_it(more: Sample, broken: list[int]) -> None:
    """An answer of the old version after the return, or a failure that is not v7's."""
    assert [place for place, holds in enumerate(held([*GOOD, more])) if not holds] == broken


def test_a_show_in_which_nothing_went_bad_proves_nothing() -> None:
    """Without failures of v7, and with too few requests after the return, it is no success."""
    assert held([one for one in GOOD if one.error is None])[0] is False
    assert held(GOOD[:-1])[2] is False


def test_a_command_that_was_not_acknowledged_is_no_success() -> None:
    """Exit code 1 is told."""
    assert held(GOOD, Typed("pointsman rollback", 1, "", 10.0, 10.3))[1] is False


def test_the_first_good_answer_is_counted_from_the_typing() -> None:
    """Answers that began before are not the rollback's; none at all is None."""
    assert first_good_seconds(GOOD, BRAKE, safe="v6") == pytest.approx(0.28)
    assert first_good_seconds(GOOD[:3], BRAKE, safe="v6") is None


def test_the_summary_tells_versions_and_milliseconds() -> None:
    """Requests, errors and times by version, and each check with its outcome."""
    text = "\n".join(lines(GOOD, BRAKE, safe="v6", bad="v7"))

    assert "24 requests, 1 errors" in text
    assert "12 ms of them in the server" in text
    assert "300 ms" in text
    assert "280 ms" in text
    assert text.count("  ok   ") == 5
    assert server_milliseconds(Typed("pointsman rollback", 1, "pointsman: no", 0.0, 1.0)) is None
