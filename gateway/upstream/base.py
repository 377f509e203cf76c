"""The seam to the world's models: what the pipeline asks of any upstream. Knows no route and no flag."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import msgspec

Headers = Sequence[tuple[bytes, bytes]]


class UpstreamRequest(msgspec.Struct, frozen=True, gc=False):
    """One call. `path` follows the upstream's base URL (`/chat/completions`); `body` is JSON, ready to send.

    `headers` come on top of the upstream's own (authorization, content-type, host), lower-case names.
    `connect_seconds` bounds the making of a new connection; all later deadlines are the caller's,
    through `Answer.expires_at`.
    """

    path: str
    body: bytes
    headers: Headers = ()
    connect_seconds: float = 10.0
    # Loop time at which waiting for the response head ends, with UpstreamTimedOut(phase).
    expires_at: float = 0.0


class Answer(Protocol):
    """An upstream's answer, its head already here, its body still coming. Closing early hangs up on the provider.

    `expires_at` (event loop's time) may be moved by the caller at any moment; when it passes while
    somebody waits in `read` or `chunk`, that call raises UpstreamTimedOut with `phase`.
    """

    status: int
    headers: Headers
    expires_at: float
    phase: str

    async def read(self, limit: int) -> bytes:
        """The whole rest of the body. Raises UpstreamGarbled above `limit` bytes, UpstreamCut, UpstreamTimedOut."""
        ...

    async def chunk(self) -> bytes:
        """The next bytes of the body, as they came; b"" at its proper end. Raises UpstreamCut, UpstreamTimedOut."""
        ...

    def close(self) -> None:
        """Let go, idempotent: after the proper end the connection is kept, before it the upstream is hung up on."""
        ...


class Upstream(Protocol):
    """One configured provider endpoint."""

    async def send(self, request: UpstreamRequest) -> Answer:
        """Send, and return when the response's head is here. Raises UpstreamError."""
        ...

    async def aclose(self) -> None:
        """Close all connections; idempotent."""
        ...
