"""The record of a governed rollback as operators get it, as JSON (CONTRACT §6), and how it is made from what is stored."""

from __future__ import annotations

import msgspec

from policies.governance.record import Cause, Record, Step, StepName, StepState, step_of


class StepShape(msgspec.Struct, frozen=True, omit_defaults=True):
    """One step. `done`: ticked. `state` tells what is not: `open` (still to be done) from `failed`."""

    name: str
    done: bool
    # When it ended; of an open one, when it was last tried; null where it was not.
    time: str | None
    state: StepState
    detail: str | None = None
    link: str | None = None
    # Tries in vain.
    attempts: int = 0


class RollbackShape(msgspec.Struct, frozen=True, rename={"origin": "from"}, omit_defaults=True):
    """One rollback and how far its procedure is. `closed`: when nothing was left to do; null while there is."""

    id: str
    flag: str
    # JSON: `from`.
    origin: str | None
    to: str | None
    reason: str
    actor: str
    time: str
    # Of the content that is served: its SHA-256, and the label for people (nothing orders by it).
    hash: str
    label: str
    routes: list[str]
    closed: str | None
    steps: list[StepShape]
    link: str | None = None
    # What was missing, where no version satisfied the promotion rules.
    ungoverned: list[str] = []
    # The policy and its metric, where automation did it.
    cause: Cause | None = None
    # Of the answer to a tick: whether it changed anything.
    changed: bool = True


class RollbackPage(msgspec.Struct, frozen=True):
    """Rollbacks, the newest first. `next` is the id to go on after; null at the end."""

    items: list[RollbackShape]
    next: str | None


def rollback_shape(change_id: str, record: Record, *, changed: bool = True) -> RollbackShape:
    """A record with its steps in order, then the ticks that people added."""
    steps = [_step_shape(name.value, step_of(record, name)) for name in StepName]
    steps += [_step_shape(name, step) for name, step in sorted(record.extra.items())]
    return RollbackShape(
        id=change_id,
        flag=record.flag,
        origin=record.origin,
        to=record.to,
        reason=record.reason,
        actor=record.actor,
        time=record.at,
        hash=record.hash,
        label=record.label,
        routes=record.routes,
        closed=record.closed or None,
        steps=steps,
        link=record.link,
        ungoverned=record.ungoverned,
        cause=None if record.cause == Cause() else record.cause,
        changed=changed,
    )


def _step_shape(name: str, step: Step) -> StepShape:
    done = step.state is StepState.DONE
    return StepShape(
        name, done, step.time or None, step.state, step.detail or None, step.link, attempts=step.attempts
    )
