"""How two contents of a flag differ, as lines for people: prompts message by message, the rest as JSON. Pure."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from flags.model import Json, Layer
from gateway.versions.visible import visible

# Lines around a difference, as `diff -u` has them.
CONTEXT_LINES = 3
# difflib's time may grow with the product of both sides; so many take a few milliseconds. More are shown as replaced
# whole.
MAX_LINES = 2000


class Part(NamedTuple):
    """One place where they differ: its path and the lines of a unified diff, without its heading."""

    path: str
    lines: list[str]


class _Pair(NamedTuple):
    """What stands at one path on either side, as lines; nothing where it is not there at all."""

    path: str
    before: list[str]
    after: list[str]


def differences(layer: Layer | None, before: Json, after: Json) -> list[Part]:
    """The places where two contents differ, in reading order."""
    pairs = _pairs(layer, before, after)
    return [Part(pair.path, _unified(pair.before, pair.after)) for pair in pairs if pair.before != pair.after]


def diff_text(parts: Sequence[Part], before: str, after: str) -> str:
    """All parts as one text, each under its heading; `before` and `after` name the versions."""
    lines: list[str] = []
    for part in parts:
        lines += [f"--- {before} {part.path}".rstrip(), f"+++ {after} {part.path}".rstrip(), *part.lines]
    return "\n".join(lines)


def _pairs(layer: Layer | None, before: Json, after: Json) -> Iterator[_Pair]:
    if layer is Layer.PROMPT and isinstance(before, Mapping) and isinstance(after, Mapping):
        yield from _messages(_listed(before), _listed(after))
        for name in sorted((before.keys() | after.keys()) - {"messages"}):
            sides = [_lines(each[name]) if name in each else [] for each in (before, after)]
            yield _Pair(name, *sides)
    else:
        yield _Pair("", _lines(before), _lines(after))


def _messages(before: Sequence[Json], after: Sequence[Json]) -> Iterator[_Pair]:
    """Message beside message; one that came between the others moves none of them."""
    told, now = [_message(each) for each in before], [_message(each) for each in after]
    matcher = difflib.SequenceMatcher(None, _whole(told), _whole(now))
    for tag, i1, i2, j1, j2 in matcher.get_opcodes():
        if tag == "equal":
            continue
        for step in range(max(i2 - i1, j2 - j1)):
            old, new = i1 + step, j1 + step
            gone, come = old < i2, new < j2
            path = f"messages[{old if gone else new}]" + ("" if gone and come else " (only here)")
            yield _Pair(path, told[old] if gone else [], now[new] if come else [])


def _whole(messages: Sequence[list[str]]) -> list[str]:
    return ["\n".join(each) for each in messages]


def _message(message: Json) -> list[str]:
    """`[system]`, then its text; whatever else it holds as JSON."""
    if not isinstance(message, Mapping):
        return _lines(message)
    rest = {name: value for name, value in message.items() if name not in ("role", "content")}
    more = _lines(rest) if rest else []
    return [f"[{message.get('role')}]", *_lines(message.get("content")), *more]


def _listed(content: Mapping[str, Json]) -> Sequence[Json]:
    found = content.get("messages")
    return found if isinstance(found, Sequence) and not isinstance(found, str) else []


def _lines(value: Json) -> list[str]:
    """A text line by line, all else as JSON with its names in order. Split by line feeds alone: a last one that is missing
    is a difference, and a carriage return is seen."""
    if isinstance(value, str):
        return value.split("\n")
    return json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False).split("\n")


def _unified(before: list[str], after: list[str]) -> list[str]:
    if len(before) + len(after) > MAX_LINES:
        lines = _replaced(before, after)
    else:
        # The first two lines are the heading, which is ours.
        lines = [*difflib.unified_diff(before, after, n=CONTEXT_LINES, lineterm="")][2:]
    return [visible(line) for line in lines]


def _replaced(before: list[str], after: list[str]) -> list[str]:
    """What lies between the lines that both begin and end with, as replaced whole."""
    short = min(len(before), len(after))
    head = next((n for n in range(short) if before[n] != after[n]), short)
    tail = next((n for n in range(short - head) if before[-1 - n] != after[-1 - n]), short - head)
    old, new = before[head : len(before) - tail], after[head : len(after) - tail]
    where = f"@@ -{head + 1},{len(old)} +{head + 1},{len(new)} @@"
    return [where, *(f"-{line}" for line in old), *(f"+{line}" for line in new)]
