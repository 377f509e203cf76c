"""A folder's files as documents: text, Markdown, HTML, reStructuredText, and lines of JSON. Knows no index.

Nothing outside the folder is read, whatever its links say. What is left out is named, with the reason.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

import msgspec

from flags.errors import Invalid, NotFound
from gateway.index import markup
from gateway.index.markup import Marked
from gateway.index.passage import Attribute

# Larger texts are dumps of something; they belong into a store of their own.
FILE_BYTES_MAX = 32 * 1024 * 1024
# OpenAI's vector stores take as much of an attribute's name and value, and as many.
KEY_CHARACTERS_MAX, VALUE_CHARACTERS_MAX, ATTRIBUTES_MAX = 64, 512, 16
ID_CHARACTERS_MAX = 256
LINES = (".jsonl", ".ndjson")
READERS: Mapping[str, Callable[[str], Marked]] = MappingProxyType(
    {
        **dict.fromkeys((".txt", ".text"), markup.plain),
        **dict.fromkeys((".md", ".markdown"), markup.markdown),
        **dict.fromkeys((".html", ".htm", ".xhtml"), markup.html),
        **dict.fromkeys((".rst", ".rest"), markup.restructured),
    }
)
_KNOWN = ", ".join((*READERS, *LINES))


@dataclass(frozen=True, slots=True)
class Document:
    """One text with what is known of it. `attributes` holds its path and title, and what its line gave."""

    file_id: str
    filename: str
    marked: Marked
    attributes: Mapping[str, Attribute]


@dataclass(frozen=True, slots=True)
class Told:
    """A file, relative to the folder, and what a person should know of it."""

    path: str
    reason: str


@dataclass(slots=True)
class Reading:
    """What was met on the way. Only grows, while `documents_in` is read."""

    skipped: list[Told] = field(default_factory=list)
    warnings: list[Told] = field(default_factory=list)


class _Line(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One line of a JSONL file."""

    text: str
    file_id: str | None = None
    filename: str | None = None
    attributes: dict[str, str | int | float | bool] = {}


def documents_in(folder: Path, reading: Reading) -> Iterator[Document]:
    """All documents below `folder`, by path. Raises NotFound, and Invalid with the file (and line) that is wrong."""
    root = folder.resolve()
    if not root.is_dir():
        raise NotFound(f"{folder} is not a folder", mend="name a folder with texts")
    for path in _files(root):
        yield from _documents(path, root, reading)


def _files(root: Path) -> Iterator[Path]:
    def fail(error: OSError) -> None:
        raise Invalid(_shown(error.filename), f"cannot be read ({error.strerror})")

    for place, folders, names in os.walk(root, onerror=fail):
        # In order on every machine; what begins with a dot is the system's or an editor's.
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (Path(place, name) for name in sorted(names) if not name.startswith("."))


def _documents(path: Path, root: Path, reading: Reading) -> Iterator[Document]:
    name = _shown(path.relative_to(root).as_posix())
    suffix = path.suffix.lower()
    reason = _unfit(path, root, suffix)
    if reason:
        reading.skipped.append(Told(name, reason))
        return
    text = _text(path, name, reading)
    if "\0" in text:
        reading.skipped.append(Told(name, "holds zero bytes: binary, or not UTF-8"))
    elif suffix in LINES:
        yield from _lines(text, name)
    elif text.strip():
        yield _document(text, name, READERS[suffix](text))
    else:
        reading.skipped.append(Told(name, "is empty"))


def _unfit(path: Path, root: Path, suffix: str) -> str | None:
    """Why a file is left out. Kubernetes mounts files as links within the folder: those are read."""
    if path.is_symlink() and not path.resolve().is_relative_to(root):
        return "is a link that leads outside the folder"
    try:
        kind = path.stat().st_mode
    except OSError as error:
        return f"cannot be read ({error.strerror})"
    if not stat.S_ISREG(kind):
        return "is no regular file"
    if suffix not in READERS and suffix not in LINES:
        return f"is of no kind that is read ({_KNOWN})"
    return None


def _text(path: Path, name: str, reading: Reading) -> str:
    try:
        with path.open("rb") as file:
            # One byte more tells a file that is too large, even one that grows while it is read.
            data = file.read(FILE_BYTES_MAX + 1)
    except OSError as error:
        raise Invalid(name, f"cannot be read ({error.strerror})") from error
    if len(data) > FILE_BYTES_MAX:
        mend = "split it, or keep it in a vector store"
        raise Invalid(name, f"is larger than {FILE_BYTES_MAX // 2**20} MiB", mend=mend)
    data = data.removeprefix(b"\xef\xbb\xbf")
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        reason = f"is not UTF-8 at byte {error.start}; such bytes were replaced"
        reading.warnings.append(Told(name, reason))
        text = data.decode(errors="replace")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _document(text: str, name: str, marked: Marked) -> Document:
    filename = name.rpartition("/")[2]
    attributes = {"path": name, "title": (marked.title or filename)[:VALUE_CHARACTERS_MAX]}
    return Document(file_id_of(name, text), filename, marked, MappingProxyType(attributes))


def file_id_of(name: str, text: str) -> str:
    """The same for the same text at the same place, on every machine."""
    digest = hashlib.sha256(f"{name}\0{text}".encode(errors="replace")).hexdigest()
    return f"file-{digest[:24]}"


def _lines(text: str, name: str) -> Iterator[Document]:
    decoder = msgspec.json.Decoder(_Line)
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        where = f"{name}:{number}"
        try:
            read = decoder.decode(line)
        except msgspec.DecodeError as error:
            raise Invalid(
                where, str(error), mend="expected {text, file_id?, filename?, attributes?}"
            ) from error
        _check(read, where)
        yield _of_line(read, name)


def _of_line(read: _Line, name: str) -> Document:
    filename = read.filename or name.rpartition("/")[2]
    attributes: dict[str, Attribute] = {"path": name, "title": filename, **read.attributes}
    file_id = read.file_id or file_id_of(name, read.text)
    return Document(file_id, filename, markup.plain(read.text), MappingProxyType(attributes))


def _check(read: _Line, where: str) -> None:
    if not read.text.strip():
        raise Invalid(f"{where}: text", "is blank")
    for name in ("file_id", "filename"):
        value = getattr(read, name)
        if value is not None and not 0 < len(value) <= ID_CHARACTERS_MAX:
            expected = f"1 to {ID_CHARACTERS_MAX} characters"
            raise Invalid(f"{where}: {name}", f"has {len(value)} characters, expected {expected}")
    if len(read.attributes) > ATTRIBUTES_MAX:
        raise Invalid(
            f"{where}: attributes", f"found {len(read.attributes)}, expected {ATTRIBUTES_MAX} at most"
        )
    for key, value in read.attributes.items():
        if not 0 < len(key) <= KEY_CHARACTERS_MAX or "\0" in key:
            raise Invalid(f"{where}: attributes", f"found a name of {len(key)} characters, expected 1 to 64")
        if isinstance(value, str) and len(value) > VALUE_CHARACTERS_MAX:
            found = f"has {len(value)} characters, expected {VALUE_CHARACTERS_MAX} at most"
            raise Invalid(f"{where}: attributes.{key}", found)
        if type(value) is int and not -(2**63) <= value < 2**63:
            raise Invalid(f"{where}: attributes.{key}", "is an integer of more than 64 bits")


def _shown(name: str) -> str:
    """A file's name as text, even where it holds bytes that are none."""
    return os.fsencode(name).decode(errors="replace")
