"""The metered forms of Jinja's operators: each pays before it makes anything. Knows the meter, not the template."""

from __future__ import annotations

import re
from typing import TypeAlias

from jinja2 import Undefined

from gateway.sandbox.meter import Exceeded, Meter, kind_of

# Jinja's values are whatever the template makes; the guards below narrow them one by one.
Value: TypeAlias = object

# A number of 256 bits is more than any prompt counts; 10**10**10 would eat the machine.
INTEGER_BITS = 256
FORMAT = re.compile(r"%(?:\([^()%]*\))?[-+ #0]*\d{0,2}(?:\.\d{1,2})?[sdifFgGeExXocr%]")


def text(meter: Meter, value: Value) -> str:
    """`value` as text, as Jinja prints it, paid for. Raises UndefinedError, and TypeError for macros and methods."""
    if isinstance(value, str):
        meter.charge(1, len(value))
        return value
    meter.weigh(value)
    return str(value)


def elements(meter: Meter, value: Value) -> list[Value]:
    """The elements of a list, string, mapping (its keys) or range, paid for. Raises TypeError for all else."""
    if isinstance(value, Undefined):
        str(value)
    if not isinstance(value, (list, tuple, dict, str, range)):
        raise TypeError(f"{kind_of(value)} has no elements")
    meter.charge(1 + len(value))
    return list(value)


def concat(meter: Meter, *values: Value) -> str:
    return "".join([text(meter, value) for value in values])


def add(meter: Meter, left: Value, right: Value) -> Value:
    if isinstance(left, str) and isinstance(right, str):
        meter.charge(1, len(left) + len(right))
        return left + right
    if isinstance(left, (list, tuple)) and isinstance(right, (list, tuple)):
        meter.charge(1 + len(left) + len(right))
    return left + right  # type: ignore[operator]  # any other pair raises TypeError, which is the answer


def multiply(meter: Meter, left: Value, right: Value) -> Value:
    if isinstance(left, int) and not isinstance(right, int):
        left, right = right, left
    if isinstance(right, int) and isinstance(left, (str, list, tuple)):
        size = len(left) * max(right, 0)
        meter.charge(1, size) if isinstance(left, str) else meter.charge(1 + size)
    elif isinstance(left, int) and isinstance(right, int):
        _fits(left.bit_length() + right.bit_length())
    return left * right  # type: ignore[operator]


def power(meter: Meter, left: Value, right: Value) -> Value:
    meter.charge(1)
    if isinstance(left, int) and isinstance(right, int):
        _fits(left.bit_length() * abs(right))
    return left**right  # type: ignore[operator]


def modulo(meter: Meter, left: Value, right: Value) -> Value:
    if isinstance(left, str):
        return formatted(meter, left, right)
    meter.charge(1)
    return left % right  # type: ignore[operator]


def formatted(meter: Meter, form: str, values: Value) -> str:
    """`form % values`, widths and precisions of two digits at most."""
    places = form.count("%")
    meter.charge(1, len(form))
    if "%" in FORMAT.sub("", form):
        raise ValueError("the format is not one of %s %d %.2f and their kin, with widths below 100")
    before = meter.chars
    meter.weigh(values)
    # Every place may print everything (`%(a)s%(a)s`), and pads to 99 at most.
    meter.charge(1 + places, len(form) + places * (100 + meter.chars - before))
    return form % values


def cut(meter: Meter, value: Value, start: Value, stop: Value, step: Value) -> Value:
    """`value[start:stop:step]`."""
    if isinstance(value, str):
        meter.charge(1, len(value))
    elif isinstance(value, (list, tuple, range)):
        meter.charge(1 + len(value))
    elif isinstance(value, Undefined):
        str(value)
    else:
        raise TypeError(f"{kind_of(value)} cannot be cut")
    return value[start:stop:step]  # type: ignore[index]


def key(_: Meter, value: Value) -> Value:
    """A mapping's key. Tuples are refused: their hash is computed anew each time, leaf by leaf."""
    if value is None or isinstance(value, (str, int, float)):
        return value
    raise TypeError(f"{kind_of(value)} cannot be a key")


def touched(meter: Meter, value: Value) -> Value:
    meter.touch(value)
    return value


def _fits(bits: int) -> None:
    if bits > INTEGER_BITS:
        raise Exceeded(f"it makes a number of more than {INTEGER_BITS} bits")
