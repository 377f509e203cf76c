"""What became of each path of an imported file. Never repeats a value: it could be a secret."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import msgspec

from flags.canonical import canonical
from flags.errors import FlagError, Invalid
from flags.model import Json


class Malformed(FlagError):
    """Raised when a document is not what its format says; `problems` holds each place, what was found and the mend."""

    def __init__(self, problems: tuple[Invalid, ...]) -> None:
        super().__init__("; ".join(map(str, problems)))
        self.problems = problems


class Note(msgspec.Struct, frozen=True, omit_defaults=True):
    """One path of the file, what became of it, and what its owner should do."""

    path: str
    what: str
    mend: str | None = None


class Report(msgspec.Struct, frozen=True):
    """All notes, in the file's order: taken as it was, taken with a difference, and not taken."""

    taken: tuple[Note, ...] = ()
    changed: tuple[Note, ...] = ()
    not_taken: tuple[Note, ...] = ()

    def text(self) -> str:
        """For people: what needs them first."""
        parts = (("not taken", self.not_taken), ("changed", self.changed), ("taken", self.taken))
        return "\n".join(_paragraph(title, notes) for title, notes in parts if notes)


def _paragraph(title: str, notes: tuple[Note, ...]) -> str:
    lines = [f"{title} ({len(notes)}):"]
    for note in notes:
        lines.append(f"  {note.path}: {note.what}")
        lines += [f"    → {note.mend}"] if note.mend else []
    return "\n".join(lines)


@dataclass(slots=True)
class Notes:
    """A report in the making. What changes here: all of it."""

    _taken: list[Note] = field(default_factory=list)
    _changed: list[Note] = field(default_factory=list)
    _left: list[Note] = field(default_factory=list)

    def taken(self, path: str, what: str) -> None:
        """It stands in the result, and means the same there."""
        self._taken.append(Note(path, what))

    def changed(self, path: str, what: str, mend: str | None = None) -> None:
        """It stands in the result, and something is different."""
        self._changed.append(Note(path, what, mend))

    def left(self, path: str, what: str, mend: str | None = None) -> None:
        """It does not stand in the result."""
        self._left.append(Note(path, what, mend))

    def report(self) -> Report:
        """All that was noted."""
        return Report(tuple(self._taken), tuple(self._changed), tuple(self._left))

    def is_json(self, path: str, value: Json) -> bool:
        """Whether all readers of JSON would read `value` alike; noted where not."""
        try:
            canonical(value)
        except Invalid:
            self.left(path, "a number or text in it is none that JSON has", "write it as text")
            return False
        return True

    def number(self, path: str, value: Json, low: float, high: float) -> float | None:
        """`value` as a number within bounds; text is read, as LiteLLM does. Noted where it is none, or brought within."""
        try:
            found = float(value) if isinstance(value, (int, float, str)) else None
        except ValueError:
            found = None
        if found is None or isinstance(value, bool) or math.isnan(found):
            self.left(path, f"expected a number, found {kind_of(value)}", "write the number in the result")
            return None
        if low <= found <= high:
            return found
        kept = min(max(found, low), high)
        self.changed(path, f"{kept:g} in its place: expected {low:g} to {high:g}")
        return kept


def kind_of(value: Json) -> str:
    """What JSON `value` is, in words; not what it says."""
    if value is None or isinstance(value, bool):
        return "nothing" if value is None else "a boolean"
    if isinstance(value, Mapping):
        return "a mapping"
    if isinstance(value, (list, tuple)):
        return "a list"
    return "text" if isinstance(value, str) else "a number"
