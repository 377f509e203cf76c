"""Slack-compatible and CloudEvents 1.0 webhooks: an event as a signed body for one POST. Knows no retry and no store.

CloudEvents: structured content mode (https://github.com/cloudevents/spec, HTTP binding §3.2). Signatures: ours, over
`timestamp.body`, and those of Standard Webhooks (https://www.standardwebhooks.com), over `id.timestamp.body`.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import msgspec

from gateway.notices.channel import Notice
from gateway.notices.web import Poster
from gateway.notices.words import Words
from policies.notices import wording
from policies.notices.event import Event

CLOUDEVENTS = "application/cloudevents+json; charset=utf-8"
# Standard Webhooks' secrets begin so, and go on in base64.
STANDARD_PREFIX = "whsec_"

_encode = msgspec.json.Encoder().encode
# The secret or address itself, resolved when it is needed. Raises NotSent.
Secret = Callable[[], str]


@dataclass(frozen=True, slots=True)
class SlackChannel:
    """Posts `{text, blocks}` to a webhook, as Slack, Mattermost, Rocket.Chat and Discord (`/slack`) take it."""

    poster: Poster
    url: Secret = field(repr=False)
    words: Words
    seconds: float

    async def send(self, notice: Notice) -> str:
        """See Channel."""
        body = _encode(wording.slack(notice.event, notice.more, text=self.words.own(notice)))
        return await self.poster.post(self.url(), {"content-type": "application/json"}, body, self.seconds)


@dataclass(frozen=True, slots=True)
class CloudEventsChannel:
    """Posts a CloudEvent, signed where there is a secret. `now` counts Unix seconds."""

    poster: Poster
    url: Secret = field(repr=False)
    secret: Secret | None = field(repr=False)
    words: Words
    seconds: float
    namespace: str
    now: Callable[[], float]

    async def send(self, notice: Notice) -> str:
        """See Channel."""
        body = _encode(cloud_event(notice, self.namespace, text=self.words.own(notice)))
        headers = {"content-type": CLOUDEVENTS}
        if self.secret is not None:
            headers |= signatures(self.secret(), notice.event.id, int(self.now()), body)
        return await self.poster.post(self.url(), headers, body, self.seconds)


def cloud_event(notice: Notice, namespace: str, *, text: str | None = None) -> dict[str, object]:
    """The event by CloudEvents 1.0. The same id and source mean the same event, however often it comes."""
    event = notice.event
    data = wording.document(event, notice.more)
    return {
        "specversion": "1.0",
        "id": event.id,
        "source": f"/pointsman/{namespace}",
        "type": type_of(event),
        "subject": event.object,
        **({"time": event.time} if event.time else {}),
        "datacontenttype": "application/json",
        "data": data if text is None else {**data, "text": text},
    }


def type_of(event: Event) -> str:
    """`io.pointsman.rollback.v1`."""
    return f"io.pointsman.{event.kind}.v1"


def signatures(secret: str, event_id: str, timestamp: int, body: bytes) -> Mapping[str, str]:
    """The headers by which a receiver tells that a body is ours, and how old it is."""
    ours = hmac.new(secret.encode(), b"%d." % timestamp + body, hashlib.sha256).hexdigest()
    signed = f"{event_id}.{timestamp}.".encode() + body
    standard = base64.b64encode(hmac.new(_standard_key(secret), signed, hashlib.sha256).digest()).decode()
    return {
        "x-pointsman-timestamp": str(timestamp),
        "x-pointsman-signature": f"sha256={ours}",
        "webhook-id": event_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": f"v1,{standard}",
    }


def _standard_key(secret: str) -> bytes:
    if secret.startswith(STANDARD_PREFIX):
        try:
            return base64.b64decode(secret.removeprefix(STANDARD_PREFIX), validate=True)
        except binascii.Error:
            pass  # then it only looks like one
    return secret.encode()
