"""Which passages may be found: OpenAI's comparison and compound filters as a typed tree. Pure; knows no store.

Source: the `filters` of OpenAI's `POST /v1/vector_stores/{id}/search`. A passage that lacks an attribute equals
nothing, is in no list and compares with nothing; so it passes `ne` and `nin`. A string is not compared with a number.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias, TypeGuard

from flags.errors import Invalid
from gateway.index.passage import Attribute

# Deeper or wider than any filter that a person writes; an SQL or HTTP store has its own limits not far above.
DEPTH_MAX = 8
COMPARISONS_MAX = 128
# Values in one `in` list.
VALUES_MAX = 256
# Characters; OpenAI allows 64 of a key and 512 of a value.
KEY_CHARACTERS_MAX = 256
VALUE_CHARACTERS_MAX = 4096
# SQLite's and Qdrant's integers have 64 bits.
_INTEGERS = range(-(2**63), 2**63)


class Operator(StrEnum):
    """How an attribute is compared."""

    EQ = "eq"
    NE = "ne"
    GT = "gt"
    GTE = "gte"
    LT = "lt"
    LTE = "lte"
    IN = "in"
    NIN = "nin"


class Junction(StrEnum):
    """How filters are put together."""

    AND = "and"
    OR = "or"


_LISTS = (Operator.IN, Operator.NIN)
_ORDERS = (Operator.GT, Operator.GTE, Operator.LT, Operator.LTE)
_KNOWN = ", ".join([*Operator, *Junction])


@dataclass(frozen=True, slots=True)
class Comparison:
    """One attribute against a value. `values` holds one, and any number for `in` and `nin`."""

    key: str
    operator: Operator
    values: tuple[Attribute, ...]


@dataclass(frozen=True, slots=True)
class Compound:
    """Filters that must all hold, or of which one must."""

    junction: Junction
    filters: tuple[Filter, ...]


Filter: TypeAlias = Comparison | Compound


def parse_filter(document: object) -> Filter:
    """The tree of one `filters` document. Raises Invalid with the path from `filters`."""
    found = _parse(document, "filters", depth=1)
    if _comparisons(found) > COMPARISONS_MAX:
        message = f"found {_comparisons(found)} comparisons, expected {COMPARISONS_MAX} at most"
        raise Invalid("filters", message, mend="use `in` with a list instead of many `eq`")
    return found


def _parse(document: object, path: str, *, depth: int) -> Filter:
    if not isinstance(document, Mapping):
        raise Invalid(path, f"found {_kind(document)}, expected an object with a `type`")
    kind = document.get("type")
    if not isinstance(kind, str) or kind not in (*Operator, *Junction):
        raise Invalid(f"{path}.type", f"found {_shown(kind)}, expected one of {_KNOWN}")
    if kind in tuple(Junction):
        return _compound(document, Junction(kind), path, depth)
    return _comparison(document, Operator(kind), path)


def _compound(document: Mapping[object, object], junction: Junction, path: str, depth: int) -> Compound:
    _only(document, ("type", "filters"), path)
    if depth >= DEPTH_MAX:
        raise Invalid(path, f"filters are nested deeper than {DEPTH_MAX}", mend="flatten them")
    inner = document.get("filters")
    if not _is_list(inner) or not inner:
        raise Invalid(f"{path}.filters", f"found {_kind(inner)}, expected a list of at least one filter")
    if len(inner) > COMPARISONS_MAX:
        raise Invalid(f"{path}.filters", f"found {len(inner)} filters, expected {COMPARISONS_MAX} at most")
    parsed = (_parse(each, f"{path}.filters[{at}]", depth=depth + 1) for at, each in enumerate(inner))
    return Compound(junction, tuple(parsed))


def _comparison(document: Mapping[object, object], operator: Operator, path: str) -> Comparison:
    _only(document, ("type", "key", "value"), path)
    key = document.get("key")
    if not isinstance(key, str) or not 0 < len(key) <= KEY_CHARACTERS_MAX or not _is_text(key):
        expected = f"an attribute's name of 1 to {KEY_CHARACTERS_MAX} characters"
        raise Invalid(f"{path}.key", f"found {_shown(key)}, expected {expected}")
    if "value" not in document:
        raise Invalid(f"{path}.value", "is missing")
    return Comparison(key, operator, _values(document["value"], operator, f"{path}.value"))


def _values(value: object, operator: Operator, path: str) -> tuple[Attribute, ...]:
    if operator not in _LISTS:
        return (_value(value, operator, path),)
    if not _is_list(value):
        raise Invalid(path, f"found {_kind(value)}, expected a list of values")
    if len(value) > VALUES_MAX:
        raise Invalid(path, f"found {len(value)} values, expected {VALUES_MAX} at most")
    return tuple(_value(each, operator, f"{path}[{at}]") for at, each in enumerate(value))


def _value(value: object, operator: Operator, path: str) -> Attribute:
    if isinstance(value, bool) and operator not in _ORDERS:
        return value
    if isinstance(value, str) and len(value) <= VALUE_CHARACTERS_MAX and _is_text(value):
        return value
    if isinstance(value, int) and not isinstance(value, bool) and value in _INTEGERS:
        return value
    if isinstance(value, float) and math.isfinite(value):
        return value
    expected = "a string or a number" if operator in _ORDERS else "a string, a number or a boolean"
    raise Invalid(path, f"found {_shown(value)}, expected {expected}")


def _only(document: Mapping[object, object], names: Sequence[str], path: str) -> None:
    for name in document:
        if name not in names:
            raise Invalid(f"{path}.{_shown(name)}", f"is unknown here (fields: {', '.join(names)})")


def _comparisons(found: Filter) -> int:
    return 1 if isinstance(found, Comparison) else sum(_comparisons(each) for each in found.filters)


def _is_list(value: object) -> TypeGuard[Sequence[object]]:
    return isinstance(value, (list, tuple))


def _is_text(value: str) -> bool:
    """Half a surrogate pair is no text: no store takes it."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _kind(value: object) -> str:
    if value is None:
        return "nothing"
    return {dict: "an object", list: "a list", str: "a string", bool: "a boolean"}.get(
        type(value), "a number"
    )


def _shown(value: object) -> str:
    if isinstance(value, (Mapping, list, tuple)) or value is None:
        return _kind(value)
    if isinstance(value, int) and value not in _INTEGERS:
        return "an integer of more than 64 bits"
    # Escaped, and cut before: a hostile value may be a megabyte, and no text.
    text = ascii(value[:61] if isinstance(value, str) else value)
    return text if len(text) <= 60 else f"{text[:60]}…"
