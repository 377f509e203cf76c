"""What operators see: flags, routes, workers and the ledger as shapes. Pure: made from a snapshot."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set
from typing import cast

import msgspec

from flags.errors import NotFound
from flags.fleet import WorkerState
from flags.ledger import Entry
from flags.model import Flag, Kind, Layer, ObjectKey, StoredObject
from flags.snapshot import Snapshot
from gateway.compiling import flag_names
from gateway.deciding.elsewhere import DecidedBy
from gateway.declaring.pins import landing
from gateway.figures.gauges import Seeing, versions_of
from gateway.figures.shapes import GaugesShape
from gateway.membership import pins_served, routes_of
from gateway.shapes import (
    DecidedByShape,
    FlagPage,
    FlagShape,
    LayerStatus,
    LogPage,
    ObjectPage,
    ObjectShape,
    RolloutShape,
    ShadowShape,
    StatusShape,
    SwitchStatus,
    VariantShape,
    WorkerShape,
)
from gateway.switches.board import stands_as_usual
from gateway.switches.table import SWITCHES
from gateway.versions.views import Life, last_good_shape, life_in, ungoverned
from policies.governance.rules import stage_of


def flag_shape(snapshot: Snapshot, key: str) -> FlagShape:
    """One flag. Raises NotFound with the nearest names."""
    life = life_in(snapshot, key)
    flag = life.flag
    return FlagShape(
        key=key,
        layer=flag.layer,
        enabled=flag.enabled,
        serve=flag.serve,
        safe=flag.safe,
        served=_served(flag),
        withdrawn=sorted(flag.withdrawn),
        rollout=rollout_shape(flag),
        variants={name: _variant(life, name) for name in flag.variants},
        targeting=None if flag.targeting is None else snapshot.contents.get(flag.targeting),
        routes=routes_of(key, snapshot),
        revision=flag.revision,
        last_known_good=last_good_shape(life.good),
        ungoverned=ungoverned(life),
        shadow=shadow_shape(flag),
    )


def flag_page(snapshot: Snapshot, after: str, limit: int) -> FlagPage:
    """The flags whose names follow `after`."""
    names = sorted(name for name in snapshot.flags if name > after)
    page = names[:limit]
    following = page[-1] if len(names) > limit else None
    return FlagPage([flag_shape(snapshot, name) for name in page], following)


def object_shape(snapshot: Snapshot, key: ObjectKey) -> ObjectShape:
    """One object that is no flag. Raises NotFound with those that exist."""
    stored = snapshot.of_kind(key.kind).get(key.name)
    if stored is None:
        raise NotFound(f'{key.kind} "{key.name}" does not exist ({_known(snapshot.of_kind(key.kind))})')
    return _object(stored)


def object_page(snapshot: Snapshot, kind: Kind, after: str, limit: int) -> ObjectPage:
    """The objects of `kind` whose names follow `after`."""
    known = snapshot.of_kind(kind)
    names = sorted(name for name in known if name > after)
    page = names[:limit]
    following = page[-1] if len(names) > limit else None
    return ObjectPage([_object(known[name]) for name in page], following)


def with_gauges(shape: FlagShape, snapshot: Snapshot, seen: Seeing) -> FlagShape:
    """One flag with the figures of its versions."""
    return msgspec.structs.replace(shape, gauges=versions_of(snapshot.flags[shape.key].flag, seen))


def with_values(shape: FlagShape, snapshot: Snapshot) -> FlagShape:
    """One flag with what its variants are, where it has no layer: a layer's contents are long, and shown by `versions`."""
    if shape.layer is not None:
        return shape
    values = snapshot.flags[shape.key].values
    variants = {
        name: msgspec.structs.replace(variant, value=values[name]) if name in values else variant
        for name, variant in shape.variants.items()
    }
    return msgspec.structs.replace(shape, variants=variants)


def status_shape(
    snapshot: Snapshot,
    workers: Iterable[WorkerState],
    gauges: GaugesShape,
    *,
    degraded: bool,
    diverted: Mapping[str, str],
    decided_by: Mapping[str, DecidedBy],
) -> StatusShape:
    """Everything at a glance."""
    routes = {key.name: stored for key, stored in sorted(snapshot.objects.items()) if key.kind is Kind.ROUTE}
    layers = {name: _layers(snapshot, name, stored) for name, stored in routes.items()}
    return StatusShape(
        revision=snapshot.revision,
        degraded=degraded or gauges.degraded,
        namespace=snapshot.namespace,
        workers=worker_shapes(workers),
        routes=layers,
        minutes=gauges.minutes,
        gauges=gauges.routes,
        diverted=dict(diverted),
        switches=switches_moved(snapshot),
        flags=_others(snapshot, {each.flag for found in layers.values() for each in found.values()}),
        decided_by={route: DecidedByShape(*each) for route, each in sorted(decided_by.items())},
    )


