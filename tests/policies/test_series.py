"""What people see: buckets, quantiles, the numbers that outcomes add, and the windows read from them."""

from __future__ import annotations

from math import inf

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.buckets import HIGHEST, LOWEST, at_most, bound, bucket, merged, quantile
from policies.outcome import Blame, CostSource, Ending, Outcome, Part, Score
from policies.series import Series, Window, joined, recent, series_of, series_of_score, window_of
from policies.window import Stats, window_from
from tests.policies.measuring import MODEL, V6, V7, outcome

numbers = st.floats(1e-7, 1e7)


def window(*outcomes: Outcome) -> Window:
    """The window in which these ended."""
    return window_of(series_of(outcomes))


# Buckets


@given(numbers)
def test_a_number_lies_in_its_bucket(value: float) -> None:
    index = bucket(value)

    assert bound(index - 1) < value * (1 + 1e-12)
    assert value <= bound(index) * (1 + 1e-12)


@pytest.mark.parametrize("power", range(-30, 31))
def test_powers_of_two_are_bounds_and_belong_below_them(power: int) -> None:
    index = bucket(2.0**power)

    assert bound(index) == 2.0**power
    assert bucket(2.0**power * 1.000001) == min(index + 1, HIGHEST)


def test_what_is_not_positive_falls_into_the_lowest_bucket_and_what_is_huge_into_the_highest() -> None:
    assert [bucket(value) for value in (0.0, -1.0, 1e-300, 1e300)] == [LOWEST, LOWEST, LOWEST, HIGHEST]


