"""The Merkle tree of RFC 6962 (section 2.1) over a run of leaves. Knows nothing of what a leaf means."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

# RFC 6962: leaves and inner nodes are hashed apart, or a node could be passed off as a leaf.
LEAF = b"\x00"
NODE = b"\x01"


class MerkleTree:
    """A tree that grows leaf by leaf and keeps only the roots of its full subtrees: O(log n) memory."""

    __slots__ = ("_full", "size")

    def __init__(self) -> None:
        self.size = 0
        # The full subtrees, largest first; their sizes are the one bits of `size`.
        self._full: list[bytes] = []

    def __repr__(self) -> str:
        return f"MerkleTree(size={self.size}, root={self.root()})"

    @classmethod
    def restored(cls, size: int, frontier: Sequence[str]) -> MerkleTree:
        """The tree of `size` leaves again from its `frontier`. Raises ValueError where the two cannot belong together."""
        if size < 0 or len(frontier) != size.bit_count():
            raise ValueError(
                f"{len(frontier)} roots are no frontier of {size} leaves: expected {size.bit_count()}"
            )
        tree = cls()
        tree.size, tree._full = size, [bytes.fromhex(root) for root in frontier]
        if any(len(root) != hashlib.sha256().digest_size for root in tree._full):
            raise ValueError("a root of the frontier is no SHA-256")
        return tree

    @property
    def frontier(self) -> tuple[str, ...]:
        """The roots (hex) of the full subtrees, largest first: all that it takes to go on."""
        return tuple(root.hex() for root in self._full)

    def add(self, leaf: bytes) -> None:
        """Append one leaf (its bytes, not their hash)."""
        node = hashlib.sha256(LEAF + leaf).digest()
        size = self.size
        while size & 1:
            node = hashlib.sha256(NODE + self._full.pop() + node).digest()
            size >>= 1
        self._full.append(node)
        self.size += 1

    def root(self) -> str:
        """The tree's hash (hex); of no leaves at all, the SHA-256 of nothing."""
        if not self._full:
            return hashlib.sha256(b"").hexdigest()
        node = self._full[-1]
        for left in reversed(self._full[:-1]):
            node = hashlib.sha256(NODE + left + node).digest()
        return node.hex()
