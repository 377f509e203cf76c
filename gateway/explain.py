"""Why a context gets what it gets from a route: the same decision as a request's, told step by step. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from flags.bucket import encoded_text, hashed
from flags.compiled import WHOLE, CompiledFlag
from flags.errors import Invalid, NotFound
from flags.model import Context, Kind, Layer, Reason, Resolution
from flags.resolve import resolve
from flags.snapshot import Snapshot
from gateway.choice import Given, RouteLayer, choose
from gateway.compiling import compile_route
from gateway.route import (
    EVERY_LAYER,
    NO_PINS,
    Asked,
    Decision,
    Route,
    Serving,
    decide_as,
)
from gateway.shapes import Explained, LayerExplained
from gateway.spec_base import EVERY_NAME


def explain(
    snapshot: Snapshot, route: str, context: Context, pins: Mapping[str, str], now: float
) -> Explained:
    """Decide as for a request of `context`, and say why. Raises NotFound; Invalid for a pin that is none."""
    compiled = explained_route(snapshot, route, pins)
    return explain_as(snapshot, compiled, Asked(context, pins, int(now), EVERY_LAYER))


def explained_route(snapshot: Snapshot, route: str, pins: Mapping[str, str]) -> Route:
    """The route that answers to the name `route`. Raises NotFound; Invalid for a pin that is none."""
    routes = snapshot.of_kind(Kind.ROUTE)
    if route not in routes and EVERY_NAME not in routes:
        known = ", ".join(sorted(routes)) or "none"
        raise NotFound(f'route "{route}" does not exist (routes: {known})')
    _check(snapshot, pins)
    return compile_route(snapshot, route if route in routes else EVERY_NAME)


def explain_as(snapshot: Snapshot, compiled: Route, asked: Asked) -> Explained:
    """`explain`, on all that the decision rests on: what a provider of decisions gave among it."""
    route, context = compiled.name, asked.context
    decision = decide_as(Serving(snapshot, {route: compiled}), compiled, asked)
    return Explained(
        route=route,
        targeting_key=context.targeting_key,
        attributes=context.attributes,
        revision=snapshot.revision,
        layers=dict(_layers(snapshot, compiled, decision, asked)),
        headers={
            "x-pointsman-route": route,
            "x-pointsman-versions": decision.versions,
            "x-pointsman-revision": str(snapshot.revision),
        },
    )


def _check(snapshot: Snapshot, pins: Mapping[str, str]) -> None:
    for key, variant in pins.items():
        flag = snapshot.flags.get(key)
        if flag is None:
            raise Invalid(f"pins.{key}", f"flag {key!r} does not exist")
        if variant not in flag.flag.variants:
            names = ", ".join(flag.flag.variants)
            raise Invalid(f"pins.{key}", f"variant {variant!r} is not defined (variants: {names})")


def _layers(
    snapshot: Snapshot, route: Route, decision: Decision, asked: Asked
) -> Iterator[tuple[str, LayerExplained]]:
    """Each layer's answer and why: of those that the pipeline pins, that it does."""
    head = decision.layers[0] if decision.layers else None
    pipeline = head.version.release.variant if head and head.layer is Layer.PIPELINE else ""
    pinned = route.pinned.get(pipeline, NO_PINS)
    for layer in route.layers:
        chosen = None if layer.flag.flag.key in asked.pins else pinned.get(layer.layer)
        if chosen is None:
            given = None if layer.flag.flag.key in asked.pins else asked.given.get(layer.flag.flag.key)
            yield (
                layer.layer.value,
                _layer(snapshot, layer.flag, asked)
                if given is None
                else _given(layer, asked, given, compiled=route),
            )
        else:
            yield layer.layer.value, _pinned(layer.flag, chosen.resolution, pipeline)


def _pinned(flag: CompiledFlag, resolution: Resolution, pipeline: str) -> LayerExplained:
    """A layer that the pipeline's version chose; its own rollout and rule rest."""
    return LayerExplained(
        flag=flag.flag.key,
        variant=resolution.variant,
        reason=resolution.reason,
        why=f"pinned by pipeline {pipeline}{_diverted(flag, resolution) or _unservable(flag, resolution)}",
        generation=resolution.generation,
        wanted=resolution.wanted,
        pinned=True,
        error=resolution.message,
    )


