"""What a route's name stands for, and which version of each of its layers answers a request.

Pure: a Serving is compiled when the snapshot changes (gateway.compiling), and read here. No clock and no I/O.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

import msgspec

from flags.compiled import CompiledFlag
from flags.model import Context, Layer, Reason, Resolution
from flags.resolve import resolve
from flags.snapshot import Snapshot
from gateway.auth import Caller
from gateway.errors import NotReady, UnknownRoute
from gateway.prompt import PreparedPrompt
from gateway.version import PreparedModel, Unservable, Version
from policies.outcome import How, Release

P = TypeVar("P", PreparedModel, PreparedPrompt)


@dataclass(frozen=True, slots=True)
class RouteLayer:
    """One layer of a route: its flag, and each variant made ready."""

    layer: Layer
    flag: CompiledFlag
    versions: Mapping[str, Version]
    # The variant that is on trial or could go back, and what the shield serves in its place (gateway.shield).
    subject: str | None = None
    control: Version | None = None


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


class Chosen(NamedTuple):
    """One layer's answer: the version that serves it, ready to be used.

    `control` answers in its place where this one is on trial and fails; None: nothing does.
    """

    layer: Layer
    resolution: Resolution
    version: Version
    how: How = How.PLAIN
    control: Version | None = None


class Decision(msgspec.Struct, frozen=True, gc=False):
    """All layers' answers for one request, from one snapshot (a Struct: one is made per request)."""

    route: Route
    revision: int
    layers: tuple[Chosen, ...]

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
        """The same with every control in the place of what is on trial, chosen by nobody: it is evidence for nothing."""
        return Decision(self.route, self.revision, tuple([_shielded(chosen) for chosen in self.layers]))

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

    def _prepared(self, layer: Layer, wanted: type[P]) -> P | None:
        for chosen in self.layers:
            if chosen.layer is layer:
                if isinstance(chosen.version.prepared, wanted):
                    return chosen.version.prepared
                assert isinstance(chosen.version.prepared, Unservable)
                raise NotReady(chosen.version.prepared.reason)
        return None


def find_route(serving: Serving, name: str, caller: Caller) -> Route:
    """The route called `name`. Raises UnknownRoute with those that exist (and that the caller may use)."""
    route = serving.routes.get(name)
    if route is not None and caller.may_use(name):
        return route
    known = sorted(r for r in serving.routes if caller.may_use(r))
    listed = ", ".join(known[:20]) + (f" and {len(known) - 20} more" if len(known) > 20 else "")
    raise UnknownRoute(f"model {name[:128]!r} is no route here; known: {listed or 'none'}", param="model")


def decide(serving: Serving, route: Route, context: Context, pins: Mapping[str, str], now: int) -> Decision:
    """Resolve every layer of `route` from one snapshot: the pipeline's first step, and the only one that chooses."""
    layers = []
    for layer in route.layers:
        chosen = choose(layer, context, now, pins.get(layer.flag.flag.key) if pins else None)
        if chosen is not None:
            layers.append(chosen)
    return Decision(route, serving.snapshot.revision, tuple(layers))


def choose(layer: RouteLayer, context: Context, now: int, pin: str | None) -> Chosen | None:
    """One layer's version. A disabled flag leaves its layer out; a rule that fails falls back to what is served."""
    resolution = resolve(layer.flag, context, now, pin)
    if resolution.variant is None:
        flag = layer.flag.flag
        served = flag.served
        if resolution.reason is Reason.DISABLED or served is None:
            return None
        generation = flag.variants[served].generation
        resolution = Resolution(
            flag.key,
            served,
            layer.flag.values.get(served),
            Reason.ERROR,
            generation,
            message=resolution.message,
        )
    variant = resolution.variant
    assert variant is not None
    how = how_of(resolution)
    tried = variant == layer.subject and how is not How.PINNED
    return Chosen(layer.layer, resolution, layer.versions[variant], how, layer.control if tried else None)


def how_of(resolution: Resolution) -> How:
    """By what a variant was chosen: a pin, the rollout's coin, a targeting rule, or plainly."""
    if resolution.pinned:
        return How.PINNED
    reason = resolution.reason
    if reason is Reason.SPLIT:
        return How.COIN
    return How.TARGETED if reason is Reason.TARGETING_MATCH else How.PLAIN


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
