"""How JSONLogic turns one JSON type into another, as flagd's Python core does. Knows no operator and no flag.

The oracle (`openfeature-flagd-core` 2, panzi-json-logic) has corners where Python shows through, and we
follow it: an empty string is not a number (JavaScript says 0), and a boolean's text is `True` or `False`.
"""

from __future__ import annotations

from math import isnan, nan
from typing import Any, TypeAlias

# JSONLogic is dynamically typed: operators take and give any JSON value and coerce it themselves.
Value: TypeAlias = Any

# Python's float() reads these, JavaScript's Number() does not ("infinity" passes in the oracle, so it passes
# here).
NOT_NUMBERS = frozenset({"inf", "+inf", "-inf"})


def number(value: Value) -> int | float:
    """`value` as a number; NaN for what is none."""
    if isinstance(value, (int, float)):
        return value
    if value is None:
        return 0
    if isinstance(value, str):
        return _number_in(value)
    if isinstance(value, list):
        return _number_of_list(value)
    return nan


def _number_in(text: str) -> float:
    if text.strip().lower() in NOT_NUMBERS:
        return nan
    try:
        return float(text)
    except ValueError:
        return nan


def _number_of_list(items: list[Value]) -> int | float:
    if not items:
        return 0
    return number(items[0]) if len(items) == 1 else nan


def text(value: Value) -> str:
    """`value` as text, as `cat` and `substr` see it."""
    if isinstance(value, str):
        return value
    if isinstance(value, float):
        return f"{value:.15g}"
    if value is None:
        return "null"
    if isinstance(value, list):
        return ",".join(map(text, value))
    if isinstance(value, dict):
        return "[object Object]"
    # A boolean's text is Python's, "True": the oracle asks for integers first, and a boolean is one.
    return str(value)


def truth(value: Value) -> bool:
    """JSONLogic's truthiness: null, false, 0, NaN, "" and [] are false; {} is true."""
    # JavaScript's truth of objects; Python would call {} false.
    if isinstance(value, dict):
        return True
    if isinstance(value, float) and isnan(value):
        return False
    return bool(value)


def equal(a: Value, b: Value) -> bool:
    """`==`: numbers decide where one side is a number; null equals null only.

    Arrays are equal only to themselves.
    """
    if type(a) is type(b):
        return a is b if isinstance(a, (list, dict)) else bool(a == b)
    if isinstance(a, (int, float)) or isinstance(b, (int, float)):
        # A boolean counts as a number here; null counts as 0 beside a number, so `null == 0` holds.
        return number(a) == number(b)
    if a is None or b is None:
        return False
    if isinstance(a, str) or isinstance(b, str):
        return text(a) == text(b)
    return False


def comparable(a: Value, b: Value) -> tuple[Value, Value]:
    """Both as numbers or both as text: what `<` and its kin compare."""
    if isinstance(a, (int, float)) or isinstance(b, (int, float)):
        return number(a), number(b)
    if isinstance(a, str) or isinstance(b, str):
        return text(a), text(b)
    return number(a), number(b)
