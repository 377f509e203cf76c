"""JSON in answers, and schemas that cannot hang the process."""

from __future__ import annotations

from itertools import count

import pytest

from flags.model import Json
from policies.evals.schema import STARTS_MAX, TEXT_CHARS_MAX, embedded, parsed, unmet
from policies.evals.verdict import NotEvaluated


@pytest.mark.parametrize(
    ("schema", "good", "bad"),
    [
        ({"type": "array", "items": {"enum": ["a"]}}, ["a"], ["b"]),
        ({"pattern": "^a"}, "ab", "ba"),
        ({"patternProperties": {"^x": {"type": "string"}}}, {"x1": "", "y": 1}, {"x1": 1}),
        ({"properties": {"a": {}}, "additionalProperties": False}, {"a": 1}, {"b": 1}),
        ({"patternProperties": {"^x": {}}, "additionalProperties": {"type": "null"}}, {"x": 1}, {"y": 1}),
        ({"$defs": {"n": {"type": "number"}}, "$ref": "#/$defs/n"}, 1.5, "1.5"),
        ({"items": [{"type": "string"}], "additionalItems": False}, ["a"], ["a", 1]),
        ({"dependencies": {"a": ["b"]}}, {"a": 1, "b": 1}, {"a": 1}),
        ({"$schema": "http://json-schema.org/draft-07/schema#", "const": 1}, 1, 2),
        ({"properties": {"$schema": {"type": "string"}}}, {"$schema": "x"}, {"$schema": 1}),
        ({"format": "ipv4"}, "127.0.0.1", "300.0.0.1"),
        ({"prefixItems": [{"type": "string"}], "unevaluatedItems": False}, ["a"], ["a", 2]),
        (True, {}, None),
    ],
)
def test_a_schema_says_what_is_wrong(schema: Json, good: Json, bad: Json) -> None:
    assert unmet(good, schema) is None
    assert bad is None or str(unmet(bad, schema)).startswith("$")


def doubling(depth: int) -> Json:
    steps: dict[str, Json] = {
        f"s{at}": {"allOf": [{"$ref": f"#/$defs/s{at + 1}"}, {"$ref": f"#/$defs/s{at + 1}"}]}
        for at in range(depth)
    }
    return {"$defs": {**steps, f"s{depth}": {}}, "$ref": "#/$defs/s0"}


def test_a_schema_that_doubles_at_each_step_is_given_up() -> None:
    ticks = count()

    with pytest.raises(NotEvaluated, match="takes more than"):
        unmet({}, doubling(40), clock=lambda: next(ticks) / 100)


@pytest.mark.parametrize(
    "schema",
    [
        {"$ref": "#"},
        {"$ref": "https://example.com/schema.json"},
        {"$ref": "file:///etc/passwd"},
        {"$ref": "#/nowhere"},
        {"$schema": "https://example.com/own"},
        {"$schema": 3},
        {"allOf": [{"$schema": "http://json-schema.org/draft-07/schema#", "pattern": "(a+)+$"}]},
        {"unevaluatedProperties": False, "patternProperties": {"(a+)+$": {}}},
        {"type": "strnig"},
        {"pattern": "("},
        {"required": "a"},
        "text",
        [],
        None,
    ],
)
def test_what_is_no_schema_or_leads_outside_is_not_evaluated(schema: Json) -> None:
    with pytest.raises(NotEvaluated):
        unmet("aaaa!", schema)


@pytest.mark.parametrize("place", ["pattern", "patternProperties", "additionalProperties"])
def test_a_hostile_pattern_in_a_schema_is_given_up(place: str) -> None:
    hostile, text = "(x+x+)+y", "x" * 3000
    schemas: dict[str, Json] = {
        "pattern": {"$schema": "https://json-schema.org/draft/2020-12/schema", "$ref": "#/$defs/p"}
        | {"$defs": {"p": {"pattern": hostile}}},
        "patternProperties": {"patternProperties": {hostile: {}}},
        "additionalProperties": {"additionalProperties": False, "patternProperties": {hostile: {}}},
    }

    with pytest.raises(NotEvaluated, match="backtracks"):
        unmet(text if place == "pattern" else {text: 1}, schemas[place])


def test_json_within_a_text_is_found_wherever_it_begins() -> None:
    assert list(embedded('a {b} {"c": [1]} and [2] {"d"')) == [{"c": [1]}, [2]]


@pytest.mark.parametrize("text", ["[" * 100_000, "{" * 100_000, "[{" * 50_000, ""])
def test_texts_full_of_beginnings_end(text: str) -> None:
    assert list(embedded(text)) == []


def test_only_so_many_beginnings_are_tried() -> None:
    assert list(embedded("{ " * (STARTS_MAX - 1) + "[1]")) == [[1]]
    assert list(embedded("{ " * STARTS_MAX + "[1]")) == []


@pytest.mark.parametrize("text", ["NaN", "[Infinity]", "[" * 100_000, "1" * 5_000, "", "{'a': 1}"])
def test_what_is_no_json_is_told_as_such(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        parsed(text)


def test_an_answer_too_long_to_be_looked_at_is_not_evaluated() -> None:
    assert parsed("1" + " " * (TEXT_CHARS_MAX - 1)) == 1
    with pytest.raises(NotEvaluated):
        parsed("1" + " " * TEXT_CHARS_MAX)
