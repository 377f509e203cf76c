"""Conditions: a filter in SQL says of every attribute what the filter means, and holds no word of the user's."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.index.conditions import condition
from gateway.index.filters import Comparison, Compound, Filter, Junction, Operator
from gateway.index.passage import Attribute

KEYS = st.sampled_from(["lang", "a b", 'x"y', "$.z", "'; DROP TABLE t; --", "", "[0]"]) | st.text(max_size=4)
VALUES = (
    st.sampled_from(["en", "true", "1", "' OR 1=1 --", "%", ""])
    | st.integers(-3, 3)
    | st.booleans()
    | st.sampled_from([-0.5, 1.0, 2.5])
)
ORDERED = VALUES.filter(lambda value: not isinstance(value, bool))
SIGNS = {Operator.GT: "gt", Operator.GTE: "ge", Operator.LT: "lt", Operator.LTE: "le"}
COMPARISONS = (
    st.builds(
        lambda key, operator, value: Comparison(key, operator, (value,)),
        KEYS, st.sampled_from([Operator.EQ, Operator.NE]), VALUES,
    )
    | st.builds(
        lambda key, operator, value: Comparison(key, operator, (value,)),
        KEYS, st.sampled_from(sorted(SIGNS)), ORDERED,
    )
    | st.builds(
        lambda key, operator, values: Comparison(key, operator, tuple(values)),
        KEYS, st.sampled_from([Operator.IN, Operator.NIN]), st.lists(VALUES, max_size=3),
    )
)  # fmt: skip
FILTERS: st.SearchStrategy[Filter] = st.recursive(
    COMPARISONS,
    lambda inner: st.builds(
        lambda junction, filters: Compound(junction, tuple(filters)),
        st.sampled_from(Junction),
        st.lists(inner, min_size=1, max_size=3),
    ),
    max_leaves=6,
)


def family(value: Attribute) -> str:
    return "boolean" if isinstance(value, bool) else "text" if isinstance(value, str) else "number"


def passes(filter_: Filter, attributes: Mapping[str, Attribute]) -> bool:
    """What a filter means, in plain Python."""
    if isinstance(filter_, Compound):
        each = (passes(inner, attributes) for inner in filter_.filters)
        return all(each) if filter_.junction is Junction.AND else any(each)
    found = attributes.get(filter_.key)
    alike = [value for value in filter_.values if found is not None and family(value) == family(found)]
    if filter_.operator in SIGNS:
        method = f"__{SIGNS[filter_.operator]}__"
        return any(getattr(float(found) if family(found) == "number" else found,  # type: ignore[arg-type]
                           method)(value) for value in alike)  # fmt: skip
    equal = found in alike
    return not equal if filter_.operator in (Operator.NE, Operator.NIN) else equal


@pytest.fixture(scope="module")
def database() -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(":memory:")
    yield connection
    connection.close()


def passes_in_sql(database: sqlite3.Connection, filter_: Filter, attributes: Mapping[str, Attribute]) -> bool:
    where = condition(filter_, "t.attributes")
    sql = f"SELECT {where.sql} FROM (SELECT ? AS attributes) t"
    parameters = (*where.parameters, msgspec.json.encode(attributes).decode())
    return bool(database.execute(sql, parameters).fetchone()[0])


@given(filter_=FILTERS, attributes=st.dictionaries(KEYS, VALUES, max_size=4))
def test_sql_and_meaning_agree(
    database: sqlite3.Connection, filter_: Filter, attributes: dict[str, Attribute]
) -> None:
    assert passes_in_sql(database, filter_, attributes) == passes(filter_, attributes)


def test_no_word_of_the_users_is_in_the_sql() -> None:
    where = condition(Comparison("'; DROP TABLE passages; --", Operator.EQ, ("' OR 1=1",)), "p.attributes")

    assert "DROP" not in where.sql
    assert "OR 1" not in where.sql
    assert where.parameters == ("'; DROP TABLE passages; --", "' OR 1=1")


@pytest.mark.parametrize(
    ("comparison", "found"),
    [
        (Comparison("none", Operator.NE, ("x",)), True),
        (Comparison("none", Operator.NIN, ("x",)), True),
        (Comparison("none", Operator.EQ, ("x",)), False),
        (Comparison("none", Operator.LT, (5,)), False),
        (Comparison("vip", Operator.EQ, (1,)), False),
        (Comparison("vip", Operator.EQ, (True,)), True),
        (Comparison("year", Operator.EQ, (2024.0,)), True),
        (Comparison("year", Operator.GT, ("1",)), False),
        (Comparison("lang", Operator.IN, ()), False),
        (Comparison("lang", Operator.NIN, ()), True),
    ],
)
def test_what_is_missing_or_of_another_type(
    database: sqlite3.Connection, comparison: Comparison, found: bool
) -> None:
    """A passage that lacks the attribute passes only `ne` and `nin`; a boolean is no number, a number no string."""
    assert passes_in_sql(database, comparison, {"vip": True, "year": 2024, "lang": "en"}) is found
