"""What is said to the store and what it answers: drafts in, entries out. Nouns only; knows no Redis.

A writer gets a `View`, decides purely, and returns `Draft`s; the store makes entries of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import TypeAlias

from flags.codec import flag_from
from flags.errors import NotFound
from flags.ledger import Author, Entry
from flags.model import Document, Flag, Json, Kind, ObjectKey, Position, StoredObject

NO_CONTENTS: Mapping[str, Json] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Draft:
    """One intended change of one object. `contents` are the new contents that `after` names, by hash.

    `after` None deletes the object; with `affects` False it writes nothing: the entry is a note about
    the object. `affects` says whether the change can alter an evaluation.
    """

    action: str
    key: ObjectKey
    after: Document | None
    contents: Mapping[str, Json] = field(default_factory=lambda: NO_CONTENTS)
    affects: bool = True
    # The id of the Change, where the writer must know it beforehand; None: the store gives one.
    id: str | None = None
    # Who does this one, why, and what it rests on, in place of the author's own.
    actor: str | None = None
    reason: str | None = None
    evidence: Document | None = None

    def by(self, author: Author) -> Author:
        """In whose name this one is written, where `author` writes them all."""
        if self.actor is None and self.reason is None and self.evidence is None:
            return author
        evidence = author.evidence if self.evidence is None else self.evidence
        return replace(
            author, actor=self.actor or author.actor, reason=self.reason or author.reason, evidence=evidence
        )


@dataclass(frozen=True, slots=True)
class View:
    """The objects that a decision may look at, all as of one position. `time` is Redis' (RFC 3339)."""

    position: Position
    time: str
    objects: Mapping[ObjectKey, StoredObject]

    def flag(self, key: str) -> Flag:
        """The flag `key`. Raises NotFound when the view has none; the message lists those that it has."""
        stored = self.objects.get(ObjectKey(Kind.FLAG, key))
        if stored is None:
            known = ", ".join(sorted(name for kind, name in self.objects if kind is Kind.FLAG))
            raise NotFound(f'flag "{key}" does not exist' + (f" (flags: {known})" if known else ""))
        return flag_from(key, stored.document, stored.revision)


Decide: TypeAlias = Callable[[View], Sequence[Draft]]


@dataclass(frozen=True, slots=True)
class Head:
    """The end of the ledger. `revision` is that of the last entry that could alter an evaluation."""

    position: Position
    revision: int


@dataclass(frozen=True, slots=True)
class Committed:
    """A write that stands: the new position and its entries; none, when there was nothing to change.

    `view` is what was decided on. `workers` are the ids of those alive at that instant: whom
    `Store.acknowledged` is to await.
    """

    position: Position
    entries: tuple[Entry, ...]
    view: View
    workers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Loaded:
    """Everything that a snapshot is built from. A content that was erased is missing from `contents`."""

    position: Position
    revision: int
    objects: Mapping[ObjectKey, StoredObject]
    contents: Mapping[str, Json]
