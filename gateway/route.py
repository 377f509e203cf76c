"""What a route's name stands for, and which version of each of its layers answers a request.

Pure: a Serving is compiled when the snapshot changes (gateway.compiling), and read here. No clock and no I/O.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import NamedTuple, TypeVar

import msgspec

from flags.model import Context, Layer, Reason, Resolution
from flags.snapshot import Snapshot
from gateway.ask import Ask
from gateway.auth import Caller
from gateway.choice import Chosen, Given, RouteLayer, choose
from gateway.errors import NotReady, UnknownRoute
from gateway.prompt import PreparedPrompt
from gateway.retrieval.retriever import PreparedIndex, PreparedRetriever
from gateway.spec import CacheSpec
from gateway.spec_base import EVERY_NAME
from gateway.spec_flags import DecisionsSpec
from gateway.spec_rulebook import JudgeSpec
from gateway.switches.board import AS_SHIPPED, Switchboard
from gateway.version import PreparedModel, PreparedPipeline, Unservable
from policies.outcome import How, Release

P = TypeVar("P", PreparedModel, PreparedPrompt, PreparedRetriever, PreparedIndex, PreparedPipeline)

EVERY_LAYER = frozenset(Layer)
# The pins of a route without a pipeline.
NOTHING_PINNED: Mapping[str, Mapping[Layer, Chosen | None]] = MappingProxyType({})
NO_PINS: Mapping[Layer, Chosen | None] = MappingProxyType({})
NOTHING_GIVEN: Mapping[str, Given] = MappingProxyType({})


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
    # What each version of the pipeline pins on this route, by its name; None: that layer's flag is disabled.
    pinned: Mapping[str, Mapping[Layer, Chosen | None]] = field(default_factory=lambda: NOTHING_PINNED)
    # Whether any layer has a shadow.
    shadowed: bool = False
    # Seconds of silence after which a stream carries a sign of life; 0: never.
    keep_alive_seconds: float = 0.0
    # How answers are kept for requests that are exactly alike; None: they are not.
    cache: CacheSpec | None = None
    # Whether it has what finding passages takes: a retriever and an index.
    searches: bool = False
    # Who judges a share of its answers; None: nobody.
    judge: JudgeSpec | None = None
    # Who decides its versions in the store's place; None: nobody.
    decisions: DecisionsSpec | None = None


@dataclass(frozen=True, slots=True)
class Serving:
    """What this process serves from, swapped whole: no request mixes two of these."""

    snapshot: Snapshot
    routes: Mapping[str, Route]
    switches: Switchboard = AS_SHIPPED


class Asked(NamedTuple):
    """On what a decision rests besides its snapshot: what deciding again takes."""

    context: Context
    pins: Mapping[str, str]
    now: int
    applying: Collection[Layer]
    # Whether pins hold for withdrawn versions too.
    past_withdrawn: bool = False
    # What somebody else decided, by flag, where the route's decisions are not the store's.
    given: Mapping[str, Given] = NOTHING_GIVEN


class Decision(msgspec.Struct, frozen=True, gc=False):
    """All layers' answers for one request, from one snapshot (a Struct: one is made per request)."""

    route: Route
    revision: int
    layers: tuple[Chosen, ...]
    # Kept where a pipeline is on trial alone: with another pipeline every layer is another.
    asked: Asked | None = None

    @property
    def versions(self) -> str:
        """`prompt=v7;model=gpt-4.1`: what answers, in the layers' order."""
        return ";".join([chosen.version.label for chosen in self.layers])

    @property
    def releases(self) -> tuple[Release, ...]:
        """What this decision is evidence for."""
        return tuple([chosen.version.release for chosen in self.layers])

    @property
    def how(self) -> str:
        """How each of `releases` was chosen, a letter each."""
        return "".join([chosen.how for chosen in self.layers])

    @property
    def on_trial(self) -> bool:
        """Whether a version answers that the shield stands before."""
        for chosen in self.layers:  # noqa: SIM110  # a generator costs three times as much, on every request
            if chosen.control is not None:
                return True
        return False

    def stand_in(self) -> Decision:
        """The same with every control in the place of what is on trial, chosen by nobody: it is evidence for nothing.

        Where that is the pipeline, all layers move with it.
        """
        layers = [_shielded(chosen) for chosen in self.layers]
        if self.asked is not None:
            layers = _under_control(self.route, self.asked, layers, self.layers)
        return Decision(self.route, self.revision, tuple(layers))

    def token(self, unit: str) -> str:
        """Who asked and what answered, as the decision token names them."""
        parts = [self.route.name, unit or "-"]
        parts += [chosen.version.token + chosen.how for chosen in self.layers]
        return "~".join(parts)

    @property
    def model(self) -> PreparedModel:
        """The model version that answers. Raises NotReady where none can."""
        found = self._prepared(Layer.MODEL, PreparedModel)
        if found is None:
            raise NotReady(f"route {self.route.name}: its model flag is disabled, or it has none")
        return found

    @property
    def prompt(self) -> PreparedPrompt | None:
        """The prompt version put before the app's messages, None where the route has no such layer."""
        return self._prepared(Layer.PROMPT, PreparedPrompt)

    @property
    def retriever(self) -> PreparedRetriever | None:
        """The retriever version, None where the route has no such layer. Raises NotReady where it cannot be used."""
        return self._prepared(Layer.RETRIEVER, PreparedRetriever)

    @property
    def index(self) -> PreparedIndex | None:
        """The index version that it searches, None where the route has no such layer. Raises NotReady."""
        return self._prepared(Layer.INDEX, PreparedIndex)

    @property
    def pipeline(self) -> PreparedPipeline | None:
        """The pipeline version that pins the others, None where the route has no such layer."""
        return self._prepared(Layer.PIPELINE, PreparedPipeline) if self.route.pinned else None

    def _prepared(self, layer: Layer, wanted: type[P]) -> P | None:
        for chosen in self.layers:
            if chosen.layer is layer:
                if isinstance(chosen.version.prepared, wanted):
                    return chosen.version.prepared
                assert isinstance(chosen.version.prepared, Unservable)
                raise NotReady(chosen.version.prepared.reason)
        return None


