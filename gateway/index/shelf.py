"""The indexes of a data directory by name, opened when they are first asked for. Knows names, not who chose them.

They lie as `indexes/NAME.sqlite`. A file that was put in another's place is noticed at the next search.
"""

from __future__ import annotations

import asyncio
import threading
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import NamedTuple

from flags.errors import Invalid, NotFound
from flags.model import NAME
from gateway.index.embedded import THREADS, EmbeddedIndex, Search
from gateway.index.embedder import Embedder, MiniLM
from gateway.index.errors import IndexUnreadable
from gateway.index.format import SUFFIX, Manifest, manifest_of, unreadable
from gateway.index.passage import Passage

FOLDER = "indexes"
# Indexes kept open; each holds up to two connections, and its vectors once they were searched.
OPEN_MAX = 64
# Names in a message; a folder may hold any number.
LISTED_MAX = 20


class Listed(NamedTuple):
    """What lies on a shelf: each index's manifest, and why the other files cannot be read."""

    indexes: tuple[Manifest, ...]
    unreadable: tuple[IndexUnreadable, ...]


class _Identity(NamedTuple):
    """What tells a file from another that was put in its place."""

    modified_ns: int
    inode: int


class Shelf:
    """The indexes of one data directory. What changes here: which are open, and the embedder once it was needed."""

    def __init__(self, data_dir: Path, *, embedder: Callable[[], Embedder] = MiniLM.load) -> None:
        self.folder = data_dir / FOLDER
        self._load = embedder
        self._embedder: Embedder | None = None
        self._embedder_lock = threading.Lock()
        self._open: OrderedDict[str, tuple[_Identity, EmbeddedIndex]] = OrderedDict()
        self._lock = threading.Lock()
        self._executor = ThreadPoolExecutor(THREADS, "shelf")

    def __repr__(self) -> str:
        return f"<Shelf {self.folder}: {len(self._open)} open>"

    async def asearch(self, name: str, search: Search) -> list[Passage]:
        """As `search`, on a thread, opening the index included."""
        call = partial(self.search, name, search)
        return await asyncio.get_running_loop().run_in_executor(self._executor, call)

    def search(self, name: str, search: Search) -> list[Passage]:
        """The passages in the index `name`. Raises NotFound, Invalid, IndexUnreadable, Uninstalled."""
        return self.get(name).search(search)

    async def embed(self, text: str) -> list[float]:
        """The vector of `text` by the model that this process has, on a thread. Raises Uninstalled."""

        def made() -> list[float]:
            vector: list[float] = self._shared_embedder().embed([text])[0].tolist()
            return vector

        return await asyncio.get_running_loop().run_in_executor(self._executor, made)

    def get(self, name: str) -> EmbeddedIndex:
        """The opened index; it stays usable when another takes its place on the shelf. Raises as `search`."""
        path = self.path(name)
        identity = self._identity(path, name)
        with self._lock:
            known = self._open.get(name)
            if known is not None and known[0] == identity:
                self._open.move_to_end(name)
                return known[1]
            self._forget(name)
            index = EmbeddedIndex.open(path, embedder=self._shared_embedder)
            self._open[name] = (identity, index)
            while len(self._open) > OPEN_MAX:
                self._forget(next(iter(self._open)))
        return index

    def manifest(self, name: str) -> Manifest:
        """What an index is, read anew from its file. Raises NotFound, Invalid, IndexUnreadable, Uninstalled."""
        path = self.path(name)
        self._identity(path, name)
        return manifest_of(path)

    def names(self) -> tuple[str, ...]:
        """All names, sorted; whether their files can be read is not looked at."""
        try:
            found = sorted(path.stem for path in self.folder.iterdir() if path.suffix == SUFFIX)
        except FileNotFoundError:
            return ()
        except OSError as error:
            raise unreadable(self.folder, error) from error
        return tuple(name for name in found if NAME.fullmatch(name))

    def listed(self) -> Listed:
        """Every index with its manifest."""
        indexes, broken = [], []
        for name in self.names():
            try:
                indexes.append(self.manifest(name))
            except NotFound:
                continue  # removed meanwhile
            except IndexUnreadable as error:
                broken.append(error)
        return Listed(tuple(indexes), tuple(broken))

    async def aclose(self) -> None:
        """Close all, after the searches under way. Idempotent."""
        await asyncio.to_thread(self._executor.shutdown, cancel_futures=True)
        with self._lock:
            for name in tuple(self._open):
                self._forget(name)

    def path(self, name: str) -> Path:
        """Where the index `name` lies, or would. Raises Invalid for what is no name."""
        if not NAME.fullmatch(name):
            expected = "letters, digits, `.`, `_` and `-`, beginning with a letter or digit, 128 at most"
            raise Invalid("index", f"found {name[:140]!a}, expected a name of {expected}")
        return self.folder / f"{name}{SUFFIX}"

    def _identity(self, path: Path, name: str) -> _Identity:
        try:
            found = path.stat()
        except FileNotFoundError:
            raise self._missing(name) from None
        except OSError as error:
            raise unreadable(path, error) from error
        return _Identity(found.st_mtime_ns, found.st_ino)

    def _missing(self, name: str) -> NotFound:
        names = self.names()
        listed = ", ".join(names[:LISTED_MAX]) + (", …" if len(names) > LISTED_MAX else "")
        return NotFound(
            f"no index {name} in {self.folder} (indexes: {listed or 'none'})",
            mend=f"build it: pointsman index build DIR --name {name}",
        )

    def _forget(self, name: str) -> None:
        known = self._open.pop(name, None)
        if known is not None:
            known[1].retire()

    def _shared_embedder(self) -> Embedder:
        with self._embedder_lock:
            if self._embedder is None:
                self._embedder = self._load()
            return self._embedder
