"""An event in words: plain text, Slack's markup, a mail's subject and body, and JSON for programs. Pure.

Reasons and names were written by anybody: here they become text that can mention nobody, link nowhere and begin no
header. Knows no channel.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from flags.model import Json
from policies.notices.event import Event, EventKind, Severity, cut

# Slack cuts a message's text at 40,000 characters and refuses a section above 3,000.
TEXT_CHARS, SECTION_CHARS = 8_000, 2_900
# RFC 5322 allows lines of 998; phones show some 60.
SUBJECT_CHARS = 180
_SIGNS = ((Severity.CRITICAL, "🔴"), (Severity.WARNING, "🟠"), (Severity.INFO, "🔵"))


def title_of(event: Event, more: int = 0) -> str:
    """What happened, in one line; `more` counts those alike that are told by this one."""
    many = f" (and {more} more like it within an hour)" if more else ""
    return f"{line(event.title)}{many}"


def plain(event: Event, more: int = 0) -> str:
    """The whole notice as text: a line for what happened, then a line for each thing that is known."""
    facts = [f"{name}: {value}" for name, value in facts_of(event)]
    return cut("\n".join([title_of(event, more), *facts]), TEXT_CHARS)


def facts_of(event: Event) -> Iterator[tuple[str, str]]:
    """What is known beside the title, in the order in which people ask, each in one line."""
    if event.kind is EventKind.ROLLBACK:
        label = f" ({event.label})" if event.label else ""
        yield "Version rolled back to", line(f"{event.to or 'none'}{label}")
    elif event.to:
        yield "Serving now", line(event.to)
    if event.origin:
        yield "Before", line(event.origin)
    if event.routes:
        yield "Routes", line(", ".join(event.routes))
    yield "Reason", line(event.reason or "none was given")
    for missing in event.missing:
        yield "Not satisfied", line(missing)
    yield "By", line(event.actor or "nobody known")
    if event.time:
        yield "At", line(event.time)
    if event.revision:
        yield "Ledger revision", f"{event.revision} {event.hash}".strip()
    yield "Merkle head", event.anchor or "not known when this was sent"
    if event.link:
        yield "Link", line(event.link)
    if event.audit:
        yield "Audit", line(event.audit)
    yield "See more", command_of(event)


def command_of(event: Event) -> str:
    """The command that shows more of it."""
    if event.ref:
        return f"pointsman rollback show {event.ref}"
    if event.kind in (EventKind.CHAIN_BROKEN, EventKind.HISTORY_CHANGED):
        return "pointsman audit verify" + (f" --anchor {event.anchor}" if event.anchor else "")
    if event.kind in (EventKind.CHANNEL_GONE, EventKind.TEST):
        return "pointsman notices"
    if event.kind is EventKind.BREAKER_OPEN:
        return "pointsman breakers"
    return (
        f"pointsman log --after {max(0, event.revision - 1)} --last 20" if event.revision else "pointsman log"
    )


def slack(event: Event, more: int = 0, *, text: str | None = None) -> dict[str, Json]:
    """The body of a Slack-compatible webhook; `text` in place of our own words. `text` alone says all: not every
    program that takes such webhooks shows blocks."""
    if text is not None:
        return {"text": cut(mrkdwn(printable(text)), TEXT_CHARS)}
    sign = dict(_SIGNS)[event.severity]
    head = f"{sign} *{mrkdwn(title_of(event, more))}*"
    facts = "\n".join(f"*{name}:* {mrkdwn(value)}" for name, value in facts_of(event))
    return {
        "text": cut(f"{head}\n{facts}", TEXT_CHARS),
        "blocks": [_section(head), _section(facts)],
    }


def _section(text: str) -> dict[str, Json]:
    return {"type": "section", "text": {"type": "mrkdwn", "text": cut(text, SECTION_CHARS)}}


def mrkdwn(text: str) -> str:
    """`text` so that Slack shows it as it is: without these three characters no mention, channel or link can be written.

    https://docs.slack.dev/messaging/formatting-message-text/#escaping
    """
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def subject(event: Event, more: int = 0) -> str:
    """A mail's subject: one line."""
    return cut(f"[pointsman] {event.severity}: {title_of(event, more)}", SUBJECT_CHARS)


def document(event: Event, more: int = 0) -> dict[str, Any]:
    """The event for programs, with the sentence for people as `text`; `Any`: JSON."""
    found: dict[str, Any] = msgspec.to_builtins(event)
    return {**found, "more": more, "text": plain(event, more), "command": command_of(event)}


def variables(event: Event, more: int = 0) -> Mapping[str, Any]:
    """What a template may name: every field, empty ones too, and our own words as `text`."""
    fields = {
        field.encode_name: msgspec.to_builtins(getattr(event, field.name))
        for field in msgspec.structs.fields(Event)
    }
    told = {name: value if value is not None else "" for name, value in fields.items()}
    return {**told, "more": more, "text": plain(event, more), "command": command_of(event)}


def line(text: str) -> str:
    """`text` in one printable line."""
    return " ".join(printable(text).split())


def printable(text: str) -> str:
    """`text` without what a terminal, a mail or a chat would act upon; line feeds stay."""
    # Python counts control codes, bidirectional overrides, separators and what is not assigned as not printable.
    return "".join(each if each.isprintable() or each == "\n" else " " for each in text)
