"""GET /v1/models: the routes, as an OpenAI SDK lists models."""

from __future__ import annotations

from collections.abc import Callable

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route as Path

from gateway.auth import Caller, Keyring, token_of
from gateway.errors import GatewayError, NotReady, UnknownRoute
from gateway.openai import error_body, error_headers
from gateway.route import Serving


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
        """One model or all of them; errors in the OpenAI dialect."""
        try:
            caller = self._keys().caller(token_of(request.scope["headers"]))
            serving = self._serving()
            if serving is None:
                raise NotReady("starting: no flags are known yet", retry_after_seconds=1)
            document = self._document(serving, caller, request.path_params.get("name"))
        except GatewayError as error:
            return refusal(error)
        return JSONResponse(document)

    def _document(self, serving: Serving, caller: Caller, name: str | None) -> dict[str, object]:
        names = sorted(route for route in serving.routes if caller.may_use(route))
        if name is None:
            return {"object": "list", "data": [model(route) for route in names]}
        if name not in names:
            raise UnknownRoute(
                f"model {name[:128]!r} is no route here; known: {', '.join(names[:20]) or 'none'}",
                param="model",
            )
        return model(name)


def refusal(error: GatewayError) -> Response:
    """Our own error as an answer."""
    response = Response(error_body(error), error.status)
    response.raw_headers = [*response.raw_headers, *error_headers(error)]
    return response


def model(route: str) -> dict[str, object]:
    """A route in the form of OpenAI's model object. `created` is fixed: a route has no birthday."""
    return {"id": route, "object": "model", "created": 0, "owned_by": "pointsman"}
