"""Assertions on answers: each as promptfoo has it, its opposite, and what cannot be evaluated."""

from __future__ import annotations

import pytest

from flags.model import Json
from policies.evals.answer import Answer
from policies.evals.case import TYPES, Assertion
from policies.evals.checks import checked
from policies.evals.grader import NoGrader
from tests.policies.evals.examining import look, question

PERSON: Json = {"type": "object", "required": ["age"], "properties": {"age": {"type": "integer"}}}


@pytest.mark.parametrize(
    ("kind", "value", "good", "bad"),
    [
        ("equals", "30 days", "30 days", "30 days."),
        ("equals", 30, "30", "31"),
        ("equals", True, "true", "True"),
        ("equals", {"a": [1, 2]}, '{"a": [1, 2.0]}', '{"a": [2, 1]}'),
        ("equals", {"a": 1}, '{"a":1}', "no JSON"),
        ("equals", {"a": 1}, '{"a": 1.0}', '{"a": true}'),
        ("equals", [1], "[1]", '["\\ud83d"]'),
        ("contains", "days", "30 days", "30 Days"),
        ("icontains", "DAYS", "30 Days", "30"),
        ("contains-all", ["30", "days"], "30 days", "30"),
        ("contains-all", '30, "days, at most"', "30 days, at most", "30 days"),
        ("contains-any", ["30", "thirty"], "thirty", "three"),
        ("icontains-all", ["THIRTY", "days"], "Thirty Days", "thirty"),
        ("icontains-any", "THIRTY,30", "thirty", "three"),
        ("starts-with", "30", "30 days", " 30 days"),
        ("regex", r"^\d+ (?=days)", "30 days", "thirty days"),
        ("is-json", None, "[1]", "[1"),
        ("is-json", None, '{"a": 1}', '{"a": NaN}'),
        ("is-json", PERSON, '{"age": 3}', '{"age": "3"}'),
        ("is-json", PERSON, '{"age": 3}', "{}"),
        ("contains-json", PERSON, 'so: {"age": 3}.', 'so: {"age": "3"}.'),
        ("contains-json", None, "see [1]", "see nothing"),
    ],
)
async def test_an_assertion_passes_what_it_should_and_its_opposite_does_not(
    kind: str, value: Json, good: str, bad: str
) -> None:
    plain, opposite = {"type": kind, "value": value}, {"type": f"not-{kind}", "value": value}

    assert [(await look(plain, text)).passed for text in (good, bad)] == [True, False]
    assert [(await look(opposite, text)).passed for text in (good, bad)] == [False, True]
    assert [(await look(opposite, text)).score for text in (good, bad)] == [0.0, 1.0]


@pytest.mark.parametrize(("milliseconds", "passed"), [(500, True), (499, False)])
async def test_latency_is_at_most_its_threshold_in_milliseconds(milliseconds: int, passed: bool) -> None:
    assert (await look({"type": "latency", "threshold": milliseconds}, seconds=0.5)).passed is passed


@pytest.mark.parametrize(("cost", "passed"), [(0.01, True), (0.011, False), (None, None)])
async def test_cost_is_at_most_its_threshold_and_an_unknown_cost_is_not_zero(
    cost: float | None, passed: bool | None
) -> None:
    assert (await look({"type": "cost", "threshold": 0.01}, cost_usd=cost)).passed is passed


async def test_a_set_passes_by_its_own_threshold() -> None:
    parts: Json = [{"type": "contains", "value": "30"}, {"type": "contains", "value": "weeks"}]

    all_of = await look({"type": "assert-set", "assert": parts})
    half = await look({"type": "assert-set", "assert": parts, "threshold": 0.5})

    assert (all_of.passed, all_of.score) == (False, 0.5)
    assert (half.passed, half.score) == (True, 0.5)


async def test_what_no_grader_can_tell_is_not_evaluated_and_its_opposite_neither() -> None:
    for kind in ("similar", "llm-rubric", "factuality", "not-llm-rubric"):
        ready = question({"type": kind, "value": "short"})
        found = await checked(ready.asserts[0], ready, Answer("x", 0.1), NoGrader())

        assert found.passed is None
        assert found.score == 0.0


async def test_an_assertion_that_is_lacking_is_not_evaluated_by_name() -> None:
    ready = question()
    found = await checked(
        Assertion("javascript", lacks="assertion type 'javascript'"), ready, Answer("x", 0.1), NoGrader()
    )

    assert found.passed is None
    assert "javascript" in found.reason


async def test_a_list_that_is_empty_once_read_is_not_evaluated() -> None:
    assert (await look({"type": "contains-all", "value": " , "})).passed is None


@pytest.mark.parametrize("kind", sorted(TYPES))
async def test_every_type_that_is_known_is_dispatched(kind: str) -> None:
    found = await look({"type": kind, "value": "30", "threshold": 1})

    assert "is not evaluated here" not in found.reason
