"""What an evaluation asks costs money, and is neither a request of users nor evidence."""

from __future__ import annotations

from policies.outcome import EVIDENCE, NO_REQUEST, Blame, Ending, Outcome, Part, Release
from policies.record import outcome_line
from policies.replay import replay
from policies.series import series_of

V7 = Release("bot.prompt", "v7", 1)


def asked(*releases: Release, ending: Ending = Ending.OK) -> Outcome:
    return Outcome(
        "eval-1",
        "bot",
        releases,
        ending,
        Blame.NONE,
        200,
        0.1,
        output_tokens=5,
        cost_usd=0.01,
        how="p",
        part=Part.EVAL,
    )


def test_its_money_is_the_routes_and_its_ending_nobodys() -> None:
    """A version that is asked a suite has not answered users: what `status` and `rollback show` say of it stays."""
    series = series_of([asked(V7)])

    assert series.keys() == {"r|bot"}
    assert not any(name.startswith("e:") for name in series["r|bot"])
    assert series["r|bot"]["k:output"] == 5


def test_what_a_judge_spends_is_no_versions() -> None:
    assert series_of([asked()]).keys() == {"r|bot"}


def test_it_is_no_request_and_no_evidence() -> None:
    assert Part.EVAL in NO_REQUEST
    assert Part.EVAL not in EVIDENCE


def test_a_replay_counts_it_as_nothing() -> None:
    lines = [outcome_line(asked(V7, ending=Ending.FAILED), 1.0), outcome_line(asked(), 2.0)]

    report = replay(lines, {})

    assert (report.requests, report.malformed) == (0, 0)
