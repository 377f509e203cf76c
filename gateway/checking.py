"""Documents against their shapes: every problem with its exact path and the mend. Knows shapes, not their meaning.

msgspec stops at the first error and hides the keys of mappings (`[...]`); people mend a file faster
when they see all of it, and where.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from difflib import get_close_matches
from typing import TypeAlias, TypeVar

import msgspec
from msgspec import inspect

from flags.errors import Invalid
from flags.model import Json

T = TypeVar("T")
Path: TypeAlias = tuple[str | int, ...]

# After so many problems in one document, the rest can wait for the next run.
PROBLEMS_MAX = 20
DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
_SECONDS_OF = (("ms", 0.001), ("s", 1.0), ("m", 60.0), ("h", 3600.0), ("d", 86400.0))
_STEP = re.compile(r"\.([^.\[\]`]+)|\[(\d+)\]|(\[\.\.\.\])")
# Fields whose inside is somebody else's business: a `timeout_seconds` in there is not ours.
_OPAQUE = frozenset(
    {"params", "variables", "tools", "card", "response_format", "headers", "filters"}
    | {"variants", "targeting", "metadata", "evaluators"}
)
_WORDING = (
    (
        re.compile(r" matching regex '\^\(os.*$"),
        ": a reference (os.environ/NAME or file:/path), never the secret itself",
    ),
    (
        re.compile(r" matching regex '\^\[A-Za-z0-9\].*$"),
        ": a name of letters, digits, `.`, `_` and `-`, 128 at most",
    ),
)


def parse(shape: type[T], value: Json) -> T:
    """`value` as `shape`. Raises Invalid for the first problem."""
    problems = problems_of(shape, value)
    if problems:
        raise problems[0]
    return msgspec.convert(seconds_in(value), shape)


def problems_of(shape: type, value: Json) -> list[Invalid]:
    """All that is wrong with the shape of `value`; with each found, its place is left out and the rest looked at."""
    found: list[Invalid] = []
    rest = seconds_in(value)
    missing: set[str] = set()
    while len(found) < PROBLEMS_MAX:
        try:
            msgspec.convert(rest, shape)
            break
        except msgspec.ValidationError as error:
            message, path = _located(shape, rest, str(error))
        name = _quoted(message)
        if message.startswith("Object contains unknown field"):
            fields = _fields_at(shape, path)
            found.append(_unknown(path, name, fields))
            path = (*path, name)
        elif message.startswith("Object missing required field"):
            if dotted((*path, name)) not in missing:
                found.append(Invalid(dotted(path), f"`{name}` is missing", mend=f"add `{name}:`"))
            # What is missing cannot be left out: the whole object is, so that its neighbours are still seen.
        else:
            found.append(Invalid(dotted(path), _worded(message)))
        missing.add(dotted(path))
        if not path:
            break
        rest = _without(rest, path)
    return found


def dotted(path: Path) -> str:
    """`("flags", "a.prompt", "variants")` → `flags.a.prompt.variants`; elements of lists in brackets."""
    text = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path)
    return text.removeprefix(".")


def seconds_in(value: Json, *, depth: int = 0) -> Json:
    """`value` with durations (`10m`) in fields that end in `_seconds` as numbers of seconds."""
    if depth > 8:
        return value
    if isinstance(value, Mapping):
        return {name: _seconds_field(name, each, depth) for name, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [seconds_in(each, depth=depth + 1) for each in value]
    return value


def _seconds_field(name: str, value: Json, depth: int) -> Json:
    if name in _OPAQUE:
        return value
    if isinstance(value, str) and isinstance(name, str) and name.endswith("_seconds"):
        return seconds(value)
    return seconds_in(value, depth=depth + 1)


def seconds(text: str) -> Json:
    """`10m` → 600.0; what is no duration stays as it is, to be refused by its shape."""
    match = DURATION.fullmatch(text)
    return round(float(match[1]) * dict(_SECONDS_OF)[match[2]], 6) if match else text


def _located(shape: type, value: Json, error: str) -> tuple[str, Path]:
    message, _, place = error.partition(" - at ")
    in_key = place.startswith("`key` in ")
    path: Path = ()
    here = value
    for name, index, hidden in _STEP.findall(place.removeprefix("`key` in ")):
        step = _hidden_key(shape, value, path, error) if hidden else int(index) if index else name
        path = (*path, step)
        here = here[step] if isinstance(here, (dict, list)) else None  # type: ignore[index]
    if in_key and isinstance(here, Mapping):
        path = (*path, _bad_key(shape, value, path, error))
        message = message.replace("Expected `str`", "Expected the key to be", 1)
    return message, path


def _hidden_key(shape: type, value: Json, path: Path, error: str) -> str:
    """The key of the mapping at `path` whose entry is the wrong one: the one that fails alike when it is alone."""
    mapping = _at(value, path)
    assert isinstance(mapping, Mapping)
    for name in mapping:
        try:
            msgspec.convert(_replaced(value, path, {name: mapping[name]}), shape)
        except msgspec.ValidationError as alone:
            if str(alone) == error:
                return name
    return "?"


_bad_key = _hidden_key


def _at(value: Json, path: Path) -> Json:
    for step in path:
        value = value[step]  # type: ignore[index]
    return value


def _replaced(value: Json, path: Path, new: Json) -> Json:
    if not path:
        return new
    step, *rest = path
    if isinstance(value, Mapping):
        return {**value, str(step): _replaced(value[str(step)], tuple(rest), new)}
    copy = list(value)  # type: ignore[arg-type]  # a path leads through mappings and lists only
    copy[int(step)] = _replaced(copy[int(step)], tuple(rest), new)
    return copy


def _without(value: Json, path: Path) -> Json:
    parent = _at(value, path[:-1])
    if isinstance(parent, Mapping):
        return _replaced(value, path[:-1], {name: each for name, each in parent.items() if name != path[-1]})
    kept = [each for index, each in enumerate(parent) if index != path[-1]]  # type: ignore[arg-type]
    return _replaced(value, path[:-1], kept)


def _fields_at(shape: type, path: Path) -> list[str]:
    places = [inspect.type_info(shape)]
    for step in path:
        places = [inner for place in places for inner in _inner(place, step)]
    return [field.encode_name for place in places for field in getattr(_bare(place), "fields", ())]


def _inner(place: inspect.Type, step: str | int) -> list[inspect.Type]:
    place = _bare(place)
    if isinstance(place, inspect.UnionType):
        return [inner for each in place.types for inner in _inner(each, step)]
    if isinstance(place, inspect.StructType):
        return [
            _bare(inner)
            for field in place.fields
            if field.encode_name == step
            for inner in _members(field.type)
        ]
    if isinstance(place, inspect.DictType):
        return _members(place.value_type)
    return _members(place.item_type) if isinstance(place, inspect.ListType) else []


def _members(place: inspect.Type) -> list[inspect.Type]:
    place = _bare(place)
    return list(place.types) if isinstance(place, inspect.UnionType) else [place]


def _bare(place: inspect.Type) -> inspect.Type:
    return place.type if isinstance(place, inspect.Metadata) else place


def _unknown(path: Path, name: str, fields: list[str]) -> Invalid:
    near = get_close_matches(name, fields, n=1)
    mend = f"did you mean `{near[0]}`?" if near else f"the fields here are {', '.join(sorted(fields))}"
    return Invalid(dotted((*path, name)), f"unknown field `{name}`", mend=mend)


def _quoted(message: str) -> str:
    return message.split("`")[1] if "`" in message else ""


def _worded(message: str) -> str:
    for pattern, words in _WORDING:
        message = pattern.sub(words, message)
    return message[:1].lower() + message[1:]
