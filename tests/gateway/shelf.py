"""A store in memory: it holds what drafts write, and what operators change."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from flags.change import Draft, View
from flags.codec import document_of
from flags.model import Flag, Json, Kind, ObjectKey, Position, StoredObject

TIME = "2030-01-31T12:00:00Z"


class Shelf:
    """Objects and contents, as a change finds them."""

    def __init__(self) -> None:
        self.objects: dict[ObjectKey, StoredObject] = {}
        self.contents: dict[str, Json] = {}

    @property
    def view(self) -> View:
        return View(Position(1, "x"), TIME, dict(self.objects))

    def take(self, drafts: Iterable[Draft]) -> None:
        """Write them."""
        for draft in drafts:
            if draft.after is None:
                del self.objects[draft.key]
            else:
                self.objects[draft.key] = StoredObject(draft.key, draft.after, 2)
            self.contents.update(draft.contents)

    def flag(self, key: str = "f") -> Flag:
        return self.view.flag(key)

    def operate(self, flag: Flag) -> None:
        """What an operator made of a flag."""
        key = ObjectKey(Kind.FLAG, flag.key)
        self.objects[key] = StoredObject(key, document_of(flag), 3)

    def change(self, key: str = "f", **fields: Any) -> None:
        """The same, by the fields that differ."""
        self.operate(replace(self.flag(key), **fields))
