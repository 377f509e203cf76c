"""JSONLogic's operators that take their arguments evaluated.

Pure functions of JSON values, missing ones null.

Nothing here knows a rule, its scope or a flag; `logic` does the calling, and flagd's own operators are beside
it.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from math import isnan, nan
from types import MappingProxyType
from typing import TypeAlias

from flags.coercion import Value, comparable, equal, number, text, truth
from flags.errors import Invalid
from flags.steps import MOST_BITS, MOST_MERGED, bounded_text

Operator: TypeAlias = Callable[..., Value]


def _compared(compare: Callable[[Value, Value], bool]) -> Operator:
    def run(a: Value = None, b: Value = None, c: Value = None, *_: Value) -> bool:
        if not compare(*comparable(a, b)):
            return False
        return c is None or compare(*comparable(b, c))

    return run


def _equals(a: Value = None, b: Value = None, *_: Value) -> bool:
    return equal(a, b)


def _differs(a: Value = None, b: Value = None, *_: Value) -> bool:
    return not equal(a, b)


def _same(a: Value = None, b: Value = None, *_: Value) -> bool:
    # As Python compares: `1 === true` holds in the oracle, so it does here (JavaScript says no).
    return bool(a == b)


def _other(a: Value = None, b: Value = None, *_: Value) -> bool:
    return bool(a != b)


def _negated(value: Value = None, *_: Value) -> bool:
    return not truth(value)


def _affirmed(value: Value = None, *_: Value) -> bool:
    return truth(value)


def _sum(*values: Value) -> int | float:
    # Not sum(): from Python 3.12 on it compensates float errors, and results would depend on the interpreter.
    total: int | float = 0
    for value in values:
        total += number(value)
    return total


def _product(*values: Value) -> int | float:
    total: int | float = 1
    for value in values:
        total *= number(value)
    if type(total) is int and total.bit_length() > MOST_BITS:
        raise OverflowError(f"`*` makes a number of more than {MOST_BITS:,} bits")
    return total


def _difference(a: Value = None, b: Value = None, *_: Value) -> int | float:
    # A second argument that is null counts as none: the sign changes, nothing is subtracted.
    return -number(a) if b is None else number(a) - number(b)


def _quotient(a: Value = None, b: Value = None, *_: Value) -> int | float:
    return number(a) / number(b)


def _remainder(a: Value = None, b: Value = None, *_: Value) -> int | float:
    # The divisor's sign, as in Python and the oracle: -7 % 3 is 2 (JavaScript: -1).
    return number(a) % number(b)


def _least(*values: Value) -> int | float:
    return min(map(number, values), default=nan)


def _greatest(*values: Value) -> int | float:
    return max(map(number, values), default=nan)


def _joined(*values: Value) -> str:
    return bounded_text([text(value) for value in values])


def _merged(*values: Value) -> list[Value]:
    items: list[Value] = []
    for value in values:
        if isinstance(value, list):
            items += value
        else:
            items.append(value)
    if len(items) > MOST_MERGED:
        raise Invalid("", f"`merge` makes an array of more than {MOST_MERGED:,} items")
    return items


def _contained(needle: Value = None, haystack: Value = None, *_: Value) -> bool:
    # In an array by Python's equality (1 is in [true]); in a text by the needle's text.
    if isinstance(haystack, list):
        return needle in haystack
    return isinstance(haystack, str) and text(needle) in haystack


def _substring(value: Value = None, start: Value = None, length: Value = None, *_: Value) -> str:
    whole = text(value)
    begin = _begin(number(start), len(whole))
    return whole[begin : _end(begin, length, len(whole))]


def _begin(start: int | float, size: int) -> int:
    # Counted from the end where negative; further back than the beginning is the beginning.
    if isnan(start):
        return 0
    if start < 0:
        return size - int(-start) if -start < size else 0
    return min(int(start), size)


def _end(begin: int, length: Value, size: int) -> int:
    if length is None:
        return size
    count = number(length)
    if isnan(count):
        return begin
    whole = int(count)
    return begin + whole if whole >= 0 else max(size + whole, begin)


def _unchanged(value: Value = None, *_: Value) -> Value:
    # `log` gives its argument back; it writes nothing, for a context is not to be found in a log.
    return value


OPERATORS: Mapping[str, Operator] = MappingProxyType(
    {
        "==": _equals,
        "!=": _differs,
        "===": _same,
        "!==": _other,
        "<": _compared(operator.lt),
        "<=": _compared(operator.le),
        ">": _compared(operator.gt),
        ">=": _compared(operator.ge),
        "!": _negated,
        "!!": _affirmed,
        "+": _sum,
        "*": _product,
        "-": _difference,
        "/": _quotient,
        "%": _remainder,
        "min": _least,
        "max": _greatest,
        "cat": _joined,
        "merge": _merged,
        "in": _contained,
        "substr": _substring,
        "log": _unchanged,
    }
)
