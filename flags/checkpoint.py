"""What stays of a ledger's archived part: enough to check all that follows it. Knows no Redis and no archive's file."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from flags.canonical import canonical, digest
from flags.errors import LedgerBroken
from flags.ledger import Entry
from flags.merkle import MerkleTree
from flags.model import NOTHING, START, Document, Json, Kind, ObjectKey, Position
from flags.walk import MEND, Walk

# The entry that tells of an archive: a note about the ledger itself.
ARCHIVE = "archive"
ARCHIVE_KEY = ObjectKey(Kind.LEDGER, "archive")
# Where Redis holds the archives beside the whole checkpoint, which is large.
ARCHIVES_FIELDS = ("revision", "hash", "parts", "tallies")
# So many archives are told one by one; of those before, that they are older.
MAX_PARTS = 100


class Part(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One archive: which revisions, and where whoever made it put them (a name: the file lies with the operator)."""

    first: int
    last: int
    time: str
    actor: str
    file: str


@dataclass(frozen=True, slots=True)
class Archives:
    """Up to where the ledger is archived, who has it, and what was counted of it."""

    position: Position = START
    parts: tuple[Part, ...] = ()
    tallies: Mapping[str, Any] = field(default_factory=lambda: NOTHING)

    def where(self, revision: int) -> str:
        """`revisions 1 to 500, archived by alice at … into ledger-1.jsonl`, for whoever looks for that revision."""
        for part in self.parts:
            if part.first <= revision <= part.last:
                told = f"revisions {part.first} to {part.last}, archived by {part.actor} at {part.time}"
                return f"{told} into {part.file}"
        return f"revisions up to {self.position.revision}, archived earlier"


class Checkpoint(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The ledger up to its last archived entry: position, tree, and per living object its revision and document's SHA-256.

    `tallies` is what others counted of the archived entries, each under a name of its own (free JSON, hence `Any`).
    """

    revision: int = 0
    hash: str = ""
    size: int = 0
    frontier: tuple[str, ...] = ()
    objects: dict[str, tuple[int, str]] = {}
    parts: tuple[Part, ...] = ()
    tallies: dict[str, Any] = {}

    @property
    def position(self) -> Position:
        """Where the ledger stood."""
        return Position(self.revision, self.hash)

    @property
    def text(self) -> bytes:
        """The canonical JSON, as it is stored."""
        return canonical(msgspec.to_builtins(self))

    @property
    def digest(self) -> str:
        """SHA-256 (hex) of the text: what the ledger's entry about the archive holds."""
        return hashlib.sha256(self.text).hexdigest()

    def walk(self) -> Walk:
        """The walk that goes on after the archived part. Raises LedgerBroken for a checkpoint that was edited."""
        try:
            return Walk(MerkleTree.restored(self.size, self.frontier), self.position)
        except ValueError as error:
            raise LedgerBroken(f"the checkpoint of the archived ledger is none: {error}", mend=MEND) from None

    @property
    def archives(self) -> Archives:
        """What others need of it, most of the time."""
        return Archives(self.position, self.parts, self.tallies)


BEGINNING = Checkpoint()


def archives_from(*found: bytes | None) -> Archives:
    """The archives as Redis holds them beside the checkpoint (ARCHIVES_FIELDS). Raises LedgerBroken."""
    revision, text, parts, tallies = found
    if revision is None:
        return Archives()
    try:
        position = Position(int(revision), (text or b"").decode())
        told = msgspec.json.decode(parts or b"[]", type=tuple[Part, ...])
        return Archives(position, told, msgspec.json.decode(tallies or b"{}", type=dict[str, Any]))
    except (msgspec.MsgspecError, ValueError) as error:
        raise LedgerBroken(f"the checkpoint of the archived ledger is none: {error}", mend=MEND) from None


def checkpoint_from(text: bytes) -> Checkpoint:
    """The checkpoint that was stored as `text`. Raises LedgerBroken."""
    try:
        return msgspec.json.decode(text, type=Checkpoint)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise LedgerBroken(f"the checkpoint of the archived ledger is none: {error}", mend=MEND) from None


@dataclass(slots=True)
class Survey:
    """Goes over what is to be archived: the chain, the tree, and the newest state of every object."""

    before: Checkpoint
    walk: Walk
    # For each object written since: its newest revision and document, None where it was deleted.
    _newest: dict[str, tuple[int, Document | None]] = field(default_factory=dict)

    @classmethod
    def after(cls, before: Checkpoint) -> Survey:
        """A survey of the entries that follow `before`. Raises LedgerBroken."""
        return cls(before, before.walk())

    def take(self, text: bytes) -> Entry:
        """The next entry. Raises LedgerBroken where it does not go on from the one before."""
        entry = self.walk.take(text)
        if entry.writes:
            self._newest[entry.object] = entry.revision, entry.after
        return entry

    def checkpoint(self, part: Part, tallies: Mapping[str, Json]) -> Checkpoint:
        """The checkpoint after the entries that were taken."""
        objects = {name: held for name, held in self.before.objects.items() if name not in self._newest}
        for name, (revision, document) in self._newest.items():
            if document is not None:
                objects[name] = revision, digest(document)
        return Checkpoint(
            *self.walk.position,
            size=self.walk.tree.size,
            frontier=self.walk.tree.frontier,
            objects=objects,
            parts=(*self.before.parts, part)[-MAX_PARTS:],
            tallies=dict(tallies),
        )


def evidence_of(after: Checkpoint, root: str) -> dict[str, Json]:
    """What the ledger's entry says of an archive: enough to tell an edited checkpoint, or another archive, from it."""
    part = after.parts[-1]
    return {
        "first": part.first,
        "revision": after.revision,
        "hash": after.hash,
        "size": after.size,
        "root": root,
        "checkpoint": after.digest,
        "file": part.file,
    }
