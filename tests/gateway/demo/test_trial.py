"""A trial's figures: counted from the answers, in milliseconds of the users' clock."""

from __future__ import annotations

import pytest

from gateway.demo.story import TRIALS
from gateway.demo.tally import Sample
from gateway.demo.trial import Pulled, Trial, clauses, figures

FAILING, SLOW, _, UNHELPFUL = TRIALS
PULLED = Pulled(
    FAILING, "policy/error-brake", "50 %", began=10.0, withdrawn=14.0, everywhere=14.02, ended=16.0
)


def good(began: float, prompt: str = "v6") -> Sample:
    return Sample(began, began + 0.1, prompt, model="small")


def shielded(began: float) -> Sample:
    return Sample(began, began + 0.2, "v6", model="small", shielded=True)


def test_a_shielded_answer_is_the_candidates_failure_and_no_users() -> None:
    """It counts as one of its requests, and as a bad one; nobody saw a failure."""
    found = figures(PULLED, [good(11.0), good(11.1, "v7"), shielded(12.0), good(15.0)])

    assert (found.requests, found.bad, found.failures) == (2, 1, 0)


def test_times_count_from_the_bad_answers_to_the_withdrawal() -> None:
    """The first, the fourth, and from there to the last worker."""
    found = figures(PULLED, [shielded(11.8), shielded(12.8), shielded(13.0), shielded(13.4)])

    assert (found.from_first, found.from_fourth, found.to_everywhere) == (2000, 400, 20)


def test_a_bad_answer_that_came_after_the_withdrawal_is_no_cause_of_it() -> None:
    """With three before it, there is no time from the fourth."""
    found = figures(PULLED, [shielded(11.8), shielded(12.8), shielded(13.0), shielded(13.9)])

    assert found.bad == 4
    assert found.from_fourth is None
    assert figures(PULLED, []).from_first is None


@pytest.mark.parametrize(("began", "late"), [(14.01, 0), (14.02, 0), (14.03, 1), (16.0, 0)])
def test_late_is_what_began_after_every_worker_knew(began: float, late: int) -> None:
    """Requests decided before may still be answered by the candidate; what follows the trial is not its own."""
    found = figures(PULLED, [good(began, "v7"), good(15.0)])

    assert found.late == late


def test_each_trial_tells_its_own_bad_answers() -> None:
    """A failure, a slow model's answer, a low score; and each is tried on a tenth of the users."""
    assert FAILING.bad(shielded(1.0))
    assert not FAILING.bad(good(1.0, "v7"))
    assert SLOW.bad(Sample(1.0, 1.7, "v6", model="patient"))
    assert UNHELPFUL.bad(Sample(1.0, 1.1, "v8", model="small", score=0.0))
    assert not UNHELPFUL.bad(Sample(1.0, 1.1, "v6", model="small", score=0.0))
    assert all("--percent 10" in trial.command for trial in TRIALS)
    assert len({(trial.flag, trial.candidate) for trial in TRIALS}) == 4


def test_a_trial_is_asked_under_either_name() -> None:
    """The candidate may be a prompt or a model."""
    assert isinstance(SLOW, Trial)
    assert SLOW.tried(Sample(1.0, 1.7, "v6", model="patient"))
    assert FAILING.tried(good(1.0, "v7"))
    assert not FAILING.tried(good(1.0))


def test_a_reason_is_told_a_clause_a_line_without_the_single_tests() -> None:
    """What was seen, how much evidence it is of how much needed, and how it was counted; the ledger has the rest."""
    reason = "error_rate: 6 of 13 failed (limit 5 %); evidence 3332 of 1200 needed (T1 3332, T2 28191); each user once"

    assert clauses(reason) == [
        "error_rate: 6 of 13 failed (limit 5 %)",
        "evidence 3332 of 1200 needed",
        "each user once",
    ]
    assert clauses("50 %") == ["50 %"]
