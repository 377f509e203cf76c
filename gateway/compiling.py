"""A Serving from a snapshot: every route with its layers' versions made ready, when something has changed. Pure."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import msgspec

from flags.model import NOTHING, Context, Flag, Json, Kind, Layer, ObjectKey
from flags.snapshot import CompiledFlag, Snapshot
from gateway.decision import NOTHING_PINNED, Asked, Chosen, Mirror, Route, RouteLayer, Serving
from gateway.price import Prices, Tariff
from gateway.retrieval.retriever import PreparedRetriever
from gateway.route import choose, pinned_by
from gateway.spec import RouteSpec
from gateway.switches.board import switchboard
from gateway.switches.table import KEYS
from gateway.version import PreparedModel, PreparedPipeline, Version, prepare
from policies.case import layer_flags, retreat_of, trial_of
from policies.outcome import Release

log = logging.getLogger("pointsman.compiling")

# Without a table a cost is known only where a version has a price of its own.
NO_PRICES = Prices()
NOBODY = Asked(Context(None), {}, 0)


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
        routes = {name: compile_route(snapshot, name, prices=prices) for name in names}
        return Serving(snapshot, routes, switchboard(snapshot))
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
    switches = before.switches if KEYS.isdisjoint(flags) else switchboard(snapshot)
    return Serving(snapshot, routes, switches)


def flag_names(name: str, document: Mapping[str, Json]) -> list[str]:
    """The keys of the flags that route `name` may use: as given, else `<route>.<layer>`."""
    return [*layer_flags(name, spec(document)).values()]


def spec(document: Mapping[str, Json]) -> Mapping[str, Json]:
    """A stored object's declared part."""
    found = document.get("spec", NOTHING)
    return found if isinstance(found, Mapping) else NOTHING


def asks(layer: RouteLayer, upstreams: frozenset[str]) -> bool:
    """Whether a version of this layer may ask one of `upstreams`."""
    if layer.layer is Layer.RETRIEVER:
        found = (v.prepared for v in layer.versions.values() if isinstance(v.prepared, PreparedRetriever))
        return any(not upstreams.isdisjoint(each.upstreams) for each in found)
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
    tell_half_retrieval(name, layers, before)
    reads = route_spec.decisions is not None or any(layer.flag.rule is not None for layer in layers)
    return Route(
        name,
        tuple(layers),
        tuple(may_use),
        route_spec.sticky,
        reads,
        pinned_on(layers),
        any(layer.shadow for layer in layers),
        route_spec.keep_alive_seconds,
        route_spec.cache,
        judge=route_spec.judge,
        decisions=route_spec.decisions,
        searches={each.layer for each in layers} >= {Layer.RETRIEVER, Layer.INDEX},
    )


def tell_half_retrieval(name: str, layers: Sequence[RouteLayer], before: Route | None) -> None:
    """Say once that a route has a retriever without an index, or an index without one: nothing is searched there."""
    halves = {each.layer for each in layers} & {Layer.RETRIEVER, Layer.INDEX}
    known = {each.layer for each in before.layers} & {Layer.RETRIEVER, Layer.INDEX} if before else None
    if len(halves) == 1 and halves != known:
        (only,) = halves
        missing = Layer.INDEX if only is Layer.RETRIEVER else Layer.RETRIEVER
        log.warning("route %s has the layer %s and no %s: it searches nothing", name, only, missing)


def pinned_on(layers: Sequence[RouteLayer]) -> Mapping[str, Mapping[Layer, Chosen | None]]:
    """What each version of a route's pipeline pins among its layers; empty where it has none."""
    if not layers or layers[0].layer is not Layer.PIPELINE:
        return NOTHING_PINNED
    return {
        name: {
            layer.layer: pinned_by(layer, version.prepared.pins[layer.layer])
            for layer in layers[1:]
            if isinstance(version.prepared, PreparedPipeline) and layer.layer in version.prepared.pins
        }
        for name, version in layers[0].versions.items()
    }


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
    instead = None if control is None else versions[control]
    made = RouteLayer(layer, flag, versions, subject, instead, mirror_of(flag.flag, versions))
    return made if flag.always is None else replace(made, always=choose(made, NOBODY))


def mirror_of(flag: Flag, versions: Mapping[str, Version]) -> Mirror | None:
    """What is sent copies of requests. Not what a local brake has withdrawn, of which the store has not heard yet."""
    shadow = flag.shadow
    if shadow is None or not flag.enabled or not shadow.weight or shadow.variant in flag.withdrawn:
        return None
    return Mirror(versions[shadow.variant], shadow.weight)


def shielded(flag: Flag) -> tuple[str | None, str | None]:
    """The variant that the shield stands before, and the one that answers in its place; None: there is none."""
    trial = trial_of(flag)
    if trial is not None:
        return trial[0].variant, trial[1].variant
    retreat = retreat_of(flag)
    return (None, None) if retreat is None else (retreat.variant, flag.safe)
