"""The procedure of a governed rollback: which steps are due, what each finding means, and the Changes that record it.

Pure. What is found out is handed in; a step is written only while it is open, so whoever raced writes it once. Knows no
store, no clock and nobody who is told. DESIGN §6.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import msgspec

from flags.change import Draft, View
from flags.errors import Invalid, NotFound, Refused
from flags.model import ObjectKey, StoredObject
from policies.act import elapsed
from policies.governance.finding import AGAIN_SECONDS, LOST_SECONDS, Finding, clipped
from policies.governance.record import (
    PROCEDURE,
    Noted,
    Record,
    Step,
    StepName,
    StepState,
    document_of,
    open_steps,
    record_from,
    record_key,
    seen,
    step_of,
    stepped,
)

ACTOR = PROCEDURE

# A record that is not through after this never will be: the versions that it speaks of are history by then.
GIVE_UP_SECONDS = 7 * 86_400.0
# What is served is evaluated once all workers serve it; a worker that hangs does not keep the evaluation for longer.
EVALUATE_ANYWAY_SECONDS = 30.0
# How long the landing version may take to be asked often enough: a day, so that every hour has come once.
HELPED_SECONDS = 86_400.0
# Looks at what is not done yet come after a tenth of the time that has passed, within these bounds.
LOOK_SECONDS, RARELY_SECONDS, LOOK_SHARE = 0.5, 30.0, 0.2

# Names of the ticks that people add beside the steps, such as `ci`, and how many of them a record takes.
TICK = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
MAX_EXTRA = 20


def due(record: Record, now: str) -> tuple[StepName, ...]:
    """The steps to be done now, in order; those that depend on nothing do not wait for those that do."""
    return tuple(name for name in open_steps(record) if _is_due(record, name, elapsed(record.at, now), now))


def _is_due(record: Record, name: StepName, age: float, now: str) -> bool:
    if name is not StepName.EVALUATE:
        return True
    settled = step_of(record, StepName.ACKNOWLEDGE).state is not StepState.OPEN
    step = step_of(record, name)
    wait = _wait(step)
    return (settled or age >= EVALUATE_ANYWAY_SECONDS) and (not wait or elapsed(step.time, now) >= wait)


def _wait(step: Step) -> float:
    """Seconds between a try at an evaluation that came to nothing, or never ended, and the next."""
    lost = step.begun - step.attempts
    vain = AGAIN_SECONDS[min(step.attempts, len(AGAIN_SECONDS)) - 1] if step.attempts else 0.0
    return max(vain, LOST_SECONDS[min(lost, len(LOST_SECONDS)) - 1] if lost > 0 else 0.0)


def pause_seconds(known_for: float) -> float:
    """How long to wait before the next look at a record that has been open for so long."""
    return min(max(LOOK_SECONDS, LOOK_SHARE * known_for), RARELY_SECONDS)


# What is written


def reason_of(name: StepName, finding: Finding) -> str:
    """`evaluate: passed: pass rate 1, …`, for the ledger."""
    return clipped(f"{name}: {finding.detail}")


def written(view: View, change_id: str, findings: Mapping[StepName, Finding]) -> Sequence[Draft]:
    """The Change that records steps, one entry for each; nothing of those that are open no more."""
    record, revision = _met(view, change_id)
    if record is None or record.closed:
        return []
    record, drafts = seen(record, revision), list[Draft]()
    for name, finding in findings.items():
        step = step_of(record, name)
        if step.state is not StepState.OPEN:
            continue
        tries = step.attempts + (finding.state is StepState.OPEN)
        came = Step(
            finding.state, view.time, clipped(finding.detail), finding.link, attempts=tries, begun=step.begun
        )
        record, reason = stepped(record, name, came), reason_of(name, finding)
        drafts.append(replace(_draft("rollback.step", change_id, record), reason=reason))
        if finding.tells:
            # The record again, so that whoever is told by this entry alone knows what it is about.
            facts = {"rollback": change_id, "step": name.value}
            telling = _draft(finding.tells, change_id, record)
            drafts.append(replace(telling, reason=reason, evidence=facts))
    return drafts


def begun(view: View, change_id: str, name: StepName) -> Sequence[Draft]:
    """The Change that counts a try before it is made, where one may end its worker; nothing where it is open no more."""
    record, revision = _met(view, change_id)
    if record is None or record.closed or step_of(record, name).state is not StepState.OPEN:
        return []
    step = step_of(record, name)
    came = msgspec.structs.replace(step, time=view.time, begun=step.begun + 1)
    return [_draft("rollback.begin", change_id, stepped(seen(record, revision), name, came))]


def figured(view: View, change_id: str, noted: Noted) -> Sequence[Draft]:
    """The Change that keeps the figures as of the rollback; nothing where somebody has done so."""
    record, revision = _met(view, change_id)
    if record is None or record.noted is not None or record.closed:
        return []
    after = msgspec.structs.replace(seen(record, revision), noted=noted)
    return [_draft("rollback.figures", change_id, after)]


def closed(view: View, change_id: str) -> Sequence[Draft]:
    """The Change that marks a record as no work any more; nothing while a step is open."""
    record, _ = _met(view, change_id)
    if record is None or record.closed or any(open_steps(record)):
        return []
    return [_draft("rollback.done", change_id, msgspec.structs.replace(record, closed=view.time))]


def summary(record: Record) -> str:
    """`all 8 steps ended; failed: evaluate`."""
    bad = [name.value for name in StepName if step_of(record, name).state is StepState.FAILED]
    return f"all {len(StepName)} steps ended" + (f"; failed: {', '.join(bad)}" if bad else "")


def is_old(record: Record, now: str) -> bool:
    """Whether what is still open is given up."""
    return elapsed(record.at, now) >= GIVE_UP_SECONDS


def given_up(view: View, change_id: str) -> Sequence[Draft]:
    """The Change that ends every step that is open after a week."""
    record, revision = _met(view, change_id)
    if record is None or record.closed or not is_old(record, view.time):
        return []
    record = seen(record, revision)
    for name in tuple(open_steps(record)):
        before = step_of(record, name).detail
        detail = "given up after 7 days" + (f"; last: {before}" if before else "")
        record = stepped(record, name, Step(StepState.FAILED, view.time, clipped(detail)))
    return [_draft("rollback.step", change_id, record)]


@dataclass(frozen=True, slots=True)
class Tick:
    """What a person says of a step, with a link to what proves it."""

    name: str
    by: str
    reason: str
    link: str


def ticked(view: View, change_id: str, tick: Tick) -> Sequence[Draft]:
    """The Change that ticks a step, or one that people add; nothing where it is ticked already, for none is ever undone.

    Raises NotFound where there is no such record, Invalid for a name that is none, Refused where too many were added.
    """
    record, revision = _met(view, change_id)
    if record is None:
        raise no_record(change_id)
    record = seen(record, revision)
    known = tick.name in {name.value for name in StepName}
    if not known and not TICK.fullmatch(tick.name):
        raise Invalid(
            "step", f"{tick.name!r} is no name: expected small letters, digits, '.', '_' or '-', at most 64"
        )
    step = step_of(record, StepName(tick.name)) if known else record.extra.get(tick.name, Step())
    if step.state is StepState.DONE:
        return []
    was = f" (was: {step.detail})" if step.detail else ""
    came = Step(StepState.DONE, view.time, clipped(f"ticked by {tick.by}: {tick.reason}{was}"), tick.link)
    if known:
        return [_draft("rollback.tick", change_id, stepped(record, StepName(tick.name), came))]
    if len(record.extra) >= MAX_EXTRA and tick.name not in record.extra:
        raise Refused(
            "too_many_ticks", f"the record has {len(record.extra)} added ticks; at most {MAX_EXTRA} fit"
        )
    extra = {**record.extra, tick.name: came}
    return [_draft("rollback.tick", change_id, msgspec.structs.replace(record, extra=extra))]


def no_record(change_id: str) -> NotFound:
    """What is said where there is no record."""
    return NotFound(
        f'there is no record of a rollback "{change_id}": no Change has this id, it was no rollback, or it was made '
        "by a version that kept none",
        mend="list them with: pointsman rollback show; what the ledger says: pointsman log --flag FLAG",
    )


def records_in(objects: Mapping[str, StoredObject]) -> dict[str, Record]:
    """The records by id, the newest first; one that cannot be read (a later version's) is left out."""
    found: dict[str, Record] = {}
    newest = sorted(objects, key=lambda name: (str(objects[name].document.get("at", "")), name), reverse=True)
    for name in newest:
        record = readable(objects[name])
        if record is not None:
            found[name] = record
    return found


def readable(stored: StoredObject | None) -> Record | None:
    """The record that is stored; None where there is none, or none that this version can read."""
    try:
        return None if stored is None else record_from(stored.document)
    except Invalid:
        return None


def _met(view: View, change_id: str) -> tuple[Record | None, int]:
    stored = view.objects.get(record_key(change_id))
    return readable(stored), 0 if stored is None else stored.revision


def _draft(action: str, change_id: str, record: Record) -> Draft:
    key: ObjectKey = record_key(change_id)
    return Draft(action, key, document_of(record), affects=False)
