"""The files below a suite's folder, read within bounds. Knows no suite: paths in, texts and values out.

A suite may come from anybody who may propose a change: it reads nothing outside its own folder, and nothing without end.
"""

from __future__ import annotations

from itertools import islice
from pathlib import Path

from flags.errors import Invalid
from gateway.config.files import FILE_BYTES_MAX, YAML_SUFFIXES, Source, read_source
from gateway.config.places import Fault, Unreadable

# A suite of 10,000 cases with 6 KiB each; as much memory as a worker can spare while it is read.
ALL_BYTES_MAX = 64 << 20
# As many as there may be cases.
FILES_MAX = 10_000
WILD = frozenset("*?[")


class Placed(Invalid):
    """Raised when a suite's file is wrong; its path begins with the file's name, and its line where one is known."""


class Folder:
    """A suite's folder. `used`, the bytes read so far, is all that changes here."""

    def __init__(self, path: Path) -> None:
        self.path = path.resolve()
        self.used = 0

    def __repr__(self) -> str:
        return f"<folder {self.path}, {self.used} bytes read>"

    def source(self, path: Path) -> Source:
        """The YAML or JSON at `path`, with its places. Raises Invalid with file and line, for an empty one too."""
        name = self.name(path)
        self._count(path, name)
        try:
            found = read_source(path, name)
        except Unreadable as error:
            raise fault(name, error.fault) from None
        if found.faults:
            raise fault(name, found.faults[0])
        return found

    def text(self, path: Path) -> str:
        """The text at `path`, whatever its suffix. Raises Invalid."""
        name = self.name(path)
        self._count(path, name)
        try:
            with path.open("rb") as file:
                data = file.read(FILE_BYTES_MAX + 1)
            return data.decode("utf-8-sig")
        except OSError as error:
            raise Placed(name, f"cannot be read: {error.strerror or error}") from None
        except UnicodeDecodeError as error:
            line = error.object[: error.start].count(b"\n") + 1
            raise Placed(f"{name}:{line}", "it is not UTF-8", mend="save it as UTF-8") from None

    def found(self, pattern: str) -> list[Path]:
        """The files that a path or glob names, sorted. Raises Invalid for none, and for one outside the folder."""
        if Path(pattern).is_absolute() or ".." in Path(pattern).parts or "\0" in pattern or not pattern:
            raise Invalid(
                "",
                f"{pattern!r} leads out of the suite's folder",
                mend="name a file below the folder of the suite",
            )
        if WILD.isdisjoint(pattern):
            return [self._inside(self.path / pattern, pattern)]
        try:
            paths = list(islice(self.path.glob(pattern), FILES_MAX + 1))
        except (ValueError, NotImplementedError, OSError) as error:
            raise Invalid("", f"{pattern!r} is no pattern of files: {error}") from None
        if len(paths) > FILES_MAX:
            raise Invalid("", f"{pattern!r} names more than {FILES_MAX} files")
        files = [self._inside(path, pattern) for path in sorted(paths) if path.is_file()]
        if not files:
            raise Invalid("", f"there is no file {pattern!r} in the suite's folder")
        return files

    def name(self, path: Path) -> str:
        """A path as messages have it: from the suite's folder on."""
        return str(path.relative_to(self.path)) if path.is_relative_to(self.path) else str(path)

    def _inside(self, path: Path, asked: str) -> Path:
        try:
            found = path.resolve()
            is_file = found.is_file()
        except (OSError, RuntimeError) as error:
            raise Invalid("", f"{asked!r} cannot be read: {error}") from None
        if not found.is_relative_to(self.path):
            raise Invalid(
                "", f"{asked!r} is a link that leads out of the suite's folder", mend="copy the file"
            )
        if not is_file:
            raise Invalid("", f"there is no file {asked!r} in the suite's folder")
        return found

    def _count(self, path: Path, name: str) -> None:
        try:
            if path.exists() and not path.is_file():
                raise Placed(name, "this is no file")
            size = path.stat().st_size
        except OSError as error:
            raise Placed(
                name, f"cannot be read: {error.strerror or error}", mend="name a suite in promptfoo's format"
            ) from None
        if size > FILE_BYTES_MAX:
            raise Placed(name, f"it is larger than {FILE_BYTES_MAX >> 20} MiB", mend="split it")
        self.used += size
        if self.used > ALL_BYTES_MAX:
            raise Placed(name, f"the suite's files are larger than {ALL_BYTES_MAX >> 20} MiB in all")


def is_data(path: Path) -> bool:
    """Whether a file holds YAML or JSON."""
    return path.suffix.lower() in YAML_SUFFIXES


def fault(name: str, found: Fault) -> Placed:
    """A fault at its file, line and path."""
    return at_line(name, found.line, Invalid(found.path, found.message, mend=found.mend))


def at_line(name: str, line: int | None, error: Invalid) -> Placed:
    """An error whose path begins with its file and line: `suite.yaml:12: tests[0].assert`; one that has them as it is."""
    if isinstance(error, Placed):
        return error
    place = name if line is None else f"{name}:{line}"
    path = error.path.removeprefix(".")
    return Placed(f"{place}: {path}" if path else place, error.message, mend=error.mend)
