"""Which routes a flag serves, and which flags a route has, as a snapshot tells. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from flags.codec import flag_from
from flags.errors import NotFound
from flags.model import Flag, Json, Kind, Layer, ObjectKey, StoredObject
from flags.snapshot import Snapshot
from gateway.compiling import flag_names
from policies.case import serving_of
from policies.pinning import pins_of


def routes_of(flag: str, snapshot: Snapshot) -> list[str]:
    """The names of all routes that `flag` serves, sorted."""
    routes = snapshot.of_kind(Kind.ROUTE).items()
    return sorted(name for name, stored in routes if flag in flag_names(name, stored.document))


def pipeline_contents(snapshot: Snapshot) -> dict[str, Json]:
    """What the versions of all pipelines say, by hash."""
    return {
        variant.hash: compiled.values[name]
        for compiled in snapshot.flags.values()
        if compiled.flag.layer is Layer.PIPELINE
        for name, variant in compiled.flag.variants.items()
        if name in compiled.values
    }


def route_flags(route: str, objects: Mapping[ObjectKey, StoredObject]) -> list[Flag]:
    """The flags of a route's layers, in the layers' order. Raises NotFound with the routes that exist."""
    stored = objects.get(ObjectKey(Kind.ROUTE, route))
    if stored is None:
        names = ", ".join(sorted(key.name for key in objects if key.kind is Kind.ROUTE)) or "none"
        raise NotFound(f'route "{route}" does not exist (routes: {names})')
    found = (objects.get(ObjectKey(Kind.FLAG, name)) for name in flag_names(route, stored.document))
    return [flag_from(flag.key.name, flag.document, flag.revision) for flag in found if flag is not None]


def pins_served(flags: Iterable[Flag], snapshot: Snapshot) -> tuple[str | None, Mapping[Layer, str]]:
    """The version of a route's pipeline that serves, and what it pins; None and nothing, where there is none."""
    for flag in flags:
        serving = serving_of(flag) if flag.layer is Layer.PIPELINE else None
        if serving is not None and flag.key in snapshot.flags:
            return serving, pins_of(snapshot.flags[flag.key].values.get(serving))
    return None, {}
