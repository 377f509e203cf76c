"""A copy of the last snapshot on disk, so that a worker can start without Redis. Knows no Redis.

The file is JSON lines: a header, then one line for each object and each content. The header carries the
SHA-256 of the rest; a copy that does not fit it, or another namespace, is no copy. A content that does not meet its
own hash is left out of it, as the store does.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import hashlib
import logging
import os
import time
from collections.abc import Iterable, Iterator
from io import BufferedWriter
from pathlib import Path
from typing import Any, Protocol

import msgspec

from flags.canonical import digest
from flags.change import Loaded
from flags.errors import Invalid
from flags.model import ObjectKey, Position, StoredObject

log = logging.getLogger(__name__)

# Under steady change (a rollout, a busy operator) one copy a second is as good as one a change.
WRITE_EVERY_SECONDS = 1.0
# The thread that writes lets go of the interpreter after this many lines (some 0.05 ms of work), so that no
# request waits for it.
SLICE_LINES = 16
REST_SECONDS = 0.0002
# Several times what a copy of 10,000 flags takes; whoever keeps the lock for longer will not give it back, and a thread
# that waits for it would keep its process from ending.
LOCK_TRIES = 250
LOCK_RETRY_SECONDS = 0.02


class Copyable(Protocol):
    """What is copied: a Snapshot, as far as this module needs to know one."""

    @property
    def position(self) -> Position: ...
    @property
    def revision(self) -> int: ...
    @property
    def objects(self) -> Any: ...  # mappings; Any because a frozen dataclass' fields are covariant only so
    @property
    def contents(self) -> Any: ...


class _Header(msgspec.Struct, frozen=True):
    format: int
    namespace: str
    position: Position
    revision: int
    sha256: str


class _Line(msgspec.Struct, frozen=True, omit_defaults=True):
    """An object (with its revision) or a content (with its hash)."""

    value: Any
    object: str = ""
    revision: int = 0
    content: str = ""


class DiskCopy:
    """The copy at `path` (mode 0600) of one namespace; several processes may share it."""

    # These change: what is waiting to be written, the task that writes it, and whether we are closing.
    __slots__ = ("_closing", "_namespace", "_path", "_task", "_waiting")

    def __init__(self, path: Path, namespace: str) -> None:
        self._path = path
        self._namespace = namespace
        self._closing = asyncio.Event()
        self._waiting: tuple[Copyable, bool] | None = None
        self._task: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        return f"DiskCopy({str(self._path)!r}, waiting={self._waiting is not None})"

    def load(self) -> Loaded | None:
        """The copy, or None where there is none that can be trusted (the log tells why)."""
        try:
            head, _, body = self._path.read_bytes().partition(b"\n")
            header = msgspec.json.decode(head, type=_Header)
            if header.sha256 != hashlib.sha256(body).hexdigest():
                raise ValueError("its checksum does not fit")
            if header.namespace != self._namespace:
                raise ValueError(f"it is of namespace {header.namespace!r}, not {self._namespace!r}")
            return _loaded(header, body.splitlines())
        except FileNotFoundError:
            return None
        except (OSError, ValueError, msgspec.MsgspecError) as error:
            log.warning("the snapshot copy %s cannot be used: %s", self._path, error)
            return None

    def offer(self, snapshot: Copyable, *, replace: bool = False) -> None:
        """Have `snapshot` written soon, off the loop; a later one that comes first takes its place.

        An older revision never replaces a newer one, unless `replace`: the newer history is lost.
        """
        if self._waiting is not None:
            replace = replace or self._waiting[1]
        self._waiting = (snapshot, replace)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._write_all(), name="pointsman-snapshot-copy")

    async def aclose(self) -> None:
        """Write what still waits, then end. May be called again."""
        self._closing.set()
        if self._task is not None:
            await self._task
        await self._write_waiting()

    async def _write_all(self) -> None:
        while self._waiting is not None:
            await self._write_waiting()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._closing.wait(), WRITE_EVERY_SECONDS)

    async def _write_waiting(self) -> None:
        waiting, self._waiting = self._waiting, None
        if waiting is None:
            return
        try:
            await asyncio.to_thread(self._write, *waiting)
        except OSError as error:
            log.warning("the snapshot copy %s cannot be written: %s", self._path, error)

    def _write(self, snapshot: Copyable, replace: bool) -> None:  # noqa: FBT001 - passed on from `offer`
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with _alone(self._path.with_suffix(".lock")):
            if not replace and self._holds(snapshot.position):
                return
            body = b"".join(_rested(_lines(snapshot)))
            digest = hashlib.sha256(body).hexdigest()
            header = _Header(1, self._namespace, snapshot.position, snapshot.revision, digest)
            draft = self._path.with_suffix(".new")
            with open(draft, "wb", opener=_private) as file:
                file.write(msgspec.json.encode(header) + b"\n" + body)
                file.flush()
                os.fsync(file.fileno())
            draft.replace(self._path)

    def _holds(self, position: Position) -> bool:
        """Whether the file is of this position or a later one."""
        try:
            with open(self._path, "rb") as file:
                header = msgspec.json.decode(file.readline(), type=_Header)
        except (OSError, msgspec.MsgspecError):
            return False
        newer = header.position.revision > position.revision or header.position == position
        return header.namespace == self._namespace and newer


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


@contextlib.contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Hold the lock at `path`. Raises TimeoutError where another does not give it back."""
    with open(path, "ab", opener=_private) as lock:
        _lock(lock)
        try:
            yield
        finally:
            # Not left to the closing: a process that was forked meanwhile has this descriptor too, and closes it never.
            fcntl.flock(lock, fcntl.LOCK_UN)


def _lock(file: BufferedWriter) -> None:
    for _ in range(LOCK_TRIES):
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        time.sleep(LOCK_RETRY_SECONDS)
    raise TimeoutError(f"another process holds {file.name}")


def _lines(snapshot: Copyable) -> Iterator[bytes]:
    for stored in snapshot.objects.values():
        line = _Line(stored.document, object=str(stored.key), revision=stored.revision)
        yield msgspec.json.encode(line) + b"\n"
    for name, value in snapshot.contents.items():
        yield msgspec.json.encode(_Line(value, content=name)) + b"\n"


def _rested(lines: Iterable[bytes]) -> Iterator[bytes]:
    for count, line in enumerate(lines):
        if count % SLICE_LINES == SLICE_LINES - 1:
            time.sleep(REST_SECONDS)
        yield line


def _loaded(header: _Header, lines: Iterable[bytes]) -> Loaded:
    parsed = [msgspec.json.decode(line, type=_Line) for line in lines]
    keys = [(ObjectKey.parse(line.object), line) for line in parsed if line.object]
    objects = {key: StoredObject(key, line.value, line.revision) for key, line in keys}
    contents = {line.content: line.value for line in parsed if line.content and _meets(line)}
    return Loaded(header.position, header.revision, objects, contents)


def _meets(line: _Line) -> bool:
    """Whether a content is the one that its hash names.

    The header's checksum does not tell: whoever may edit the file may write that anew, and what is taken from here is
    kept when Redis is back.
    """
    with contextlib.suppress(Invalid):  # what has no canonical form was never stored
        if digest(line.value) == line.content:
            return True
    log.error("the content %s in the copy on disk does not meet its hash and is not served", line.content)
    return False
