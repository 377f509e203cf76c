"""What the operators' endpoints for breakers do: a parsed call in, a shape out. Knows HTTP only as `Call`."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from flags.ledger import Author
from gateway.breaking.forced import Force
from gateway.breaking.forcing import force
from gateway.breaking.shapes import BreakerList
from gateway.http.bodies import Link, Reason, Wait
from gateway.http.endpoint import Call
from gateway.order import WAIT_SECONDS, Order
from gateway.shapes import Done


class ForceBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Force `target` open (nobody is asked), off (everybody is), or leave it to itself again (auto)."""

    target: Annotated[str, Meta(min_length=1, max_length=1024, description="<upstream>/<model>")]
    state: Force
    reason: Reason
    link: Link | None = None
    wait_seconds: Wait = WAIT_SECONDS


async def breakers(call: Call) -> BreakerList:
    """All workers' breakers; without the store, this worker's."""
    return await call.house.board.all()


async def force_breaker(call: Call) -> Done:
    """A breaker is forced on every worker, or freed."""
    body: ForceBody = call.body
    order = Order(Author(call.operator.name, body.reason.strip(), body.link), body.wait_seconds)
    return await force(call.house.operations, order, call.path["key"], body.target, body.state)
