"""One layer's answer to one request: which version of it, and by what it was chosen.

Pure, and the only place where that is decided; what a route makes of its layers stands in gateway.route.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import msgspec

from flags.compiled import CompiledFlag, served
from flags.model import Context, Layer, Reason, Resolution
from flags.resolve import resolve
from gateway.declaring.pins import landing
from gateway.version import Version
from policies.outcome import How


class Mirror(NamedTuple):
    """A version that is sent a copy of `weight` of 10,000 requests (gateway.shadow)."""

    version: Version
    weight: int


@dataclass(frozen=True, slots=True)
class RouteLayer:
    """One layer of a route: its flag, and each variant made ready."""

    layer: Layer
    flag: CompiledFlag
    versions: Mapping[str, Version]
    # The variant that is on trial or could go back, and what the shield serves in its place (gateway.shield).
    subject: str | None = None
    control: Version | None = None
    # What is sent a copy of some requests; None: nothing is.
    shadow: Mirror | None = None
    # What it gives to every request that pins nothing; None: that hangs on the request.
    always: Chosen | None = None


class Chosen(NamedTuple):
    """One layer's answer: the version that serves it, ready to be used.

    `control` answers in its place where this one is on trial and fails; None: nothing does.
    """

    layer: Layer
    resolution: Resolution
    version: Version
    how: How = How.PLAIN
    control: Version | None = None


class Given(NamedTuple):
    """What a provider of decisions gave for a flag: one of its variants, and how that was chosen.

    `variant` None: nothing that can be served, and `message` says why.
    """

    variant: str | None
    reason: Reason = Reason.ERROR
    how: How = How.PLAIN
    message: str | None = None


def choose(
    layer: RouteLayer,
    context: Context,
    now: int,
    pin: str | None,
    *,
    past_withdrawn: bool = False,
    given: Given | None = None,
) -> Chosen | None:
    """One layer's version. A disabled flag leaves its layer out; a rule that fails falls back to what is served.

    A pin goes before what is `given`, which goes before all that the store says but *disabled* and *withdrawn → safe*.
    """
    if pin is None:
        if given is not None:
            return _taken(layer, given)
        if layer.always is not None:
            return layer.always
    resolution = resolve(layer.flag, context, now, pin, past_withdrawn=past_withdrawn)
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
    chosen = choose(layer, Context(None), 0, lands)
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
