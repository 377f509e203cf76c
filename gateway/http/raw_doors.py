"""The doors of what is relayed as it comes (gateway.wires.raw). Wiring only."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from gateway.http.app_door import AppDoor, WireFor
from gateway.http.asgi import header_map
from gateway.wires.base import Wire
from gateway.wires.raw import RELAYED, Came, Raw, Relayed


class ByMethod:
    """One path whose methods have doors of their own."""

    def __init__(self, doors: Mapping[str, ASGIApp]) -> None:
        self._doors = doors

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The method's door; the route lets no other method in."""
        await self._doors[scope["method"]](scope, receive, send)


def raw_routes(door: Callable[[WireFor], AppDoor]) -> list[BaseRoute]:
    """Every relayed endpoint, with and without `/v1`."""
    by_path: dict[str, list[Relayed]] = {}
    for relayed in RELAYED:
        by_path.setdefault(relayed.path, []).append(relayed)
    doors: dict[str, dict[str, AppDoor]] = {
        path: {each.method: door(wire_for(each)) for each in rows} for path, rows in by_path.items()
    }
    return [*_routes(doors, "/v1"), *_routes(doors, "")]


def _routes(doors: Mapping[str, Mapping[str, AppDoor]], prefix: str) -> Iterator[BaseRoute]:
    for path, methods in doors.items():
        # Starlette adds HEAD to GET by itself; nobody asks a provider for one.
        route = Route(prefix + path, ByMethod(methods), methods=list(methods))
        route.methods = set(methods)
        yield route


def wire_for(relayed: Relayed) -> WireFor:
    """A wire for each call: its path and query are the call's own."""

    def wire(scope: Scope) -> Wire:
        return Raw(relayed, Came(scope["path_params"], scope["query_string"], header_map(scope)))

    return wire
