"""The operators' endpoint for quarantine: a parsed call in, a shape out. Knows HTTP only as `Call`."""

from __future__ import annotations

import msgspec

from flags.ledger import Author
from gateway.auth import Role
from gateway.http.bodies import Link, Reason, Wait
from gateway.http.endpoint import Call, Endpoint
from gateway.order import WAIT_SECONDS, Order
from gateway.quarantining import Door, quarantined
from gateway.shapes import Done
from gateway.spec_base import Name


class QuarantineBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Put the content of `variant` into quarantine (`add`), or let it out (`release`) without serving it again."""

    variant: Name
    action: Door
    reason: Reason
    link: Link | None = None
    wait_seconds: Wait = WAIT_SECONDS


async def quarantine(call: Call) -> Done:
    """A content is in quarantine, or is let out of it."""
    body: QuarantineBody = call.body
    order = Order(Author(call.operator.name, body.reason.strip(), body.link), body.wait_seconds)
    return await quarantined(call.house.operations, order, call.path["key"], body.variant, body.action)


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
