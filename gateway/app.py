"""The Starlette application over one House: which path leads to which door. Wiring only."""

from __future__ import annotations

from starlette.applications import Starlette
from starlette.routing import BaseRoute, Route

from gateway.house import House
from gateway.http.admin import admin_mount
from gateway.http.chat import ChatCompletions
from gateway.http.health import health_routes
from gateway.http.models import Models
from gateway.http.refusals import EXCEPTION_HANDLERS


def build_app(house: House) -> Starlette:
    """All doors. Hot ones come first, because Starlette looks at its routes in order; there is no middleware:
    one layer of the usual kind would cost more than the whole request (DESIGN §7)."""
    chat = ChatCompletions(
        house.pipeline,
        lambda: house.keys,
        house.patience,
        new_id=house.new_id,
        max_body_bytes=house.settings.max_body_bytes,
    )
    models = Models(lambda: house.serving, lambda: house.keys, house.new_id)
    routes: list[BaseRoute] = [
        Route("/v1/chat/completions", chat, methods=["POST"]),
        Route("/chat/completions", chat, methods=["POST"]),
        *models.routes(),
        *health_routes(house.health),
        admin_mount(house),
    ]
    return Starlette(routes=routes, exception_handlers=EXCEPTION_HANDLERS)