@given(st.lists(numbers, min_size=1, max_size=200), st.sampled_from([0.0, 0.5, 0.9, 0.95, 0.99, 1.0]))
def test_a_quantile_is_within_four_and_a_half_percent(values: list[float], q: float) -> None:
    rank = max(1, -(-round(q * 100) * len(values) // 100))
    exact = sorted(values)[rank - 1]

    found = quantile(merged([{bucket(value): 1} for value in values]), q)

    assert found == pytest.approx(exact, rel=0.045)


@given(st.lists(numbers, max_size=50), st.lists(numbers, max_size=50))
def test_histograms_merge_into_that_of_all(some: list[float], others: list[float]) -> None:
    def histogram(values: list[float]) -> dict[int, float]:
        return merged({bucket(value): 1.0} for value in values)

    assert merged([histogram(some), histogram(others)]) == histogram([*some, *others])


def test_how_many_are_at_most_a_power_of_two_is_exact() -> None:
    buckets = merged({bucket(value): 1.0} for value in (0.1, 0.25, 0.2500001, 1.0, 3.0))

    assert [at_most(buckets, limit) for limit in (0.125, 0.25, 1.0, 4.0, inf)] == [1, 2, 4, 5, 5]


def test_nothing_has_no_quantile() -> None:
    assert quantile({}, 0.5) is None


# Outcomes


def test_a_request_counts_for_its_route_and_for_each_version() -> None:
    seen = window(outcome(), outcome(ending=Ending.FAILED))

    for stats in (seen.route("bot"), seen.version("bot.prompt", "v6"), seen.version("bot.model", "gpt")):
        assert stats.endings == {(Ending.OK, Blame.NONE): 1, (Ending.FAILED, Blame.UPSTREAM): 1}
        assert (stats.requests, stats.error_rate) == (2, 0.5)


def test_a_shielded_request_is_one_request_and_two_decisions() -> None:
    tried = msgspec.structs.replace(
        outcome(release=V7, ending=Ending.FAILED, part=Part.TRIED), releases=(V7,), how="c"
    )

    seen = window(tried, outcome(part=Part.SHIELD))

    assert (seen.route("bot").requests, seen.route("bot").shielded, seen.route("bot").failed) == (1, 1, 0)
    assert seen.version("bot.prompt", "v7").failed == 1
    assert seen.version("bot.prompt", "v6").ended(Ending.OK) == 1
    assert seen.version("bot.model", "gpt").requests == 1


def test_money_spent_on_a_tried_candidate_is_spent() -> None:
    tried = msgspec.structs.replace(outcome(ending=Ending.FAILED, part=Part.TRIED, cost=0.25), releases=(V7,))

    seen = window(tried, outcome(part=Part.SHIELD, cost=0.5))

    assert seen.route("bot").cost.sum == 0.75
    assert seen.version("bot.prompt", "v7").cost.sum == 0.25


def test_an_unknown_cost_is_not_zero() -> None:
    stats = window(outcome(cost=0.5), outcome()).route("bot")

    assert stats.cost_per_request == 0.5
    assert stats.costs == {CostSource.TABLE: 1, CostSource.UNKNOWN: 1}


def test_what_was_not_answered_has_no_unknown_cost() -> None:
    """A refusal costs nothing, and a failure seldom does: neither is a price that nobody has."""
    others = [outcome(ending=ending) for ending in Ending if ending is not Ending.OK]
    stats = window(*others, outcome(cost=0.5, ending=Ending.FAILED)).route("bot")

    assert stats.costs == {CostSource.TABLE: 1}


def test_a_versions_latency_is_that_of_good_answers_a_routes_that_of_all() -> None:
    seen = window(
        outcome(seconds=1.0),
        outcome(seconds=8.0, ending=Ending.FAILED),
        outcome(seconds=64.0, ending=Ending.ABANDONED),
    )

    assert (seen.route("bot").seconds.count, seen.route("bot").seconds.sum) == (2, 9.0)
    assert (seen.version("bot.prompt", "v6").seconds.count, seen.version("bot.prompt", "v6").seconds.sum) == (
        1,
        1.0,
    )
    assert seen.route("bot").seconds.quantile(1.0) == pytest.approx(8.0, rel=0.045)


def test_first_content_is_seen_where_there_was_any() -> None:
    streamed = msgspec.structs.replace(outcome(), first_content_seconds=0.25)

    assert window(outcome(), streamed).route("bot").first_content.buckets == {bucket(0.25): 1}


def test_tokens_go_by_direction() -> None:
    cached = msgspec.structs.replace(outcome(), cached_tokens=4, reasoning_tokens=2, output_tokens=None)

    tokens = window(outcome(), cached).version("bot.prompt", "v6").tokens

    assert tokens == {"input": 20, "output": 5, "cached": 4, "reasoning": 2}


def test_a_score_counts_for_its_route_and_its_versions() -> None:
    score = Score("k", "bot", (V7, MODEL), "cd", "", "accuracy", 0.5)
    series = series_of_score(score)
    series.merge(series_of_score(msgspec.structs.replace(score, value=1.0)))

    seen = window_of(series)

    for stats in (seen.route("bot"), seen.version("bot.prompt", "v7"), seen.version("bot.model", "gpt")):
        assert stats.scores["accuracy"].mean == 0.75


outcomes = st.builds(
    outcome,
    release=st.sampled_from([V6, V7]),
    ending=st.sampled_from(Ending),
    route=st.sampled_from(["bot", "shop"]),
    seconds=st.integers(0, 64).map(float),
    part=st.sampled_from(Part),
    cost=st.none() | st.integers(0, 8).map(lambda eighths: eighths / 8),
)


def exactly(series: Series) -> Window:
    """What is read from all but the logarithms, which add up to the same only but for the last digit."""
    kept = {
        subject: {name: value for name, value in measures.items() if not name.startswith(("kl:", "kq:"))}
        for subject, measures in series.items()
    }
    return window_of(kept)


@given(st.lists(outcomes, max_size=30), st.integers(0, 30))
def test_any_split_of_the_outcomes_adds_up_to_the_same(all_of: list[Outcome], at: int) -> None:
    parts = [series_of(all_of[:at]), series_of(all_of[at:])]
    together = Series()
    for part in parts:
        together.merge(part)

    assert exactly(together) == exactly(series_of(all_of))
    assert joined(map(exactly, parts)).routes == exactly(together).routes
    assert joined(map(exactly, parts)).versions == exactly(together).versions


# Windows


def test_numbers_by_flat_name_read_alike() -> None:
    series = series_of([outcome(), outcome(cost=0.5)])
    flat = {f"{subject}|{name}": value for subject, names in series.items() for name, value in names.items()}

    assert window_from(flat) == window_of(series)


def test_names_of_a_later_release_are_passed_over() -> None:
    later = {"x|what": {"e:ok:none": 1.0}, "r|bot": {"e:exploded:moon": 1.0, "zz": 3.0, "e:ok:none": 2.0}}

    assert window_of(later).routes == {"bot": Stats(endings={(Ending.OK, Blame.NONE): 2.0})}


def test_a_layer_is_all_versions_of_its_flag() -> None:
    seen = window(outcome(), outcome(release=V7), outcome(release=V7))

    assert seen.flag("bot.prompt").requests == 3
    assert seen.flag("bot.retriever").requests == 0


def test_recent_observations_come_from_the_newest_windows_that_hold_enough() -> None:
    minutes = [
        window_of(series_of([outcome(seconds=float(2**start))] * 10), start * 60, 60) for start in range(4)
    ]

    found = recent(minutes, "bot.prompt", "v6", "seconds", 15)

    assert found == {bucket(8.0): 10, bucket(4.0): 10}


def test_a_quiet_route_has_empty_numbers() -> None:
    stats = Window().route("nobody")

    assert (stats.requests, stats.error_rate, stats.cost_per_request, stats.seconds.quantile(0.5)) == (
        0,
        None,
        None,
        None,
    )


def test_what_came_from_the_cache_is_a_request_and_an_ending_of_its_version_and_nothing_more() -> None:
    """Its tokens were made once, and how fast it came says nothing of the version."""
    hit = msgspec.structs.replace(
        outcome(), part=Part.CACHED, input_tokens=5, output_tokens=7, first_content_seconds=0.001
    )
    series = series_of([hit])
    route, version = (next(series[name] for name in series if name.startswith(kind)) for kind in ("r|", "v|"))

    assert route["e:ok:none"] == version["e:ok:none"] == 1
    assert {name[0] for name in route} == {"e", "f", "l", "o", *(n[0] for n in route if n.startswith("c"))}
    assert not [name for name in version if name[0] in "klfo"]
