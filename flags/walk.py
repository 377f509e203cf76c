"""Follows a ledger's entries one by one, to the byte: each sealed, each continuing the one before. Knows no Redis.

Where `flags.audit` goes on past what is wrong and reports it, a walk stops there.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from flags.errors import Invalid, LedgerBroken
from flags.ledger import Entry, entry_from, is_sealed
from flags.merkle import MerkleTree
from flags.model import START, Position

MEND = "run `pointsman audit verify`; where the ledger was altered, restore Redis from its last good copy"


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


@dataclass(slots=True)
class Walk:
    """How far one has come, and the tree over all entries up to there. Begins at the ledger's first entry."""

    tree: MerkleTree = field(default_factory=MerkleTree)
    position: Position = START

    @property
    def anchor(self) -> Anchor:
        """What to note elsewhere of the entries so far."""
        return Anchor(self.tree.size, self.tree.root())

    def take(self, text: bytes) -> Entry:
        """The next entry. Raises LedgerBroken, with what was found, where it does not go on from the one before."""
        entry = entry_from(text)
        revision, expected = entry.revision, self.position.revision + 1
        if revision != expected:
            raise LedgerBroken(
                f"the ledger is broken: found revision {revision} after revision {self.position.revision}, "
                f"expected {expected}",
                mend=MEND,
            )
        if entry.prev != self.position.hash:
            raise LedgerBroken(
                f"the ledger is broken: revision {revision} continues {entry.prev or '(nothing)'}, "
                f"but revision {self.position.revision} is {self.position.hash or '(nothing)'}",
                mend=MEND,
            )
        if not is_sealed(text, entry):
            raise LedgerBroken(
                f"the ledger is broken: revision {revision} was edited, it does not meet its hash {entry.hash}",
                mend=MEND,
            )
        self.tree.add(text)
        self.position = entry.position
        return entry
