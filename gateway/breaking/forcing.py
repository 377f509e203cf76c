"""Forcing a breaker: a Change of its route, which every worker follows. Knows no breaker and no HTTP."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence

from flags.change import Draft, View
from flags.errors import Invalid, Refused
from flags.model import Document, Kind, Layer, ObjectKey
from flags.snapshot import Snapshot
from gateway.breaking.forced import FORCED, Force, forced_to
from gateway.compiling import spec
from gateway.content import model_content
from gateway.operations import Operations
from gateway.order import Order
from gateway.shapes import Done
from gateway.version import target_of

ACTION = "breaker.force"


async def force(
    operations: Operations,
    order: Order,
    route: str,
    target: str,
    to: Force,
    *,
    clock: Callable[[], float] = time.monotonic,
) -> Done:
    """Every worker's breaker of `target`, for `route`, is forced, or with AUTO left to itself again.

    Raises Refused for an unknown route or target (the message lists those that there are), StoreUnavailable.
    """
    started, key = clock(), ObjectKey(Kind.ROUTE, route)
    before: list[Force] = []

    def decide(view: View) -> Sequence[Draft]:
        document = _route(view, key)
        before.append(force_of(document, target))
        if before[-1] is to:
            return []
        if to is not Force.AUTO:
            _known(operations.snapshot(), route, document, target)
        return [Draft(ACTION, key, forced_to(document, target, to))]

    # All are read: who mistypes a route is told which there are.
    committed = await operations.store.change(order.author, None, decide, insist=True)
    acks = await operations.acknowledged(committed, order)
    changed = bool(committed.entries)
    return Done(
        id=committed.entries[0].id if changed else None,
        flag=str(key),
        routes=[route],
        origin=before[-1].value,
        to=to.value,
        changed=changed,
        committed=changed,
        revision=committed.position.revision,
        acknowledged=acks.acknowledged,
        workers=acks.workers,
        missing=list(acks.missing),
        milliseconds=round((clock() - started) * 1000, 3),
    )


def force_of(document: Document, target: str) -> Force:
    """What is forced now."""
    forced = document.get(FORCED)
    word = forced.get(target) if isinstance(forced, Mapping) else None
    return Force(word) if word in (Force.OPEN, Force.OFF) else Force.AUTO


def route_targets(snapshot: Snapshot, route: str, document: Document) -> tuple[str, ...]:
    """Every target that some version of the route's model asks, or that is forced still."""
    found: dict[str, None] = {}
    flag = snapshot.flags.get(str(spec(document).get(Layer.MODEL) or f"{route}.{Layer.MODEL}"))
    for value in flag.values.values() if flag is not None else ():
        try:
            content = model_content(value)
        except Invalid:
            continue  # a content that this version cannot read asks nobody
        found[target_of(content.upstream, content.model)] = None
        found |= dict.fromkeys(target_of(each.upstream, each.model) for each in content.fallbacks)
    forced = document.get(FORCED)
    return tuple(found | dict.fromkeys(forced if isinstance(forced, Mapping) else ()))


def _route(view: View, key: ObjectKey) -> Document:
    stored = view.objects.get(key)
    if stored is None:
        names = ", ".join(sorted(each.name for each in view.objects if each.kind is Kind.ROUTE)) or "none"
        raise Refused(
            "unknown_route", f'route "{key.name}" does not exist (routes: {names})', mend="name one of these"
        )
    return stored.document


def _known(snapshot: Snapshot, route: str, document: Document, target: str) -> None:
    targets = route_targets(snapshot, route, document)
    if target not in targets:
        listed = ", ".join(targets) or "none"
        raise Refused(
            "unknown_target",
            f'route "{route}": "{target}" is none of its targets (targets: {listed})',
            mend=f"pointsman breakers force {route} {targets[0]} … --reason …" if targets else "add a model",
        )
