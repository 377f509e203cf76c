"""What people are told of: the notable ones among the ledger's entries, as events. Pure; knows no channel and no store.

An event's id is its entry's id, so whoever finds it again finds the same one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Any

import msgspec

from flags.codec import flag_from
from flags.errors import FlagError
from flags.ledger import Entry
from flags.model import Flag, Kind
from policies.act import DRY_RUN, NOTHING_TO, UNFIT

# What stands in a notice is read on a phone; the ledger has the rest.
REASON_CHARS, NAME_CHARS, LIST_ITEMS = 1_000, 200, 10
# What of a run of evals is told, as its evidence has them.
GATE_FIGURES = ("pass rate", "score", "cases", "not evaluated")


class EventKind(StrEnum):
    """What may happen that people are told of; the names stand in `notify.X.events` and in CloudEvents' types."""

    ROLLBACK = "rollback"
    WOULD_HAVE = "would_have"
    NOTHING_TO_ROLL_BACK = "nothing_to_roll_back"
    RE_EVALUATION_FAILED = "re_evaluation_failed"
    DID_NOT_HELP = "did_not_help"
    PROCEDURE_DONE = "procedure_done"
    ROLLOUT_FINISHED = "rollout_finished"
    ROLLOUT_PAUSED = "rollout_paused"
    GATE_FAILED = "gate_failed"
    DRIFT = "drift"
    BREAKER_OPEN = "breaker_open"
    CHAIN_BROKEN = "chain_broken"
    HISTORY_CHANGED = "history_changed"
    OVERRIDE = "override"
    UNGOVERNED = "ungoverned"
    SIGNAL = "signal"
    COMPLAINT = "complaint"
    QUARANTINE = "quarantine"
    RULES_CHANGED = "rules_changed"
    ARCHIVED = "archived"
    ALERT = "alert"
    DIVERTED = "diverted"
    UNDECIDED = "undecided"
    CHANNEL_GONE = "channel_gone"
    TEST = "test"


class Severity(StrEnum):
    """How loud: something to know, to look at, to act upon."""

    INFO = "info"
    WARNING = "warning"
    CRITICAL = "critical"


class Event(msgspec.Struct, frozen=True, omit_defaults=True, rename={"origin": "from"}):
    """One thing that happened. `object` is what it is about (`flag/support-bot.prompt`), `title` one line.

    `also` are further kinds that it is of (a rollback by an override). `missing` tells what an ungoverned version lacks,
    `ref` is what `pointsman rollback show` wants. `routes`, `anchor` (the ledger's `SIZE:ROOT`) and `audit` (where the
    ledger tells of it) are filled in on the way to the outbox. Empty: not known, or not of this kind.
    """

    id: str
    kind: EventKind
    severity: Severity
    object: str
    title: str
    time: str
    also: tuple[EventKind, ...] = ()
    flag: str = ""
    variant: str = ""
    # JSON: `from`.
    origin: str | None = None
    to: str | None = None
    label: str = ""
    reason: str = ""
    actor: str = ""
    link: str | None = None
    routes: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    ref: str = ""
    revision: int = 0
    hash: str = ""
    anchor: str = ""
    audit: str = ""

    @property
    def kinds(self) -> tuple[EventKind, ...]:
        """All kinds that it is of."""
        return (self.kind, *self.also)


def event_of(entry: Entry) -> Event | None:
    """What the entry has people told; None for what is no news to them. Never raises: an entry that cannot be read is none."""
    made = _makers().get(entry.action)
    event = made(entry) if made is not None else None
    return _shouted(entry, event)


def _shouted(entry: Entry, event: Event | None) -> Event | None:
    """Overrides, and versions that satisfy no rules, are told of whatever the action was."""
    evidence = entry.evidence or {}
    found = [
        kind
        for kind, field in ((EventKind.OVERRIDE, "override"), (EventKind.UNGOVERNED, "ungoverned"))
        if evidence.get(field)
    ]
    # The record that a rollback opens tells what the rollback's own entry does.
    if not found or (event is None and entry.action == "rollback.open"):
        return event
    missing = _texts(evidence.get("ungoverned")) or _texts(evidence.get("override"))
    if event is None:
        kind, *also = found
        title = f"{kind}: {entry.action} of {entry.object} by {entry.actor}"
        event = _event(entry, kind, Severity.CRITICAL, title)
        return msgspec.structs.replace(event, also=tuple(also), missing=missing)
    return msgspec.structs.replace(event, also=tuple(found), severity=Severity.CRITICAL, missing=missing)


