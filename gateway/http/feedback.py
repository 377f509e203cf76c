"""POST /v1/feedback: a score for an answer, 202 where it was taken. Knows keys and bytes; gateway.feedback has the rules."""

from __future__ import annotations

from collections.abc import Callable

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route as Path

from gateway.auth import Keyring, refuse_foreign_page, token_of
from gateway.errors import GatewayError
from gateway.feedback import Feedback
from gateway.http.asgi import header_map, read_body
from gateway.http.models import refusal

# A token of five layers has some 500 bytes; the rest is room for a comment.
MAX_BODY_BYTES = 64 * 1024


class FeedbackDoor:
    """Takes scores from whom chat completions are taken from."""

    def __init__(self, feedback: Feedback, keys: Callable[[], Keyring]) -> None:
        self._feedback, self._keys = feedback, keys

    def routes(self) -> list[Path]:
        """With and without `/v1`."""
        return [Path(f"{prefix}/feedback", self.answer, methods=["POST"]) for prefix in ("/v1", "")]

    async def answer(self, request: Request) -> Response:
        """202, also for a score that will turn out to be sent before; errors in the OpenAI dialect."""
        try:
            keys = self._keys()
            if not keys.apps:
                refuse_foreign_page(header_map(request.scope))
            caller = keys.caller(token_of(request.scope["headers"]))
            body = await read_body(request.scope, request.receive, MAX_BODY_BYTES)
            await self._feedback.take(body, caller)
        except GatewayError as error:
            return refusal(error)
        return JSONResponse({"status": "accepted"}, 202)
