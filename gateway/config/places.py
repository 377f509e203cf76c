"""Values that remember where in a text they stood, and what was wrong there. Knows no YAML and no section of ours."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import StrEnum

from flags.model import Json

DEPTH_MAX = 100
# What aliases may unfold to: a bomb of nine lines is a billion.
VALUES_MAX = 2_000_000
_ELEMENT = re.compile(r"\[(\d+)\]")


@dataclass(frozen=True, slots=True)
class Fault:
    """Something wrong at a place of the text: line from 1, path from the text's root."""

    line: int | None
    path: str
    message: str
    mend: str | None = None


class Unreadable(Exception):
    """Raised when a text is no YAML that we take; `fault` says where and why."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.message)
        self.fault = fault


class NodeKind(StrEnum):
    SCALAR = "scalar"
    MAPPING = "mapping"
    SEQUENCE = "sequence"


@dataclass(slots=True)
class Node:
    """A value and where it stands: `start` and `end` are indexes into the text (a scalar's own characters).

    A scalar has a `value`, a mapping `entries` (and the line of each key), a sequence `elements`. `key_starts`
    are the places of the keys that are written in the mapping itself, `<<` included, and none that it merges.
    """

    line: int
    start: int
    end: int
    kind: NodeKind = NodeKind.SCALAR
    value: Json = None
    entries: dict[str, Node] = field(default_factory=dict)
    key_lines: dict[str, int] = field(default_factory=dict)
    key_starts: dict[str, int] = field(default_factory=dict)
    elements: list[Node] = field(default_factory=list)


def plain(node: Node) -> Json:
    """The JSON value of `node`, aliases unfolded. Raises Unreadable when they unfold to too much."""
    return _Unfolding().of(node)


class _Unfolding:
    """One walk that makes plain values and counts them. `made` is what changes."""

    __slots__ = ("made",)

    def __init__(self) -> None:
        self.made = 0

    def __repr__(self) -> str:
        return f"<unfolding, {self.made} values so far>"

    def of(self, node: Node, depth: int = 0) -> Json:
        self.made += 1
        if self.made > VALUES_MAX or depth > DEPTH_MAX:
            raise Unreadable(
                Fault(node.line, "", f"aliases unfold to more than {VALUES_MAX} values", "write it out")
            )
        if node.kind is NodeKind.MAPPING:
            return {name: self.of(each, depth + 1) for name, each in node.entries.items()}
        if node.kind is NodeKind.SEQUENCE:
            return [self.of(each, depth + 1) for each in node.elements]
        return node.value


def line_of(root: Node | None, path: str) -> int | None:
    """The line of a dotted path, or of the last part of it that exists; names may hold dots themselves."""
    if root is None:
        return None
    node, line = root, root.line
    while path:
        path = path.removeprefix(".")
        if node.kind is NodeKind.MAPPING:
            names = [
                each for each in node.entries if path == each or path.startswith((f"{each}.", f"{each}["))
            ]
            if not names:
                break
            name = max(names, key=len)
            path, line, node = path[len(name) :], node.key_lines.get(name, line), node.entries[name]
        else:
            element = _ELEMENT.match(path)
            if not element or int(element[1]) >= len(node.elements):
                break
            path, node = path[element.end() :], node.elements[int(element[1])]
            line = node.line
    return line