class Mirrored(NamedTuple):
    """A copy of a request for a shadow, and what answers it."""

    decision: Decision
    ask: Ask


def find_route(serving: Serving, name: str, caller: Caller, named_by: str = "model") -> Route:
    """The route called `name`, else the one for every name (`*`).

    `named_by` is what the app calls it. Raises UnknownRoute with those that exist (and that the caller may use).
    """
    route = serving.routes.get(name) or serving.routes.get(EVERY_NAME)
    if route is not None and caller.may_use(route.name):
        return route
    known = sorted(r for r in serving.routes if r != EVERY_NAME and caller.may_use(r))
    listed = ", ".join(known[:20]) + (f" and {len(known) - 20} more" if len(known) > 20 else "")
    message = f"{named_by} {name[:128]!r} is no route here; known: {listed or 'none'}"
    raise UnknownRoute(message, param="model" if named_by == "model" else None)


def decide(  # all that a choice depends on
    serving: Serving,
    route: Route,
    context: Context,
    pins: Mapping[str, str],
    now: int,
    applying: Collection[Layer] = EVERY_LAYER,
) -> Decision:
    """Resolve the layers of `route` that are `applying` (on this wire), from one snapshot: the pipeline's first step,
    and the only one that chooses. A pipeline is met first; what it pins is decided with it, unless the caller pins it."""
    return decide_as(serving, route, Asked(context, pins, now, applying))


def decide_as(serving: Serving, route: Route, asked: Asked) -> Decision:
    """`decide`, on all that a choice depends on."""
    if route.pinned:
        return _decide_by_pipeline(serving, route, asked)
    context, pins, now, applying, past, given = asked
    layers = []
    for layer in route.layers:
        if layer.layer not in applying:
            continue
        key = layer.flag.flag.key
        pin = pins.get(key) if pins else None
        instead = given.get(key) if given else None
        chosen = choose(layer, context, now, pin, past_withdrawn=past, given=instead)
        if chosen is not None:
            layers.append(chosen)
    return Decision(route, serving.snapshot.revision, tuple(layers))


def _decide_by_pipeline(serving: Serving, route: Route, asked: Asked) -> Decision:
    """`decide` for a route whose first layer is a pipeline."""
    context, pins, now, applying, past, given = asked
    pinned, on_trial = NO_PINS, False
    layers = []
    for layer in route.layers:
        if layer.layer not in applying:
            continue
        key = layer.flag.flag.key
        by_pipeline = layer.layer in pinned and key not in pins
        chosen = (
            pinned[layer.layer]
            if by_pipeline
            else choose(layer, context, now, pins.get(key), past_withdrawn=past, given=given.get(key))
        )
        if chosen is None:
            continue
        if layer.layer is Layer.PIPELINE:
            pinned, on_trial = route.pinned[chosen.version.release.variant], chosen.control is not None
        layers.append(chosen)
    return Decision(route, serving.snapshot.revision, tuple(layers), asked if on_trial else None)


def _shielded(chosen: Chosen) -> Chosen:
    if chosen.control is None:
        return chosen._replace(how=How.PINNED)
    version, before = chosen.control, chosen.resolution
    resolution = Resolution(
        before.flag,
        version.release.variant,
        None,
        Reason.DEFAULT,
        version.release.generation,
        wanted=before.variant,
    )
    return Chosen(chosen.layer, resolution, version, How.PINNED)


def _under_control(
    route: Route, asked: Asked, shielded: Sequence[Chosen], tried: Sequence[Chosen]
) -> list[Chosen]:
    """The layers with the control pipeline: its pins, the caller's, and what pins nobody on its own control.

    `tried` stood with the candidate, `shielded` is the same with each layer on its own control.
    """
    control, candidate = shielded[0].version.release.variant, tried[0].version.release.variant
    pinned, was_pinned = route.pinned[control], route.pinned[candidate]
    own = {chosen.layer: chosen for chosen in shielded}
    layers = [shielded[0]]
    for layer in route.layers[1:]:
        key = layer.flag.flag.key
        chosen: Chosen | None
        if layer.layer not in asked.applying:
            continue
        if key in asked.pins:
            chosen = own.get(layer.layer)
        elif layer.layer in pinned:
            chosen = pinned[layer.layer]
        elif layer.layer in was_pinned:
            alone = choose(layer, asked.context, asked.now, None, given=asked.given.get(key))
            chosen = None if alone is None else _shielded(alone)
        else:
            chosen = own.get(layer.layer)
        if chosen is not None:
            layers.append(chosen)
    return layers
