"""Quarantine by a person's hand: a Change of the flag, which every worker follows. Knows no rule of it and no HTTP."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum

from flags.change import Draft, View
from flags.codec import document_of
from flags.model import Kind, ObjectKey
from gateway.membership import routes_of
from gateway.operations import Operations
from gateway.order import Order
from gateway.shapes import Done
from policies import quarantine
from policies.governance.card import card_keys, cards_in
from policies.verbs import Step, stamped


class Door(StrEnum):
    """Into quarantine, or out of it."""

    ADD = "add"
    RELEASE = "release"


async def quarantined(operations: Operations, order: Order, key: str, variant: str, door: Door) -> Done:
    """The content of `variant` is in quarantine on every worker, or is in it no more (and stays withdrawn).

    Raises Refused, NotFound, Conflict, StoreUnavailable, and then nothing was written.
    """
    started, target = operations.clock(), ObjectKey(Kind.FLAG, key)
    known = operations.snapshot().flags.get(key)
    reads = [target, *(card_keys(known.flag) if known is not None else ())]
    steps: list[Step] = []

    def decide(view: View) -> Sequence[Draft]:
        before = view.flag(key)
        if door is Door.ADD:
            step = quarantine.add(before, variant, cards_in(view, before))
        else:
            step = quarantine.release(before, variant)
        # Of several tries the last is the one that was written.
        steps.append(step)
        after = document_of(stamped(before, step.flag, view.time))
        return [Draft("quarantine" if door is Door.ADD else "quarantine.release", target, after)][
            : step.changed
        ]

    # Taking out of service is a brake; letting out is not.
    committed = await operations.store.change(order.author, reads, decide, insist=door is Door.ADD)
    acks = await operations.acknowledged(committed, order)
    step = steps[-1]
    return Done(
        id=committed.entries[0].id if committed.entries else None,
        flag=key,
        routes=routes_of(key, operations.snapshot()),
        origin=step.left,
        to=step.reached,
        changed=bool(committed.entries),
        committed=bool(committed.entries),
        revision=committed.position.revision,
        acknowledged=acks.acknowledged,
        workers=acks.workers,
        missing=list(acks.missing),
        milliseconds=round((operations.clock() - started) * 1000, 3),
        served=step.flag.served if step.flag.enabled else None,
        released=step.released,
    )
