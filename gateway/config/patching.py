"""What is operated, brought into the text of a config file: values change in place, all else stays as it is.

Knows text and its places; writes nothing. A patch that does not say what is operated is refused, never given.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from difflib import unified_diff

from flags.change import View
from flags.errors import Refused
from flags.model import Flag, Json, Kind, ObjectKey
from gateway.config.declaration import Declaration, rollout_document, shadow_document
from gateway.config.places import Node, NodeKind, Unreadable, plain
from gateway.config.reading import read_text

# Reads back as itself in every YAML: anything else is quoted.
_PLAIN = re.compile(r"[A-Za-z][A-Za-z0-9._-]*")
_WORDS = frozenset({"y", "n", "yes", "no", "on", "off", "true", "false", "null"})
_FIELDS = ("serve", "safe", "rollout", "withdrawn", "shadow")


def patch(text: str, name: str, declaration: Declaration, view: View) -> str:
    """A unified diff that brings the operated state into the config file `text`; "" where nothing differs.

    Fields that a flag does not have yet are put before its `variants`. Raises Refused where what is operated
    cannot be said in this file: it lacks a variant, or a YAML alias stands where a value should be written.
    """
    # JSON may be indented with tabs, which YAML may not; the places stay the same.
    root = _flags_of(text.replace("\t", " ") if name.endswith(".json") else text)
    nodes = root.entries if root else {}
    flags = {
        key: view.flag(key)
        for key in declaration.flags
        if key in nodes and ObjectKey(Kind.FLAG, key) in view.objects
    }
    for key, flag in flags.items():
        _refuse_strangers(flag, declaration.flags[key].variants)
    spelling = _Spelling(text, in_json=name.endswith(".json"))
    # A set, because two flags may be one node with two names.
    edits = {edit for key, flag in flags.items() for edit in spelling.edits(nodes[key], flag)}
    after = text
    for start, end, new in sorted(edits, reverse=True):
        after = after[:start] + new + after[end:]
    if edits:
        _check(after, flags)
    diff = unified_diff(_lines(text), _lines(after), name, name)
    return "".join(
        line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in diff
    )


def _lines(text: str) -> list[str]:
    """As `patch` counts them; Python's own splitlines also ends a line at U+2028 and others."""
    return re.findall(r"[^\n]*\n|[^\n]+", text)


def _flags_of(text: str) -> Node | None:
    root, _ = read_text(text)
    return root.entries.get("flags") if root else None


def _refuse_strangers(flag: Flag, variants: Mapping[str, Json]) -> None:
    candidate = flag.rollout.variant if flag.rollout else None
    shadowed = flag.shadow.variant if flag.shadow else None
    named = {flag.serve, flag.safe, candidate, shadowed, *flag.withdrawn} - {None}
    missing = sorted(str(name) for name in named if name not in variants)
    if missing:
        raise Refused(
            "variant_not_in_file",
            f"flag {flag.key!r}: what is operated names {', '.join(missing)}, which the file does not have",
            mend="add it to the file's variants first (pointsman export prints it)",
        )


def _operated(flag: Flag) -> dict[str, Json]:
    """The flag's state as a file spells it."""
    rollout = flag.rollout
    return {
        "serve": flag.serve,
        "safe": flag.safe,
        "rollout": rollout_document(rollout) if rollout else None,
        "withdrawn": sorted(flag.withdrawn),
        "shadow": shadow_document(flag.shadow) if flag.shadow else None,
    }


def _said(document: Mapping[str, Json]) -> dict[str, Json]:
    """The state that a flag in a file declares, with what is implied where a field is left out."""
    variants, withdrawn = document.get("variants"), document.get("withdrawn")
    only = next(iter(variants)) if isinstance(variants, Mapping) and len(variants) == 1 else None
    serve = document.get("serve", only)
    return {
        "serve": serve,
        "safe": document.get("safe") or serve,
        "rollout": document.get("rollout"),
        "withdrawn": sorted({*map(str, withdrawn)}) if isinstance(withdrawn, list) else [],
        "shadow": document.get("shadow"),
    }