def _makers() -> Mapping[str, Callable[[Entry], Event | None]]:
    """By action, in the words of who writes it."""
    return MappingProxyType(
        {
            "rollback": _rollback,
            "rollback.escalate": _step(
                EventKind.RE_EVALUATION_FAILED, "re-evaluation failed after the rollback"
            ),
            "rollback.unhelpful": _step(EventKind.DID_NOT_HELP, "the rollback did not help"),
            "rollback.done": _step(
                EventKind.PROCEDURE_DONE, "the governed rollback is complete", Severity.INFO
            ),
            "alert": _alert,
            "rollout.promote": _finished,
            "rollout.abort": _aborted,
            "rollout.pause": _paused,
            "eval.failed": _gate,
            "drift": _plain(EventKind.DRIFT, Severity.WARNING, "drift"),
            "breaker.open": _plain(EventKind.BREAKER_OPEN, Severity.WARNING, "a breaker stays open"),
            "signal": _plain(EventKind.SIGNAL, Severity.WARNING, "signal from outside"),
            "complaint": _plain(EventKind.COMPLAINT, Severity.WARNING, "complaint"),
            "quarantine": _plain(EventKind.QUARANTINE, Severity.WARNING, "quarantined"),
            "quarantine.release": _plain(EventKind.QUARANTINE, Severity.INFO, "released from quarantine"),
            "declare": _rules_changed,
            "archive": _plain(EventKind.ARCHIVED, Severity.INFO, "old entries of the ledger were archived"),
            "diverted": _said(EventKind.DIVERTED, Severity.WARNING),
            "undecided": _said(EventKind.UNDECIDED, Severity.WARNING),
            "chain.broken": _plain(EventKind.CHAIN_BROKEN, Severity.CRITICAL, "the audit chain is broken"),
        }
    )


def _rules_changed(entry: Entry) -> Event | None:
    """A declaration that changes the rules by which a flag's versions are promoted, or takes them away."""
    before = None if entry.before is None else entry.before.get("promotion")
    after = None if entry.after is None else entry.after.get("promotion")
    if before is None or before == after:
        return None
    what = "are gone" if after is None else "changed"
    title = f"{_named(entry)}: the promotion rules {what}, by {entry.actor}"
    return _event(entry, EventKind.RULES_CHANGED, Severity.WARNING, title)


def _rollback(entry: Entry) -> Event:
    before, after = _flag(entry, entry.before), _flag(entry, entry.after)
    left = _left(before, after)
    to = after.served if after is not None else None
    by_policy = entry.actor.startswith("policy/")
    severity = Severity.CRITICAL if by_policy else Severity.WARNING
    what = f"rolled back from {left} to {to}" if left else f"rolled back to {to}"
    title = f"{_named(entry)}: {what} by {entry.actor}"
    event = _event(entry, EventKind.ROLLBACK, severity, title)
    return msgspec.structs.replace(event, origin=left, to=to, ref=entry.id)


def _left(before: Flag | None, after: Flag | None) -> str | None:
    """Which version the rollback took away: the candidate where there was one."""
    if before is None or after is None:
        return None
    candidate = before.rollout.variant if before.rollout is not None else None
    if candidate in after.withdrawn:
        return candidate
    return before.served if before.served != after.served else candidate


def _alert(entry: Entry) -> Event:
    """By the words with which policies/act.py begins its reasons."""
    if entry.reason.startswith(DRY_RUN):
        return _event(
            entry, EventKind.WOULD_HAVE, Severity.INFO, f"{_named(entry)}: dry run: would have acted"
        )
    if entry.reason.startswith((NOTHING_TO, UNFIT)):
        title = f"{_named(entry)}: a limit is breached and nothing was rolled back"
        return _event(entry, EventKind.NOTHING_TO_ROLL_BACK, Severity.CRITICAL, title)
    return _event(entry, EventKind.ALERT, Severity.WARNING, f"{_named(entry)}: alert by {entry.actor}")


def _finished(entry: Entry) -> Event:
    after = _flag(entry, entry.after)
    to = after.served if after is not None else None
    before = _flag(entry, entry.before)
    event = _event(
        entry,
        EventKind.ROLLOUT_FINISHED,
        Severity.INFO,
        f"{_named(entry)}: rollout finished, {to} serves all",
    )
    return msgspec.structs.replace(event, origin=before.served if before else None, to=to)


def _aborted(entry: Entry) -> Event:
    before, after = _flag(entry, entry.before), _flag(entry, entry.after)
    candidate = before.rollout.variant if before is not None and before.rollout is not None else None
    title = f"{_named(entry)}: rollout of {candidate} was ended by {entry.actor}"
    event = _event(entry, EventKind.ROLLOUT_FINISHED, Severity.INFO, title)
    return msgspec.structs.replace(event, origin=candidate, to=after.served if after else None)


