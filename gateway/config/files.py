"""The files that a config consists of: read within bounds, and only from below the config's folder. Knows no section."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

from flags.errors import Invalid
from flags.model import Json
from gateway.config.places import Fault, Node, Unreadable, plain
from gateway.config.reading import read_text
from gateway.config.scalars import INTEGER_MAX

# The largest config seen in the wild has some thousand lines; 16 MiB hold 10,000 flags.
FILE_BYTES_MAX = 16 << 20
TEXT_SUFFIXES = frozenset({".txt", ".md", ".j2", ".jinja"})
YAML_SUFFIXES = frozenset({".yaml", ".yml", ".json"})
# JSON escapes what lies past U+FFFF (😀) as two halves, and most writers do; YAML knows no halves. The first alternative
# is a backslash that is escaped itself.
_PAIR = re.compile(r"\\\\|\\u([dD][89abAB][0-9a-fA-F]{2})\\u([dD][c-fC-F][0-9a-fA-F]{2})")


@dataclass(frozen=True, slots=True)
class Source:
    """A file that was read: its name as people know it, its value, its places, and what in it is no JSON."""

    name: str
    value: Json
    root: Node | None
    faults: tuple[Fault, ...] = ()


def read_source(path: Path, name: str) -> Source:
    """The YAML, JSON or text at `path`. Raises Unreadable."""
    text = _text_of(path)
    if path.suffix.lower() in TEXT_SUFFIXES:
        return Source(name, text, None)
    if path.suffix.lower() == ".json":
        # JSON may be indented with tabs, which YAML may not: JSON's own reader says whether it is JSON.
        _check_json(text)
        text = _PAIR.sub(_joined, text.replace("\t", " "))
    root, faults = read_text(text)
    if root is None:
        raise Unreadable(Fault(1, "", "there is nothing in this file"))
    return Source(name, plain(root), root, tuple(faults))


def below(folder: Path, path: str) -> Path:
    """The file `path`, relative to `folder`. Raises Invalid for one that is not below it, symbolic links followed."""
    inside = folder.resolve()
    if Path(path).is_absolute() or ".." in Path(path).parts or "\0" in path:
        raise Invalid(
            "",
            f"{path!r} leads out of the config's folder",
            mend="name a file below the folder of the config file",
        )
    found = (inside / path).resolve()
    if not found.is_relative_to(inside):
        raise Invalid(
            "", f"{path!r} is a link that leads out of the config's folder", mend="copy the file instead"
        )
    if not found.is_file():
        raise Invalid("", f"there is no file {path!r} in the config's folder")
    if found.suffix.lower() not in YAML_SUFFIXES | TEXT_SUFFIXES:
        listed = ", ".join(sorted(YAML_SUFFIXES | TEXT_SUFFIXES))
        raise Invalid("", f"{path!r} has an unknown suffix (known: {listed})")
    return found


def _text_of(path: Path) -> str:
    try:
        # A pipe or device would be read for ever.
        if path.exists() and not path.is_file():
            raise Unreadable(Fault(None, "", "this is no file"))
        with path.open("rb") as file:
            data = file.read(FILE_BYTES_MAX + 1)
    except OSError as error:
        raise Unreadable(Fault(None, "", f"cannot be read: {error.strerror or error}")) from None
    if len(data) > FILE_BYTES_MAX:
        raise Unreadable(Fault(None, "", f"it is larger than {FILE_BYTES_MAX >> 20} MiB"))
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise Unreadable(Fault(line, "", "it is not UTF-8", "save it as UTF-8")) from None


def _joined(found: re.Match[str]) -> str:
    if found[1] is None:
        return found[0]
    return (bytes.fromhex(found[1]) + bytes.fromhex(found[2])).decode("utf-16-be")


def _check_json(text: str) -> None:
    def bounded(digits: str) -> int:
        if len(digits) > 20 or abs(int(digits)) > INTEGER_MAX:
            raise Unreadable(
                Fault(None, "", f"the integer {digits[:40]} is beyond 2^53", "write it as a string")
            )
        return int(digits)

    try:
        json.loads(text, parse_int=bounded)
    except json.JSONDecodeError as error:
        raise Unreadable(Fault(error.lineno, "", f"not JSON: {error.msg}")) from None
    except RecursionError:
        raise Unreadable(Fault(None, "", "nested too deeply")) from None
