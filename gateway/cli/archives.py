"""The ledger in files: written to the byte as it comes, followed entry by entry, verified again from the disk.

Knows the pages that a server gives and the files; asks the server for no change.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path
from typing import IO, Any

from flags.errors import LedgerBroken
from flags.ledger import entry_from
from flags.merkle import MerkleTree
from flags.model import Position
from flags.walk import Walk
from gateway.cli.client import Client
from gateway.cli.history import pages
from gateway.cli.problem import failed


@dataclass(frozen=True, slots=True)
class Bound:
    """How much is archived: all but the newest `keep`, or what is older than `before` (as the ledger spells times)."""

    keep: int | None
    before: str | None


def instant(text: str) -> str:
    """A date, or date and time, as the ledger spells it (UTC, to the millisecond). Raises ValueError."""
    found = datetime.fromisoformat(text)
    at = found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
    return f"{at:%Y-%m-%dT%H:%M:%S}.{at.microsecond // 1000:03d}Z"


def printed(client: Client) -> Walk:
    """Write the whole ledger to stdout; where that led."""
    out = sys.stdout.buffer
    walk = _begun(client.get("/audit/anchor"))
    with _told():
        for line in pages(client, walk.position.revision, None):
            walk.take(line)
            out.write(line + b"\n")
    out.flush()
    return walk


def exported(client: Client, file: Path) -> tuple[int, Walk]:
    """Write the ledger to `file`, or go on with what it holds; how many entries that were, and where it led."""
    # Asked first: without a server no file is made.
    anchor = client.get("/audit/anchor")
    with _told(), _opened(file, "a+b") as out:
        walk = _resumed(out, file, anchor)
        before = walk.tree.size
        for line in pages(client, walk.position.revision, None):
            walk.take(line)
            out.write(line + b"\n")
        _flushed(out, file)
    return before, walk


def written(client: Client, file: Path, info: Mapping[str, Any], bound: Bound) -> Walk | None:
    """Write what is to be archived to `file`, which must be new, and read it again; None, and no file, where that is nothing."""
    walk = _begun(info)
    upto = info["archivable"] if bound.keep is None else min(info["archivable"], info["size"] - bound.keep)
    lines = _bounded(pages(client, walk.position.revision, None), upto, bound.before)
    first = next(lines, None)
    if first is None:
        return None
    with _told():
        with _opened(file, "xb") as out:
            for line in chain([first], lines):
                walk.take(line)
                out.write(line + b"\n")
            _flushed(out, file)
        again = _begun(info)
        with _opened(file, "rb") as held:
            for line in held:
                again.take(line.rstrip(b"\n"))
    if (again.position, again.anchor) != (walk.position, walk.anchor):
        raise failed(
            f"{file} does not hold what was written to it", mend="try another disk; nothing was trimmed"
        )
    return walk


def _bounded(lines: Iterable[bytes], upto: int, before: str | None) -> Iterator[bytes]:
    for line in lines:
        entry = entry_from(line)
        if entry.revision > upto or (before is not None and entry.time >= before):
            return
        yield line


def _begun(info: Mapping[str, Any]) -> Walk:
    """The walk that begins where the ledger in Redis does."""
    tree = MerkleTree.restored(info["archived_size"], info["frontier"])
    return Walk(tree, Position(info["archived"], info["archived_hash"]))


def _resumed(out: IO[bytes], file: Path, info: Mapping[str, Any]) -> Walk:
    """The walk over what the file holds already; a line that was cut off is taken away."""
    out.seek(0)
    begun = _begun(info)
    walk: Walk | None = None
    end = 0
    for line in out:
        if not line.endswith(b"\n"):
            break
        if walk is None:
            # One that was begun before anything was archived goes on over every archive.
            walk = Walk() if entry_from(line).revision == 1 else begun
        walk.take(line.rstrip(b"\n"))
        end += len(line)
    out.truncate(end)
    return begun if walk is None else walk


def _flushed(out: IO[bytes], file: Path) -> None:
    """On the disk, its name too: what is trimmed after this is nowhere else."""
    out.flush()
    os.fsync(out.fileno())
    folder = os.open(file.absolute().parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


@contextmanager
def _opened(file: Path, mode: str) -> Iterator[IO[bytes]]:
    try:
        with file.open(mode) as opened:
            yield opened
    except FileExistsError:
        raise failed(f"{file} exists; an archive is never written over", mend="name a new file") from None
    except OSError as error:
        raise failed(f"{file}: {error.strerror or error}") from None


@contextmanager
def _told() -> Iterator[None]:
    """A chain that does not hold, as the command tells it."""
    try:
        yield
    except LedgerBroken as error:
        raise failed(str(error), code="ledger_broken", mend=error.mend) from None
