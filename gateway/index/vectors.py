"""All vectors of an index in memory, compared one by one, and two rankings made into one. Knows no text.

Needs numpy, which is imported only here and when a vector is asked for.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from gateway.index.embedder import INSTALL
from gateway.index.errors import IndexUnreadable, Uninstalled

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# Reciprocal rank fusion (Cormack, Clarke and Büttcher, SIGIR 2009): 60 keeps one ranking's first from deciding alone.
RANK_CONSTANT = 60


class Hit(NamedTuple):
    """A passage's number in its index, and its score."""

    passage: int
    score: float


class Vectors:
    """A matrix with a row for each passage; row 0 is passage 1. Never changes."""

    def __init__(self, matrix: NDArray[np.float32]) -> None:
        self._matrix = matrix

    @classmethod
    def read(cls, connection: sqlite3.Connection, passages: int, dimensions: int) -> Vectors:
        """Raises Uninstalled without numpy, IndexUnreadable where vectors are missing or of another length."""
        try:
            import numpy as np  # noqa: PLC0415  # only with the extra
        except ImportError as error:
            raise Uninstalled(f"embeddings are not installed ({error})", mend=INSTALL) from error
        rows = connection.execute("SELECT vector FROM vectors ORDER BY passage").fetchall()
        data = b"".join(row[0] for row in rows)
        if len(rows) != passages or len(data) != passages * dimensions * 4:
            raise IndexUnreadable(f"the index holds {len(rows)} vectors for {passages} passages")
        return cls(np.frombuffer(data, "<f4").astype(np.float32, copy=False).reshape(passages, dimensions))

    def nearest(self, vector: NDArray[np.float32], count: int, mask: bytes | None) -> list[Hit]:
        """The passages whose vectors point most nearly the same way, by cosine; those whose byte in `mask` is 1."""
        import numpy as np  # noqa: PLC0415

        scores = self._compared(vector)
        numbers = np.arange(len(scores))
        if mask is not None:
            numbers = np.flatnonzero(np.frombuffer(mask, np.uint8)[1:])
            scores = scores[numbers]
        if count < len(scores):
            best = np.argpartition(-scores, count - 1)[:count]
            numbers, scores = numbers[best], scores[best]
        order = np.lexsort((numbers, -scores))
        return [Hit(int(numbers[at]) + 1, float(scores[at])) for at in order]

    def _compared(self, vector: NDArray[np.float32]) -> NDArray[np.float32]:
        import numpy as np  # noqa: PLC0415

        # Not `@`: its library starts threads that wait for each other, ten times slower on a machine with other work.
        compared: NDArray[np.float32] = np.einsum("ij,j->i", self._matrix, vector)
        return compared


def fused(rankings: Sequence[Sequence[Hit]]) -> list[Hit]:
    """One ranking out of several, by rank alone; a passage that is first in all of them scores 1."""
    scores: dict[int, float] = {}
    for ranking in rankings:
        for rank, hit in enumerate(ranking, 1):
            scores[hit.passage] = scores.get(hit.passage, 0.0) + 1 / (RANK_CONSTANT + rank)
    best = len(rankings) / (RANK_CONSTANT + 1)
    hits = [Hit(passage, score / best) for passage, score in scores.items()]
    return sorted(hits, key=lambda hit: (-hit.score, hit.passage))
