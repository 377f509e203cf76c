"""The operators' endpoints for keys and tokens: a parsed call in, a shape out. Knows HTTP only as `Call`."""

from __future__ import annotations

from datetime import UTC, datetime

from flags.errors import Invalid
from flags.ledger import Author
from flags.model import Kind
from gateway.auth import Role
from gateway.http.endpoint import Call, Endpoint
from gateway.keys.keeping import KeyKeeper, Told, Wanted, keys_in
from gateway.keys.shapes import CreateBody, KeyList, KeyShape, KeyTold, RevokeBody, RotateBody
from gateway.keys.stored import StoredKey
from gateway.order import Order


async def keys(call: Call) -> KeyList:
    """All keys that were made here; no secret."""
    own = call.house.own_keys
    now = datetime.fromtimestamp(call.house.now(), tz=UTC)
    found = keys_in(call.snapshot.of_kind(Kind.KEY))
    return KeyList(
        [_shape(name, key, now) for name, key in found.items()], len(own.apps) + len(own.operators)
    )


async def create(call: Call) -> KeyTold:
    """A new key, told this once."""
    body: CreateBody = call.body
    wanted = Wanted(
        body.name,
        role=body.role,
        routes=_routes(body),
        pin=body.pin,
        seconds=body.expires_seconds,
    )
    told = await _keeper(call).create(_order(call, f"keys create {body.name}"), wanted)
    return _told(body.name, told)


def _routes(body: CreateBody) -> tuple[str, ...] | None:
    if not body.flags_only:
        return None if body.routes is None else tuple(body.routes)
    if body.routes is not None or body.pin or body.role is not None:
        raise Invalid("flags_only", "a key for flags alone has no role, no routes and no pin")
    return ()


async def rotate(call: Call) -> KeyTold:
    """A new secret for a key, told this once."""
    body: RotateBody = call.body
    name = call.path["key"]
    return _told(
        name, await _keeper(call).rotate(_order(call, f"keys rotate {name}"), name, body.grace_seconds)
    )


async def revoke(call: Call) -> KeyTold:
    """A key opens nothing any more."""
    name = call.path["key"]
    return _told(name, await _keeper(call).revoke(_order(call, f"keys revoke {name}"), name))


def _keeper(call: Call) -> KeyKeeper:
    return KeyKeeper(call.house.operations, lambda: call.house.own_keys)


def _order(call: Call, command: str) -> Order:
    body = call.body
    author = Author(call.operator.name, (body.reason or command).strip(), body.link)
    return Order(author, body.wait_seconds)


def _told(name: str, told: Told) -> KeyTold:
    return KeyTold(
        name,
        told.committed.position.revision,
        told.acks.acknowledged,
        told.acks.workers,
        list(told.acks.missing),
        key=told.key,
        note=told.note,
    )


def _shape(name: str, key: StoredKey, now: datetime) -> KeyShape:
    holding = [each for each in key.secrets if each.until is None or datetime.fromisoformat(each.until) > now]
    return KeyShape(
        name,
        key.kind,
        key.role,
        key.routes,
        key.pin,
        key.created_by,
        key.created_at,
        key.rotated_at,
        key.expires_at,
        key.expires_at is not None and datetime.fromisoformat(key.expires_at) <= now,
        len(holding),
    )


ENDPOINTS = (
    Endpoint("GET", "/keys", keys, "The keys and tokens that were made here", KeyList, needs=Role.ADMIN),
    Endpoint("POST", "/keys", create, "Make a key or token", KeyTold, body=CreateBody, needs=Role.ADMIN),
    Endpoint(
        "POST",
        "/keys/{key}/rotate",
        rotate,
        "Give a key a new secret",
        KeyTold,
        body=RotateBody,
        needs=Role.ADMIN,
    ),
    Endpoint("POST", "/keys/{key}/revoke", revoke, "End a key", KeyTold, body=RevokeBody, needs=Role.ADMIN),
)
