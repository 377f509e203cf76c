"""The recorder's buffers: bounded, counted, and quick to wake the gauge when something failed."""

from __future__ import annotations

from policies.outcome import Blame, Ending, Score
from policies.recorder import Recorder
from policies.series import window_of
from tests.policies.measuring import V6, outcome


def score(key: str) -> Score:
    return Score(key, "bot", (V6,), "c", "", "accuracy", 1.0)


def test_outcomes_are_taken_once_in_their_order() -> None:
    recorder = Recorder()
    for name in ("r1", "r2"):
        recorder.add(outcome(name))

    assert [each.request_id for each in recorder.take()] == ["r1", "r2"]
    assert recorder.take() == ()


def test_a_full_buffer_drops_the_oldest_and_counts_it() -> None:
    recorder = Recorder(capacity=2)
    for name in ("r1", "r2", "r3"):
        recorder.add(outcome(name))

    assert [each.request_id for each in recorder.take()] == ["r2", "r3"]
    assert recorder.dropped == 1
    assert window_of(recorder.take_series()).dropped == 1


def test_drops_are_told_once_and_remembered() -> None:
    recorder = Recorder(capacity=1)
    for name in ("a", "b"):
        recorder.add_score(score(name))
    recorder.take_series()

    assert window_of(recorder.take_series()).dropped == 0
    assert recorder.dropped == 1
    assert [each.key for each in recorder.take_scores()] == ["b"]


def test_only_a_failure_wakes_the_gauge() -> None:
    recorder, woken = Recorder(), []
    recorder.wake = lambda: woken.append("woken")
    for ending in (Ending.OK, Ending.ABANDONED, Ending.REFUSED):
        recorder.add(outcome(ending=ending))

    assert woken == []

    recorder.add(outcome(ending=Ending.FAILED))

    assert woken == ["woken"]


def test_a_request_without_a_decision_is_counted_under_no_route() -> None:
    recorder = Recorder()
    recorder.refused()
    recorder.refused("bot", Ending.FAILED, Blame.GATEWAY)

    assert recorder.endings == {"ok": 0, "failed": 1, "abandoned": 0, "refused": 1}
    seen = window_of(recorder.take_series())
    assert seen.route("").endings == {(Ending.REFUSED, Blame.CLIENT): 1}
    assert seen.route("bot").endings == {(Ending.FAILED, Blame.GATEWAY): 1}


def test_scores_are_counted_by_what_became_of_them() -> None:
    recorder = Recorder()
    for word in ("accepted", "late", "late"):
        recorder.heard(word)

    assert window_of(recorder.take_series()).feedback == {"accepted": 1, "late": 2}
