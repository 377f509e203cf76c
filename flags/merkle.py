"""The Merkle tree of RFC 6962 (section 2.1) over a run of leaves. Knows nothing of what a leaf means."""

from __future__ import annotations

import hashlib

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
