"""What no door took: unknown paths and wrong methods, answered in the OpenAI dialect that most callers here speak."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ExceptionHandler

from gateway.dialects.openai import error_body
from gateway.errors import BadRequest


class NoSuchPath(BadRequest):
    """Raised when the path leads nowhere."""

    code = "not_found"


class WrongMethod(BadRequest):
    """Raised when the path leads somewhere, but not with this method."""

    code = "method_not_allowed"


async def no_door(request: Request, error: Exception) -> Response:
    """404 and 405 with the sentence that helps."""
    assert isinstance(error, HTTPException)
    path = request.url.path
    found: BadRequest = NoSuchPath(
        f"{path} does not exist here; apps use OpenAI's and Anthropic's paths below /v1 (GET /v1/models), operators /admin/v1"
    )
    if error.status_code == 405:
        found = WrongMethod(f"{path} does not take {request.method}")
    body = error_body(found)
    return Response(body, error.status_code, dict(error.headers or {}), media_type="application/json")


EXCEPTION_HANDLERS: Mapping[object, ExceptionHandler] = MappingProxyType({HTTPException: no_door})