def _others(snapshot: Snapshot, used: Set[str]) -> dict[str, LayerStatus]:
    """The flags that no route uses, but the gateway's own."""
    own = {switch.key for switch in SWITCHES}
    names = sorted(name for name in snapshot.flags if name not in used and name not in own)
    return {name: _status(snapshot.flags[name].flag) for name in names}


def _status(flag: Flag) -> LayerStatus:
    return LayerStatus(
        flag.key, _served(flag), flag.safe, rollout_shape(flag), shadow_shape(flag), enabled=flag.enabled
    )


def switches_moved(snapshot: Snapshot) -> dict[str, SwitchStatus]:
    """The gateway's own switches that do not stand as usual for everybody."""
    moved = {}
    for switch in SWITCHES:
        compiled = snapshot.flags.get(switch.key)
        if compiled is None or stands_as_usual(switch, compiled):
            continue
        flag = compiled.flag
        served = _served(flag)
        moved[switch.key] = SwitchStatus(
            served=served,
            value=switch.usual if served is None else compiled.values.get(served),
            usual=switch.usual,
            rollout=rollout_shape(flag),
            targeted=compiled.rule is not None,
            about=switch.about,
        )
    return moved


def worker_shapes(workers: Iterable[WorkerState]) -> list[WorkerShape]:
    """The workers, the living first."""
    shapes = [
        WorkerShape(
            id=state.info.id,
            host=state.info.host,
            pid=state.info.pid,
            version=state.info.version,
            started=state.info.started,
            revision=state.position.revision,
            age_seconds=round(state.age_seconds, 3),
            alive=state.alive,
        )
        for state in workers
    ]
    return sorted(shapes, key=lambda worker: (not worker.alive, worker.id))


def log_page(entries: Iterable[bytes], following: int | None) -> LogPage:
    """Entries as they are stored, to the byte, because a hash is over bytes."""
    # Raw is sent as it is; the shape says Entry, which is what the bytes hold.
    return LogPage(cast("list[Entry]", [msgspec.Raw(entry) for entry in entries]), following)


def rollout_shape(flag: Flag) -> RolloutShape | None:
    """The flag's rollout, or null."""
    rollout = flag.rollout
    if rollout is None:
        return None
    shape = RolloutShape(rollout.variant, rollout.percent, rollout.step, rollout.state.value)
    if not rollout.steps:
        return shape
    return msgspec.structs.replace(
        shape,
        steps=list(rollout.steps),
        since=flag.changed_at,
        hold_seconds=rollout.hold_seconds,
        min_requests=rollout.min_requests,
    )


def shadow_shape(flag: Flag) -> ShadowShape | None:
    """The flag's shadow, or null."""
    return None if flag.shadow is None else ShadowShape(flag.shadow.variant, flag.shadow.percent)


def _layers(snapshot: Snapshot, route: str, stored: StoredObject) -> dict[str, LayerStatus]:
    names = zip(Layer, flag_names(route, stored.document), strict=True)
    found = {layer: snapshot.flags[name].flag for layer, name in names if name in snapshot.flags}
    pipeline, pins = pins_served(found.values(), snapshot)
    layers = {}
    for layer, flag in found.items():
        status = _status(flag)
        if layer in pins and flag.enabled:
            status = msgspec.structs.replace(status, served=landing(flag, pins[layer]), pinned_by=pipeline)
        layers[layer.value] = status
    return layers


def _served(flag: Flag) -> str | None:
    """Requests leave out what is disabled."""
    return flag.served if flag.enabled else None


def _variant(life: Life, name: str) -> VariantShape:
    variant = life.flag.variants[name]
    stage = stage_of(life.flag, name, life.cards[name])
    return VariantShape(variant.hash, variant.generation, stage.value, variant.created_by, variant.created_at)


def _object(stored: StoredObject) -> ObjectShape:
    return ObjectShape(stored.key.name, stored.key.kind, stored.document, stored.revision)


def _known(names: Iterable[str] | Mapping[str, object]) -> str:
    listed = sorted(names)
    # Enough to recognise a slip of the finger; a thousand names help nobody.
    shown = ", ".join(listed[:20]) + (f" and {len(listed) - 20} more" if len(listed) > 20 else "")
    return f"known: {shown or 'none'}"
