"""What is known of a flag before anybody asks: whether time alone can change its answers, and how its numbers are sent."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flags.compiled import reads_time
from flags.model import Context, Json
from flags.resolve import resolve
from tests.flags.making import compiled, user

TIME: Json = {"var": "$flagd.timestamp"}
ON_OFF: dict[str, Json] = {"on": True, "off": False}


class TestTimed:
    @pytest.mark.parametrize(
        "rule",
        [
            TIME,
            {"if": [{">": [TIME, 5]}, "v6", "v7"]},
            {"var": ["$flagd.timestamp", 0]},
            {"var": ["plan", TIME]},
            {"var": "$flagd"},
            {"var": ""},
            {"var": []},
            {"var": None},
            {"var": {"cat": ["$flagd.time", "stamp"]}},
            {"map": [{"var": ""}, 1]},
            {"fractional": [["v6", TIME], ["v7", 1]]},
        ],
        ids=str,
    )
    def test_a_rule_that_can_read_the_time(self, rule: Json) -> None:
        assert compiled(rule=rule).timed

    @pytest.mark.parametrize(
        "rule",
        [
            {"if": [{"==": [{"var": "plan"}, "pro"]}, "v6"]},
            {"var": "$flagd.flagKey"},
            {"var": ["timestamp", "v6"]},
            {"==": [{"var": "name"}, "$flagd.timestamp"]},
            {"fractional": [["v6", 50], ["v7", 50]]},
        ],
        ids=str,
    )
    def test_a_rule_that_cannot(self, rule: Json) -> None:
        assert not compiled(rule=rule).timed

    def test_a_flag_without_a_rule_cannot(self) -> None:
        assert not compiled().timed

    @given(
        st.sampled_from(["$flagd.timestamp", "$flagd", "a.b", "", "plan"]),
        st.integers(0, 9),
        st.integers(0, 9),
    )
    def test_what_is_not_timed_answers_alike_at_all_times(self, name: str, first: int, second: int) -> None:
        flag = compiled(rule={"if": [{"==": [{"var": name}, 5]}, "v7"]})
        context: Context = user(plan=5)

        alike = resolve(flag, context, first) == resolve(flag, context, second)

        assert alike or flag.timed

    def test_what_is_no_rule_reads_nothing(self) -> None:
        assert not reads_time("$flagd.timestamp")


class TestFloats:
    def test_one_fraction_makes_all_of_a_flag_s_numbers_floats(self) -> None:
        assert compiled(values={"low": 1, "high": 2.5}, serve="low", safe="low").floats

    @pytest.mark.parametrize("values", [{"a": 1, "b": 2}, {"a": "1.5"}, {"a": {"x": 1.5}}, ON_OFF], ids=str)
    def test_without_one_they_stay_what_they_are(self, values: dict[str, Json]) -> None:
        first = next(iter(values))

        assert not compiled(values=values, serve=first, safe=first).floats
