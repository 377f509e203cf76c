"""How a flagd file wrote what could be written otherwise: references, file metadata, an odd default variant.

Kept beside a flag and believed only where it still says what the flag is; so it never changes an answer. Pure.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from flags.errors import Invalid
from flags.fields import check_fields, object_of, scalars_of
from flags.model import Document, Json

# `source` and `selector` are what flagd's sync adds; it ignores them in a file, and so do we.
SYNCED = ("source", "selector")
FIELDS = frozenset({"default", "no_default", "targeting", "evaluators", "metadata", "file_metadata", *SYNCED})


def spelling_of(
    flag: Document, evaluators: Document, file_metadata: Document, *, unused: Document
) -> dict[str, Json]:
    """What must be kept beside a flag so that it is written as it was; empty for the usual spelling.

    `flag` is the flag as the file has it, `evaluators` all of the file's, `unused` those to be kept with this flag
    although no flag refers to them.
    """
    spelling: dict[str, Json] = {name: flag[name] for name in SYNCED if name in flag}
    if "defaultVariant" not in flag:
        spelling["no_default"] = True
    elif isinstance(flag["defaultVariant"], bool) or flag["defaultVariant"] == "":
        spelling["default"] = flag["defaultVariant"]
    used = reached(flag.get("targeting"), evaluators)
    if used or ("targeting" in flag and not flag["targeting"]):
        spelling["targeting"] = flag["targeting"]
    if used or unused:
        spelling["evaluators"] = {**used, **unused}
    if "metadata" in flag and (file_metadata or not flag["metadata"]):
        spelling["metadata"] = flag["metadata"]
    if file_metadata:
        spelling["file_metadata"] = dict(file_metadata)
    return spelling


def reached(rule: Json, evaluators: Document) -> dict[str, Json]:
    """The evaluators that `rule` refers to, directly or through others, in the file's order."""
    found: set[str] = set()
    waiting = [rule]
    while waiting:
        for name in _referred(waiting.pop()):
            if name in evaluators and name not in found:
                found.add(name)
                waiting.append(evaluators[name])
    return {name: rule for name, rule in evaluators.items() if name in found}


def _referred(rule: Json) -> Iterator[str]:
    if isinstance(rule, Mapping):
        name = rule.get("$ref")
        if len(rule) == 1 and isinstance(name, str):
            yield name
        for each in rule.values():
            yield from _referred(each)
    elif isinstance(rule, Sequence) and not isinstance(rule, str):
        for each in rule:
            yield from _referred(each)


def check_spelling(found: Json, path: str) -> None:
    """Raises Invalid, with the path, for what is no spelling."""
    spelling = object_of(found, path)
    check_fields(spelling, FIELDS, path)
    scalars_of(spelling.get("file_metadata"), f"{path}.file_metadata")
    scalars_of(spelling.get("metadata"), f"{path}.metadata")
    for name, rule in object_of(spelling.get("evaluators", {}), f"{path}.evaluators").items():
        object_of(rule, f"{path}.evaluators.{name}")
    if spelling.get("no_default", True) is not True:
        raise Invalid(f"{path}.no_default", "expected true, or nothing")