def _paused(entry: Entry) -> Event:
    after = _flag(entry, entry.after)
    rollout = after.rollout if after is not None else None
    at = f" of {rollout.variant} at {rollout.percent:g} %" if rollout is not None else ""
    event = _event(
        entry,
        EventKind.ROLLOUT_PAUSED,
        Severity.WARNING,
        f"{_named(entry)}: rollout{at} paused by {entry.actor}",
    )
    return msgspec.structs.replace(event, variant=rollout.variant if rollout is not None else "")


def _gate(entry: Entry) -> Event:
    """A gate that was not passed, by its figures; or one that nobody could judge, which is no pass either."""
    facts = entry.evidence or {}
    unjudged = "passed" in facts and facts["passed"] is None
    words = "could not be evaluated, which is no pass of its eval gate" if unjudged else "eval gate failed"
    event = _event(entry, EventKind.GATE_FAILED, Severity.WARNING, f"{_named(entry)}: {words}")
    figures = ", ".join(
        f"{label} {found:.3g}"
        for label, found in ((each, facts.get(each.replace(" ", "_"))) for each in GATE_FIGURES)
        if isinstance(found, float | int)
    )
    reason = f"{event.reason} ({figures})" if figures else event.reason
    variant = event.variant or _text(facts.get("variant"))
    return msgspec.structs.replace(event, variant=variant, reason=cut(reason, REASON_CHARS))


def _step(kind: EventKind, words: str, severity: Severity = Severity.CRITICAL) -> Callable[[Entry], Event]:
    """Of what came of a rollback: the entry's object is the rollback's record."""

    def made(entry: Entry) -> Event:
        record = entry.after or {}
        flag, to, origin = (_text(record.get(name)) for name in ("flag", "to", "origin"))
        event = _event(
            entry, kind, severity, f"{flag or entry.object}: {words}" + (f" ({to} serves)" if to else "")
        )
        label = _text(record.get("label"))
        return msgspec.structs.replace(
            event,
            flag=flag,
            origin=origin or None,
            to=to or None,
            label=label,
            ref=entry.object.partition("/")[2],
        )

    return made


def _plain(kind: EventKind, severity: Severity, words: str) -> Callable[[Entry], Event]:
    return lambda entry: _event(entry, kind, severity, f"{_named(entry)}: {words}")


def _said(kind: EventKind, severity: Severity) -> Callable[[Entry], Event]:
    """Of what its reason tells whole."""
    return lambda entry: _event(entry, kind, severity, f"{_named(entry)}: {entry.reason}")


def _event(entry: Entry, kind: EventKind, severity: Severity, title: str) -> Event:
    flag, variant = _about(entry)
    return Event(
        id=entry.id,
        kind=kind,
        severity=severity,
        object=cut(entry.object, NAME_CHARS),
        title=cut(title, NAME_CHARS + 100),
        time=entry.time,
        flag=flag,
        variant=variant,
        reason=cut(entry.reason, REASON_CHARS),
        actor=cut(entry.actor, NAME_CHARS),
        link=entry.link,
        routes=(entry.object.partition("/")[2],) if entry.object.startswith(f"{Kind.ROUTE}/") else (),
        revision=entry.revision,
        hash=entry.hash,
    )


def _about(entry: Entry) -> tuple[str, str]:
    """The flag and the version that the entry's object names."""
    kind, _, name = entry.object.partition("/")
    if kind == Kind.FLAG:
        return name, ""
    if kind == Kind.VERSION:
        flag, _, variant = name.partition("/")
        return flag, variant
    return "", ""


def _named(entry: Entry) -> str:
    """`support-bot.prompt`, `support-bot.prompt v7`, `route/support-bot`: what people call it."""
    flag, variant = _about(entry)
    return f"{flag} {variant}".strip() or entry.object


def _flag(entry: Entry, document: Mapping[str, Any] | None) -> Flag | None:
    """The flag as the entry has it; None where it is none, or was written by a version that we cannot read."""
    if document is None or not entry.object.startswith(f"{Kind.FLAG}/"):
        return None
    try:
        return flag_from(entry.object.partition("/")[2], document, entry.revision)
    except FlagError:
        return None


def _text(found: object) -> str:
    return cut(found, NAME_CHARS) if isinstance(found, str) else ""


def _texts(found: object) -> tuple[str, ...]:
    if not isinstance(found, list | tuple):
        return (cut(found, REASON_CHARS),) if isinstance(found, str) else ()
    return tuple(cut(str(each), REASON_CHARS) for each in found[:LIST_ITEMS])


def cut(text: str, most: int) -> str:
    """`text`, at most so many characters long; what is left out shows."""
    return text if len(text) <= most else f"{text[: most - 1]}…"
