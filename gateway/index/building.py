"""A folder made into an index: read, cut, written to a temporary file, and put in its place whole or not at all.

Knows the format, not the searching. An index is never changed: to change it is to build another under a new name.
"""

from __future__ import annotations

import errno
import hashlib
import os
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import islice
from pathlib import Path

import msgspec

from flags.errors import Invalid, Refused
from flags.model import NAME
from gateway import __version__
from gateway.index.chunks import (
    PASSAGE_CHARACTERS,
    PASSAGE_CHARACTERS_MAX,
    PASSAGE_CHARACTERS_MIN,
    passages,
)
from gateway.index.documents import VALUE_CHARACTERS_MAX, Document, Reading, Told, documents_in
from gateway.index.embedder import Embedder
from gateway.index.format import (
    FORMAT,
    PASSAGES_MAX,
    SCHEMA,
    SUFFIX,
    Manifest,
    manifest_of,
    require_full_text,
    write_manifest,
)

# Texts a batch: enough that reading and writing cost nothing beside the model.
EMBED_BATCH = 256


@dataclass(frozen=True, slots=True)
class Built:
    """What a build did. `changed` is false where the very same index stood there already."""

    manifest: Manifest
    skipped: tuple[Told, ...] = ()
    warnings: tuple[Told, ...] = ()
    changed: bool = True


def build(
    folder: Path,
    out: Path,
    *,
    now: datetime,
    embedder: Embedder | None = None,
    passage_characters: int = PASSAGE_CHARACTERS,
) -> Built:
    """Make the index `out` (`NAME.sqlite`) of the texts in `folder`.

    Raises Invalid for what cannot be indexed, Refused where another index has the name, NotFound without a folder,
    Uninstalled without FTS5.
    """
    _check(out, passage_characters)
    require_full_text()
    out.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    handle, name = tempfile.mkstemp(dir=out.parent, prefix=f".{out.stem}.", suffix=".part")
    os.close(handle)
    temporary = Path(name)
    try:
        built = _build(folder, temporary, out, _Plan(now, embedder, passage_characters))
        if built.changed:
            _put(temporary, out)
        return built
    finally:
        temporary.unlink(missing_ok=True)


@dataclass(frozen=True, slots=True)
class _Plan:
    now: datetime
    embedder: Embedder | None
    passage_characters: int


def _check(out: Path, passage_characters: int) -> None:
    if out.suffix != SUFFIX or not NAME.fullmatch(out.stem):
        expected = "letters, digits, `.`, `_` and `-`, beginning with a letter or digit, 128 at most"
        raise Invalid("name", f"found {out.stem!r}, expected {expected}")
    if not PASSAGE_CHARACTERS_MIN <= passage_characters <= PASSAGE_CHARACTERS_MAX:
        bounds = f"{PASSAGE_CHARACTERS_MIN} to {PASSAGE_CHARACTERS_MAX}"
        raise Invalid("passage_characters", f"found {passage_characters}, expected {bounds}")


def _build(folder: Path, temporary: Path, out: Path, plan: _Plan) -> Built:
    reading = Reading()
    with closing(sqlite3.connect(temporary, isolation_level=None)) as connection:
        # Nothing to be undone: a file that was not finished is thrown away.
        connection.execute("PRAGMA journal_mode = OFF")
        connection.execute("PRAGMA synchronous = OFF")
        connection.executescript(SCHEMA)
        connection.execute("BEGIN")
        contents = _write_passages(connection, documents_in(folder, reading), plan)
        manifest = _manifest(out.stem, contents, plan)
        told = Built(manifest, tuple(reading.skipped), tuple(reading.warnings))
        if out.exists():
            return _same(manifest_of(out), told, out)
        if plan.embedder is not None:
            _write_vectors(connection, plan.embedder)
        write_manifest(connection, manifest)
        connection.execute("COMMIT")
        connection.execute("INSERT INTO passage_text (passage_text) VALUES ('optimize')")
        connection.execute("VACUUM")
    return told


@dataclass(slots=True)
class _Contents:
    """What was written so far."""

    documents: int
    passages: int
    hash: str


def _write_passages(connection: sqlite3.Connection, documents: Iterator[Document], plan: _Plan) -> _Contents:
    digest = hashlib.sha256(f"{FORMAT} {plan.embedder.name if plan.embedder else ''}\n".encode())
    seen: set[str] = set()
    count = 0
    for document in documents:
        seen.add(document.file_id)
        sections = passages(document.marked.sections, plan.passage_characters)
        for position, section in enumerate(sections):
            count += 1
            if count > PASSAGES_MAX:
                mend = "index fewer texts, or keep them in a vector store"
                raise Invalid("passages", f"the texts make more than {PASSAGES_MAX:,} passages", mend=mend)
            attributes = _attributes(document, section.heading)
            row = (document.file_id, document.filename, position, section.text, attributes)
            digest.update(msgspec.json.encode(row))
            connection.execute("INSERT INTO passages VALUES (?, ?, ?, ?, ?, ?)", (count, *row))
            heading = f"{document.attributes.get('title', '')}\n{section.heading}"
            connection.execute(
                "INSERT INTO passage_text (rowid, heading, text) VALUES (?, ?, ?)",
                (count, heading, section.text),
            )
    if not count:
        raise Invalid("folder", "no text was found in it", mend="see what was skipped; name another folder")
    return _Contents(len(seen), count, digest.hexdigest())


def _attributes(document: Document, heading: str) -> str:
    attributes = dict(document.attributes)
    if heading:
        attributes.setdefault("heading", heading[:VALUE_CHARACTERS_MAX])
    return msgspec.json.encode(attributes, order="sorted").decode()


def _manifest(name: str, contents: _Contents, plan: _Plan) -> Manifest:
    return Manifest(
        format=FORMAT,
        name=name,
        documents=contents.documents,
        passages=contents.passages,
        hash=f"sha256:{contents.hash}",
        built_at=plan.now.strftime("%Y-%m-%dT%H:%M:%SZ"),
        builder=f"pointsman {__version__}",
        passage_characters=plan.passage_characters,
        embedding_model=plan.embedder.name if plan.embedder else None,
        dimensions=plan.embedder.dimensions if plan.embedder else None,
    )


def _write_vectors(connection: sqlite3.Connection, embedder: Embedder) -> None:
    rows = iter(connection.execute("SELECT id, text FROM passages ORDER BY id").fetchall())
    while batch := list(islice(rows, EMBED_BATCH)):
        vectors = embedder.embed([text for _, text in batch]).astype("<f4")
        pairs = zip(batch, vectors, strict=True)
        connection.executemany("INSERT INTO vectors VALUES (?, ?)", [(i, v.tobytes()) for (i, _), v in pairs])


def _same(standing: Manifest, built: Built, out: Path) -> Built:
    if standing.hash == built.manifest.hash:
        return replace(built, manifest=standing, changed=False)
    raise Refused(
        "index_exists",
        f"{out} holds another index ({standing.passages} passages, built {standing.built_at}): indexes do not change,"
        " so that going back to one finds what it was",
        mend=f"give another name, such as {out.stem}-2",
    )


def _put(temporary: Path, out: Path) -> None:
    """Give the file its name, on disk and at once; another build that was faster keeps its own."""
    with temporary.open("rb") as file:
        os.fsync(file.fileno())
    try:
        # Unlike a rename, a link never replaces what is there.
        os.link(temporary, out)
    except FileExistsError:
        message = f"{out} was built by another meanwhile"
        raise Refused("index_exists", message, mend="build again, or give another name") from None
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.ENOTSUP, errno.EMLINK):
            raise
        # A file system without links.
        temporary.rename(out)
