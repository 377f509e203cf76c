"""What the operators' endpoints for records of rollbacks do: a parsed call in, a shape out. Knows HTTP only as `Call`."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import dropwhile, islice
from typing import Annotated

import msgspec
from msgspec import Meta

from flags.change import Draft, View
from flags.ledger import Author
from flags.model import NAME, Kind
from gateway.auth import Role
from gateway.governing.shapes import RollbackPage, RollbackShape, rollback_shape
from gateway.http.bodies import Link
from gateway.http.endpoint import Call, Endpoint
from gateway.order import Order
from gateway.spec_base import Name
from policies.governance.procedure import Tick, no_record, readable, records_in, ticked
from policies.governance.record import Record, record_from, record_key


class RollbacksQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which part of the list, of one flag where named; `after` is the id of the last one seen."""

    after: Annotated[str, Meta(max_length=128)] = ""
    limit: Annotated[int, Meta(ge=1, le=1000)] = 100
    flag: Name | None = None


class TickBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Tick `step`: one of the record's own that is open or failed, or one that people add, such as `ci`."""

    step: Annotated[str, Meta(min_length=1, max_length=64)]
    link: Link
    # Shorter than elsewhere: it stands in the record as well, which must stay an entry of the ledger.
    reason: Annotated[str, Meta(min_length=1, max_length=300, pattern=r"\S")] | None = None


async def rollbacks(call: Call) -> RollbackPage:
    """A page of records, the newest first. Raises NotFound for an `after` that is no record's id."""
    query: RollbacksQuery = call.query
    records = records_in(call.snapshot.of_kind(Kind.ROLLBACK))
    if query.after and query.after not in records:
        raise no_record(query.after)
    following = iter(records)
    if query.after:
        following = dropwhile(lambda name: name != query.after, records)
        next(following)
    wanted = (name for name in following if query.flag in (None, records[name].flag))
    page = list(islice(wanted, query.limit + 1))
    items = [rollback_shape(name, records[name]) for name in page[: query.limit]]
    return RollbackPage(items, items[-1].id if len(page) > query.limit else None)


async def rollback_record(call: Call) -> RollbackShape:
    """One record, from the newest snapshot. Raises NotFound."""
    change_id = call.path["id"]
    record = readable(call.snapshot.of_kind(Kind.ROLLBACK).get(change_id))
    if record is None:
        raise no_record(change_id)
    return rollback_shape(change_id, record)


async def tick(call: Call) -> RollbackShape:
    """The record with the tick; `changed` false where it was ticked before. Raises NotFound, Invalid, Refused."""
    body: TickBody = call.body
    change_id = call.path["id"]
    if not NAME.fullmatch(change_id):
        raise no_record(change_id)
    reason = body.reason.strip() if body.reason else f"rollback tick {change_id} {body.step}"
    said = Tick(body.step, call.operator.name, reason, body.link)
    seen: list[Record] = []

    def decide(view: View) -> Sequence[Draft]:
        drafts = ticked(view, change_id, said)
        stored = view.objects[record_key(change_id)].document
        seen.append(record_from(drafts[0].after or stored if drafts else stored))
        return drafts

    order = Order(Author(call.operator.name, reason, body.link))
    operations = call.house.operations
    committed = await operations.store.change(order.author, [record_key(change_id)], decide, insist=True)
    # Whoever shows the record next, on any worker, is to see the tick.
    await operations.acknowledged(committed, order)
    return rollback_shape(change_id, seen[-1], changed=bool(committed.entries))


ENDPOINTS: tuple[Endpoint, ...] = (
    Endpoint(
        "GET",
        "/rollbacks",
        rollbacks,
        "The governed rollbacks, newest first",
        RollbackPage,
        query=RollbacksQuery,
    ),
    Endpoint("GET", "/rollbacks/{id}", rollback_record, "One rollback, step by step", RollbackShape),
    Endpoint(
        "POST",
        "/rollbacks/{id}/tick",
        tick,
        "Tick a step of a rollback, with a link to what proves it",
        RollbackShape,
        body=TickBody,
        needs=Role.OPERATOR,
    ),
)
