"""Checks a ledger, entry by entry, from wherever it comes. Knows no Redis and repairs nothing.

What each check finds: an edited entry no longer meets its own hash; a removed, inserted or moved one breaks
the chain; a ledger that somebody sealed anew from some entry on has another Merkle root than an anchor
taken before; an object edited beside the ledger differs from its last entry; a content that was put in another's
place does not meet the hash that it lies under.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from flags.canonical import canonical
from flags.errors import Invalid, LedgerBroken
from flags.ledger import Entry, entry_from, entry_json, is_sealed
from flags.merkle import MerkleTree
from flags.model import START, Document, ObjectKey, Position, StoredObject

# A report is for people: the first breaks tell the story, a thousand more do not.
MAX_PROBLEMS = 100


@dataclass(frozen=True, slots=True)
class Anchor:
    """A ledger's size and Merkle root as noted earlier, somewhere that its keeper cannot write to."""

    size: int
    root: str

    @classmethod
    def parse(cls, text: str) -> Anchor:
        """`SIZE:ROOT`, root in hex. Raises Invalid."""
        size, _, root = text.partition(":")
        if not size.isascii() or not size.isdigit() or len(root) != 64 or root.strip("0123456789abcdef"):
            raise Invalid("anchor", f"{text!r} is no anchor: expected SIZE:ROOT, a number and 64 hex digits")
        return cls(int(size), root)

    def __str__(self) -> str:
        return f"{self.size}:{self.root}"


@dataclass(frozen=True, slots=True)
class Report:
    """What an audit found. `root` is the Merkle root (RFC 6962, hex) over all entries."""

    entries: int
    head: Position
    root: str
    problems: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        return not self.problems

    @property
    def anchor(self) -> Anchor:
        """What to note elsewhere, to check a later state of this ledger against."""
        return Anchor(self.entries, self.root)


@dataclass(slots=True)
class Audit:
    """An audit under way: `take` each entry in order, then ask for the `report`.

    Memory grows with the number of objects, not with that of entries.
    """

    anchor: Anchor | None = None
    _tree: MerkleTree = field(default_factory=MerkleTree)
    _position: Position = START
    _problems: list[str] = field(default_factory=list)
    _suppressed: int = 0
    # For each object, its newest entry's revision and document.
    _newest: dict[str, tuple[int, Document | None]] = field(default_factory=dict)

    def take(self, text: bytes) -> None:
        """Check the next entry, given to the byte as it is stored."""
        line = self._tree.size + 1
        self._tree.add(text)
        if self.anchor is not None and self.anchor.size == self._tree.size:
            self._check_anchor(self.anchor)
        try:
            entry = entry_from(text)
            key = str(entry.key)
        except (LedgerBroken, ValueError) as error:
            self._found(f"entry {line} (after revision {self._position.revision}) cannot be read: {error}")
            return
        self._check_seal(text, entry)
        self._check_chain(entry)
        self._position = entry.position
        if entry.writes:
            self._newest[key] = entry.revision, entry.after

    def report(
        self,
        *,
        head: Position | None = None,
        objects: Mapping[ObjectKey, StoredObject] | None = None,
        bad_contents: Iterable[str] = (),
    ) -> Report:
        """What was found; `head` tells whether the end is missing, `objects` whether they were edited.

        `bad_contents` are the hashes that `Store.bad_contents` found not to be met.
        """
        if self.anchor is not None and self.anchor.size > self._tree.size:
            self._found(f"the ledger has {self._tree.size} entries; the anchor knows {self.anchor.size}")
        if head is not None and head != self._position:
            self._found(f"the ledger ends at {_told(self._position)}, but its head says {_told(head)}")
        for problem in self._object_problems(objects) if objects is not None else ():
            self._found(problem)
        for name in bad_contents:
            self._found(f"the content {name} was edited: what is stored does not meet this hash")
        more = (f"and {self._suppressed} more problems",) if self._suppressed else ()
        return Report(self._tree.size, self._position, self._tree.root(), (*self._problems, *more))

    def _check_anchor(self, anchor: Anchor) -> None:
        if self._tree.root() != anchor.root:
            self._found(
                f"the first {anchor.size} entries are not those that the anchor was taken from "
                f"(root {self._tree.root()}, anchor {anchor.root})"
            )

    def _check_seal(self, text: bytes, entry: Entry) -> None:
        if not is_sealed(text, entry):
            self._found(
                f"revision {entry.revision} was edited: its content does not meet its hash {entry.hash}"
            )

    def _check_chain(self, entry: Entry) -> None:
        expected = self._position.revision + 1
        if entry.revision > expected:
            self._found(f"revisions {expected} to {entry.revision - 1} are missing")
        elif entry.revision < expected:
            self._found(f"revision {entry.revision} stands after revision {self._position.revision}")
        elif entry.prev != self._position.hash:
            self._found(
                f"revision {entry.revision} does not continue revision {self._position.revision}: "
                f"its prev is {entry.prev or '(empty)'}, expected {self._position.hash or '(empty)'}"
            )

    def _object_problems(self, objects: Mapping[ObjectKey, StoredObject]) -> Iterable[str]:
        stored = {str(key): (held.revision, held.document) for key, held in objects.items()}
        for name in sorted(self._newest.keys() | stored.keys()):
            revision, document = self._newest.get(name, (0, None))
            found = stored.get(name, (revision, None))
            # Compared as text: to Python, true equals 1.
            if (found[0], canonical(found[1])) != (revision, canonical(document)):
                what = "is stored" if name in stored else "is gone"
                yield f"{name} {what} otherwise than its last entry (revision {revision or 'none'}) says"

    def _found(self, problem: str) -> None:
        if len(self._problems) < MAX_PROBLEMS:
            self._problems.append(problem)
        else:
            self._suppressed += 1


def verify(
    entries: Iterable[bytes | Entry],
    *,
    anchor: str | None = None,
    head: Position | None = None,
    objects: Mapping[ObjectKey, StoredObject] | None = None,
    bad_contents: Iterable[str] = (),
) -> Report:
    """The report on `entries`, oldest first, from revision 1 on: stored or exported lines, to the byte.

    `anchor` is `SIZE:ROOT`; raises Invalid for one that is not. See `Audit.report` for the others.
    """
    audit = Audit(Anchor.parse(anchor) if anchor is not None else None)
    for entry in entries:
        audit.take(entry_json(entry) if isinstance(entry, Entry) else entry)
    return audit.report(head=head, objects=objects, bad_contents=bad_contents)


def _told(position: Position) -> str:
    return f"revision {position.revision} ({position.hash or 'empty'})"