def _unservable(flag: CompiledFlag, resolution: Resolution) -> str:
    if resolution.wanted is None:
        return ""
    return f" to {resolution.wanted}, which cannot be served, so the safe version {flag.flag.safe} answers"


def _layer(snapshot: Snapshot, flag: CompiledFlag, asked: Asked) -> LayerExplained:
    context, pins, now = asked.context, asked.pins, asked.now
    key = flag.flag.key
    resolution = resolve(flag, context, now, pins.get(key))
    # As the pipeline does: an answer that failed leaves the route to what is served by default.
    variant = resolution.variant or (None if resolution.reason is Reason.DISABLED else flag.flag.served)
    bucket = _bucket(flag, context)
    return LayerExplained(
        flag=key,
        variant=variant,
        reason=resolution.reason,
        why=_why(flag, resolution, bucket) + _diverted(flag, resolution),
        generation=0 if variant is None else flag.flag.variants[variant].generation,
        wanted=resolution.wanted,
        pinned=resolution.pinned,
        bucket=bucket,
        weight=flag.flag.rollout.weight if flag.flag.rollout else None,
        rule=None if flag.flag.targeting is None else snapshot.contents.get(flag.flag.targeting),
        error=resolution.message,
    )


def _given(layer: RouteLayer, asked: Asked, given: Given, *, compiled: Route) -> LayerExplained:
    """A layer whose version a provider chose, or could not choose."""
    flag = layer.flag
    chosen = choose(layer, asked.context, asked.now, None, given=given)
    resolution = None if chosen is None else chosen.resolution
    whom = "the provider" if compiled.decisions is None else compiled.decisions.openfeature
    if not flag.flag.enabled:
        why = "the flag is disabled: this layer is left out"
    elif given.variant is None or resolution is None or resolution.reason is Reason.ERROR:
        why = f"{whom} gave no decision ({resolution.message if resolution else given.message}): what is served answers"
    else:
        why = f"{whom} chose it ({given.reason}){_diverted(flag, resolution)}"
    return LayerExplained(
        flag=flag.flag.key,
        variant=None if resolution is None else resolution.variant,
        reason=Reason.DISABLED if resolution is None else resolution.reason,
        why=why,
        generation=0 if resolution is None else resolution.generation,
        wanted=None if resolution is None else resolution.wanted,
        pinned=False,
        error=None if resolution is None else resolution.message,
    )


def _bucket(flag: CompiledFlag, context: Context) -> int | None:
    """Which of the 10,000 parts the key falls into; None where no coin is tossed."""
    if flag.coin is None or not context.targeting_key:
        return None
    try:
        return (hashed(encoded_text(flag.coin.prefix + context.targeting_key)) * WHOLE) >> 32
    except UnicodeEncodeError:
        return None


def _why(flag: CompiledFlag, resolution: Resolution, bucket: int | None) -> str:
    """The sentence for the step that decided, in the order in which the steps are tried."""
    rollout = flag.flag.rollout
    if resolution.reason is Reason.DISABLED:
        return "the flag is disabled: this layer is left out"
    if resolution.error is not None:
        return f"an error ({resolution.message}): what is served by default answers"
    if resolution.pinned:
        return "the caller's pin chose it"
    if resolution.reason is Reason.TARGETING_MATCH:
        return "the targeting rule chose it"
    if resolution.reason is Reason.SPLIT and rollout is not None and bucket is not None:
        side = "at or above" if bucket >= WHOLE - rollout.weight else "below"
        coin = f"the rollout of {rollout.variant} at {rollout.percent:g} % tossed its coin"
        return f"{coin}: bucket {bucket} of {WHOLE} lies {side} {WHOLE - rollout.weight}"
    passed_by = "no rule matched" if flag.rule is not None else "nothing else applies"
    if rollout is not None:
        chance = f"each request without a key draws {rollout.variant} with {rollout.percent:g} %"
        return f"no targeting key was given, so no coin was tossed ({chance}); it is served by default"
    return f"{passed_by}: it is served by default"


def _diverted(flag: CompiledFlag, resolution: Resolution) -> str:
    if resolution.wanted is None or resolution.wanted not in flag.flag.withdrawn:
        return ""
    return (
        f"; {resolution.wanted} was chosen, but it is withdrawn, so the safe version {flag.flag.safe} answers"
    )
