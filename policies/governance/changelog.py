"""A flag's change log, field by field, in the shape that prompt-governance teams use. Pure: made from ledger entries.

An entry about the flag itself tells what is served after it; one about a version's card tells of that version. What
changes nothing in the log's fields (notes, a rollback's later steps) is no entry.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from flags.canonical import canonical
from flags.ledger import Entry
from flags.model import CARD_NAME, Document, Json, Kind, ObjectKey

# Fields whose parts are told one by one, each under `<field>.<part>`.
PARTED = ("rollout", "shadow", "promotion", "soak", "metadata")
# Fields told as they are. `served` is what follows from serve, safe and withdrawn.
WHOLE = ("serve", "safe", "served", "withdrawn", "quarantined", "enabled", "targeting", "layer")


class FieldChange(msgspec.Struct, frozen=True):
    """One field before and after. null: it was not there. (Free JSON, hence `Any`.)"""

    field: str
    old_value: Any
    new_value: Any


class Logged(msgspec.Struct, frozen=True):
    """One entry of a flag's change log. `version` is the variant served after it; of a card, the variant that it is about.

    `revision` is the ledger's, `action` the verb.
    """

    flag: str
    version: str | None
    timestamp: str
    author: str
    changes: list[FieldChange]
    rationale: str
    revision: int
    action: str
    link: str | None


def belongs(name: str, flag: str) -> bool:
    """Whether an entry about the object `name` is about the flag, or about the card of one of its versions."""
    return name == f"{Kind.FLAG}/{flag}" or name.startswith(f"{Kind.VERSION}/{flag}/")


def is_about(text: bytes, flag: str) -> bool:
    """Whether a stored entry can belong to the flag's log, told from its bytes: most need not be parsed."""
    return (
        f'"object":"{Kind.FLAG}/{flag}"'.encode() in text
        or f'"object":"{Kind.VERSION}/{flag}/'.encode() in text
    )


def logged(flag: str, entry: Entry) -> Logged | None:
    """The entry as the flag's change log has it; None where it is about something else, or changes nothing told there."""
    key = entry.key
    if key == ObjectKey(Kind.FLAG, flag) and entry.writes:
        version = _served(entry.after)
        changes = list(flag_changes(entry.before, entry.after))
    elif key.kind is Kind.VERSION and key.name.startswith(f"{flag}/") and CARD_NAME.fullmatch(key.name):
        version = key.name.rpartition("/")[2]
        changes = list(card_changes(entry.before, entry.after))
    else:
        return None
    if not changes:
        return None
    return Logged(
        flag,
        version,
        entry.time,
        entry.actor,
        changes,
        entry.reason,
        entry.revision,
        entry.action,
        entry.link,
    )


def flag_changes(before: Document | None, after: Document | None) -> Iterator[FieldChange]:
    """What differs between two documents of a flag; None: there is, or was, no flag."""
    old, new = _flag_fields(before), _flag_fields(after)
    yield from _differing(old, new)


def card_changes(before: Document | None, after: Document | None) -> Iterator[FieldChange]:
    """What differs between two documents of a version's card."""
    yield from _differing(_card_fields(before), _card_fields(after))


def _differing(old: Mapping[str, Json], new: Mapping[str, Json]) -> Iterator[FieldChange]:
    # In the order of the fields, those that are gone last.
    for name in dict.fromkeys((*new, *old)):
        # Compared as text: to Python, true equals 1.
        if canonical(old.get(name)) != canonical(new.get(name)):
            yield FieldChange(name, old.get(name), new.get(name))


def _flag_fields(document: Document | None) -> dict[str, Json]:
    """Every field that the log tells, by its name."""
    if document is None:
        return {}
    fields: dict[str, Json] = {name: document.get(name) for name in WHOLE}
    fields |= {
        "served": _served(document),
        "enabled": document.get("enabled", True),
        "withdrawn": document.get("withdrawn") or [],
        "quarantined": document.get("quarantined") or [],
    }
    for name in PARTED:
        for part, value in _object(document.get(name)).items():
            fields[f"{name}.{part}"] = value
    for name, variant in _object(document.get("variants")).items():
        found = _object(variant)
        fields[f"variants.{name}"] = found.get("hash")
        fields[f"variants.{name}.generation"] = found.get("generation", 1)
    return fields


def _served(document: Document | None) -> str | None:
    """As `Flag.served`; a document that cannot be read as a flag has a past all the same."""
    if document is None:
        return None
    serve, withdrawn = document.get("serve"), document.get("withdrawn")
    away = isinstance(withdrawn, list) and serve in withdrawn
    served = document.get("safe") if away else serve
    return served if isinstance(served, str) else None


def _card_fields(document: Document | None) -> dict[str, Json]:
    """A version's fields as `notes/governance.md` names them."""
    found = _object(document)
    approvals = found.get("approvals")
    rejected, deprecated = _object(found.get("rejected")), _object(found.get("deprecated"))
    return {
        "eval_status": _eval_status(_object(found.get("evaluations"))),
        "approved_by": [_object(mark).get("by") for mark in approvals] if isinstance(approvals, list) else [],
        "rejected_by": rejected.get("by"),
        "deprecated": bool(deprecated),
    }


def _eval_status(evaluations: Mapping[str, Json]) -> str:
    """`pending`, `passed` or `failed`: how the newest run ended."""
    runs = [_object(run) for run in evaluations.values()]
    newest = max(runs, key=lambda run: str(run.get("at", "")), default={})
    passed = newest.get("passed")
    return "pending" if passed is None else "passed" if passed else "failed"


def _object(value: object) -> Mapping[str, Json]:
    return value if isinstance(value, Mapping) else {}
