"""The ledger's entries: sealed, chained by hash, and checked. Knows neither Redis nor what a change means.

An entry is stored as the canonical JSON (RFC 8785) of its fields. Its `hash` is the SHA-256 of that JSON
without the field `hash`; its `prev` is the hash of the entry before it, "" for the first.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from flags.canonical import canonical
from flags.errors import LedgerBroken, Refused
from flags.model import Document, Json, ObjectKey, Position

# An entry carries names, state and hashes, never contents; 100,000 of them are to stay near 100 MB.
MAX_ENTRY_BYTES = 64 * 1024


class Entry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One Change as the ledger has it. `affects` lists the objects whose change can alter an evaluation.

    The documents are typed `Any` inside because msgspec cannot take our recursive Json.
    """

    revision: int
    time: str
    actor: str
    action: str
    object: str
    reason: str
    link: str | None
    before: Mapping[str, Any] | None
    after: Mapping[str, Any] | None
    evidence: Mapping[str, Any] | None
    affects: tuple[str, ...]
    id: str
    prev: str
    hash: str

    @property
    def position(self) -> Position:
        """Where the ledger stands after this entry."""
        return Position(self.revision, self.hash)

    @property
    def key(self) -> ObjectKey:
        """The object that it is about."""
        return ObjectKey.parse(self.object)

    @property
    def writes(self) -> bool:
        """Whether it wrote (or, with `after` None, deleted) its object; a mere note does neither."""
        return self.after is not None or bool(self.affects)


@dataclass(frozen=True, slots=True)
class Author:
    """Who makes a change, and why. `evidence` is what it rests on."""

    actor: str
    reason: str
    link: str | None = None
    evidence: Document | None = None


@dataclass(frozen=True, slots=True)
class Deed:
    """What an entry says was done to one object. A note has no documents and `affects` False."""

    action: str
    key: ObjectKey
    before: Document | None
    after: Document | None
    affects: bool = True


def seal(author: Author, deed: Deed, *, after: Position, time: str, change_id: str) -> Entry:
    """The entry that continues the ledger from `after`, sealed. `time` is RFC 3339 UTC.

    Raises Invalid for documents that are no JSON, Refused (`entry_too_large`) above 64 KiB.
    """
    fields: dict[str, Json] = {
        "revision": after.revision + 1,
        "time": time,
        "actor": author.actor,
        "action": deed.action,
        "object": str(deed.key),
        "reason": author.reason,
        "link": author.link,
        "before": deed.before,
        "after": deed.after,
        "evidence": author.evidence,
        "affects": [str(deed.key)] if deed.affects else [],
        "id": change_id,
        "prev": after.hash,
    }
    fields["hash"] = hashlib.sha256(canonical(fields)).hexdigest()
    text = canonical(fields)
    if len(text) > MAX_ENTRY_BYTES:
        raise Refused(
            "entry_too_large",
            f"the change of {deed.key} takes {len(text)} bytes in the ledger; at most {MAX_ENTRY_BYTES} may",
            mend="shorten reason and evidence, or remove variants that are no longer needed",
        )
    return entry_from(text)


def entry_json(entry: Entry) -> bytes:
    """The entry's canonical JSON: what is stored, hashed into the tree, and exported line by line."""
    return canonical(msgspec.to_builtins(entry))


def entry_from(text: bytes) -> Entry:
    """Parse one stored or exported entry. Raises LedgerBroken when it is none."""
    try:
        return msgspec.json.decode(text, type=Entry)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise LedgerBroken(f"this is no entry of a ledger: {error}", mend="restore it from a copy") from error


def unsealed(text: bytes, entry: Entry) -> bytes:
    """The bytes that were hashed when `entry`, stored as `text`, was sealed.

    Canonical JSON sorts its fields, so `hash` stands between two known neighbours. Taking its text out
    is as good as spelling the rest anew, and twenty times faster: whoever alters any other byte, white
    space or the order of fields, no longer meets the hash.
    """
    member = f',"hash":"{entry.hash}","id":'.encode()
    at = text.rfind(member)
    return text if at < 0 else text[:at] + b',"id":' + text[at + len(member) :]


def is_sealed(text: bytes, entry: Entry) -> bool:
    """Whether `text` is to the byte what was sealed under the entry's hash."""
    return hashlib.sha256(unsealed(text, entry)).hexdigest() == entry.hash


def continues(entries: Sequence[Entry], position: Position) -> bool:
    """Whether the entries follow `position` and each other without a gap, by revision and by hash."""
    for entry in entries:
        if entry.revision != position.revision + 1 or entry.prev != position.hash:
            return False
        position = entry.position
    return True
