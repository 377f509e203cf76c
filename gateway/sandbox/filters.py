"""The filters and tests that prompt templates may use, each paid for before it works. Knows the meter, not the template.

Text is for models, not for browsers: `tojson` writes plain JSON, and `safe` changes nothing.
"""

# Jinja's filters take flags by position, and templates do write `indent(2, true)`.
# ruff: noqa: FBT001, FBT002, FBT003
from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from functools import partial, wraps
from itertools import groupby
from types import MappingProxyType
from typing import Concatenate, NamedTuple, ParamSpec, TypeVar
from urllib.parse import quote

from jinja2 import StrictUndefined, Undefined, pass_context, tests
from jinja2.runtime import Context
from markupsafe import escape

from gateway.sandbox.meter import Meter, kind_of
from gateway.sandbox.methods import join, replace, string_of, strip, whole
from gateway.sandbox.operators import Value, elements, formatted, text, touched

P = ParamSpec("P")
R = TypeVar("R")
Of = Callable[[Value], Value]


class Group(NamedTuple):
    """One group of `groupby`."""

    grouper: Value
    list: list[Value]


class MeteredContext(Context):
    """Jinja's context of one rendering, with the meter that everything in it pays into."""

    meter: Meter


def metered(work: Callable[Concatenate[Meter, P], R]) -> Callable[Concatenate[MeteredContext, P], R]:
    """`work` as Jinja calls a filter: with the context first, of which it gets the meter."""

    @wraps(work)
    def call(context: MeteredContext, /, *args: P.args, **kwargs: P.kwargs) -> R:
        return work(context.meter, *args, **kwargs)

    return pass_context(call)


def _textual(convert: Callable[[str], Value], growth: int = 1) -> Callable[..., Value]:
    """A filter over text whose result is at most `growth` times as long."""

    def call(meter: Meter, value: Value) -> Value:
        found = text(meter, value)
        meter.charge(1, growth * len(found))
        return convert(found)

    return call


def _default(_: Meter, value: Value, default_value: Value = "", boolean: Value = False) -> Value:
    return default_value if isinstance(value, Undefined) or (boolean and not value) else value


def _length(_: Meter, value: Value) -> int:
    return len(value)  # type: ignore[arg-type]


def _first(meter: Meter, value: Value) -> Value:
    found = elements(meter, value)
    return found[0] if found else StrictUndefined("the list has no first element")


def _last(meter: Meter, value: Value) -> Value:
    found = elements(meter, value)
    return found[-1] if found else StrictUndefined("the list has no last element")


def _join(context: MeteredContext, value: Value, d: Value = "", attribute: Value = None) -> str:
    of = _picker(context, attribute)
    return join(context.meter, text(context.meter, d), [of(each) for each in elements(context.meter, value)])


def _replace(meter: Meter, value: Value, old: Value, new: Value, count: Value = None) -> str:
    return replace(meter, text(meter, value), text(meter, old), text(meter, new), count)


def _indent(meter: Meter, value: Value, width: Value = 4, first: Value = False, blank: Value = False) -> str:
    margin = width if isinstance(width, str) else " " * min(whole(width), 1000)
    found = text(meter, value)
    lines = found.splitlines()
    meter.charge(1 + len(lines), len(found) + len(margin) * (1 + len(lines)))
    rest = [margin + line if line or blank else line for line in lines[1:]]
    indented = "\n".join([*lines[:1], *rest]) + ("\n" if found.endswith("\n") else "")
    return margin + indented if first else indented


def _trim(meter: Meter, value: Value, chars: Value = None) -> str:
    return strip(meter, text(meter, value), chars)


def _truncate(
    meter: Meter, value: Value, length: Value = 255, killwords: Value = False, end: Value = "..."
) -> str:
    found, ending, longest = text(meter, value), string_of(end), whole(length)
    # Five characters over are not worth the cut: Jinja's own leeway.
    if len(found) <= longest + 5:
        return found
    kept = found[: max(longest - len(ending), 0)]
    return (kept if killwords else kept.rsplit(" ", 1)[0]) + ending


def _tojson(meter: Meter, value: Value, indent: Value = None) -> str:
    steps = meter.steps
    size = meter.weigh(value)
    margin = None if indent is None else min(whole(indent), 8)
    if margin:
        # Each leaf stands on a line of its own, at most as deep as there are containers (or Python's limit).
        meter.charge(1, (meter.steps - steps) * margin * min(meter.steps - steps, 100))
    meter.charge(1, 2 * size)
    return json.dumps(value, ensure_ascii=False, allow_nan=False, indent=margin)


