"""Checks a ledger, entry by entry, from wherever it comes. Knows no Redis and repairs nothing.

What each check finds: an edited entry no longer meets its own hash; a removed, inserted or moved one breaks
the chain; a ledger that somebody sealed anew from some entry on has another Merkle root than an anchor
taken before; an object edited beside the ledger differs from its last entry; a content that was put in another's
place does not meet the hash that it lies under; an edited checkpoint (what stays of an archived part) is not the one
that the ledger's entry about the archive names, nor an edited anchor in Redis that of the entries.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from flags.canonical import canonical, digest
from flags.checkpoint import ARCHIVE, ARCHIVE_KEY, BEGINNING, Checkpoint
from flags.errors import LedgerBroken
from flags.ledger import Entry, entry_from, entry_json, is_sealed
from flags.merkle import MerkleTree
from flags.model import Document, Json, ObjectKey, Position, StoredObject
from flags.walk import Anchor

__all__ = ["Anchor", "Audit", "Check", "Known", "Report", "State", "verify"]

# A report is for people: the first breaks tell the story, a thousand more do not.
MAX_PROBLEMS = 100


class Check(NamedTuple):
    """One kind of check and what it found, in words."""

    name: str
    ok: bool
    found: str


@dataclass(frozen=True, slots=True)
class Report:
    """What an audit found. `root` is the Merkle root (RFC 6962, hex) over all entries.

    The first `archived` of the `entries` were not at hand: a checkpoint vouches for them.
    """

    entries: int
    head: Position
    root: str
    problems: tuple[str, ...] = ()
    checks: tuple[Check, ...] = ()
    archived: int = 0

    @property
    def ok(self) -> bool:
        return not self.problems

    @property
    def anchor(self) -> Anchor:
        """What to note elsewhere, to check a later state of this ledger against."""
        return Anchor(self.entries, self.root)


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of a ledger from elsewhere: an anchor noted before, the one that Redis keeps, what stays of its archives."""

    anchor: Anchor | None = None
    kept: Anchor | None = None
    checkpoint: Checkpoint = BEGINNING


NOTHING_KNOWN = Known()


@dataclass(frozen=True, slots=True)
class State:
    """What a live ledger must lead to. `head` tells whether the end is missing, `objects` whether they were edited.

    `bad_contents` are the hashes that `Store.bad_contents` found not to be met.
    """

    head: Position | None = None
    objects: Mapping[ObjectKey, StoredObject] | None = None
    bad_contents: Iterable[str] | None = None


NO_STATE = State()


class _Claim(NamedTuple):
    """What an entry says of an archive; None where its evidence lacks it."""

    revision: int
    size: Json
    root: Json
    checkpoint: Json


@dataclass(slots=True)
class _Problems:
    """What was found, of each kind of check; the first hundred in words."""

    told: list[str] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)

    def add(self, check: str, problem: str) -> None:
        self.counts[check] = self.counts.get(check, 0) + 1
        if len(self.told) < MAX_PROBLEMS:
            self.told.append(problem)

    @property
    def all(self) -> tuple[str, ...]:
        more = sum(self.counts.values()) - len(self.told)
        return (*self.told, f"and {more} more problems") if more else tuple(self.told)


