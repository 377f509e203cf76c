"""The file that holds an index: its tables, its manifest, and how it is opened. Knows no document and no query.

    manifest        one row a field of Manifest                  written last
    passages        id 1…n, file_id, filename, position, text, attributes (a JSON object)
    passage_text    FTS5 over heading and text, contentless, rowid = passages.id
    vectors         passage = passages.id, vector (little-endian float32, length 1)

A file is written once and never changed, so it is opened as immutable: no locks, no side files.
"""

from __future__ import annotations

import sqlite3
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated
from urllib.parse import quote

import msgspec
from msgspec import Meta

from gateway.index.errors import IndexUnreadable, Uninstalled

# "PMIX": tells our files from other SQLite files.
APPLICATION_ID = 0x504D4958
FORMAT = 1
SUFFIX = ".sqlite"
# A search by vectors looks at all of them; beyond, a store with an index of its own serves better.
PASSAGES_MAX = 100_000
# English endings are taken off ("refunds" finds "refund"); accents do not count in any language.
FOLDING = "unicode61 remove_diacritics 2"
TOKENIZER = f"porter {FOLDING}"
MEND = "build it again: pointsman index build DIR --name NAME"

SCHEMA = f"""
CREATE TABLE manifest (field TEXT PRIMARY KEY, value) WITHOUT ROWID;
CREATE TABLE passages (
    id INTEGER PRIMARY KEY, file_id TEXT NOT NULL, filename TEXT NOT NULL,
    position INTEGER NOT NULL, text TEXT NOT NULL, attributes TEXT NOT NULL
);
CREATE VIRTUAL TABLE passage_text USING fts5(heading, text, content='', tokenize='{TOKENIZER}');
CREATE TABLE vectors (passage INTEGER PRIMARY KEY, vector BLOB NOT NULL);
PRAGMA application_id = {APPLICATION_ID};
PRAGMA user_version = {FORMAT};
"""


class Manifest(msgspec.Struct, frozen=True):
    """What an index is. `hash` is over its passages, their attributes and the embedding model, not over the time."""

    format: int
    name: str
    documents: Annotated[int, Meta(ge=0)]
    passages: Annotated[int, Meta(ge=0, le=PASSAGES_MAX)]
    hash: str
    built_at: str
    builder: str
    passage_characters: int
    embedding_model: str | None = None
    dimensions: Annotated[int, Meta(ge=1, le=65_536)] | None = None


def require_full_text() -> None:
    """Raises Uninstalled where this Python's SQLite cannot search texts."""
    connection = sqlite3.connect(":memory:")
    try:
        connection.execute("CREATE VIRTUAL TABLE probe USING fts5(text)")
    except sqlite3.OperationalError as error:
        raise Uninstalled(
            f"the SQLite {sqlite3.sqlite_version} of this Python has no FTS5 ({error})",
            mend="use a Python whose sqlite3 was built with FTS5, as Debian's and python.org's are",
        ) from error
    finally:
        connection.close()


def connect(path: Path) -> sqlite3.Connection:
    """A connection that can only read, for one thread at a time. Raises IndexUnreadable, Uninstalled."""
    require_full_text()
    uri = f"file:{quote(str(path.absolute()))}?mode=ro&immutable=1"
    try:
        connection = sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False)
    except sqlite3.Error as error:
        raise unreadable(path, error) from error
    with ExitStack() as closing:
        closing.callback(connection.close)
        _check(connection, path)
        closing.pop_all()
        return connection


def _check(connection: sqlite3.Connection, path: Path) -> None:
    try:
        # The file may be anybody's: nothing in its schema gets to call functions with effects.
        connection.execute("PRAGMA trusted_schema = OFF")
        connection.execute("PRAGMA cell_size_check = ON")
        connection.execute("PRAGMA temp_store = MEMORY")
        application = connection.execute("PRAGMA application_id").fetchone()[0]
        version = connection.execute("PRAGMA user_version").fetchone()[0]
    except sqlite3.Error as error:
        raise unreadable(path, error) from error
    if application != APPLICATION_ID:
        raise IndexUnreadable(f"{path} is not an index of Pointsman", mend=MEND)
    if version != FORMAT:
        raise IndexUnreadable(f"{path} has format {version}, expected {FORMAT}", mend=MEND)


def read_manifest(connection: sqlite3.Connection, path: Path) -> Manifest:
    """The manifest. Raises IndexUnreadable."""
    try:
        rows = connection.execute("SELECT field, value FROM manifest").fetchall()
        return msgspec.convert(dict(rows), Manifest)
    except (sqlite3.Error, msgspec.ValidationError) as error:
        raise unreadable(path, error) from error


def write_manifest(connection: sqlite3.Connection, manifest: Manifest) -> None:
    """Make the file an index."""
    rows = msgspec.structs.asdict(manifest).items()
    connection.executemany("INSERT INTO manifest (field, value) VALUES (?, ?)", list(rows))


def manifest_of(path: Path) -> Manifest:
    """The manifest of the file at `path`. Raises IndexUnreadable, Uninstalled."""
    connection = connect(path)
    try:
        return read_manifest(connection, path)
    finally:
        connection.close()


def unreadable(path: Path, error: Exception) -> IndexUnreadable:
    """What to say of a file that SQLite, or we, cannot read."""
    there = f"cannot be read as an index ({error})" if path.is_file() else "is not there"
    return IndexUnreadable(f"{path} {there}", mend=MEND)
