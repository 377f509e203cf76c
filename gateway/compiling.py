"""A Serving from a snapshot: every route with its layers' versions made ready, when something has changed. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from flags.model import NOTHING, Json, Kind, Layer, ObjectKey
from flags.snapshot import CompiledFlag, Snapshot
from gateway.route import Route, RouteLayer, Serving
from gateway.spec import RouteSpec
from gateway.version import Version, prepare
from policies.outcome import Release


def compile_serving(
    snapshot: Snapshot, before: Serving | None = None, changed: Iterable[ObjectKey] | None = None
) -> Serving:
    """Compile the routes of `snapshot`; with `before` and `changed`, only those that a changed object touches."""
    if before is None or changed is None:
        names = sorted(snapshot.of_kind(Kind.ROUTE))
        return Serving(snapshot, {name: compile_route(snapshot, name) for name in names})
    keys = set(changed)
    flags = {key.name for key in keys if key.kind is Kind.FLAG}
    touched = {key.name for key in keys if key.kind is Kind.ROUTE}
    touched.update(route.name for route in before.routes.values() if not flags.isdisjoint(route.may_use))
    routes = dict(before.routes)
    for name in touched:
        if name in snapshot.of_kind(Kind.ROUTE):
            routes[name] = compile_route(snapshot, name, before.routes.get(name))
        else:
            routes.pop(name, None)
    return Serving(snapshot, routes)


def flag_names(name: str, document: Mapping[str, Json]) -> list[str]:
    """The keys of the flags that route `name` may use: as given, else `<route>.<layer>`."""
    return [str(spec(document).get(layer) or f"{name}.{layer}") for layer in Layer]


def spec(document: Mapping[str, Json]) -> Mapping[str, Json]:
    """A stored object's declared part."""
    found = document.get("spec", NOTHING)
    return found if isinstance(found, Mapping) else NOTHING


def compile_route(snapshot: Snapshot, name: str, before: Route | None = None) -> Route:
    """Route `name` as `snapshot` has it; layers whose flag did not change are taken over from `before`."""
    document = snapshot.of_kind(Kind.ROUTE)[name].document
    route_spec = msgspec.convert(spec(document), RouteSpec, strict=False)
    known = {layer.flag.flag.key: layer for layer in before.layers} if before else {}
    may_use = flag_names(name, document)
    layers = []
    for layer, key in zip(Layer, may_use, strict=True):
        flag = snapshot.flags.get(key)
        if flag is None:
            continue
        old = known.get(key)
        layers.append(old if old and old.flag is flag else prepare_layer(layer, flag, old))
    reads = any(layer.flag.rule is not None for layer in layers)
    return Route(name, tuple(layers), tuple(may_use), route_spec.sticky, reads)


def prepare_layer(layer: Layer, flag: CompiledFlag, old: RouteLayer | None = None) -> RouteLayer:
    """Make every variant ready; contents of the same hash are taken over from `old`."""
    versions: dict[str, Version] = {}
    for name, variant in flag.flag.variants.items():
        before = old.flag.flag.variants.get(name) if old else None
        if old and before and before.hash == variant.hash:
            prepared = old.versions[name].prepared
        else:
            prepared = prepare(layer, flag.values.get(name), f"{flag.flag.key}/{name}")
        release = Release(flag.flag.key, name, variant.generation)
        token = f"{release.flag}:{name}:{release.generation}"
        versions[name] = Version(prepared, release, f"{layer}={name}", token)
    return RouteLayer(layer, flag, versions)
