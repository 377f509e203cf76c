"""The Starlette application over one House: which path leads to which door. Wiring only."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from functools import partial

from starlette.applications import Starlette
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.house import House
from gateway.http.admin import admin_mount
from gateway.http.app_door import AppDoor, WireFor
from gateway.http.feedback import FeedbackDoor
from gateway.http.health import health_routes
from gateway.http.metrics import Metrics
from gateway.http.models import Models
from gateway.http.ofrep.addresses import Addresses
from gateway.http.ofrep.door import ROOT as OFREP
from gateway.http.ofrep.door import OfrepDoor
from gateway.http.ofrep.hub import Hub
from gateway.http.raw_doors import raw_routes
from gateway.http.refusals import EXCEPTION_HANDLERS
from gateway.wires.base import Wire
from gateway.wires.chat import Chat
from gateway.wires.completions import Completions
from gateway.wires.count_tokens import CountTokens
from gateway.wires.embeddings import Embeddings
from gateway.wires.messages import Messages
from gateway.wires.responses import Responses
from gateway.wires.search import Search

SEARCH_PATH = "/vector_stores/{route}/search"


class App(Starlette):
    """Starlette, but for the hot doors: they answer every error themselves, so they need none of its layers.

    Those layers (two that catch exceptions, the router, a wrapped `send`) cost a tenth of a whole request.
    """

    def __init__(
        self,
        routes: list[BaseRoute],
        hot: Mapping[str, ASGIApp],
        marks: Callable[[], list[tuple[bytes, bytes]]],
        ofrep: ASGIApp,
    ) -> None:
        super().__init__(routes=routes, exception_handlers=EXCEPTION_HANDLERS)
        # A redirect would name whatever the caller called us, and plain http before TLS.
        self.router.redirect_slashes = False
        self._hot, self._marks, self._ofrep = hot, marks, ofrep

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The hot door that the path names, else OFREP's, else Starlette's routes."""
        if scope["type"] == "http" and scope["method"] == "POST":
            door = self._hot.get(scope["path"])
            if door is not None:
                await door(scope, receive, send)
                return
        if scope["type"] == "http" and scope["path"].startswith(OFREP):
            await self._ofrep(scope, receive, send)
            return
        await super().__call__(scope, receive, self._marked(send) if scope["type"] == "http" else send)

    def _marked(self, send: Send) -> Send:
        """`send`, with what every answer tells of itself (CONTRACT §2) where it does not tell it yet."""

        async def marked(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = message["headers"]
                told = {name for name, _ in headers}
                missing = (pair for pair in self._marks() if pair[0] not in told)
                message = {**message, "headers": [*headers, *missing]}
            await send(message)

        return marked


def build_app(house: House) -> App:
    """All doors. There is no middleware: one layer of the usual kind would cost more than a request (DESIGN §7)."""
    hot, ofrep = hot_doors(house), ofrep_door(house)
    metrics = Metrics(
        house,
        running=lambda: house.pipeline.running,
        age_seconds=lambda: house.watcher.age_seconds,
        ofrep=ofrep.figures,
    )
    searches = app_door(house, lambda scope: Search(scope["path_params"]["route"]))
    routes: list[BaseRoute] = [
        *(Route(path, door, methods=["POST"]) for path, door in hot.items()),
        *(Route(f"{prefix}{SEARCH_PATH}", searches, methods=["POST"]) for prefix in ("/v1", "")),
        *raw_routes(partial(app_door, house)),
        *Models(lambda: house.serving, lambda: house.keys).routes(),
        *health_routes(house.health),
        *metrics.routes(),
        *FeedbackDoor(house.feedback, lambda: house.keys).routes(),
        admin_mount(house),
    ]
    return App(routes, hot=hot, marks=house.marks, ofrep=ofrep)


def hot_doors(house: House) -> dict[str, AppDoor]:
    """The doors of the wires whose path is fixed, with and without `/v1`."""
    wires: tuple[Wire, ...] = (
        Chat(),
        Completions(),
        Embeddings(),
        Responses(),
        Messages(),
        CountTokens(),
    )
    doors = {wire.path: app_door(house, lambda _, wire=wire: wire) for wire in wires}
    return {f"{prefix}{path}": door for path, door in doors.items() for prefix in ("/v1", "")}


def ofrep_door(house: House) -> OfrepDoor:
    """The door for flags; its streams hear of whatever is served anew."""
    hub = Hub(house, draw=random.random)
    house.on_served = hub.poke
    return OfrepDoor(house, hub, Addresses(house, house.public_url))


def app_door(house: House, wire: WireFor) -> AppDoor:
    """A door for apps."""
    return AppDoor(
        house.pipeline,
        lambda: house.keys,
        house.patience,
        wire=wire,
        arrive=house.arrive,
        stopping=house.stopping,
        max_body_bytes=house.settings.max_body_bytes,
    )
