"""The operators' API: the table of all endpoints, and the routes made from it. No work is done here.

The OpenAPI document is made from the same table, so that neither can lack what the other has.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial

from starlette.routing import BaseRoute, Mount, Route, Router
from starlette.types import Receive, Scope, Send

from flags.model import Kind
from gateway import shapes
from gateway.auth import Role
from gateway.breaking.shapes import BreakerList
from gateway.figures.shapes import EvidenceShape, GaugesShape, HistoryShape
from gateway.http import (
    bodies,
    breaker_desk,
    desk,
    eval_desk,
    explain_desk,
    gauge_desk,
    key_desk,
    ledger_desk,
    notice_desk,
    quarantine_desk,
    rollback_desk,
    signal_desk,
    version_desk,
)
from gateway.http.endpoint import Call, Door, Endpoint, House, problem_response
from gateway.http.events import follow
from gateway.http.openapi import document

PREFIX = "/admin/v1"


async def openapi(call: Call) -> object:
    """The OpenAPI document of this very table."""
    return document(PREFIX, ENDPOINTS)


def _verb(verb: str, call: Callable[[Call], Awaitable[object]], summary: str, body: type) -> Endpoint:
    return Endpoint(
        "POST", f"/flags/{{key}}/{verb}", call, summary, shapes.Done, body=body, needs=Role.OPERATOR
    )


def _plain(path: str, kind: Kind) -> tuple[Endpoint, Endpoint]:
    many, one = partial(desk.objects, kind=kind), partial(desk.one_object, kind=kind)
    return (
        Endpoint("GET", path, many, f"All {path[1:]}, by name", shapes.ObjectPage, query=bodies.PageQuery),
        Endpoint("GET", f"{path}/{{key}}", one, f"One {kind}", shapes.ObjectShape),
    )


ENDPOINTS: tuple[Endpoint, ...] = (
    Endpoint(
        "GET",
        "/status",
        desk.status,
        "What every route serves, how it does, and the workers",
        shapes.StatusShape,
        query=gauge_desk.StatusQuery,
    ),
    Endpoint("GET", "/workers", desk.workers, "The workers and how far they follow", shapes.WorkerList),
    Endpoint("GET", "/flags", desk.flags, "All flags, by name", shapes.FlagPage, query=bodies.PageQuery),
    Endpoint("GET", "/flags/{key}", desk.flag, "One flag", shapes.FlagShape, query=gauge_desk.StatusQuery),
    *version_desk.ENDPOINTS,
    Endpoint(
        "GET",
        "/gauges",
        gauge_desk.gauge,
        "The last minutes of every route, layer and version",
        GaugesShape,
        query=gauge_desk.GaugesQuery,
    ),
    Endpoint(
        "GET",
        "/history",
        gauge_desk.history,
        "One route, minute by minute",
        HistoryShape,
        query=gauge_desk.HistoryQuery,
    ),
    Endpoint("GET", "/evidence", gauge_desk.evidence, "All that is judged now, with verdicts", EvidenceShape),
    Endpoint("GET", "/evidence/{key}", gauge_desk.evidence_of, "What is judged of one flag", EvidenceShape),
    *_plain("/routes", Kind.ROUTE),
    *_plain("/policies", Kind.POLICY),
    *_plain("/upstreams", Kind.UPSTREAM),
    _verb("switch", desk.switch, "Serve one variant to all", bodies.SwitchBody),
    _verb("rollback", desk.rollback, "Serve the safe variant alone", bodies.RollbackBody),
    _verb("withdraw", desk.withdraw, "Take one variant out of service", bodies.WithdrawBody),
    _verb("restore", desk.restore, "Put a withdrawn variant back", bodies.VariantBody),
    _verb("rollout", desk.rollout, "Start, move or steer a rollout", bodies.RolloutBody),
    _verb("shadow", desk.shadow, "Send a version a copy of a share of the requests", bodies.ShadowBody),
    Endpoint(
        "POST",
        "/routes/{key}/rollback",
        desk.rollback_route,
        "Roll back the flag of this route that changed last",
        shapes.Done,
        body=bodies.RollbackBody,
        needs=Role.OPERATOR,
    ),
    Endpoint(
        "POST",
        "/revert",
        desk.revert,
        "Make an object again what it was as of a revision",
        shapes.Done,
        body=bodies.RevertBody,
        needs=Role.OPERATOR,
    ),
    Endpoint(
        "POST",
        "/apply",
        desk.apply,
        "Write what a config file declares",
        shapes.AppliedShape,
        body=bodies.ApplyBody,
        needs=Role.OPERATOR,
    ),
    Endpoint(
        "POST",
        "/diff",
        desk.diff,
        "Show where a config file and the store differ",
        shapes.DiffShape,
        body=bodies.DiffBody,
    ),
    Endpoint("GET", "/export", desk.export, "Everything as one document", dict, query=bodies.ExportQuery),
    *explain_desk.ENDPOINTS,
    Endpoint("GET", "/breakers", breaker_desk.breakers, "The breakers of all workers", BreakerList),
    Endpoint(
        "POST",
        "/routes/{key}/breakers",
        breaker_desk.force_breaker,
        "Force a breaker of this route, or leave it to itself again",
        shapes.Done,
        body=breaker_desk.ForceBody,
        needs=Role.OPERATOR,
    ),
    Endpoint("GET", "/log", desk.log, "The ledger, oldest first", shapes.LogPage, query=bodies.LogQuery),
    *ledger_desk.ENDPOINTS,
    Endpoint(
        "GET",
        "/events",
        follow,
        "One server-sent event for each Change, as it happens",
        shapes.EventShape,
        query=bodies.EventsQuery,
        media="text/event-stream",
    ),
    *quarantine_desk.ENDPOINTS,
    *rollback_desk.ENDPOINTS,
    *key_desk.ENDPOINTS,
    *notice_desk.ENDPOINTS,
    *signal_desk.ENDPOINTS,
    *eval_desk.ENDPOINTS,
    Endpoint("GET", "/openapi.json", openapi, "This document", dict),
)


def admin_mount(house: House) -> Mount:
    """All endpoints under /admin/v1, one Starlette route per path; anything else is a 404 in our shape."""
    paths: dict[str, dict[str, Endpoint]] = {}
    for endpoint in ENDPOINTS:
        paths.setdefault(endpoint.path, {})[endpoint.method] = endpoint
    routes: list[BaseRoute] = [Route(path, Door(house, methods)) for path, methods in paths.items()]
    return Mount(PREFIX, app=Router(routes, redirect_slashes=False, default=_nothing_here))


async def _nothing_here(scope: Scope, receive: Receive, send: Send) -> None:
    message = f"{scope['path']} does not exist; {PREFIX}/openapi.json lists what does"
    await problem_response(404, shapes.Problem("not_found", message))(scope, receive, send)
