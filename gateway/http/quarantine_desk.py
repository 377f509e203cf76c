"""The operators' endpoint for quarantine: a parsed call in, a shape out. Knows HTTP only as `Call`."""

from __future__ import annotations

from enum import StrEnum

import msgspec

from flags.ledger import Author
from gateway.auth import Role
from gateway.http.bodies import Link, Reason, Wait
from gateway.http.endpoint import Call, Endpoint
from gateway.order import WAIT_SECONDS, Order
from gateway.shapes import Done
from gateway.spec_base import Name


class Way(StrEnum):
    """Into quarantine, or out of it."""

    ADD = "add"
    RELEASE = "release"


class QuarantineBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Put the content of `variant` into quarantine (`add`), or let it out (`release`) without serving it again."""

    variant: Name
    action: Way
    reason: Reason
    link: Link | None = None
    wait_seconds: Wait = WAIT_SECONDS


async def quarantine(call: Call) -> Done:
    """A content is in quarantine, or is let out of it."""
    body: QuarantineBody = call.body
    order = Order(Author(call.operator.name, body.reason.strip(), body.link), body.wait_seconds)
    operations, key = call.house.operations, call.path["key"]
    if body.action is Way.ADD:
        return await operations.quarantine(order, key, body.variant)
    return await operations.release(order, key, body.variant)


ENDPOINTS = (
    Endpoint(
        "POST",
        "/flags/{key}/quarantine",
        quarantine,
        "Put a version's content into quarantine, or let it out",
        Done,
        body=QuarantineBody,
        needs=Role.APPROVER,
    ),
)
