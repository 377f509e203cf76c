"""What is said of a shift, and which shifts nobody goes back for."""

from __future__ import annotations

from math import log

import pytest

from policies.drift.note import is_gain, metric_of, noted, of_shift
from policies.drift.sample import Sample
from policies.drift.shift import Shift
from policies.policy import ACCURACY, HALLUCINATION, Metric


def shift(kind: str, before: float, after: float) -> Shift:
    return Shift(kind, Sample(500, before, 1.0), Sample(900, after, 1.0), 12.34, after / before)


@pytest.mark.parametrize(
    ("kind", "before", "after", "metric", "gain"),
    [
        ("cost", 2, 1, None, True),
        ("cost", 1, 2, None, False),
        ("output_length", 2, 1, None, False),
        ("output_length", 1, 2, None, False),
        ("refusals", 0.01, 0.1, None, False),
        ("score:accuracy", 0.7, 0.9, ACCURACY, True),
        ("score:accuracy", 0.9, 0.7, ACCURACY, False),
        ("score:hallucination", 0.9, 0.7, HALLUCINATION, True),
        ("score:gone", 0.7, 0.9, None, False),
    ],
)
def test_cheaper_and_better_is_a_gain_and_a_length_never_is(
    kind: str, before: float, after: float, metric: Metric | None, gain: bool
) -> None:
    assert is_gain(shift(kind, before, after), metric) is gain


def test_only_scores_have_a_metric() -> None:
    assert metric_of(shift("score:accuracy", 1, 2)) == "accuracy"
    assert metric_of(shift("cost", 1, 2)) is None


def test_a_shift_is_told_with_its_numbers() -> None:
    found = Shift(
        "output_length", Sample(500, log(200), 1.0, 200.0), Sample(900, log(80), 1.0, 80.0), 17.04, 0.4
    )

    event = of_shift("bot.prompt", "v7", "h" * 64, found, 60)
    note = noted(event)

    assert event.reason == (
        "bot.prompt/v7 drifts from its baseline: tokens of an answer 200 → 80 over the last 60 min "
        "(900 observations, baseline 500, z = 17.0)"
    )
    assert event.evidence == {
        "release": "bot.prompt/v7",
        "content": "h" * 64,
        "kind": "output_length",
        "before": 200.0,
        "after": 80.0,
        "ratio": 0.4,
        "z": 17.04,
        "n": 900,
        "baseline_n": 500,
        "minutes": 60,
    }
    assert (note.action, str(note.key), note.after, note.affects) == ("drift", "flag/bot.prompt", None, False)
