"""A filter as an SQL condition over a passage's attributes, with every word of the user's as a parameter.

Knows the column that it is given, not the table.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from gateway.index.filters import Comparison, Compound, Filter, Junction, Operator
from gateway.index.passage import Attribute


class Condition(NamedTuple):
    """SQL with `?` for each of the parameters."""

    sql: str
    parameters: tuple[Attribute, ...]


_SIGNS = {Operator.GT: ">", Operator.GTE: ">=", Operator.LT: "<", Operator.LTE: "<="}
_NEGATED = (Operator.NE, Operator.NIN)


def condition(filter_: Filter, column: str) -> Condition:
    """What must hold of the JSON object in `column`, which is ours and never a user's."""
    if isinstance(filter_, Compound):
        return _joined(filter_, column)
    inner = _compared(filter_)
    # Not json_extract: a path cannot quote every key, json_each takes it as a plain parameter.
    exists = f"EXISTS (SELECT 1 FROM json_each({column}) WHERE key = ? AND ({inner.sql}))"  # noqa: S608
    negated = "NOT " if filter_.operator in _NEGATED else ""
    return Condition(negated + exists, (filter_.key, *inner.parameters))


def _joined(compound: Compound, column: str) -> Condition:
    parts = [condition(each, column) for each in compound.filters]
    word = " AND " if compound.junction is Junction.AND else " OR "
    return Condition(
        f"({word.join(part.sql for part in parts)})",
        tuple(value for part in parts for value in part.parameters),
    )


def _compared(comparison: Comparison) -> Condition:
    sign = _SIGNS.get(comparison.operator, "=")
    tests = [_test(value, sign) for value in comparison.values]
    if not tests:
        # `in` an empty list: nothing is.
        return Condition("0", ())
    return Condition(
        " OR ".join(test.sql for test in tests), tuple(value for test in tests for value in test.parameters)
    )


def _test(value: Attribute, sign: str) -> Condition:
    if isinstance(value, bool):
        return Condition(f"type = '{'true' if value else 'false'}'", ())
    types: Sequence[str] = ("'text'",) if isinstance(value, str) else ("'integer'", "'real'")
    return Condition(f"(type IN ({', '.join(types)}) AND value {sign} ?)", (value,))