def _round(_: Meter, value: Value, precision: Value = 0, method: Value = "common") -> Value:
    places = whole(precision)
    if abs(places) > 15:
        raise ValueError("round takes 15 digits at most")
    number = _number(value)
    if method == "common":
        return round(number, places)
    scale = 10.0**places
    return {"ceil": -(-number * scale // 1), "floor": number * scale // 1}[string_of(method)] / scale


def _int(_: Meter, value: Value, default: Value = 0, base: Value = 10) -> Value:
    try:
        if isinstance(value, str):
            return int(value, whole(base)) if len(value) <= 64 else default
        return int(_number(value))
    except (TypeError, ValueError, OverflowError):
        # "1.9"|int is 1 in Jinja.
        number = _float(_, value, None)
        return int(number) if isinstance(number, float) and abs(number) < 1e64 else default


def _float(_: Meter, value: Value, default: Value = 0.0) -> Value:
    try:
        return float(value) if isinstance(value, str) and len(value) <= 64 else float(_number(value))
    except (TypeError, ValueError, OverflowError):
        return default


def _number(value: Value) -> int | float:
    if isinstance(value, Undefined):
        str(value)
    if isinstance(value, (int, float)):
        return value
    raise TypeError(f"expected a number, got {kind_of(value)}")


def _sum(context: MeteredContext, value: Value, attribute: Value = None, start: Value = 0) -> Value:
    of, total = _picker(context, attribute), _number(start)
    for each in elements(context.meter, value):
        total += _number(of(each))
    return total


def _folded(meter: Meter, value: Value, case_sensitive: Value) -> Value:
    meter.weigh(value)
    return value.lower() if isinstance(value, str) and not case_sensitive else value


def _sort(
    context: MeteredContext,
    value: Value,
    reverse: Value = False,
    case_sensitive: Value = False,
    attribute: Value = None,
) -> list[Value]:
    found, of = elements(context.meter, value), _picker(context, attribute)
    before = context.meter.steps
    keyed = [(_folded(context.meter, of(each), case_sensitive), each) for each in found]
    # n log n comparisons, each of them over as much as a key holds.
    context.meter.charge((context.meter.steps - before + len(found)) * len(found).bit_length() // 8)
    return [each for _, each in sorted(keyed, key=lambda pair: pair[0], reverse=bool(reverse))]  # type: ignore[arg-type,return-value]


def _unique(
    context: MeteredContext, value: Value, case_sensitive: Value = False, attribute: Value = None
) -> list[Value]:
    of = _picker(context, attribute)
    seen: dict[Value, Value] = {}
    for each in elements(context.meter, value):
        seen.setdefault(_folded(context.meter, of(each), case_sensitive), each)
    return list(seen.values())


def _extreme(
    choose: Callable[..., Value],
    context: MeteredContext,
    value: Value,
    case_sensitive: Value = False,
    attribute: Value = None,
) -> Value:
    found, of = elements(context.meter, value), _picker(context, attribute)
    if not found:
        return StrictUndefined("the list is empty")
    return choose(found, key=lambda each: _folded(context.meter, of(each), case_sensitive))


def _groupby(context: MeteredContext, value: Value, attribute: Value, default: Value = None) -> list[Group]:
    of = _picker(context, attribute, default)
    pairs = [(of(each), each) for each in elements(context.meter, value)]
    ordered = _sort(context, pairs, case_sensitive=True, attribute=0)
    groups = groupby(ordered, key=lambda pair: pair[0])  # type: ignore[index]  # the pairs made above
    return [Group(name, [pair[1] for pair in each]) for name, each in groups]  # type: ignore[index]


def _dictsort(
    context: MeteredContext, value: Value, case_sensitive: Value = False, by: Value = "key"
) -> list[Value]:
    if not isinstance(value, dict):
        raise TypeError(f"dictsort expects a mapping, got {kind_of(value)}")
    place = {"key": 0, "value": 1}[string_of(by)]
    return _sort(context, list(value.items()), case_sensitive=case_sensitive, attribute=place)


def _items(meter: Meter, value: Value) -> list[Value]:
    if not isinstance(value, dict):
        raise TypeError(f"items expects a mapping, got {kind_of(value)}")
    return elements(meter, list(value.items()))


def _reverse(meter: Meter, value: Value) -> Value:
    return text(meter, value)[::-1] if isinstance(value, str) else elements(meter, value)[::-1]


def _picker(context: MeteredContext, attribute: Value, default: Value = None) -> Of:
    """What takes `a.b.0` from each element; the element itself where no attribute is named."""
    if attribute is None:
        return lambda each: each
    if not isinstance(attribute, (str, int)) or len(str(attribute)) > 256:
        raise TypeError("an attribute is a name of 256 characters at most")
    path = [int(part) if part.isdigit() else part for part in str(attribute).split(".")]

    def pick(each: Value) -> Value:
        for part in path:
            context.meter.charge(1)
            each = context.environment.getitem(each, part)
        return default if default is not None and isinstance(each, Undefined) else each

    return pick


def _map(context: MeteredContext, value: Value, *args: Value, **options: Value) -> list[Value]:
    found = elements(context.meter, value)
    if "attribute" in options:
        of = _picker(context, options["attribute"], options.get("default"))
        return [of(each) for each in found]
    name, *rest = args
    work = FILTERS[string_of(name)]
    return [work(context, each, *rest, **options) for each in found]


def _select(
    wanted: bool, by_attribute: bool, context: MeteredContext, value: Value, *args: Value
) -> list[Value]:
    of, rest = _picker(context, args[0] if by_attribute else None), args[1:] if by_attribute else args
    found = elements(context.meter, value)
    if not rest:
        return [each for each in found if bool(of(each)) is wanted]
    test = TESTS[string_of(rest[0])]
    return [each for each in found if bool(test(context, of(each), *rest[1:])) is wanted]


def _tested(test: Callable[..., Value]) -> Callable[..., bool]:
    def call(meter: Meter, value: Value, *args: Value) -> bool:
        for each in (value, *args):
            touched(meter, each)
        return bool(test(value, *args))

    return call


def _with_context(work: Callable[..., Value]) -> Callable[..., Value]:
    return pass_context(work)


_OVER_TEXT: Mapping[str, Callable[..., Value]] = MappingProxyType(
    {
        "upper": _textual(str.upper, 3),
        "lower": _textual(str.lower, 3),
        "title": _textual(
            lambda value: re.sub(r"[^\s\-(\[{<]+", lambda word: word[0].capitalize(), value), 3
        ),
        "capitalize": _textual(str.capitalize, 3),
        "wordcount": _textual(lambda value: len(re.findall(r"\w+", value)), 8),
        "urlencode": _textual(quote, 12),
        "escape": _textual(lambda value: str(escape(value)), 6),
        "e": _textual(lambda value: str(escape(value)), 6),
        "string": text,
        "safe": text,
        "trim": _trim,
        "indent": _indent,
        "replace": _replace,
        "truncate": _truncate,
        "format": lambda meter, value, *args, **named: formatted(meter, string_of(value), named or args),
    }
)
_OVER_VALUES: Mapping[str, Callable[..., Value]] = MappingProxyType(
    {
        "abs": lambda _, value: abs(_number(value)),
        "round": _round,
        "int": _int,
        "float": _float,
        "default": _default,
        "d": _default,
        "length": _length,
        "count": _length,
        "list": elements,
        "items": _items,
        "first": _first,
        "last": _last,
        "reverse": _reverse,
        "tojson": _tojson,
    }
)
_WITH_CONTEXT: Mapping[str, Callable[..., Value]] = MappingProxyType(
    {
        "join": _join,
        "sum": _sum,
        "sort": _sort,
        "unique": _unique,
        "min": partial(_extreme, min),
        "max": partial(_extreme, max),
        "groupby": _groupby,
        "dictsort": _dictsort,
        "map": _map,
        "select": partial(_select, True, False),
        "reject": partial(_select, False, False),
        "selectattr": partial(_select, True, True),
        "rejectattr": partial(_select, False, True),
    }
)
FILTERS: Mapping[str, Callable[..., Value]] = MappingProxyType(
    {name: metered(work) for name, work in {**_OVER_TEXT, **_OVER_VALUES}.items()}
    | {name: _with_context(work) for name, work in _WITH_CONTEXT.items()}
)
# Jinja's own tests are linear in their operands, which `_tested` weighs; those that look into the machine are left out.
_UNSAFE_TESTS = frozenset({"callable", "filter", "test", "escaped"})
TESTS: Mapping[str, Callable[..., bool]] = MappingProxyType(
    {name: metered(_tested(test)) for name, test in tests.TESTS.items() if name not in _UNSAFE_TESTS}  # type: ignore[arg-type]
)
