"""What a route's name stands for: its layers' flags and their contents, compiled when the snapshot changes.

Everything that a request needs and that a snapshot can tell is made ready here. No I/O, and no request is known here.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

import msgspec

from flags.errors import FlagError
from flags.model import NOTHING, Json, Kind, Layer, ObjectKey
from flags.snapshot import CompiledFlag, Snapshot
from gateway.content import model_content, prompt_content
from gateway.prompt import PreparedPrompt, prepare_prompt
from gateway.spec import ModelContent, RouteSpec
from policies.outcome import Release

log = logging.getLogger("pointsman.route")

# Pauses before a retry have full jitter below 100 ms · 2^n, at most 2 s: what a provider's hiccup needs, and
# what a user can bear.
BACKOFF_SECONDS, BACKOFF_LIMIT_SECONDS = 0.1, 2.0


class Attempt(NamedTuple):
    """One target that may be asked: the upstream, and the JSON of the name by which it knows the model.

    `pause` is the longest wait before it; `fallback` tells that it is not the version's first upstream.
    """

    upstream: str
    model: bytes
    pause: float = 0.0
    fallback: bool = False


@dataclass(frozen=True, slots=True)
class PreparedModel:
    """A model version, ready to be put into a body: `fields` holds each parameter's JSON."""

    content: ModelContent
    attempts: tuple[Attempt, ...]
    fields: Mapping[str, bytes]
    locked: frozenset[str]


@dataclass(frozen=True, slots=True)
class Unservable:
    """A content that this process cannot serve; a request that meets it is told why."""

    reason: str


Prepared: TypeAlias = PreparedModel | PreparedPrompt | Unservable


class Version(NamedTuple):
    """One variant of a layer's flag, ready to answer a request and to be named in its headers."""

    prepared: Prepared
    release: Release
    # `prompt=v7`
    label: str
    # `support-bot.prompt:v7:1`, as the decision token names it.
    token: str


@dataclass(frozen=True, slots=True)
class RouteLayer:
    """One layer of a route: its flag, and each variant made ready."""

    layer: Layer
    flag: CompiledFlag
    versions: Mapping[str, Version]


@dataclass(frozen=True, slots=True)
class Route:
    """A route as it is served now. `layers` stand in the order in which a request meets them."""

    name: str
    layers: tuple[RouteLayer, ...]
    # The keys of the flags that its layers use, or would use if they existed.
    may_use: tuple[str, ...] = ()
    sticky: str = "user"
    # Whether any rule looks at attributes: where none does, a request's metadata need not be read.
    reads_attributes: bool = False


@dataclass(frozen=True, slots=True)
class Serving:
    """What this process serves from, swapped whole: no request mixes two of these."""

    snapshot: Snapshot
    routes: Mapping[str, Route]


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


def prepare(layer: Layer, value: Json, name: str) -> Prepared:
    """One content made ready. What cannot be is Unservable: a bad version must never stop the good ones."""
    try:
        if layer is Layer.MODEL:
            return prepare_model(model_content(value))
        if layer is Layer.PROMPT:
            return prepare_prompt(prompt_content(value))
    except FlagError as error:
        log.error("version %s cannot be served: %s", name, error)
        return Unservable(f"version {name} cannot be served: {error}")
    return Unservable(f"version {name}: layer {layer} is not served by this version of Pointsman")


def prepare_model(content: ModelContent) -> PreparedModel:
    """Spell each parameter as JSON once, so that a request only splices bytes."""
    fields = {key: msgspec.json.encode(value) for key, value in content.params.items()}
    return PreparedModel(content, attempts(content), fields, frozenset(content.locked))


def attempts(content: ModelContent) -> tuple[Attempt, ...]:
    """The targets of a model version in order: itself, itself again `retries` times, then its fallbacks."""
    model = msgspec.json.encode(content.model)
    again = (
        Attempt(content.upstream, model, min(BACKOFF_LIMIT_SECONDS, BACKOFF_SECONDS * 2**n))
        for n in range(content.retries)
    )
    others = (Attempt(t.upstream, msgspec.json.encode(t.model), fallback=True) for t in content.fallbacks)
    return (Attempt(content.upstream, model), *again, *others)
