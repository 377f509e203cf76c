"""Filters: which documents are taken, as what tree, and what is said of the others."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flags.errors import Invalid
from gateway.index.filters import (
    COMPARISONS_MAX,
    DEPTH_MAX,
    VALUES_MAX,
    Comparison,
    Compound,
    Junction,
    Operator,
    parse_filter,
)


def eq(key: str = "lang", value: object = "en") -> dict[str, object]:
    return {"type": "eq", "key": key, "value": value}


def nested(depth: int) -> dict[str, object]:
    document = eq()
    for _ in range(depth - 1):
        document = {"type": "and", "filters": [document]}
    return document


def test_a_document_becomes_a_tree() -> None:
    document = {"type": "or", "filters": [eq(), {"type": "in", "key": "year", "value": [2024, 2025]}]}

    assert parse_filter(document) == Compound(
        Junction.OR,
        (Comparison("lang", Operator.EQ, ("en",)), Comparison("year", Operator.IN, (2024, 2025))),
    )


@pytest.mark.parametrize("operator", ["eq", "ne", "gt", "gte", "lt", "lte"])
@pytest.mark.parametrize("value", ["a", 1, 1.5])
def test_every_comparison_takes_strings_and_numbers(operator: str, value: object) -> None:
    assert parse_filter({"type": operator, "key": "k", "value": value}) == Comparison(
        "k",
        Operator(operator),
        (value,),  # type: ignore[arg-type]
    )


@pytest.mark.parametrize(
    ("document", "path"),
    [
        (None, "filters"),
        ([], "filters"),
        ("lang = en", "filters"),
        ({}, "filters.type"),
        ({"type": "like", "key": "a", "value": "b"}, "filters.type"),
        ({"type": ["eq"], "key": "a", "value": "b"}, "filters.type"),
        ({"type": "eq", "value": "b"}, "filters.key"),
        ({"type": "eq", "key": "", "value": "b"}, "filters.key"),
        ({"type": "eq", "key": "\ud800", "value": "b"}, "filters.key"),
        ({"type": "eq", "key": "k" * 257, "value": "b"}, "filters.key"),
        ({"type": "eq", "key": "a"}, "filters.value"),
        (eq(value=None), "filters.value"),
        (eq(value=["a"]), "filters.value"),
        (eq(value={"a": 1}), "filters.value"),
        (eq(value="\udfff"), "filters.value"),
        (eq(value="v" * 4097), "filters.value"),
        (eq(value=2**63), "filters.value"),
        (eq(value=10**5000), "filters.value"),
        (eq(value=float("nan")), "filters.value"),
        (eq(value=float("inf")), "filters.value"),
        ({"type": "gt", "key": "a", "value": True}, "filters.value"),
        ({"type": "in", "key": "a", "value": "b"}, "filters.value"),
        ({"type": "in", "key": "a", "value": ["b", None]}, "filters.value[1]"),
        ({"type": "in", "key": "a", "value": [1] * (VALUES_MAX + 1)}, "filters.value"),
        ({"type": "eq", "key": "a", "value": "b", "filters": []}, "filters.'filters'"),
        ({"type": "and"}, "filters.filters"),
        ({"type": "and", "filters": []}, "filters.filters"),
        ({"type": "and", "filters": eq()}, "filters.filters"),
        ({"type": "and", "filters": [eq()], "key": "a"}, "filters.'key'"),
        ({"type": "and", "filters": [eq(), {"type": "or", "filters": [3]}]}, "filters.filters[1].filters[0]"),
        ({"type": "and", "filters": [eq()] * (COMPARISONS_MAX + 1)}, "filters.filters"),
    ],
)
def test_what_is_no_filter_is_refused_with_its_place(document: object, path: str) -> None:
    with pytest.raises(Invalid) as caught:
        parse_filter(document)

    assert caught.value.path == path
    assert len(str(caught.value)) < 400


def test_filters_nest_so_deep_and_no_deeper() -> None:
    parse_filter(nested(DEPTH_MAX))

    with pytest.raises(Invalid, match="deeper than 8"):
        parse_filter(nested(DEPTH_MAX + 1))


def test_a_filter_of_ten_thousand_levels_does_no_harm() -> None:
    with pytest.raises(Invalid, match="deeper"):
        parse_filter(nested(10_000))


def test_many_comparisons_in_several_branches_are_counted_together() -> None:
    branch = {"type": "or", "filters": [eq()] * 64}

    parse_filter({"type": "and", "filters": [branch] * 2})
    with pytest.raises(Invalid, match="found 192 comparisons, expected 128"):
        parse_filter({"type": "and", "filters": [branch] * 3})


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda inner: (
            st.lists(inner) | st.dictionaries(st.sampled_from(["type", "key", "value", "filters"]), inner)
        ),
    )
)
def test_no_document_does_more_than_be_refused(document: Any) -> None:
    with contextlib.suppress(Invalid):
        assert isinstance(parse_filter(document), (Comparison, Compound))
