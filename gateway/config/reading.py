"""YAML (and so JSON) text → values that remember where they stood. Knows YAML, and no section of ours.

Reads events and builds iteratively, because PyYAML's own constructors recurse, merge duplicate keys
silently, turn `on` into true and dates into objects, and expand aliases without bound.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

import yaml
from yaml import events
from yaml.resolver import Resolver

from gateway.checking import dotted
from gateway.config.places import DEPTH_MAX, Fault, Node, NodeKind, Unreadable
from gateway.config.scalars import Misread, tag_of, value_of

__all__ = ["Unreadable", "read_text"]

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_COLLECTION_TAGS = (None, "!", "tag:yaml.org,2002:map", "tag:yaml.org,2002:seq")
_MERGE = "<<"


def read_text(text: str) -> tuple[Node | None, list[Fault]]:
    """The root of `text` and everything in it that is no JSON. None for an empty text. Raises Unreadable."""
    builder = _Builder()
    try:
        for event in yaml.parse(text, Loader=_LOADER):
            builder.take(event)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else None
        mend = _mend("" if line is None else "".join(text.splitlines()[line - 1 : line]))
        raise Unreadable(Fault(line, "", f"not YAML: {error.problem or error.context}", mend)) from None
    except yaml.YAMLError as error:
        raise Unreadable(Fault(None, "", f"not YAML: {str(error).splitlines()[0]}")) from None
    return builder.root, builder.faults


def _mend(line: str) -> str | None:
    """What most likely is wrong with a line that is no YAML."""
    if "\t" in line:
        return "indent with spaces, not tabs"
    # The name of the route of all names.
    return 'quote it: "*"' if re.search(r"(^|[\s{,])[*]\s*:", line) else None


@dataclass(slots=True)
class _Open:
    """A collection being built; `name` is the key that waits for its value."""

    node: Node
    anchor: str | None
    name: str | None = None
    # YAML's `<<: *defaults`: entries that give way to the mapping's own.
    merged: list[Node] = field(default_factory=list)


class _Builder:
    """Takes events, builds nodes. What changes here: the stack of open collections, anchors, and faults found."""

    def __init__(self) -> None:
        self.root: Node | None = None
        self.faults: list[Fault] = []
        self._open: list[_Open] = []
        self._anchors: dict[str, Node] = {}
        self._resolver = Resolver()
        self._documents = 0

    def __repr__(self) -> str:
        return f"<builder, {len(self._open)} open, {len(self.faults)} faults>"

    def take(self, event: events.Event) -> None:
        """Build on with `event`. Raises Unreadable for a second document, an unknown alias, and too deep nesting."""
        if isinstance(event, events.DocumentStartEvent):
            self._documents += 1
            if self._documents > 1:
                raise self._end(event, "a second document begins here", "keep one document in a file")
        elif isinstance(event, events.ScalarEvent):
            self._scalar(event)
        elif isinstance(event, (events.MappingStartEvent, events.SequenceStartEvent)):
            self._begin(event)
        elif isinstance(event, (events.MappingEndEvent, events.SequenceEndEvent)):
            self._finish(event)
        elif isinstance(event, events.AliasEvent):
            if event.anchor not in self._anchors:
                raise self._end(event, f"alias *{event.anchor} names nothing that is complete above it")
            self._place(event, self._anchors[event.anchor])

    def _begin(self, event: events.CollectionStartEvent) -> None:
        if len(self._open) >= DEPTH_MAX:
            raise self._end(event, f"nested deeper than {DEPTH_MAX}")
        if self._awaits_key():
            raise self._end(event, "a key is a list or a mapping; expected a name")
        if event.tag not in _COLLECTION_TAGS:
            self._fault(event, f"tag {event.tag} is not taken here", "remove it")
        kind = NodeKind.MAPPING if isinstance(event, events.MappingStartEvent) else NodeKind.SEQUENCE
        self._open.append(_Open(_node(event, kind), event.anchor))

    def _finish(self, event: events.CollectionEndEvent) -> None:
        closed = self._open.pop()
        node = closed.node
        node.end = _node(event).end
        for source in closed.merged:
            for name, value in source.entries.items():
                node.entries.setdefault(name, value)
                node.key_lines.setdefault(name, source.key_lines[name])
        if closed.anchor:
            self._anchors[closed.anchor] = node
        self._place(event, node)

    def _scalar(self, event: events.ScalarEvent) -> None:
        tag = tag_of(event, self._resolver)
        if self._awaits_key():
            self._key(event, tag)
            return
        node = _node(event)
        try:
            node.value = value_of(tag, event.value)
        except Misread as error:
            # The text stands in for it, so that the rest of the file is looked at too.
            node.value = event.value
            self._fault(event, error.message, error.mend)
        if event.anchor:
            self._anchors[event.anchor] = node
        self._place(event, node)

    def _key(self, event: events.ScalarEvent, tag: str) -> None:
        top, name = self._open[-1], event.value
        top.name = _MERGE if tag == "merge" else name
        top.node.key_starts.setdefault(name, _node(event).start)
        if tag == "merge":
            return
        # Numbers and dates are taken as they are written: `4.10:` is a version's name, not 4.1.
        if tag in ("bool", "null"):
            self._fault(event, f"YAML reads the key {name!r} as {tag}", f'quote it: "{name}"')
        if name in top.node.entries:
            first = top.node.key_lines[name]
            self._fault(event, f"the key {name!r} is given twice (first on line {first})", "keep one")
        top.node.key_lines[name] = _node(event).line

    def _place(self, event: events.Event, node: Node) -> None:
        if not self._open:
            self.root = node
            return
        top = self._open[-1]
        if top.node.kind is NodeKind.SEQUENCE:
            top.node.elements.append(node)
        elif top.name is None:
            raise self._end(event, "a key is an alias; expected a name")
        elif top.name == _MERGE and _MERGE not in top.node.key_lines:
            self._merge(event, top, node)
        else:
            top.node.entries[top.name] = node
        top.name = None

    def _merge(self, event: events.Event, top: _Open, node: Node) -> None:
        sources = node.elements if node.kind is NodeKind.SEQUENCE else [node]
        if any(source.kind is not NodeKind.MAPPING for source in sources):
            raise self._end(event, "`<<` merges mappings only")
        top.merged.extend(sources)

    def _awaits_key(self) -> bool:
        return (
            bool(self._open) and self._open[-1].node.kind is NodeKind.MAPPING and self._open[-1].name is None
        )

    def _path(self) -> Iterator[str | int]:
        for each in self._open:
            if each.node.kind is NodeKind.SEQUENCE:
                yield len(each.node.elements)
            elif each.name is not None:
                yield each.name

    def _fault(self, event: events.Event, message: str, mend: str | None = None) -> None:
        self.faults.append(Fault(_node(event).line, dotted(tuple(self._path())), message, mend))

    def _end(self, event: events.Event, message: str, mend: str | None = None) -> Unreadable:
        path = tuple(self._path())
        # A path of a hundred steps tells nobody anything.
        return Unreadable(Fault(_node(event).line, dotted(path[:10]), message, mend))


def _node(event: events.Event, kind: NodeKind = NodeKind.SCALAR) -> Node:
    """A node at the event's place."""
    start, end = event.start_mark, event.end_mark
    assert start is not None and end is not None, "events that come from a text have marks"  # noqa: PT018
    return Node(start.line + 1, start.index, end.index, kind)
