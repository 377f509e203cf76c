"""Bytes as signals: an Alertmanager's webhook, or CloudEvents in any of their three forms. Pure; knows no secret.

What the source does not say of where it happened, its declaration says (`signals.X.route`, `.flag`). Raises BadRequest
for what is none of these shapes, Invalid with the path where a field is not what it should be.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, TypeVar
from urllib.parse import unquote

import msgspec

from flags.errors import Invalid
from flags.model import NAME
from gateway.errors import BadRequest
from gateway.signals.shapes import MAX_SIGNALS, Alert, Alerts, CloudEvent
from gateway.signals.signal import Signal
from gateway.spec_rulebook import SignalSpec
from policies.notices.wording import line

Shape = TypeVar("Shape")

STRUCTURED, BATCH = "application/cloudevents+json", "application/cloudevents-batch+json"
# What the ledger keeps of somebody's text: a sentence, not a report.
MAX_TEXT = 500
# A type that ends so flags a version for an audit.
FLAGGED = ".audit.flagged"


def signals_of(name: str, spec: SignalSpec, headers: Mapping[str, str], body: bytes) -> list[Signal]:
    """The signals in a message of the source `name`. `headers` have lower-case names."""
    media = headers.get("content-type", "").partition(";")[0].strip().lower()
    if media == BATCH:
        events = _read(body, list[CloudEvent])
        if len(events) > MAX_SIGNALS:
            raise Invalid("", f"found {len(events)} events, at most {MAX_SIGNALS} are taken at once")
        return [_of_event(name, spec, each) for each in events]
    if media == STRUCTURED:
        return [_of_event(name, spec, _read(body, CloudEvent))]
    if "ce-specversion" in headers:
        return [_of_event(name, spec, _binary(headers, media, body))]
    found = _read(body, dict[str, Any])
    if "specversion" in found:
        # Some senders forget the media type.
        return [_of_event(name, spec, _read(body, CloudEvent))]
    if "alerts" not in found:
        raise BadRequest(
            f"expected an Alertmanager's message (alerts: […]) or a CloudEvent ({STRUCTURED}), found neither"
        )
    alerts = _read(body, Alerts)
    if alerts.version != "4":
        raise Invalid(
            "version", f"found an Alertmanager's message of version {alerts.version!r}, expected '4'"
        )
    return [_of_alert(name, spec, each) for each in alerts.alerts]


def _read(body: bytes, shape: type[Shape]) -> Shape:
    try:
        return msgspec.json.decode(body, type=shape)
    except msgspec.ValidationError as error:
        message, _, at = str(error).partition(" - at ")
        raise Invalid(at.strip("`").removeprefix("$").lstrip("."), message) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadRequest(f"the body is no JSON: {error}") from error


def _binary(headers: Mapping[str, str], media: str, body: bytes) -> CloudEvent:
    """The binary form: attributes in `ce-*` headers, percent-encoded; the body is the data."""
    attributes: dict[str, Any] = {
        name.removeprefix("ce-"): unquote(value) for name, value in headers.items() if name.startswith("ce-")
    }
    if body and media.endswith("json"):
        attributes["data"] = _read(body, dict[str, Any])
    try:
        return msgspec.convert(attributes, CloudEvent)
    except msgspec.ValidationError as error:
        message, _, at = str(error).partition(" - at ")
        raise Invalid("ce-" + at.strip("`").removeprefix("$."), message) from error


def _of_alert(source: str, spec: SignalSpec, alert: Alert) -> Signal:
    labels, notes = alert.labels, alert.annotations
    return _signal(
        source,
        spec,
        {
            "route": labels.get("pointsman_route"),
            "flag": labels.get("pointsman_flag"),
            "variant": labels.get("pointsman_variant"),
        },
        # One that says no fingerprint of its own has that of its labels.
        id=f"{alert.fingerprint or _digest(labels)}/{alert.starts_at}",
        name=_text(labels.get("alertname")) or "alert",
        status=alert.status,
        severity=_text(labels.get("severity"))[:64],
        summary=_text(notes.get("summary") or notes.get("description")),
        link=_link(notes.get("runbook_url") or alert.generator_url),
        time=_text(alert.starts_at)[:64],
        audit=labels.get("pointsman_audit") == "flagged",
    )


def _of_event(source: str, spec: SignalSpec, event: CloudEvent) -> Signal:
    data = event.data if isinstance(event.data, dict) else {}
    kind, _, named = (event.subject or "").partition("/")
    about = {
        "route": _ours(data, "route") or (named if kind == "route" else None),
        "flag": _ours(data, "flag") or (named if kind == "flag" else None),
        "variant": _ours(data, "variant"),
    }
    resolved = data.get("status") == "resolved"
    return _signal(
        source,
        spec,
        about,
        id=f"{event.source}/{event.id}",
        name=_text(event.type) or "event",
        status="resolved" if resolved else "firing",
        severity=_text(data.get("severity"))[:64],
        summary=_text(data.get("summary") or data.get("message")),
        link=_link(data.get("link") or data.get("url")),
        time=_text(event.time)[:64],
        audit=_ours(data, "audit") == "flagged" or event.type.endswith(FLAGGED),
    )


def _ours(data: Mapping[str, Any], field: str) -> Any:
    """By the name that an alert's label has too, or by the short one."""
    return data.get(f"pointsman_{field}") or data.get(field)


def _signal(source: str, spec: SignalSpec, about: Mapping[str, Any], **told: Any) -> Signal:
    """A signal about what it names, else about what its source is declared to be about."""
    for field, value in about.items():
        if value is not None and not (isinstance(value, str) and (NAME.fullmatch(value) or value == "*")):
            raise Invalid(field, f"found {str(value)[:100]!r}, expected a name")
    says = about["route"] is not None or about["flag"] is not None
    if not says:
        about = {**about, "route": spec.route, "flag": spec.flag}
    return Signal(source=source, **about, **told)


def _digest(labels: Mapping[str, str]) -> str:
    text = msgspec.json.encode(labels, order="sorted")
    return hashlib.sha256(text).hexdigest()[:16]


def _text(found: object) -> str:
    """Somebody's text on one printable line, cut: it stands in logs, terminals and the ledger."""
    return line(found)[:MAX_TEXT] if isinstance(found, str) else ""


def _link(found: object) -> str | None:
    usable = isinstance(found, str) and found.startswith(("http://", "https://")) and len(found) <= 2000
    return found if usable and isinstance(found, str) and found.isprintable() else None
