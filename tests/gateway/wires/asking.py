"""What an upstream gets for what an app sends, by wire."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from flags.model import Context
from gateway.ask import Ask
from gateway.decision import Asked
from gateway.render import render
from gateway.route import decide
from gateway.wires.base import Wire
from tests.gateway.builders import MODEL, serving


def prompt(*messages: tuple[str, str], **more: Any) -> dict[str, Any]:
    """A prompt version of (role, template)."""
    return {"messages": [{"role": role, "content": text} for role, text in messages], **more}


def asked(wire: Wire, **fields: Any) -> Ask:
    """What the wire reads of these fields."""
    return wire.read(msgspec.json.encode({"model": "support-bot", **fields}))


def sent_bytes(
    wire: Wire, raw: bytes, prompt: Mapping[str, Any] | None = None, model: Mapping[str, Any] | None = None
) -> bytes:
    """The upstream's body, to the byte."""
    served = serving({"v6": prompt} if prompt else {}, {"gpt-4.1": {**MODEL, **(model or {})}})
    decision = decide(served, served.routes["support-bot"], Asked(Context("u"), {}, 0, wire.layers))
    ask = wire.read(raw)
    return ask.wire.body(ask, render(decision, ask), decision.model.attempts[0].model)


def sent(
    wire: Wire,
    version: Mapping[str, Any] | None = None,
    params: Mapping[str, Any] | None = None,
    /,
    **fields: Any,
) -> dict[str, Any]:
    """The upstream's body for an app's fields."""
    raw = msgspec.json.encode({"model": "support-bot", **fields})
    found: dict[str, Any] = msgspec.json.decode(sent_bytes(wire, raw, version, params))
    return found