class Audit:
    """An audit under way: `take` each entry in order, then ask for the `report`.

    Memory grows with the number of objects, not with that of entries.
    """

    def __init__(self, known: Known = NOTHING_KNOWN) -> None:
        self._known = known
        self._problems = _Problems()
        self._tree = self._begun(known.checkpoint)
        self._position = known.checkpoint.position
        # For each object its newest entry's revision and document; of an archived one, that document's SHA-256.
        self._newest: dict[str, tuple[int, Document | None]] = {}
        self._archived = dict(known.checkpoint.objects)
        self._claims: list[_Claim] = []
        self._roots: dict[int, str] = {}
        self._due = frozenset(anchor.size for _, anchor in self._anchors())
        self._check_early()

    def __repr__(self) -> str:
        return f"<Audit of {self._tree.size} entries, {sum(self._problems.counts.values())} problems>"

    @property
    def revision(self) -> int:
        """The last revision that was taken."""
        return self._position.revision

    def take(self, text: bytes) -> None:
        """Check the next entry, given to the byte as it is stored."""
        self._tree.add(text)
        if self._tree.size in self._due:
            self._compare()
        try:
            entry = entry_from(text)
            key = str(entry.key)
        except (LedgerBroken, ValueError) as error:
            line, after = self._tree.size, self._position.revision
            self._problems.add("seals", f"entry {line} (after revision {after}) cannot be read: {error}")
            return
        self._check_seal(text, entry)
        self._check_chain(entry)
        self._position = entry.position
        if entry.writes:
            self._newest[key] = entry.revision, entry.after
        if entry.action == ARCHIVE and entry.key == ARCHIVE_KEY:
            told = entry.evidence or {}
            self._claims.append(_Claim(entry.revision, *(told.get(name) for name in _Claim._fields[1:])))

    def ends(self) -> None:
        """Here a file ends: an archive, perhaps, and then a later entry tells what its root must be."""
        self._roots[self._tree.size] = self._tree.root()

    def report(self, state: State = NO_STATE) -> Report:
        """What was found, what is there now included."""
        size = self._tree.size
        for whose, anchor in self._anchors():
            if anchor.size > size:
                message = f"the ledger has {size} entries; {_article(whose)} knows {anchor.size}"
                self._problems.add(whose, message)
        if state.head is not None and state.head != self._position:
            message = f"the ledger ends at {_told(self._position)}, but its head says {_told(state.head)}"
            self._problems.add("head", message)
        for problem in self._object_problems(state.objects) if state.objects is not None else ():
            self._problems.add("objects", problem)
        for name in state.bad_contents or ():
            message = f"the content {name} was edited: what is stored does not meet this hash"
            self._problems.add("contents", message)
        self._check_claims()
        return Report(
            size,
            self._position,
            self._tree.root(),
            self._problems.all,
            tuple(self._checks(state)),
            self._known.checkpoint.size,
        )

    def _begun(self, checkpoint: Checkpoint) -> MerkleTree:
        try:
            return MerkleTree.restored(checkpoint.size, checkpoint.frontier)
        except ValueError as error:
            self._problems.add("archive", f"the checkpoint of the archived part was edited: {error}")
            return MerkleTree()

    def _anchors(self) -> Iterator[tuple[str, Anchor]]:
        if self._known.anchor is not None:
            yield "anchor", self._known.anchor
        if self._known.kept is not None:
            yield "kept anchor", self._known.kept

    def _check_early(self) -> None:
        """An anchor may end where the archived part does, and nobody can tell anything here of one before that."""
        for whose, anchor in self._anchors():
            if anchor.size < self._known.checkpoint.size:
                mend = "verify the archives' files with it: audit verify ARCHIVE… TAIL"
                message = f"{_article(whose)} of {anchor.size} entries lies in the archived part; {mend}"
                self._problems.add(whose, message)
        self._compare()

    def _compare(self) -> None:
        """With what is known of a ledger of just this size."""
        for whose, anchor in self._anchors():
            if anchor.size == self._tree.size and self._tree.root() != anchor.root:
                self._problems.add(
                    whose,
                    f"the first {anchor.size} entries are not those that {_article(whose)} was taken from "
                    f"(root {self._tree.root()}, anchor {anchor.root})",
                )

    def _check_seal(self, text: bytes, entry: Entry) -> None:
        if not is_sealed(text, entry):
            self._problems.add(
                "seals",
                f"revision {entry.revision} was edited: its content does not meet its hash {entry.hash}",
            )

    def _check_chain(self, entry: Entry) -> None:
        expected = self._position.revision + 1
        if entry.revision > expected:
            self._problems.add("chain", f"revisions {expected} to {entry.revision - 1} are missing")
        elif entry.revision < expected:
            message = f"revision {entry.revision} stands after revision {self._position.revision}"
            self._problems.add("chain", message)
        elif entry.prev != self._position.hash:
            self._problems.add(
                "chain",
                f"revision {entry.revision} does not continue revision {self._position.revision}: "
                f"its prev is {entry.prev or '(empty)'}, expected {self._position.hash or '(empty)'}",
            )

    def _check_claims(self) -> None:
        """What entries say of archives, against the files that were given and the checkpoint that is kept."""
        for claim in self._claims:
            root = self._roots.get(claim.size) if isinstance(claim.size, int) else None
            if root not in (None, claim.root):
                message = (
                    f"the first {claim.size} entries are not those that revision {claim.revision} archived"
                )
                self._problems.add("archive", message)
        kept = self._known.checkpoint
        if kept.size and kept.digest not in {claim.checkpoint for claim in self._claims}:
            message = f"the checkpoint of the archived part (up to revision {kept.revision}) was edited"
            self._problems.add("archive", f"{message}: no entry of the ledger tells of it as it is")

    def _object_problems(self, objects: Mapping[ObjectKey, StoredObject]) -> Iterator[str]:
        stored = {str(key): held for key, held in objects.items()}
        for name in sorted(self._newest.keys() | stored.keys() | self._archived.keys()):
            revision, text = self._expected(name)
            held = stored.get(name)
            # Compared as text: to Python, true equals 1.
            found = None if held is None else (held.revision, self._spelt(name, held.document))
            if found != (None if text is None else (revision, text)):
                what = "is gone" if held is None else "is stored"
                yield f"{name} {what} otherwise than its last entry (revision {revision or 'none'}) says"

    def _expected(self, name: str) -> tuple[int, str | bytes | None]:
        if name in self._newest:
            revision, document = self._newest[name]
            return revision, None if document is None else canonical(document)
        return self._archived.get(name, (0, None))

    def _spelt(self, name: str, document: Document) -> str | bytes:
        return (
            digest(document) if name in self._archived and name not in self._newest else canonical(document)
        )

    def _checks(self, state: State) -> Iterator[Check]:
        size, first = self._tree.size, self._known.checkpoint.size + 1
        yield self._check("seals", f"{size - first + 1} entries meet their hashes")
        yield self._check("chain", f"whole from revision {first} to {self._position.revision}")
        for whose, anchor in self._anchors():
            yield self._check(whose, f"the first {anchor.size} entries are those that it was taken from")
        if self._claims or self._known.checkpoint.size or "archive" in self._problems.counts:
            told = f"{self._known.checkpoint.size} entries before are vouched for by a checkpoint"
            files = f"{len(self._claims)} entries tell of archives, and nothing speaks against them"
            yield self._check("archive", told if self._known.checkpoint.size else files)
        if state.head is not None:
            yield self._check(
                "head", f"the ledger ends where its head says, at revision {state.head.revision}"
            )
        if state.objects is not None:
            yield self._check("objects", f"{len(state.objects)} objects are as their last entries left them")
        if state.bad_contents is not None:
            yield self._check("contents", "every content meets its hash")

    def _check(self, name: str, found: str) -> Check:
        count = self._problems.counts.get(name, 0)
        return Check(name, not count, found if not count else f"{count} problem{'s' * (count > 1)}")


def verify(
    entries: Iterable[bytes | Entry],
    *,
    anchor: str | None = None,
    head: Position | None = None,
    objects: Mapping[ObjectKey, StoredObject] | None = None,
    bad_contents: Iterable[str] | None = None,
) -> Report:
    """The report on `entries`, oldest first, from revision 1 on: stored or exported lines, to the byte.

    `anchor` is `SIZE:ROOT`; raises Invalid for one that is not. See State for the others.
    """
    audit = Audit(Known(Anchor.parse(anchor) if anchor is not None else None))
    for entry in entries:
        audit.take(entry_json(entry) if isinstance(entry, Entry) else entry)
    return audit.report(State(head, objects, bad_contents))


def _article(whose: str) -> str:
    return "the anchor" if whose == "anchor" else "the anchor kept in Redis"


def _told(position: Position) -> str:
    return f"revision {position.revision} ({position.hash or 'empty'})"
