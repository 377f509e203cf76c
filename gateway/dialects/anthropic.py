"""Our own words in Anthropic's dialect: error bodies and error events. Knows errors, no request."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import msgspec

from gateway.errors import GatewayError

# What Anthropic calls the errors of these statuses; its SDK goes by the status, its users by the name.
TYPES: Mapping[int, str] = MappingProxyType(
    {
        400: "invalid_request_error",
        401: "authentication_error",
        403: "permission_error",
        404: "not_found_error",
        413: "request_too_large",
        422: "invalid_request_error",
        429: "rate_limit_error",
        503: "overloaded_error",
        504: "timeout_error",
        529: "overloaded_error",
    }
)

_encode = msgspec.json.Encoder().encode


def error_body(error: GatewayError) -> bytes:
    """`{"type": "error", "error": {type, message}}`, the form that Anthropic's SDKs read."""
    kind = TYPES.get(error.status, "api_error")
    return _encode({"type": "error", "error": {"type": kind, "message": error.message}})


def error_event(error: GatewayError) -> bytes:
    """The end of a stream that failed after its first content: an event of its own, and no made-up stop."""
    return b"event: error\ndata: " + error_body(error) + b"\n\n"
