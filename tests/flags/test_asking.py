"""OpenFeature's context as ours: JSON stays as it is, the rest becomes JSON or is refused with its path."""

from __future__ import annotations

import json
import uuid
from datetime import UTC, date, datetime
from decimal import Decimal
from enum import Enum, IntEnum
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openfeature.evaluation_context import EvaluationContext

from flags.asking import context_from
from flags.errors import Invalid
from flags.model import NOTHING, Context, Json
from flags.ofrep import MAX_DEPTH, MAX_VALUES

SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
JSON = st.recursive(SCALARS, lambda each: st.lists(each) | st.dictionaries(st.text(), each), max_leaves=10)


class Plan(str, Enum):  # noqa: UP042 - whose str() is "Plan.GOLD"
    GOLD = "gold"


class Rank(IntEnum):
    HIGH = 3


def attributes(**given: Any) -> Any:
    return context_from(EvaluationContext("u", given), attributes=True).attributes


@given(st.dictionaries(st.text(), JSON))
def test_json_arrives_as_it_was(given: dict[str, Json]) -> None:
    found = context_from(EvaluationContext("u", given), attributes=True)  # type: ignore[arg-type]

    assert json.dumps(dict(found.attributes)) == json.dumps(given)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (datetime(2031, 5, 1, 12, 30, tzinfo=UTC), "2031-05-01T12:30:00+00:00"),
        (date(2031, 5, 1), "2031-05-01"),
        (Plan.GOLD, "gold"),
        (Rank.HIGH, 3),
        (("a", 1), ["a", 1]),
        (frozenset(("a",)), ["a"]),
        ({1: {2: (3,)}}, {"1": {"2": [3]}}),
        (uuid.UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (Decimal("1.50"), "1.50"),
        (b"raw", "b'raw'"),
    ],
)
def test_what_is_no_json_becomes_it(value: Any, expected: Json) -> None:
    found = attributes(x=value)["x"]

    assert (found, type(found)) == (expected, type(expected))


def test_nobody_and_an_empty_key_are_nobody() -> None:
    assert context_from(None, attributes=True) == Context(None)
    assert context_from(EvaluationContext(""), attributes=True) == Context(None)
    assert context_from(EvaluationContext("u"), attributes=True) == Context("u")


def test_attributes_that_no_rule_would_see_are_not_looked_at() -> None:
    odd: Any = {"x": object()}

    assert context_from(EvaluationContext("u", odd), attributes=False) == Context("u", NOTHING)


def test_a_key_that_is_no_text_is_refused_with_the_mend() -> None:
    with pytest.raises(Invalid, match=r"targetingKey: expected a string, found int") as refused:
        context_from(EvaluationContext(17), attributes=False)  # type: ignore[arg-type]

    assert refused.value.mend == "give its str(...)"


def nested(depth: int) -> list[Any]:
    found: list[Any] = []
    for _ in range(depth - 1):
        found = [found]
    return found


def test_it_goes_as_deep_as_said_and_no_deeper() -> None:
    assert attributes(x=nested(MAX_DEPTH))["x"] == nested(MAX_DEPTH)
    with pytest.raises(Invalid, match="nests deeper than 64 levels"):
        attributes(x=nested(MAX_DEPTH + 1))


def test_a_circle_is_refused() -> None:
    circle: dict[str, Any] = {}
    circle["me"] = circle

    with pytest.raises(Invalid, match=r"me\.me\.me.*nests deeper"):
        attributes(me=circle)


def test_a_foreign_type_that_cannot_be_written_is_refused_with_its_path() -> None:
    class Mute:
        def __str__(self) -> str:
            raise RuntimeError("no words")

    with pytest.raises(Invalid, match=r"who\.0: Mute cannot be written as text"):
        attributes(who=[Mute()])


def test_a_list_that_holds_itself_is_refused_at_once() -> None:
    """Twice over it would have 2^64 leaves before it is too deep."""
    items: list[Any] = []
    items += [items, items]

    with pytest.raises(Invalid, match=r"nests deeper|holds itself"):
        attributes(x=items)


def test_so_many_values_and_no_more() -> None:
    assert len(attributes(x=tuple(range(MAX_VALUES)))["x"]) == MAX_VALUES
    with pytest.raises(Invalid, match="more than 10,000 values"):
        attributes(x=tuple(range(MAX_VALUES)), y=(1,))
