"""What the demo calls a success, and each way in which it is none."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gateway.demo.stage import Typed
from gateway.demo.story import TRIALS
from gateway.demo.summary import Played, all_hold, checks, first_good_seconds, lines, server_milliseconds
from gateway.demo.tally import Sample
from gateway.demo.trial import Pulled

BRAKE = Typed("pointsman rollback", 0, "p: v9 → v6, all 2 workers switched in 12 ms (revision 6)", 10.0, 10.3)
PULLED = Pulled(TRIALS[0], "policy/error-brake", "bad", began=1.0, withdrawn=3.0, everywhere=3.01, ended=5.0)
GOOD = [
    Sample(1.1, 1.2, "v7", model="small"),
    *(Sample(2.0 + part / 10, 2.2 + part / 10, "v6", model="small", shielded=True) for part in range(4)),
    Sample(4.0, 4.1, "v6", model="small"),
    # Begun before the command's return: v9 may still answer it.
    Sample(10.1, 10.5, "v9", model="small"),
    Sample(10.2, 10.28, "v6", model="small"),
    *(Sample(11.0 + number / 30, 11.1 + number / 30, "v6", model="small") for number in range(20)),
]


def played(samples: list[Sample], brake: Typed = BRAKE) -> Played:
    return Played(samples, [PULLED], brake, "v6", "v9")


def broken(samples: list[Sample], brake: Typed = BRAKE) -> list[int]:
    """Which checks do not hold."""
    return [place for place, check in enumerate(checks(played(samples, brake))) if not check.holds]


def test_a_good_show_holds() -> None:
    """Requests under way when a version goes may end on it."""
    assert all_hold(played(GOOD))


@pytest.mark.parametrize(
    ("more", "fails"),
    [
        (Sample(4.2, 4.3, "v7"), [0]),
        (Sample(10.31, 10.4, "v9"), [2]),
        (Sample(2.5, 2.6, "v7", "503"), [3]),
        (Sample(11.0, 11.1, "v6", "500"), [3]),
        (Sample(6.0, 6.1, None, "APIConnectionError"), [3]),
    ],
)
def test_one_bad_answer_breaks_it(more: Sample, fails: list[int]) -> None:
    """An answer of a version that is gone, or a failure that any user saw."""
    assert broken([*GOOD, more]) == fails


def test_a_show_in_which_nothing_went_bad_proves_nothing() -> None:
    """Without a bad answer of the candidate, or with too few requests after the return, it is no success."""
    assert broken([one for one in GOOD if not one.shielded]) == [0]
    assert broken(GOOD[:-1]) == [2]


def test_a_command_that_was_not_acknowledged_is_no_success() -> None:
    """Exit code 1 is told."""
    assert broken(GOOD, replace(BRAKE, exit_code=1)) == [1]


def test_the_first_good_answer_is_counted_from_the_typing() -> None:
    """Answers that began before are not the rollback's; none at all is None."""
    assert first_good_seconds(GOOD, BRAKE, safe="v6") == pytest.approx(0.28)
    assert first_good_seconds(GOOD[:3], BRAKE, safe="v6") is None


def test_the_summary_tells_counts_and_milliseconds() -> None:
    """For the machine's brake and for the operator's; and each check with its outcome."""
    text = "\n".join(lines(played(GOOD)))

    assert f"{len(GOOD)} requests, 0 failures seen by users" in text
    assert "v7 fails half its calls: withdrawn by policy/error-brake" in text
    assert "after   5 of its requests, 4 of them bad; failures seen by users: 0" in text
    assert (
        "    800 ms after its first bad answer,     500 ms after its fourth,   10 ms more to all workers"
        in text
    )
    assert "12 ms of them in the server" in text
    assert "300 ms" in text
    assert "280 ms" in text
    assert text.count("  ok   ") == 4
    assert server_milliseconds(Typed("pointsman rollback", 1, "pointsman: no", 0.0, 1.0)) is None
