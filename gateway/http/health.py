"""Is the process there, and can it serve? Also under the names that LiteLLM's users probe."""

from __future__ import annotations

from collections.abc import Callable

from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from gateway.health import Health


def health_routes(health: Callable[[], Health]) -> list[Route]:
    """`/livez` and `/readyz` with their older names. Ready means: can serve from a snapshot, Redis or not."""

    async def live(_: Request) -> Response:
        return PlainTextResponse("I'm alive!")

    async def ready(_: Request) -> Response:
        now = health()
        return JSONResponse(now.document(), status_code=200 if now.ready else 503)

    lively = ("/livez", "/healthz", "/health/liveliness", "/health/liveness")
    return [
        *(Route(path, live, methods=["GET"]) for path in lively),
        *(Route(path, ready, methods=["GET"]) for path in ("/readyz", "/health/readiness")),
    ]
