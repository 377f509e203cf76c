"""A simulated provider's errors, in the dialect of the path that was asked. Knows no request beyond its path."""

from __future__ import annotations

import msgspec

from gateway.upstream.base import Headers

# How OpenAI and Anthropic name the errors of these statuses; 529 is Anthropic's own.
_OPENAI = (
    (400, "invalid_request_error"),
    (401, "authentication_error"),
    (403, "permission_error"),
    (404, "invalid_request_error"),
    (429, "rate_limit_error"),
)
_ANTHROPIC = (
    (400, "invalid_request_error"),
    (401, "authentication_error"),
    (403, "permission_error"),
    (404, "not_found_error"),
    (413, "request_too_large"),
    (429, "rate_limit_error"),
    (504, "timeout_error"),
    (529, "overloaded_error"),
)


def is_anthropics(path: str) -> bool:
    """Whether this path's dialect is Anthropic's."""
    return path == "/messages" or path.startswith("/messages/")


def error_for(path: str, message: str, status: int = 500) -> bytes:
    """An error's body as the provider with this path sends it."""
    if is_anthropics(path):
        return anthropic_error(message, dict(_ANTHROPIC).get(status, "api_error"))
    return openai_error(message, dict(_OPENAI).get(status, "server_error"))


def openai_error(message: str, kind: str = "server_error") -> bytes:
    """An error as OpenAI sends it."""
    return msgspec.json.encode({"error": {"message": message, "type": kind, "param": None, "code": None}})


def anthropic_error(message: str, kind: str = "api_error") -> bytes:
    """An error as Anthropic sends it."""
    return msgspec.json.encode({"type": "error", "error": {"type": kind, "message": message}})


def request_id(path: str, digest: str) -> Headers:
    """The header by which the provider with this path names the request."""
    name = b"request-id" if is_anthropics(path) else b"x-request-id"
    return ((name, b"req_" + digest[:32].encode()),)
