"""Snapshots of general flags, for tests of the gateway's own switches."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flags.codec import document_of
from flags.model import Kind, ObjectKey, Position, StoredObject
from flags.snapshot import Snapshot
from tests.gateway.builders import flag

BOTH = {"on": True, "off": False}


def snapshot(flags: Mapping[str, Mapping[str, Any]]) -> Snapshot:
    """Each flag by its key: its state, with `variants` (on and off, unless given)."""
    objects, contents = {}, {}
    for key, state in flags.items():
        others = dict(state)
        made, held = flag(key, None, others.pop("variants", BOTH), **others)
        place = ObjectKey(Kind.FLAG, key)
        objects[place] = StoredObject(place, document_of(made), 7)
        contents.update(held)
    return Snapshot.build("default", Position(7, "h"), 7, objects, contents)
