"""Which route a name stands for, and which version of each of its layers answers a request.

Pure: a Serving is compiled when the snapshot changes (gateway.compiling), and read here. No clock and no I/O. A layer's
flag is resolved in flags.resolve; what is known and made here has its types in gateway.decision.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from flags.compiled import served
from flags.model import Context, Layer, Reason, Resolution
from flags.resolve import resolve
from gateway.auth import Caller
from gateway.decision import NO_PINS, Asked, Chosen, Decision, Given, Route, RouteLayer, Serving
from gateway.declaring.pins import landing
from gateway.errors import UnknownRoute
from gateway.spec_base import EVERY_NAME
from policies.outcome import How


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


def decide(serving: Serving, route: Route, asked: Asked) -> Decision:
    """Resolve the layers of `route` that apply (on this wire), from one snapshot: the pipeline's first step, and the only
    one that chooses. A pipeline is met first; what it pins is decided with it, unless the caller pins it."""
    if route.pinned:
        return _decide_by_pipeline(serving, route, asked)
    layers = []
    for layer in route.layers:
        if layer.layer in asked.applying:
            chosen = choose(layer, asked)
            if chosen is not None:
                layers.append(chosen)
    return Decision(route, serving.snapshot.revision, tuple(layers))


def _decide_by_pipeline(serving: Serving, route: Route, asked: Asked) -> Decision:
    """`decide` for a route whose first layer is a pipeline."""
    pinned, on_trial = NO_PINS, False
    layers = []
    for layer in route.layers:
        if layer.layer not in asked.applying:
            continue
        by_pipeline = layer.layer in pinned and layer.flag.flag.key not in asked.pins
        chosen = pinned[layer.layer] if by_pipeline else choose(layer, asked)
        if chosen is None:
            continue
        if layer.layer is Layer.PIPELINE:
            pinned, on_trial = route.pinned[chosen.version.release.variant], chosen.control is not None
        layers.append(chosen)
    return Decision(route, serving.snapshot.revision, tuple(layers), asked if on_trial else None)


def choose(layer: RouteLayer, asked: Asked) -> Chosen | None:
    """One layer's version. A disabled flag leaves its layer out; a rule that fails falls back to what is served.

    A pin goes before what is `given`, which goes before all that the store says but *disabled* and *withdrawn → safe*.
    """
    key = layer.flag.flag.key
    pin = asked.pins.get(key)
    if pin is None:
        given = asked.given.get(key)
        if given is not None:
            return _taken(layer, given)
        if layer.always is not None:
            return layer.always
    resolution = resolve(layer.flag, asked.context, asked.now, pin, past_withdrawn=asked.past_withdrawn)
    if resolution.variant is None:
        if resolution.reason is Reason.DISABLED:
            return None
        return _fallen(layer, resolution.message)
    return _chosen(layer, resolution, how_of(resolution))


def _chosen(layer: RouteLayer, resolution: Resolution, how: How) -> Chosen:
    variant = resolution.variant
    assert variant is not None
    tried = variant == layer.subject and how is not How.PINNED
    return Chosen(layer.layer, resolution, layer.versions[variant], how, layer.control if tried else None)


def _taken(layer: RouteLayer, given: Given) -> Chosen | None:
    """What another decided, after *withdrawn → safe*; what cannot be served falls back to what the store serves, without
    tossing its coin: its rollout is a likeness of the other's."""
    flag = layer.flag.flag
    if not flag.enabled:
        return None
    wanted = given.variant
    variant = flag.safe if wanted in flag.withdrawn else wanted
    if variant is None or variant not in layer.flag.values:
        return _fallen(layer, given.message or f"variant {wanted!r} cannot answer")
    resolution = served(flag, layer.flag.values, variant, given.reason, wanted=wanted)
    return _chosen(layer, resolution, given.how)


def _fallen(layer: RouteLayer, message: str | None) -> Chosen | None:
    """What is served by default, in the place of an answer that failed; None where there is none."""
    flag = layer.flag.flag
    name = flag.served
    if name is None:
        return None
    generation = flag.variants[name].generation
    value = layer.flag.values.get(name)
    return _chosen(
        layer, Resolution(flag.key, name, value, Reason.ERROR, generation, message=message), How.PLAIN
    )


def pinned_by(layer: RouteLayer, variant: str) -> Chosen | None:
    """What a pipeline's pin to `variant` gives: itself, or `safe` where it cannot be served.

    None for a disabled flag. It hangs on no request, so a snapshot makes it once.
    """
    flag = layer.flag.flag
    lands = landing(flag, variant)
    if lands not in layer.flag.values:
        lands = flag.safe  # its content was erased
    pins = {} if lands is None else {flag.key: lands}
    chosen = choose(layer, Asked(Context(None), pins, 0))
    if chosen is None:
        return None
    resolution = chosen.resolution
    if chosen.version.release.variant != variant:
        resolution = msgspec.structs.replace(resolution, wanted=variant)
    # Whatever answers, nobody tossed a coin for it.
    return Chosen(layer.layer, resolution, chosen.version, How.PINNED)


def how_of(resolution: Resolution) -> How:
    """By what a variant was chosen: a pin, the rollout's coin, a targeting rule, or plainly."""
    if resolution.pinned:
        return How.PINNED
    reason = resolution.reason
    if reason is Reason.SPLIT:
        return How.COIN
    return How.TARGETED if reason is Reason.TARGETING_MATCH else How.PLAIN


def stand_in(decision: Decision) -> Decision:
    """The same with every control in the place of what is on trial, chosen by nobody: it is evidence for nothing.

    Where that is the pipeline, all layers move with it.
    """
    layers = [_shielded(chosen) for chosen in decision.layers]
    if decision.asked is not None:
        layers = _under_control(decision.route, decision.asked, layers, decision.layers)
    return Decision(decision.route, decision.revision, tuple(layers))


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
            alone = choose(layer, asked)
            chosen = None if alone is None else _shielded(alone)
        else:
            chosen = own.get(layer.layer)
        if chosen is not None:
            layers.append(chosen)
    return layers
