"""A store's objects as a config document, and what differs between it and a file.

Knows documents; no text of a file, and writes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import yaml

from flags.change import View
from flags.model import Flag, Json, Kind, ObjectKey
from gateway.config.declaration import SECTIONS, Declaration, DeclaredFlag
from gateway.config.promoting import told_by_hash
from policies.governance.card import cards_in


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
                name: declared_of(view.flag(name), contents, view).document() for name in names
            }
        else:
            found = {name: view.objects[ObjectKey(kind, name)].document.get("spec", {}) for name in names}
        if found:
            document[section] = found
    return document


def declared_of(flag: Flag, contents: Mapping[str, Json], view: View) -> DeclaredFlag:
    """The flag as a file would declare it to be what it is now; `view` has what is told of its versions."""
    variants = {name: contents[each.hash] for name, each in flag.variants.items() if each.hash in contents}
    targeting = contents.get(flag.targeting) if flag.targeting else None
    spelling = contents.get(flag.written) if flag.written else None
    return DeclaredFlag(
        flag.key,
        variants,
        flag.serve,
        flag.safe,
        layer=flag.layer,
        enabled=flag.enabled,
        rollout=flag.rollout,
        withdrawn=flag.withdrawn,
        shadow=flag.shadow,
        targeting=targeting if isinstance(targeting, Mapping) else None,
        metadata=flag.metadata,
        soak=flag.soak,
        promotion=flag.promotion,
        suite=contents.get(flag.promotion.suite) if flag.promotion and flag.promotion.suite else None,
        records={name: card.record for name, card in cards_in(view, flag).items() if card.record},
        spelling=spelling if isinstance(spelling, Mapping) else None,
    )


def yaml_text(document: Mapping[str, Json]) -> str:
    """`document` as YAML, in its own order; names that YAML would misread are quoted."""
    return yaml.safe_dump(dict(document), sort_keys=False, allow_unicode=True, width=120)


def differences(declaration: Declaration, view: View, contents: Mapping[str, Json]) -> list[Difference]:
    """Where file and store differ, the operated state included; what only one of them has is one entry."""
    keys = (
        {ObjectKey(Kind.FLAG, name) for name in declaration.flags}
        | declaration.others.keys()
        | {key for key in view.objects if key.kind in SECTIONS}
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
        return _full(declared_of(view.flag(key.name), contents, view))
    spec = view.objects[key].document.get("spec")
    return spec if isinstance(spec, Mapping) else {}


def _full(flag: DeclaredFlag) -> dict[str, Json]:
    """With `safe` even where it is what serves: two documents are compared field by field."""
    return {**told_by_hash(flag.document()), "safe": flag.safe}


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
