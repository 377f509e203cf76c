"""The operators' endpoints that explain: a parsed call in, a shape out. Knows HTTP only as `Call`."""

from __future__ import annotations

from typing import Annotated, Any, cast

import msgspec
from msgspec import Meta

from flags.model import Context, Document
from gateway.decision import EVERY_LAYER, Asked
from gateway.explain import explain_as, explained_route
from gateway.explain_flag import explain_flag
from gateway.http.endpoint import Call, Endpoint
from gateway.shapes import Explained, FlagExplained
from gateway.spec_base import Name

Key = Annotated[str, Meta(max_length=4096)]


class ExplainBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Who asks `route`, and with which pins (flag → variant)."""

    # Any name that an app may send: where it is no route, the route `*` answers.
    route: Annotated[str, Meta(min_length=1, max_length=512)]
    targeting_key: Key | None = None
    attributes: dict[str, Any] = {}
    pins: dict[Name, Name] = {}


class ExplainFlagBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Who asks for the flag; with `pin` as if the caller had named that variant."""

    targeting_key: Key | None = None
    attributes: dict[str, Any] = {}
    pin: Name | None = None


async def explained(call: Call) -> Explained:
    """Each layer's answer to a context, and why."""
    body: ExplainBody = call.body
    # What came as JSON is JSON; msgspec types free-form fields as object.
    context = Context(body.targeting_key, cast("Document", body.attributes))
    route = explained_route(call.snapshot, body.route, body.pins)
    asked = Asked(context, body.pins, int(call.house.now()), EVERY_LAYER)
    return explain_as(call.snapshot, route, await call.house.elsewhere.asked(route, asked))


async def explained_flag(call: Call) -> FlagExplained:
    """One flag's answer to a context, and why."""
    body: ExplainFlagBody = call.body
    context = Context(body.targeting_key, cast("Document", body.attributes))
    return explain_flag(call.snapshot, call.path["key"], context, body.pin, call.house.now())


ENDPOINTS = (
    Endpoint(
        "POST",
        "/explain",
        explained,
        "Why a context gets what it gets from a route",
        Explained,
        body=ExplainBody,
    ),
    Endpoint(
        "POST",
        "/flags/{key}/explain",
        explained_flag,
        "Why a context gets what it gets from a flag",
        FlagExplained,
        body=ExplainFlagBody,
    ),
)
