"""An opened index: finds the passages that answer a question. Knows its file, not the flags that chose it.

Searches run on threads of their own; each takes a connection that nobody else uses meanwhile.
"""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from enum import StrEnum
from itertools import islice
from pathlib import Path

import msgspec

from flags.errors import Invalid
from gateway.index.embedder import Embedder, MiniLM
from gateway.index.errors import IndexUnreadable
from gateway.index.filters import Filter
from gateway.index.format import MEND, Manifest, connect, read_manifest, unreadable
from gateway.index.masks import Masks
from gateway.index.passage import Attribute, Passage
from gateway.index.vectors import Hit, Vectors, fused
from gateway.index.words import QUERY_CHARACTERS_MAX, match_expression, prepare

TOP_K_MAX = 1_000
# SQLite and numpy leave the interpreter's lock, so a second search may run meanwhile; more only wait for a core.
THREADS = 2
# How deep each ranking is looked into before they are fused: what both know below may still come up.
FUSED_MIN = 50


class Mode(StrEnum):
    """How passages are found: by words (BM25), by meaning (vectors), or by both."""

    TEXT = "text"
    VECTOR = "vector"
    HYBRID = "hybrid"


@dataclass(frozen=True, slots=True)
class Search:
    """One question. Scores: text b/(1+b) of the BM25 weight b, in (0, 1]; vector the cosine; hybrid the fused
    reciprocal ranks, 1 where a passage is first in both. `mode` None: hybrid where the index has vectors, else text.
    """

    query: str
    top_k: int = 10
    mode: Mode | None = None
    score_threshold: float | None = None
    filters: Filter | None = None


