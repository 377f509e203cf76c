"""Documents against their shapes: every problem with its exact path and the mend. Knows shapes, not their meaning.

msgspec stops at the first error and hides the keys of mappings (`[...]`); people mend a file faster
when they see all of it, and where.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from difflib import get_close_matches
from types import MappingProxyType
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
# A value found is repeated up to so many characters.
SHOWN_MAX = 60
_SECRET = re.compile(r"(?i)secret|key|token|password|passwd|credential|authorization|cookie|^headers$|^url$")
_WHOLE = re.compile(r"expected `(object|array)")
_TYPES: Mapping[type, str] = MappingProxyType(
    {bool: "boolean", int: "number", float: "number", str: "string"}
)
_GOT = re.compile(r", got `\w+`$")
_STEP = re.compile(r"\.([^.\[\]`]+)|\[(\d+)\]|(\[\.\.\.\])")
# Fields whose inside is somebody else's business: a `timeout_seconds` in there is not ours.
_OPAQUE = frozenset(
    {"params", "variables", "tools", "card", "response_format", "headers", "filters"}
    | {"variants", "targeting", "metadata", "evaluators"}
)
_WORDING = (
    (re.compile(r" matching regex '\\+S'$"), " that says something"),
    (
        re.compile(r" matching regex '\^\(os.*$"),
        ": a reference (os.environ/NAME or file:/path), never the secret itself",
    ),
    (
        re.compile(r" matching regex '\^\[A-Za-z0-9\].*$"),
        ": a name of letters, digits, `.`, `_` and `-`, 128 at most",
    ),
    (
        re.compile(r" matching regex '\^\(\[\*\].*$"),
        ": a name of letters, digits, `.`, `_` and `-`, 128 at most, or `*`",
    ),
    (
        re.compile(r" matching regex '\^\(\(upstream\|.*$"),
        ": <kind>/<name>, for example flag/support-bot.prompt",
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
    # Of each list, the elements that were left out: those behind them have moved up.
    gone: dict[Path, list[int]] = {}
    while len(found) < PROBLEMS_MAX:
        try:
            msgspec.convert(rest, shape)
            break
        except msgspec.ValidationError as error:
            message, path = _located(shape, rest, str(error))
        place = _place(path, gone)
        name = _quoted(message)
        if message.startswith("Object contains unknown field"):
            fields = _fields_at(shape, path)
            found.append(_unknown(place, name, fields))
            path, place = (*path, name), (*place, name)
        elif message.startswith("Object missing required field"):
            if dotted((*place, name)) not in missing:
                found.append(Invalid(dotted(place), f"`{name}` is missing", mend=f"add `{name}:`"))
            # What is missing cannot be left out: the whole object is, so that its neighbours are still seen.
        else:
            found.append(Invalid(dotted(place), _told(shape, rest, path, message)))
        missing.add(dotted(place))
        if not path:
            break
        rest = _without(rest, path)
        if isinstance(place[-1], int):
            gone.setdefault(place[:-1], []).append(place[-1])
    return found


def _place(path: Path, gone: Mapping[Path, list[int]]) -> Path:
    """`path` as it was before the elements in `gone` were left out."""
    place: Path = ()
    for step in path:
        before = step
        if isinstance(before, int):
            for index in sorted(gone.get(place, ())):
                before += index <= before
        place = (*place, before)
    return place


def dotted(path: Path) -> str:
    """`("flags", "a.prompt", "variants")` → `flags.a.prompt.variants`; elements of lists in brackets."""
    text = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path)
    return text.removeprefix(".")


def seconds_in(value: Json, *, depth: int = 0) -> Json:
    """`value` with durations (`10m`) in fields that end in `seconds` as numbers of seconds."""
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
    if isinstance(value, str) and isinstance(name, str) and name.endswith("seconds"):
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
    return [field.encode_name for place in _types_at(shape, path) for field in getattr(place, "fields", ())]


def _types_at(shape: type, path: Path) -> list[inspect.Type]:
    """What may stand at `path`: more than one type for a union."""
    places = [inspect.type_info(shape)]
    for step in path:
        places = [inner for place in places for inner in _inner(place, step)]
    return [_bare(place) for place in places]


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


def _told(shape: type, value: Json, path: Path, message: str) -> str:
    """msgspec's message with what it leaves out: what is allowed, and what was found."""
    if message.startswith("Invalid enum value"):
        # The keys of a mapping may be an enumeration too.
        parents = [place for place in _types_at(shape, path[:-1]) if isinstance(place, inspect.DictType)]
        places = [*(_bare(parent.key_type) for parent in parents), *_types_at(shape, path)]
        allowed = [
            str(each) for place in places if isinstance(place, inspect.LiteralType) for each in place.values
        ]
        return f"{worded(message)} (expected one of {', '.join(allowed)})" if allowed else worded(message)
    told = worded(_GOT.sub("", message))
    # A key that is no name stands in the path already, and what lies under it is not to blame.
    if not told.startswith("expected `") or "never the secret itself" in told:
        return worded(message)
    return f"{told}, found {_seen(_at(value, path), path, whole=_WHOLE.match(told) is not None)}"


def _seen(value: Json, path: Path, *, whole: bool) -> str:
    """`value` for a message, short; nothing that is, or may be, a secret.

    What stands in place of a `whole` object or list (`upstreams: {openai: sk-…}`) may be anything.
    """
    if isinstance(value, Mapping):
        return f"an object of {len(value)}"
    if isinstance(value, (list, tuple)):
        return f"a list of {len(value)}"
    if value is None:
        return "nothing"
    if whole or any(isinstance(step, str) and _SECRET.search(step) for step in path):
        return f"a {_TYPES[type(value)]}"
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= SHOWN_MAX else f"{text[:SHOWN_MAX]}…"


def worded(message: str) -> str:
    """msgspec's `message` in our words."""
    for pattern, words in _WORDING:
        message = pattern.sub(words, message)
    return message[:1].lower() + message[1:]
