"""Our own words in the OpenAI dialect: error bodies and error events. Knows errors, no request."""

from __future__ import annotations

import math

import msgspec

from gateway.errors import GatewayError

JSON = (b"content-type", b"application/json")
EVENT_STREAM = (b"content-type", b"text/event-stream; charset=utf-8")
DONE = b"data: [DONE]\n\n"

_encode = msgspec.json.Encoder().encode


def error_body(error: GatewayError) -> bytes:
    """`{"error": {message, type, param, code}}`, the form that the OpenAI SDKs read; `code` is always a string."""
    return _encode(
        {"error": {"message": error.message, "type": error.type, "param": error.param, "code": error.code}}
    )


def error_event(error: GatewayError) -> bytes:
    """The end of a stream that failed after its first content: the error, then `[DONE]`, and no made-up finish."""
    return b"data: " + error_body(error) + b"\n\n" + DONE


def response_error_event(error: GatewayError) -> bytes:
    """The end of a response's stream that failed after its first content: an event with the fields that responses have
    for it, and the `error` at which the SDKs raise. Its place in the order is not known here."""
    told = {"message": error.message, "type": error.type, "param": error.param, "code": error.code}
    event = {**told, "type": "error", "sequence_number": 0, "error": told}
    return b"event: error\ndata: " + _encode(event) + b"\n\n" + DONE


def error_headers(error: GatewayError) -> list[tuple[bytes, bytes]]:
    """Headers of an error answer, `Retry-After` in whole seconds where it is known that waiting helps."""
    headers = [JSON]
    if error.retry_after_seconds is not None:
        headers.append((b"retry-after", b"%d" % max(1, math.ceil(error.retry_after_seconds))))
    return headers
