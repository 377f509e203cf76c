"""A Serving from a snapshot: every route with its layers' versions made ready, when something has changed. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from flags.model import NOTHING, Flag, Json, Kind, Layer, ObjectKey
from flags.snapshot import CompiledFlag, Snapshot
from gateway.price import Prices, Tariff
from gateway.route import Route, RouteLayer, Serving
from gateway.spec import RouteSpec
from gateway.version import PreparedModel, Version, prepare
from policies.case import layer_flags, retreat_of, trial_of
from policies.outcome import Release

# Without a table a cost is known only where a version has a price of its own.
NO_PRICES = Prices()


def compile_serving(
    snapshot: Snapshot,
    before: Serving | None = None,
    changed: Iterable[ObjectKey] | None = None,
    *,
    prices: Prices = NO_PRICES,
) -> Serving:
    """Compile the routes of `snapshot`; with `before` and `changed`, only those that a changed object touches."""
    if before is None or changed is None:
        names = sorted(snapshot.of_kind(Kind.ROUTE))
        return Serving(snapshot, {name: compile_route(snapshot, name, prices=prices) for name in names})
    keys = set(changed)
    flags = {key.name for key in keys if key.kind is Kind.FLAG}
    # An upstream at another address may have other prices.
    moved = frozenset(key.name for key in keys if key.kind is Kind.UPSTREAM)
    touched = {key.name for key in keys if key.kind is Kind.ROUTE}
    touched.update(route.name for route in before.routes.values() if not flags.isdisjoint(route.may_use))
    if moved:
        touched.update(
            r.name for r in before.routes.values() if any(asks(layer, moved) for layer in r.layers)
        )
    routes = dict(before.routes)
    for name in touched:
        if name in snapshot.of_kind(Kind.ROUTE):
            routes[name] = compile_route(snapshot, name, before.routes.get(name), prices=prices, moved=moved)
        else:
            routes.pop(name, None)
    return Serving(snapshot, routes)


def flag_names(name: str, document: Mapping[str, Json]) -> list[str]:
    """The keys of the flags that route `name` may use: as given, else `<route>.<layer>`."""
    return [*layer_flags(name, spec(document)).values()]


def spec(document: Mapping[str, Json]) -> Mapping[str, Json]:
    """A stored object's declared part."""
    found = document.get("spec", NOTHING)
    return found if isinstance(found, Mapping) else NOTHING


def asks(layer: RouteLayer, upstreams: frozenset[str]) -> bool:
    """Whether a version of this layer may ask one of `upstreams`."""
    models = (v.prepared for v in layer.versions.values() if isinstance(v.prepared, PreparedModel))
    return any(attempt.upstream in upstreams for model in models for attempt in model.attempts)


def compile_route(
    snapshot: Snapshot,
    name: str,
    before: Route | None = None,
    *,
    prices: Prices = NO_PRICES,
    moved: frozenset[str] = frozenset(),
) -> Route:
    """Route `name` as `snapshot` has it; layers whose flag did not change are taken over from `before`.

    What asks an upstream among `moved` is made anew.
    """
    document = snapshot.of_kind(Kind.ROUTE)[name].document
    route_spec = msgspec.convert(spec(document), RouteSpec, strict=False)
    layers_before = before.layers if before else ()
    known = {layer.flag.flag.key: layer for layer in layers_before if not (moved and asks(layer, moved))}
    tariff = Tariff(prices, snapshot)
    may_use = flag_names(name, document)
    layers = []
    for layer, key in zip(Layer, may_use, strict=True):
        flag = snapshot.flags.get(key)
        if flag is None:
            continue
        old = known.get(key)
        layers.append(old if old and old.flag is flag else prepare_layer(layer, flag, tariff, old))
    reads = any(layer.flag.rule is not None for layer in layers)
    return Route(name, tuple(layers), tuple(may_use), route_spec.sticky, reads)


def prepare_layer(
    layer: Layer, flag: CompiledFlag, tariff: Tariff, old: RouteLayer | None = None
) -> RouteLayer:
    """Make every variant ready; contents of the same hash are taken over from `old`."""
    versions: dict[str, Version] = {}
    for name, variant in flag.flag.variants.items():
        before = old.flag.flag.variants.get(name) if old else None
        if old and before and before.hash == variant.hash:
            prepared = old.versions[name].prepared
        else:
            prepared = prepare(layer, flag.values.get(name), f"{flag.flag.key}/{name}", tariff)
        release = Release(flag.flag.key, name, variant.generation)
        token = f"{release.flag}:{name}:{release.generation}:"
        versions[name] = Version(prepared, release, f"{layer}={name}", token)
    subject, control = shielded(flag.flag)
    return RouteLayer(layer, flag, versions, subject, None if control is None else versions[control])


def shielded(flag: Flag) -> tuple[str | None, str | None]:
    """The variant that the shield stands before, and the one that answers in its place; None: there is none."""
    trial = trial_of(flag)
    if trial is not None:
        return trial[0].variant, trial[1].variant
    retreat = retreat_of(flag)
    return (None, None) if retreat is None else (retreat.variant, flag.safe)
