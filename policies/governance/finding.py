"""What came of a step of a governed rollback, in words and as a state. Pure: what was seen comes in, what it means goes out.

Missing data is never a success. Knows no record's order and nothing of how it is written.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from flags.fleet import Acks
from flags.ledger import Entry
from policies.act import milliseconds
from policies.governance.card import Evaluation
from policies.governance.helped import Found
from policies.governance.record import Record, Step, StepState
from policies.notices.delivery import Receipt, State

# Waits after an evaluation that could not be made: a judge or a provider that is down for a minute is no failed gate.
AGAIN_SECONDS = (30.0, 120.0)
# Waits after an evaluation that began and never ended, as its worker did: at once, a worker may die of anything; then
# later and later, for it may be the suite that kills them (memory), or a fleet that is restarted one by one.
LOST_SECONDS = (0.0, 30.0, 120.0)
# How often it is noted that workers are missing: each note is an entry, and a flapping worker must not fill the ledger.
MAX_NOTES = 5
# A reason of the ledger and a detail of a step are read in one glance; an error of a provider may be pages long.
MAX_DETAIL = 600

# What tells people that a step came out badly: notes in the ledger, on the record.
ESCALATE, UNHELPFUL = "rollback.escalate", "rollback.unhelpful"


@dataclass(frozen=True, slots=True)
class Finding:
    """What came of a step. OPEN: it was tried in vain, and that is noted. `tells` is the action of the entry by which
    people are told of a bad one."""

    state: StepState
    detail: str
    link: str | None = None
    tells: str = ""


def acknowledged(acks: Acks, after_ms: float, *, noted: Step) -> Finding | None:
    """Done once every living worker stands at the Change; until then who is missing is noted, once for each of them."""
    count = f"{acks.acknowledged} of {acks.workers} workers"
    if acks.workers and not acks.missing:
        return Finding(StepState.DONE, f"{count}, as seen {after_ms:.0f} ms after the Change")
    if not acks.missing:
        return None
    detail = f"{count}; missing: {', '.join(acks.missing)}"
    return (
        None
        if noted.detail == clipped(detail) or noted.attempts >= MAX_NOTES
        else Finding(StepState.OPEN, detail)
    )


def evaluated(found: Evaluation | None, step: Step, *, link: str | None = None) -> Finding:
    """Passed is done; not passed is failed, and told. What could not be evaluated is tried again, then failed and told."""
    if found is None:
        return Finding(StepState.DONE, "no suite is declared")
    suite = f"suite {found.name or 'of the flag'} ({found.suite[:12]})"
    if found.passed is None:
        return not_evaluated(f"{found.not_evaluated} of {found.cases} cases of the {suite}", step, link=link)
    told = f"pass rate {found.pass_rate:.3g}, score {found.score:.3g}, {found.cases} cases, {suite}"
    if found.passed:
        return Finding(StepState.DONE, f"passed: {told}", link)
    return Finding(StepState.FAILED, f"did NOT pass: {told}", link, tells=ESCALATE)


def not_evaluated(problem: str, step: Step, *, link: str | None = None) -> Finding:
    """One more try in vain, or the last one: that is a failure, never a pass."""
    tries = step.attempts + 1
    if tries <= len(AGAIN_SECONDS):
        return Finding(StepState.OPEN, f"could not be evaluated (try {tries}): {problem}", link)
    detail = f"could not be evaluated in {tries} tries: {problem}"
    return Finding(StepState.FAILED, detail, link, tells=ESCALATE)


def lost(step: Step) -> Finding | None:
    """The failure of a step whose tries end their workers; None while another try may be risked."""
    if step.begun - step.attempts <= len(LOST_SECONDS):
        return None
    detail = f"could not be evaluated: {step.begun} tries began, and {step.begun - step.attempts} never ended"
    return Finding(
        StepState.FAILED, f"{detail}; their workers ended, or lost Redis, in the middle", tells=ESCALATE
    )


def overtaken(record: Record, served: str | None) -> Finding:
    """Nothing is found out of a version that is served no more."""
    now = f"{served} is served by now" if served else f"{record.flag} serves nothing by now"
    return Finding(StepState.FAILED, f"not done for {record.to}: {now}")


def logged(change_id: str, entry: Entry | None, *, sealed: bool) -> Finding:
    """Done where the ledger holds the Change, to the byte as it was sealed."""
    if entry is None:
        detail = f"the ledger holds no entry with the id {change_id}; run: pointsman audit verify"
        return Finding(StepState.FAILED, detail, tells=ESCALATE)
    if not sealed:
        detail = f"the entry at revision {entry.revision} does not meet its hash; run: pointsman audit verify"
        return Finding(StepState.FAILED, detail, tells=ESCALATE)
    detail = f"revision {entry.revision} by {entry.actor}, sealed {entry.hash}"
    return Finding(StepState.DONE, detail, f"/admin/v1/log?after={entry.revision - 1}&limit=1")


def changelogged(fields: Sequence[str], flag: str) -> Finding:
    """Done where the change log has an entry of the Change, which names the fields that changed."""
    if not fields:
        return Finding(StepState.FAILED, "the change log has no entry of this Change", tells=ESCALATE)
    return Finding(StepState.DONE, f"changed: {', '.join(fields)}", f"/admin/v1/flags/{flag}/changelog")


def notified(receipts: Sequence[Receipt] | None, since: str, *, configured: bool) -> Finding | None:
    """Done once every delivery has ended; None while one is due, or (`receipts` None) the outbox has not come so far.

    `since` is the time of the Change: what counts is how long after it each channel was told.
    """
    if not configured and not receipts:
        return Finding(StepState.DONE, "nobody is configured to be told")
    if receipts is None or any(each.state is State.DUE for each in receipts):
        return None
    if not receipts:
        return Finding(StepState.DONE, "nobody who is configured asks to be told of rollbacks")
    dead = [each for each in receipts if each.state is not State.TOLD]
    if dead:
        told = "; ".join(
            f"{each.channel} after {each.attempts} tries: {each.found or each.state}" for each in dead
        )
        return Finding(StepState.FAILED, f"not delivered: {told}")
    began = milliseconds(since)
    told = ", ".join(f"{each.channel} {max(0.0, each.at_ms - began) / 1000:.1f} s" for each in receipts)
    return Finding(StepState.DONE, f"told: {told}")


def helped(found: Found) -> Finding:
    """Done where it helped; where it did not, people are told; where that cannot be said, it is failed and only noted."""
    if found.helped is None:
        return Finding(StepState.FAILED, found.detail)
    if found.helped:
        return Finding(StepState.DONE, f"it helped: {found.detail}")
    return Finding(StepState.FAILED, f"it did NOT help: {found.detail}", tells=UNHELPFUL)


def clipped(text: str) -> str:
    """What is shown and kept of a text of any length."""
    return text if len(text) <= MAX_DETAIL else text[: MAX_DETAIL - 1] + "…"
