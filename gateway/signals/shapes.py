"""What comes in: an Alertmanager's webhook and CloudEvents; and what is answered. Shapes only, no behaviour.

Unknown fields are let through here: these shapes are others', and they grow. Sources: Prometheus Alertmanager's
`webhook_config` (version "4"), CloudEvents 1.0.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

# More in one message than any Alertmanager groups by default; what is beyond comes in another message.
MAX_SIGNALS = 100


# A time or 16 hexadecimal digits; the ledger keeps it with what was done.
Mark = Annotated[str, Meta(max_length=128)]


class Alert(msgspec.Struct, frozen=True, rename="camel"):
    """One alert. `starts_at` tells one firing of it from the next."""

    status: Literal["firing", "resolved"]
    labels: dict[str, str]
    annotations: dict[str, str] = {}
    starts_at: Mark = ""
    fingerprint: Mark = ""
    # `generatorURL` is not camel case.
    generator_url: str = msgspec.field(default="", name="generatorURL")


class Alerts(msgspec.Struct, frozen=True):
    """A message of an Alertmanager. `version` is "4" since 2017."""

    alerts: Annotated[list[Alert], Meta(max_length=MAX_SIGNALS)]
    version: str = "4"


class CloudEvent(msgspec.Struct, frozen=True):
    """One event in the structured form. `data` is free JSON."""

    specversion: Literal["1.0"]
    id: Annotated[str, Meta(min_length=1, max_length=512)]
    source: Annotated[str, Meta(min_length=1, max_length=2048)]
    type: Annotated[str, Meta(min_length=1, max_length=512)]
    subject: str | None = None
    time: str = ""
    data: Any = None


class ResponseShape(msgspec.Struct, frozen=True, omit_defaults=True):
    """What was done by one policy: `rollback`, `pause`, `quarantine`, `alert`, or `nothing`, and why."""

    did: str
    object: str
    reason: str
    policy: str | None = None
    revision: int | None = None


class SignalShape(msgspec.Struct, frozen=True, omit_defaults=True):
    """What became of one signal: `done`, `seen` (sent before, so nothing was done again), or `resolved` (noted only)."""

    id: str
    name: str
    outcome: Literal["done", "seen", "resolved"]
    responses: list[ResponseShape] = []


class SignalsTaken(msgspec.Struct, frozen=True):
    """What became of each signal of a message, in its order."""

    source: str
    signals: list[SignalShape]
