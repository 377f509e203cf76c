"""The door for signals from outside: bytes and headers in, what was done out. Knows HTTP only as `Call`."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta
from starlette.requests import Request

from gateway.auth import Operator, Role, token_of
from gateway.http.endpoint import Call, Endpoint, House
from gateway.signals.reading import BATCH, STRUCTURED
from gateway.signals.shapes import Alerts, CloudEvent, SignalsTaken

# A hundred alerts with their annotations take some 100 KB.
MAX_BYTES = 1024 * 1024
SOURCE_HEADER = "x-pointsman-signal-source"


class SourceQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Who sends; the header says it as well."""

    source: Annotated[str, Meta(max_length=128)] | None = None


async def signals(call: Call) -> SignalsTaken:
    """What became of each signal of the message."""
    return await call.house.signals.take(call.operator.name, call.headers, call.body)


def sender(house: House, request: Request, body: bytes) -> Operator:
    """The source that sends this. Raises Unauthorized, Forbidden."""
    named = request.headers.get(SOURCE_HEADER) or request.query_params.get("source")
    token = token_of(request.scope["headers"])
    return house.signals.admit(house.keys, request.headers, named, token, body)


ENDPOINTS = (
    Endpoint(
        "POST",
        "/signals",
        signals,
        "Signals from outside, signed: an Alertmanager's webhook, or CloudEvents",
        SignalsTaken,
        body=Alerts,
        also={STRUCTURED: CloudEvent, BATCH: list[CloudEvent]},
        query=SourceQuery,
        needs=Role.OPERATOR,
        status=202,
        admits=sender,
        max_bytes=MAX_BYTES,
    ),
)
