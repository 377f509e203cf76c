"""Which web pages may ask, and how a browser is told. Pure: headers in, headers out (the Fetch standard's CORS).

Nothing is told where nothing is configured. No cookie is ever taken, so none need be allowed.
"""

from __future__ import annotations

from collections.abc import Sequence

ANY = "*"
# What OFREP's clients send beyond what every page may, and what they read of an answer.
ALLOWED = b"Content-Type, Authorization, X-API-Key, If-None-Match, Last-Event-ID, Cache-Control"
EXPOSED = b"ETag, Retry-After, x-request-id, x-pointsman-revision"
# Two hours: browsers keep no leave longer.
MAX_AGE_SECONDS = 7200


def allows(configured: Sequence[str], origin: bytes | None) -> bool:
    """Whether pages of `origin` may ask."""
    return origin is not None and (ANY in configured or origin.decode("latin-1") in configured)


def leave(configured: Sequence[str], origin: bytes | None) -> list[tuple[bytes, bytes]]:
    """What an answer says to a browser; of pages that may not ask, only that it depends on the page."""
    if not configured:
        return []
    varies = (b"vary", b"Origin")
    if origin is None or not allows(configured, origin):
        return [varies]
    return [
        varies,
        (b"access-control-allow-origin", origin),
        (b"access-control-expose-headers", EXPOSED),
    ]


def leave_ahead(configured: Sequence[str], origin: bytes | None) -> list[tuple[bytes, bytes]]:
    """What the answer to a browser's question before the request says beside `leave`."""
    if not allows(configured, origin):
        return []
    return [
        (b"access-control-allow-methods", b"GET, POST, OPTIONS"),
        (b"access-control-allow-headers", ALLOWED),
        (b"access-control-max-age", b"%d" % MAX_AGE_SECONDS),
    ]
