"""Why a context gets what it gets from a route: the same decision as a request's, told step by step. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from flags.compiled import CompiledFlag
from flags.errors import Invalid, NotFound
from flags.model import Context, Kind, Layer, Reason, Resolution
from flags.resolve import resolve
from flags.snapshot import Snapshot
from gateway.compiling import compile_route
from gateway.decision import EVERY_LAYER, NO_PINS, Asked, Decision, Given, Route, RouteLayer, Serving
from gateway.explain_flag import bucket_for, diverted, tossed
from gateway.route import choose, decide
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
    decision = decide(Serving(snapshot, {route: compiled}), compiled, asked)
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
        key, name = layer.flag.flag.key, layer.layer.value
        chosen = None if key in asked.pins else pinned.get(layer.layer)
        given = None if key in asked.pins else asked.given.get(key)
        if chosen is not None:
            yield name, _pinned(layer.flag, chosen.resolution, pipeline)
        elif given is not None:
            yield name, _given(layer, asked, given, route)
        else:
            yield name, _layer(snapshot, layer.flag, asked)


def _pinned(flag: CompiledFlag, resolution: Resolution, pipeline: str) -> LayerExplained:
    """A layer that the pipeline's version chose; its own rollout and rule rest."""
    return LayerExplained(
        flag=flag.flag.key,
        variant=resolution.variant,
        reason=resolution.reason,
        why=f"pinned by pipeline {pipeline}{diverted(flag, resolution) or _unservable(flag, resolution)}",
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
    bucket = bucket_for(flag, context)
    return LayerExplained(
        flag=key,
        variant=variant,
        reason=resolution.reason,
        why=_why(flag, resolution, bucket) + diverted(flag, resolution),
        generation=0 if variant is None else flag.flag.variants[variant].generation,
        wanted=resolution.wanted,
        pinned=resolution.pinned,
        bucket=bucket,
        weight=flag.flag.rollout.weight if flag.flag.rollout else None,
        rule=None if flag.flag.targeting is None else snapshot.contents.get(flag.flag.targeting),
        error=resolution.message,
    )


def _given(layer: RouteLayer, asked: Asked, given: Given, route: Route) -> LayerExplained:
    """A layer whose version a provider chose, or could not choose."""
    flag = layer.flag
    chosen = choose(layer, asked)
    resolution = None if chosen is None else chosen.resolution
    whom = "the provider" if route.decisions is None else route.decisions.openfeature
    if not flag.flag.enabled:
        why = "the flag is disabled: this layer is left out"
    elif given.variant is None or resolution is None or resolution.reason is Reason.ERROR:
        why = f"{whom} gave no decision ({resolution.message if resolution else given.message}): what is served answers"
    else:
        why = f"{whom} chose it ({given.reason}){diverted(flag, resolution)}"
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
        return tossed(rollout, bucket)
    passed_by = "no rule matched" if flag.rule is not None else "nothing else applies"
    if rollout is not None:
        chance = f"each request without a key draws {rollout.variant} with {rollout.percent:g} %"
        return f"no targeting key was given, so no coin was tossed ({chance}); it is served by default"
    return f"{passed_by}: it is served by default"
