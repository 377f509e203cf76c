"""The Starlette application over one House: which path leads to which door. Wiring only."""

from __future__ import annotations

from collections.abc import Mapping

from starlette.applications import Starlette
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from gateway.house import House
from gateway.http.admin import admin_mount
from gateway.http.chat import ChatCompletions
from gateway.http.health import health_routes
from gateway.http.models import Models
from gateway.http.refusals import EXCEPTION_HANDLERS

CHAT_PATHS = ("/v1/chat/completions", "/chat/completions")


class App(Starlette):
    """Starlette, but for the hot doors: they answer every error themselves, so they need none of its layers.

    Those layers (two that catch exceptions, the router, a wrapped `send`) cost a tenth of a whole request.
    """

    def __init__(self, routes: list[BaseRoute], hot: Mapping[str, ASGIApp]) -> None:
        super().__init__(routes=routes, exception_handlers=EXCEPTION_HANDLERS)
        self._hot = hot

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The hot door that the path names, else Starlette's routes."""
        if scope["type"] == "http" and scope["method"] == "POST":
            door = self._hot.get(scope["path"])
            if door is not None:
                await door(scope, receive, send)
                return
        await super().__call__(scope, receive, send)


def build_app(house: House) -> App:
    """All doors. There is no middleware: one layer of the usual kind would cost more than a request (DESIGN §7)."""
    chat = ChatCompletions(
        house.pipeline,
        lambda: house.keys,
        house.patience,
        new_id=house.new_id,
        max_body_bytes=house.settings.max_body_bytes,
    )
    models = Models(lambda: house.serving, lambda: house.keys, house.new_id)
    routes: list[BaseRoute] = [
        *(Route(path, chat, methods=["POST"]) for path in CHAT_PATHS),
        *models.routes(),
        *health_routes(house.health),
        admin_mount(house),
    ]
    return App(routes, hot=dict.fromkeys(CHAT_PATHS, chat))
