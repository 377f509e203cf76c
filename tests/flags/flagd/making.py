"""Flags as they are once a declaration that came from a flagd file is applied to an empty store."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flags.canonical import digest
from flags.codec import check_flag
from flags.model import Flag, Json, Layer, Rollout, Shadow, Soak, Variant


def flag_from_declaration(declared: Mapping[str, Any]) -> Flag:
    rollout, shadow, soak = declared.get("rollout"), declared.get("shadow"), declared.get("soak")
    targeting, spelling, layer = (declared.get(name) for name in ("targeting", "flagd", "layer"))
    flag = Flag(
        key=declared["key"],
        variants={name: Variant(name, digest(value)) for name, value in declared["variants"].items()},
        serve=declared["serve"],
        safe=declared.get("safe") or declared["serve"],
        layer=Layer(layer) if layer else None,
        enabled=declared.get("state") != "DISABLED",
        rollout=a_rollout_from(rollout) if rollout else None,
        withdrawn=frozenset(declared.get("withdrawn", ())),
        targeting=None if targeting is None else digest(targeting),
        metadata=declared.get("metadata", {}),
        soak=Soak(soak["seconds"], soak["requests"]) if soak else Soak(),
        shadow=Shadow(shadow["variant"], shadow["percent"]) if shadow else None,
        written=digest(spelling) if spelling else None,
    )
    check_flag(flag)
    return flag


def a_rollout_from(declared: Mapping[str, Any]) -> Rollout:
    if "steps" not in declared:
        return Rollout(declared["variant"], declared["percent"])
    steps = tuple(declared["steps"])
    return Rollout(
        declared["variant"],
        steps[0],
        0,
        steps=steps,
        hold_seconds=declared["hold_seconds"],
        min_requests=declared["min_requests"],
    )


def contents_from_declaration(declared: Mapping[str, Any]) -> dict[str, Json]:
    values = [*declared["variants"].values(), declared.get("targeting"), declared.get("flagd")]
    return {digest(value): value for value in values if value is not None}
