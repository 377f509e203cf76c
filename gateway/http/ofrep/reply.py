"""An answer as it goes out: status, body, headers; and every error in OFREP's shape. Knows no flag and no caller."""

from __future__ import annotations

import math
from typing import NamedTuple

from starlette.types import Send

from flags.model import ErrorCode
from flags.ofrep import Failure, encode
from gateway.errors import GatewayError, NotReady, Stopping, Unauthorized

JSON = (b"content-type", b"application/json")
# Contexts are personal, and an answer's ETag is the client's own business: no cache between keeps any.
UNKEPT = (b"cache-control", b"no-store")
# By the specification's error codes, the status of a single evaluation.
STATUSES = ((ErrorCode.FLAG_NOT_FOUND, 404), (ErrorCode.PROVIDER_NOT_READY, 503))


class Reply(NamedTuple):
    """One whole answer."""

    status: int
    body: bytes = b""
    headers: tuple[tuple[bytes, bytes], ...] = (JSON, UNKEPT)

    def closing(self) -> Reply:
        """The same, after which the connection is closed."""
        return self._replace(headers=(*self.headers, (b"connection", b"close")))

    async def send(self, send: Send, marks: list[tuple[bytes, bytes]]) -> None:
        """Send it, with those of `marks` that it does not tell itself."""
        # A 204 and a 304 have no body, so no length of one.
        length = [(b"content-length", b"%d" % len(self.body))] if self.status not in (204, 304) else []
        told = {name for name, _ in self.headers}
        missing = [pair for pair in marks if pair[0] not in told]
        headers = [*self.headers, *length, *missing]
        await send({"type": "http.response.start", "status": self.status, "headers": headers})
        await send({"type": "http.response.body", "body": self.body})


def failure_reply(failure: Failure) -> Reply:
    """One flag's failure as a whole answer: 404 for a flag that is not there, else 400."""
    return Reply(dict(STATUSES).get(ErrorCode(failure.error_code), 400), encode(failure))


def refusal(error: GatewayError, key: str | None) -> Reply:
    """Our own error in OFREP's shape, with what tells a client when to come again."""
    code = ErrorCode.PROVIDER_NOT_READY if isinstance(error, NotReady) else ErrorCode.GENERAL
    headers = [JSON, UNKEPT]
    if isinstance(error, Unauthorized):
        headers.append((b"www-authenticate", b"Bearer"))
    if isinstance(error, Stopping):
        headers.append((b"connection", b"close"))
    if error.retry_after_seconds is not None:
        headers.append((b"retry-after", b"%d" % math.ceil(error.retry_after_seconds)))
    return Reply(error.status, encode(Failure(code, error.message, key)), tuple(headers))
