"""What the operators' endpoints for notices do: a parsed call in, a shape out. Knows HTTP only as `Call`."""

from __future__ import annotations

import uuid
from typing import Annotated

import msgspec
from msgspec import Meta

from flags.errors import NotFound
from gateway.auth import Role
from gateway.http.endpoint import Call, Endpoint
from gateway.notices.shapes import (
    NoticesShape,
    ResentShape,
    TestedShape,
    ToldShape,
    notices_shape,
    shape_of,
)
from gateway.spec_base import Name


class NoticesQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How many of each state."""

    limit: Annotated[int, Meta(ge=1, le=1000)] = 100


class NoBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Nothing is to be said."""


class TestBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which channel is tried."""

    channel: Name


async def notices(call: Call) -> NoticesShape:
    """The outbox at a glance. Raises StoreUnavailable."""
    query: NoticesQuery = call.query
    return notices_shape(await call.house.notices.board(query.limit))


async def notice(call: Call) -> ToldShape:
    """How far one event is. Raises NotFound."""
    event_id = call.path["id"]
    told = await call.house.notices.told(event_id)
    if told is None:
        raise NotFound(f'notice "{event_id[:80]}" is not known: nobody was to be told, or it is long past')
    return ToldShape(event_id, told.settled, told.merged, [shape_of(each) for each in told.receipts.values()])


async def resend(call: Call) -> ResentShape:
    """The dead deliveries of one event are tried again. Raises NotFound and Refused."""
    return ResentShape(await call.house.notices.resend(call.path["id"]))


async def resend_all(call: Call) -> ResentShape:
    """All dead deliveries are tried again."""
    return ResentShape(await call.house.notices.resend(None))


async def drop(call: Call) -> ResentShape:
    """The dead deliveries of one event are given up for good. Raises NotFound and Refused."""
    return ResentShape(await call.house.notices.drop(call.path["id"]))


async def test(call: Call) -> TestedShape:
    """A test goes out by one channel. Raises NotFound."""
    body: TestBody = call.body
    event = await call.house.notices.test(body.channel, call.operator.name, f"test-{uuid.uuid4().hex}")
    return TestedShape(event.id, body.channel)


ENDPOINTS: tuple[Endpoint, ...] = (
    Endpoint(
        "GET",
        "/notices",
        notices,
        "What people are told: due, delivered, dead",
        NoticesShape,
        query=NoticesQuery,
    ),
    Endpoint(
        "POST",
        "/notices/test",
        test,
        "Send a test by one channel",
        TestedShape,
        body=TestBody,
        needs=Role.OPERATOR,
    ),
    Endpoint(
        "POST",
        "/notices/resend",
        resend_all,
        "Try all dead notices again",
        ResentShape,
        body=NoBody,
        needs=Role.OPERATOR,
    ),
    Endpoint("GET", "/notices/{id}", notice, "How far one event is, by channel", ToldShape),
    Endpoint(
        "POST",
        "/notices/{id}/resend",
        resend,
        "Try the dead deliveries of one event again",
        ResentShape,
        body=NoBody,
        needs=Role.OPERATOR,
    ),
    Endpoint(
        "POST",
        "/notices/{id}/drop",
        drop,
        "Give up the dead deliveries of one event for good",
        ResentShape,
        body=NoBody,
        needs=Role.OPERATOR,
    ),
)
