"""Flagd files in words, and a store in memory that follows one."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from flags.change import View
from flags.codec import document_of
from flags.model import Flag, Json, Kind, ObjectKey, Position, StoredObject
from gateway.config.declaration import Known
from gateway.following.planning import FollowPlan, follow_plan
from gateway.following.text import read_flagd

FILE = "flagd/flags.json"
TIME = "2030-01-31T12:00:00Z"


def a_flag(
    serve: str | None = "off", variants: Mapping[str, Json] | None = None, **fields: Any
) -> dict[str, Any]:
    """A flag of a file; on and off unless said otherwise."""
    variants = {"on": True, "off": False} if variants is None else variants
    return {"state": "ENABLED", "variants": dict(variants), "defaultVariant": serve, **fields}


def text_of(**flags: Any) -> str:
    return json.dumps({"flags": {key.replace("_", "-"): flag for key, flag in flags.items()}})


class World:
    """A store in memory: what a followed file writes, and operators change."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "flags.json"
        self.objects: dict[ObjectKey, StoredObject] = {}
        self.contents: dict[str, Json] = {}

    @property
    def view(self) -> View:
        return View(Position(1, "x"), TIME, dict(self.objects))

    def follow(self, file: str = FILE, /, **flags: Any) -> FollowPlan:
        """The file says `flags` now; what that wrote."""
        self.path.write_text(text_of(**flags))
        made = follow_plan(file, read_flagd(self.path, Known()).flags, self.view, self.contents)
        for draft in made.drafts:
            if draft.after is None:
                del self.objects[draft.key]
            else:
                self.objects[draft.key] = StoredObject(draft.key, draft.after, 2)
            self.contents.update(draft.contents)
        return made

    def flag(self, key: str = "f") -> Flag:
        return self.view.flag(key)

    def operate(self, flag: Flag) -> None:
        key = ObjectKey(Kind.FLAG, flag.key)
        self.objects[key] = StoredObject(key, document_of(flag), 3)

    def change(self, key: str = "f", **fields: Any) -> None:
        self.operate(replace(self.flag(key), **fields))
