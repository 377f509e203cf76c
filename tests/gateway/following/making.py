"""Flagd files in words, and a store in memory that follows one."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from flags.model import Json
from gateway.config.declaration import Known
from gateway.following.planning import FollowPlan, follow_plan
from gateway.following.text import read_flagd
from tests.gateway.shelf import Shelf

FILE = "flagd/flags.json"


def a_flag(
    serve: str | None = "off", variants: Mapping[str, Json] | None = None, **fields: Any
) -> dict[str, Any]:
    """A flag of a file; on and off unless said otherwise."""
    variants = {"on": True, "off": False} if variants is None else variants
    return {"state": "ENABLED", "variants": dict(variants), "defaultVariant": serve, **fields}


def text_of(**flags: Any) -> str:
    return json.dumps({"flags": {key.replace("_", "-"): flag for key, flag in flags.items()}})


class World(Shelf):
    """What a followed file writes, and operators change."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.path = folder / "flags.json"

    def follow(self, file: str = FILE, /, **flags: Any) -> FollowPlan:
        """The file says `flags` now; what that wrote."""
        self.path.write_text(text_of(**flags))
        made = follow_plan(file, read_flagd(self.path, Known()).flags, self.view, self.contents)
        self.take(made.drafts)
        return made