def _check(after: str, flags: Mapping[str, Flag]) -> None:
    """Read the patched text as a start would: aliases and merges may have made something else of an edit."""
    try:
        root = _flags_of(after.replace("\t", " "))
        found = plain(root) if root else {}
    except Unreadable:
        found = {}
    for key, flag in flags.items():
        document = found.get(key) if isinstance(found, Mapping) else None
        if not isinstance(document, Mapping) or _said(document) != _operated(flag):
            raise Refused(
                "cannot_patch",
                f"flag {key!r}: its state is written with YAML aliases, and cannot be changed in place",
                mend="write its serve, safe, rollout, withdrawn and shadow out in the flag itself",
            )


@dataclass(frozen=True, slots=True)
class _Spelling:
    """How values are written into this text; an edit is (start, end, new text)."""

    text: str
    in_json: bool

    def edits(self, node: Node, flag: Flag) -> Iterator[tuple[int, int, str]]:
        """What makes the flag at `node` say what is operated."""
        said = _said(_plain_entries(node))
        operated = _operated(flag)
        # A `safe` left out follows the `serve` that will stand there.
        if node.entries.get("safe") is None or node.entries["safe"].value is None:
            said["safe"] = flag.serve
        changed = [field for field in _FIELDS if said[field] != operated[field]]
        missing: dict[str, Json] = {}
        for field in changed:
            there = node.entries.get(field)
            if there is not None and field in node.key_starts:
                yield from self._replaced(node, field, there, operated[field])
            else:
                missing[field] = operated[field]
        if missing:
            yield self._inserted(node, missing)

    def _replaced(self, node: Node, field: str, there: Node, value: Json) -> Iterator[tuple[int, int, str]]:
        key = node.key_starts[field]
        if there.start < key:
            return  # An alias: what it names stands elsewhere, and others may use it.
        new = self._value(value)
        if there.start == there.end or self._column(there.start) <= self._column(key):
            # After `rollout:` with nothing behind it, and where a list stands no deeper than its key.
            new = f" {new}"
        yield there.start, self._end(there), new

    def _inserted(self, node: Node, fields: Mapping[str, Json]) -> tuple[int, int, str]:
        """New fields right before the key `variants`, in the style (flow or block) that the flag is written in."""
        first = min(node.key_starts.values(), default=node.start)
        place = node.key_starts.get("variants", first)
        pairs = [f"{self._value(name)}: {self._value(value)}" for name, value in fields.items()]
        # A block mapping begins with its first key, a flow mapping with its brace.
        if "{" in self.text[node.start : first]:
            return place, place, "".join(f"{pair}, " for pair in pairs)
        newline = "\r\n" if "\r\n" in self.text else "\n"
        margin = newline + " " * self._column(place)
        return place, place, "".join(f"{pair}{margin}" for pair in pairs)

    def _column(self, place: int) -> int:
        return place - (self.text.rfind("\n", 0, place) + 1)

    def _end(self, node: Node) -> int:
        """A block collection's end mark stands at the next token: without the white space and comments before it."""
        if node.kind is NodeKind.SCALAR:
            return node.end
        lines = self.text[node.start : node.end].splitlines(keepends=True)
        while len(lines) > 1 and (not lines[-1].strip() or lines[-1].lstrip().startswith("#")):
            lines.pop()
        return node.start + len("".join(lines).rstrip())

    def _value(self, value: Json) -> str:
        return json.dumps(value, ensure_ascii=False) if self.in_json else _flow(value)


def _plain_entries(node: Node) -> Mapping[str, Json]:
    found = plain(node)
    return found if isinstance(found, Mapping) else {}


def _flow(value: Json) -> str:
    """`value` on one line, quoted only where YAML would misread it."""
    if isinstance(value, str):
        return value if _PLAIN.fullmatch(value) and value.lower() not in _WORDS else json.dumps(value)
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{name}: {_flow(each)}" for name, each in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(_flow, value)) + "]"
    return f"{value:g}" if isinstance(value, float) else json.dumps(value)
