"""The methods of strings, lists and mappings that templates may call, each paid for. Anything not listed does not exist."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from jinja2.runtime import LoopContext

from gateway.sandbox.meter import Meter, kind_of
from gateway.sandbox.operators import Value, elements, key, text


@dataclass(frozen=True, slots=True)
class Method:
    """A method taken from a value and not yet called."""

    owner: Value
    name: str

    def invoke(self, meter: Meter, arguments: tuple[Value, ...], named: Mapping[str, Value]) -> Value:
        """Call it. Raises TypeError for arguments it does not take, and Exceeded."""
        if named:
            raise TypeError(f"{self.name}() takes no named arguments here")
        return METHODS[type(self.owner)][self.name](meter, self.owner, *arguments)


def string_of(value: Value) -> str:
    if isinstance(value, str):
        return value
    raise TypeError(f"expected a string, got {kind_of(value)}")


def whole(value: Value) -> int:
    if isinstance(value, int):
        return value
    raise TypeError(f"expected a whole number, got {kind_of(value)}")


def join(meter: Meter, separator: str, values: Value) -> str:
    parts = [text(meter, value) for value in elements(meter, values)]
    meter.charge(1, max(len(parts) - 1, 0) * len(separator))
    return separator.join(parts)


def replace(meter: Meter, value: str, old: Value, new: Value, count: Value = None) -> str:
    old, new = string_of(old), string_of(new)
    most = -1 if count is None else whole(count)
    meter.charge(1, len(value))
    places = value.count(old) if most < 0 else min(value.count(old), most)
    meter.charge(1, max(places * (len(new) - len(old)), 0))
    return value.replace(old, new, most)


def strip(meter: Meter, value: str, chars: Value = None, *, side: str = "") -> str:
    # Each character is looked for in `chars`: a long set would make that a product of two lengths.
    if chars is not None and len(string_of(chars)) > 100:
        raise ValueError("strip takes 100 characters at most")
    meter.charge(1, len(value))
    return getattr(value, f"{side}strip")(chars)  # type: ignore[no-any-return]


def split(meter: Meter, value: str, separator: Value = None, most: Value = -1) -> list[str]:
    meter.charge(1, len(value))
    parts = value.split(None if separator is None else string_of(separator), whole(most))
    meter.charge(len(parts))
    return parts


def splitlines(meter: Meter, value: str) -> list[str]:
    meter.charge(1, len(value))
    lines = value.splitlines()
    meter.charge(len(lines))
    return lines


def _plain(name: str) -> Callable[..., Value]:
    """A method of str without arguments, linear in its length. Upper case is at most three times as long."""
    method = getattr(str, name)

    def call(meter: Meter, value: str) -> Value:
        meter.charge(1, 3 * len(value))
        return method(value)

    return call


def _searching(name: str) -> Callable[..., Value]:
    method = getattr(str, name)

    def call(meter: Meter, value: str, wanted: Value) -> Value:
        meter.charge(1, len(value))
        return method(value, string_of(wanted))

    return call


def _get(meter: Meter, owner: Mapping[Value, Value], name: Value, default: Value = None) -> Value:
    return owner.get(key(meter, name), default)


def _counting(name: str) -> Callable[..., Value]:
    def call(meter: Meter, owner: list[Value], wanted: Value) -> Value:
        meter.touch(owner)
        meter.touch(wanted)
        return getattr(owner, name)(wanted)

    return call


def _changed(meter: Meter, loop: LoopContext, *values: Value) -> Value:
    for value in values:
        meter.touch(value)
    return loop.changed(*values)


_PLAIN = (
    "upper",
    "lower",
    "title",
    "capitalize",
    "swapcase",
    "isdigit",
    "isalpha",
    "isalnum",
    "isupper",
    "islower",
)
_SEARCHING = ("startswith", "endswith", "find", "rfind", "count", "removeprefix", "removesuffix")
_OF_STRINGS: Mapping[str, Callable[..., Value]] = MappingProxyType(
    {name: _plain(name) for name in _PLAIN}
    | {name: _searching(name) for name in _SEARCHING}
    | {
        "strip": strip,
        "lstrip": lambda meter, value, chars=None: strip(meter, value, chars, side="l"),
        "rstrip": lambda meter, value, chars=None: strip(meter, value, chars, side="r"),
        "split": split,
        "splitlines": splitlines,
        "join": join,
        "replace": replace,
    }
)
_OF_LISTS: Mapping[str, Callable[..., Value]] = MappingProxyType(
    {"index": _counting("index"), "count": _counting("count")}
)
_OF_MAPPINGS: Mapping[str, Callable[..., Value]] = MappingProxyType(
    {
        "get": _get,
        "keys": elements,
        "values": lambda meter, owner: elements(meter, list(owner.values())),
        "items": lambda meter, owner: elements(meter, list(owner.items())),
    }
)
_OF_LOOPS: Mapping[str, Callable[..., Value]] = MappingProxyType(
    {"changed": _changed, "cycle": lambda _, loop, *values: loop.cycle(*values)}
)
METHODS: Mapping[type, Mapping[str, Callable[..., Value]]] = MappingProxyType(
    {str: _OF_STRINGS, list: _OF_LISTS, tuple: _OF_LISTS, dict: _OF_MAPPINGS, LoopContext: _OF_LOOPS}
)