class EmbeddedIndex:
    """One index. What changes here: the idle connections, the vectors once they were needed, and whether it is closed."""

    def __init__(
        self, path: Path, connection: sqlite3.Connection, manifest: Manifest, embedder: Callable[[], Embedder]
    ) -> None:
        self.path, self.manifest = path, manifest
        self._embedder = embedder
        self._idle = [connection]
        self._lock = threading.Lock()
        self._vectors_lock = threading.Lock()
        self._vectors: Vectors | None = None
        self._masks = Masks(manifest.passages)
        self._executor = ThreadPoolExecutor(THREADS, f"index-{manifest.name}")
        self._closed = False

    @classmethod
    def open(cls, path: Path, *, embedder: Callable[[], Embedder] = MiniLM.load) -> EmbeddedIndex:
        """Open the index at `path`. Raises IndexUnreadable, Uninstalled (without FTS5)."""
        connection, manifest = _opened(path)
        return cls(path, connection, manifest, embedder)

    def __repr__(self) -> str:
        state = "closed" if self._closed else f"{len(self._idle)} idle connections"
        return f"<EmbeddedIndex {self.manifest.name}: {self.manifest.passages} passages, {state}>"

    async def asearch(self, search: Search) -> list[Passage]:
        """As `search`, on a thread. Cancelled, a search that has not begun never does."""
        return await asyncio.get_running_loop().run_in_executor(self._executor, self.search, search)

    def search(self, search: Search) -> list[Passage]:
        """The best passages first. Raises Invalid, IndexUnreadable, Uninstalled."""
        if not 1 <= search.top_k <= TOP_K_MAX:
            raise Invalid("top_k", f"found {search.top_k}, expected 1 to {TOP_K_MAX}")
        mode = search.mode or (Mode.HYBRID if self.manifest.embedding_model else Mode.TEXT)
        with self._connected() as connection:
            hits = self._hits(connection, search, mode)
            low = search.score_threshold
            kept = [hit for hit in hits[: search.top_k] if low is None or hit.score >= low]
            return list(_passages(connection, kept))

    def _hits(self, connection: sqlite3.Connection, search: Search, mode: Mode) -> list[Hit]:
        mask = self._masks.of(connection, search.filters) if search.filters else None
        if mode is Mode.TEXT:
            return self._by_words(connection, search.query, search.top_k, mask)
        if mode is Mode.VECTOR:
            return self._by_vector(connection, search.query, search.top_k, mask)
        depth = max(FUSED_MIN, search.top_k)
        return fused(
            (
                self._by_words(connection, search.query, depth, mask),
                self._by_vector(connection, search.query, depth, mask),
            )
        )

    def _by_words(
        self, connection: sqlite3.Connection, query: str, count: int, mask: bytes | None
    ) -> list[Hit]:
        asked = match_expression(connection, query, self.manifest.passages)
        if asked is None:
            return []
        rows = connection.execute(_RANKED, (asked, count if mask is None else -1))
        found = (row for row in rows if mask is None or mask[row[0]])
        # FTS5's bm25 is below zero, and the lower the better.
        return [Hit(number, -rank / (1 - rank)) for number, rank in islice(found, count)]

    def _by_vector(
        self, connection: sqlite3.Connection, query: str, count: int, mask: bytes | None
    ) -> list[Hit]:
        if not query.strip():
            return []
        vectors = self._loaded(connection)
        embedder = self._embedder()
        if embedder.name != self.manifest.embedding_model:
            found = f"{self.path} was embedded by {self.manifest.embedding_model}, the query is by {embedder.name}"
            raise IndexUnreadable(found, mend=MEND)
        return vectors.nearest(embedder.embed([query[:QUERY_CHARACTERS_MAX]])[0], count, mask)

    def _loaded(self, connection: sqlite3.Connection) -> Vectors:
        dimensions = self.manifest.dimensions
        if dimensions is None:
            mend = "build it with `pointsman index build --embed`, or search in mode `text`"
            raise Invalid("mode", f"the index {self.manifest.name} has no embeddings", mend=mend)
        with self._vectors_lock:
            if self._vectors is None:
                self._vectors = Vectors.read(connection, self.manifest.passages, dimensions)
            return self._vectors

    @contextmanager
    def _connected(self) -> Iterator[sqlite3.Connection]:
        connection = self._take()
        try:
            yield connection
        except (sqlite3.Error, msgspec.DecodeError, IndexError) as error:
            # IndexError: the file numbers passages that its manifest does not count.
            raise unreadable(self.path, error) from error
        finally:
            self._give_back(connection)

    def _take(self) -> sqlite3.Connection:
        with self._lock:
            if self._idle:
                return self._idle.pop()
        connection, manifest = _opened(self.path)
        if manifest.hash != self.manifest.hash:
            connection.close()
            raise IndexUnreadable(f"{self.path} was replaced by another index while it was open")
        return connection

    def _give_back(self, connection: sqlite3.Connection) -> None:
        with self._lock:
            if not self._closed and len(self._idle) < THREADS:
                self._idle.append(connection)
                return
        connection.close()

    def retire(self) -> None:
        """Keep nothing open. Searches under way, and any later one, still work, each on a connection of its own."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    async def aclose(self) -> None:
        """Close for good, after the searches under way. Idempotent."""
        self.retire()
        await asyncio.to_thread(self._executor.shutdown, cancel_futures=True)


# -1 is no limit: where a filter holds, the best are taken off until there are enough.
_RANKED = "SELECT rowid, rank FROM passage_text WHERE passage_text MATCH ? ORDER BY rank, rowid LIMIT ?"


def _opened(path: Path) -> tuple[sqlite3.Connection, Manifest]:
    connection = connect(path)
    with ExitStack() as closing:
        closing.callback(connection.close)
        try:
            prepare(connection)
            manifest = read_manifest(connection, path)
        except sqlite3.Error as error:
            raise unreadable(path, error) from error
        closing.pop_all()
        return connection, manifest


def _passages(connection: sqlite3.Connection, hits: Sequence[Hit]) -> Iterator[Passage]:
    for hit in hits:
        row = connection.execute(
            "SELECT file_id, filename, text, attributes FROM passages WHERE id = ?", (hit.passage,)
        ).fetchone()
        if row is None:
            raise IndexUnreadable(f"passage {hit.passage} is missing from the index", mend=MEND)
        yield Passage(row[0], row[1], hit.score, row[2], _ATTRIBUTES.decode(row[3]))


_ATTRIBUTES = msgspec.json.Decoder(dict[str, Attribute])
