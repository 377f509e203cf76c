"""The demo's figures: by version, over the last seconds and in all."""

from __future__ import annotations

import pytest

from gateway.demo.tally import WINDOW_SECONDS, Sample, Tally, name_of, percentile, rows, shares


def sample(
    ended: float = 1.0, *, prompt: str | None = "v6", error: str | None = None, seconds: float = 0.1
) -> Sample:
    return Sample(ended - seconds, ended, prompt, error)


def test_each_version_has_its_own_row() -> None:
    """Errors and percentiles are not mixed between versions; what named none has a row, too."""
    found = rows(
        [sample(), sample(prompt="v7", error="503", seconds=0.4), sample(prompt="v7"), sample(prompt=None)]
    )

    assert [(row.version, row.requests, row.errors) for row in found] == [
        ("none", 1, 0),
        ("v6", 1, 0),
        ("v7", 2, 1),
    ]
    assert found[2].error_share == 0.5
    assert found[2].p95 == pytest.approx(0.4)


@pytest.mark.parametrize(("share", "expected"), [(0.5, 10), (0.95, 19), (1.0, 20), (0.0, 1), (0.951, 20)])
def test_percentiles_are_by_nearest_rank(share: float, expected: int) -> None:
    """At the rank, and one past it."""
    assert percentile(range(1, 21), share) == expected


def test_who_serves_looks_back_one_second() -> None:
    """An answer older than that says nothing of now; the largest share comes first."""
    found = shares([sample(1.0), sample(2.1, prompt="v7"), sample(2.5, prompt="v7"), sample(3.0)], now=3.05)

    assert found == (("v7", 2 / 3), ("v6", 1 / 3))


def test_totals_outlive_the_window() -> None:
    """What the screen no longer looks at stays counted, and takes no room."""
    tally = Tally()
    for second in range(100):
        tally.add(sample(float(second), error="503" if second < 10 else None))

    picture = tally.picture(99.0)

    assert picture.totals == (("v6", 100, 10),)
    assert tally.errors_of("v6") == 10
    assert picture.recent[0].requests == 5
    assert len(tally._recent) <= 2 * WINDOW_SECONDS + 1


def test_the_rate_is_true_from_the_start() -> None:
    """Two seconds after the first request, two seconds are what it is divided by."""
    tally = Tally()
    for number in range(20):
        tally.add(sample(10.1 + number / 10))

    assert tally.picture(12.0).rate == pytest.approx(10.0)


def test_before_the_first_request_there_is_nothing() -> None:
    """An empty picture, and no division by zero."""
    picture = Tally().picture(5.0)

    assert (picture.rate, picture.recent, picture.serving, picture.totals) == (0.0, (), (), ())


def test_a_sample_is_named_by_what_answered_it() -> None:
    """The prompt and the model, as far as they were named."""
    assert name_of(Sample(0.0, 1.0, "v6", model="small")) == "v6/small"
    assert name_of(Sample(0.0, 1.0, None, model="small")) == "small"
    assert name_of(Sample(0.0, 1.0, None)) == "none"
