"""GET /v1/models: the routes, as the SDKs of OpenAI and of Anthropic list models."""

from __future__ import annotations

from collections.abc import Callable

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route as Path

from gateway.auth import Caller, Keyring, token_of
from gateway.decision import Serving
from gateway.dialects.dialect import ANTHROPIC, OPENAI, Dialect
from gateway.dialects.openai import error_headers
from gateway.errors import GatewayError, NotReady, UnknownRoute
from gateway.spec_base import EVERY_NAME

# Anthropic's SDK sends it with every call, OpenAI's never.
ANTHROPICS = "anthropic-version"
# A route has no birthday.
NO_DAY = "1970-01-01T00:00:00Z"


class Models:
    """Lists what the caller may name as `model`."""

    def __init__(self, serving: Callable[[], Serving | None], keys: Callable[[], Keyring]) -> None:
        self._serving, self._keys = serving, keys

    def routes(self) -> list[Path]:
        """With and without `/v1`."""
        paths = []
        for prefix in ("/v1", ""):
            paths.append(Path(f"{prefix}/models", self.answer, methods=["GET"]))
            paths.append(Path(f"{prefix}/models/{{name}}", self.answer, methods=["GET"]))
        return paths

    async def answer(self, request: Request) -> Response:
        """One model or all of them, in the caller's dialect; errors too."""
        dialect = ANTHROPIC if ANTHROPICS in request.headers else OPENAI
        form, pages = (model_info, page) if dialect is ANTHROPIC else (model, listed)
        try:
            caller = self._keys().caller(token_of(request.scope["headers"]))
            serving = self._serving()
            if serving is None:
                raise NotReady("starting: no flags are known yet", retry_after_seconds=1)
            names = known(serving, caller, request.path_params.get("name"))
        except GatewayError as error:
            return refusal(error, dialect)
        documents = [form(name) for name in names]
        return JSONResponse(documents[0] if "name" in request.path_params else pages(documents))


def known(serving: Serving, caller: Caller, name: str | None) -> list[str]:
    """The routes that the caller may use, or the one that is named. Raises UnknownRoute."""
    names = sorted(route for route in serving.routes if route != EVERY_NAME and caller.may_use(route))
    if name is None:
        return names
    if name not in names:
        raise UnknownRoute(
            f"model {name[:128]!r} is no route here; known: {', '.join(names[:20]) or 'none'}",
            param="model",
        )
    return [name]


def refusal(error: GatewayError, dialect: Dialect = OPENAI) -> Response:
    """Our own error as an answer."""
    response = Response(dialect.error_body(error), error.status)
    response.raw_headers = [*response.raw_headers, *error_headers(error)]
    return response


def model(route: str) -> dict[str, object]:
    """A route in the form of OpenAI's model object. `created` is fixed: a route has no birthday."""
    return {"id": route, "object": "model", "created": 0, "owned_by": "pointsman"}


def listed(models: list[dict[str, object]]) -> dict[str, object]:
    """OpenAI's list."""
    return {"object": "list", "data": models}


def model_info(route: str) -> dict[str, object]:
    """A route in the form of Anthropic's model object."""
    return {"type": "model", "id": route, "display_name": route, "created_at": NO_DAY}


def page(models: list[dict[str, object]]) -> dict[str, object]:
    """Anthropic's page: the only one, for all routes are on it."""
    ids = [each["id"] for each in models] or [None]
    return {"data": models, "has_more": False, "first_id": ids[0], "last_id": ids[-1]}
