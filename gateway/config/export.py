"""A store's objects as a config document; what differs between it and a file; and the file brought up to date.

Knows documents and text; writes nothing.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from difflib import unified_diff

import yaml

from flags.change import View
from flags.model import Flag, Json, Kind, ObjectKey
from gateway.config.declaration import SECTIONS, Declaration, DeclaredFlag
from gateway.config.places import Node, NodeKind
from gateway.config.reading import read_text
from gateway.plan import state_differences

# Reads back as itself in every YAML: anything else is quoted.
_PLAIN = re.compile(r"[A-Za-z][A-Za-z0-9._-]*")
_WORDS = frozenset({"y", "n", "yes", "no", "on", "off", "true", "false", "null"})


@dataclass(frozen=True, slots=True)
class Difference:
    """One place where file and store differ. None: there is nothing on that side."""

    object: str
    path: str
    file: Json
    state: Json


def export(view: View, contents: Mapping[str, Json]) -> dict[str, Json]:
    """Everything that `view` holds as one config document; reading it declares what is there already.

    A variant whose content was erased is left out. Keys are no objects, so they are not in it.
    """
    document: dict[str, Json] = {}
    for kind, section in SECTIONS.items():
        names = sorted(key.name for key in view.objects if key.kind is kind)
        if kind is Kind.FLAG:
            found: dict[str, Json] = {
                name: declared_of(view.flag(name), contents).document() for name in names
            }
        else:
            found = {name: view.objects[ObjectKey(kind, name)].document.get("spec", {}) for name in names}
        if found:
            document[section] = found
    return document


def declared_of(flag: Flag, contents: Mapping[str, Json]) -> DeclaredFlag:
    """The flag as a file would declare it to be what it is now."""
    variants = {name: contents[each.hash] for name, each in flag.variants.items() if each.hash in contents}
    targeting = contents.get(flag.targeting) if flag.targeting else None
    return DeclaredFlag(
        flag.key,
        variants,
        flag.serve,
        flag.safe,
        layer=flag.layer,
        enabled=flag.enabled,
        rollout=flag.rollout,
        withdrawn=flag.withdrawn,
        targeting=targeting if isinstance(targeting, Mapping) else None,
        metadata=flag.metadata,
    )


def yaml_text(document: Mapping[str, Json]) -> str:
    """`document` as YAML, in its own order; names that YAML would misread are quoted."""
    return yaml.safe_dump(dict(document), sort_keys=False, allow_unicode=True, width=120)


def differences(declaration: Declaration, view: View, contents: Mapping[str, Json]) -> list[Difference]:
    """Where file and store differ, the operated state included; what only one of them has is one entry."""
    keys = (
        {ObjectKey(Kind.FLAG, name) for name in declaration.flags}
        | declaration.others.keys()
        | view.objects.keys()
    )
    found: list[Difference] = []
    for key in sorted(keys, key=str):
        file, state = _file_side(declaration, key), _state_side(view, key, contents)
        if file is None or state is None:
            found.append(Difference(str(key), "", file, state))
        else:
            found.extend(Difference(str(key), path, left, right) for path, left, right in _parts(file, state))
    return found


def _file_side(declaration: Declaration, key: ObjectKey) -> Mapping[str, Json] | None:
    if key.kind is Kind.FLAG:
        flag = declaration.flags.get(key.name)
        return _full(flag) if flag else None
    return declaration.others.get(key)


def _state_side(view: View, key: ObjectKey, contents: Mapping[str, Json]) -> Mapping[str, Json] | None:
    if key not in view.objects:
        return None
    if key.kind is Kind.FLAG:
        return _full(declared_of(view.flag(key.name), contents))
    spec = view.objects[key].document.get("spec")
    return spec if isinstance(spec, Mapping) else {}


def _full(flag: DeclaredFlag) -> dict[str, Json]:
    """With `safe` even where it is what serves: two documents are compared field by field."""
    return {**flag.document(), "safe": flag.safe}


def _parts(file: Mapping[str, Json], state: Mapping[str, Json]) -> Iterator[tuple[str, Json, Json]]:
    """The fields that differ; variants one by one."""
    for name in [*file, *(each for each in state if each not in file)]:
        left, right = file.get(name), state.get(name)
        if left == right:
            continue
        if name == "variants" and isinstance(left, Mapping) and isinstance(right, Mapping):
            names = [*left, *(each for each in right if each not in left)]
            changed = [each for each in names if left.get(each) != right.get(each)]
            yield from ((f"variants.{each}", left.get(each), right.get(each)) for each in changed)
        else:
            yield name, left, right


def patch(text: str, name: str, declaration: Declaration, view: View) -> str:
    """A unified diff that brings the operated state into the config file `text`; "" where nothing differs.

    Changes the values in place and leaves the rest of the file, comments too, as it is. Fields that a
    flag does not have yet are put before its `variants`.
    """
    root, _ = read_text(text)
    nodes = root.entries["flags"].entries if root and "flags" in root.entries else {}
    edits = [
        edit
        for key, declared in declaration.flags.items()
        if key in nodes and ObjectKey(Kind.FLAG, key) in view.objects
        for edit in _edits(text, nodes[key], view.flag(key), declared)
    ]
    after = text
    for start, end, new in sorted(edits, reverse=True):
        after = after[:start] + new + after[end:]
    return "".join(unified_diff(text.splitlines(keepends=True), after.splitlines(keepends=True), name, name))


def _edits(text: str, node: Node, now: Flag, declared: DeclaredFlag) -> Iterator[tuple[int, int, str]]:
    if "variants" not in node.entries:
        return
    for field, _, operated in state_differences(now, declared):
        there = node.entries.get(field)
        if there is not None:
            yield there.start, _end(text, there), _flow(operated)
        elif operated not in (None, []):
            yield _before_variants(text, node, field, operated)


def _end(text: str, node: Node) -> int:
    """A block collection's end mark stands at the next token: without the white space and comments before it."""
    if node.kind is NodeKind.SCALAR:
        return node.end
    found = text[node.start : node.end]
    lines = found.splitlines(keepends=True)
    while len(lines) > 1 and (not lines[-1].strip() or lines[-1].lstrip().startswith("#")):
        lines.pop()
    return node.start + len("".join(lines).rstrip())


def _before_variants(text: str, node: Node, field: str, value: Json) -> tuple[int, int, str]:
    """A new field right before the key `variants`, in the style (flow or block) that the flag is written in."""
    first = node.entries["variants"].start
    place = max(text.rfind("variants:", node.start, first), text.rfind('"variants"', node.start, first))
    if text[node.start : node.start + 1] == "{":
        return place, place, f"{field}: {_flow(value)}, "
    margin = place - (text.rfind("\n", 0, place) + 1)
    return place, place, f"{field}: {_flow(value)}\n" + " " * margin


def _flow(value: Json) -> str:
    """`value` on one line, quoted only where YAML would misread it."""
    if isinstance(value, str):
        return value if _PLAIN.fullmatch(value) and value.lower() not in _WORDS else json.dumps(value)
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{name}: {_flow(each)}" for name, each in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(_flow, value)) + "]"
    return f"{value:g}" if isinstance(value, float) else json.dumps(value)
