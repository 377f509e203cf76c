"""The seam to the world's models: what the pipeline asks of any upstream. Knows no route and no flag."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, Protocol

import msgspec

Headers = Sequence[tuple[bytes, bytes]]

JSON = b"application/json"


class UpstreamRequest(msgspec.Struct, frozen=True, gc=False):
    """One call. `path` is a wire's (`/chat/completions`, `/messages`, `/files/ID`); `body` is ready to send.

    `headers` come on top of the upstream's own (authorization, host), lower-case names. A GET or a DELETE
    sends neither `body` nor `content_type`.
    `connect_seconds` bounds the making of a new connection (None: as the upstream's document says); all
    later deadlines are the caller's, through `Answer.expires_at`.
    """

    path: str
    body: bytes
    headers: Headers = ()
    connect_seconds: float | None = None
    # Loop time at which waiting for the response head ends, with UpstreamTimedOut (phase first_content).
    expires_at: float = math.inf
    method: Literal["POST", "GET", "DELETE"] = "POST"
    content_type: bytes = JSON


class Answer(Protocol):
    """An upstream's answer, its head already here, its body still coming. To close early is to hang up.

    `expires_at` (event loop's time) may be moved by the caller at any moment; when it passes while
    somebody waits in `chunk`, that call raises UpstreamTimedOut with `phase`.
    """

    status: int
    headers: Headers
    expires_at: float
    phase: str

    async def chunk(self) -> bytes:
        """The next bytes of the body; b"" at its proper end. Raises UpstreamCut, Garbled, TimedOut."""
        ...

    def close(self) -> None:
        """Let go: after the proper end the connection is kept, before it is hung up. Idempotent.

        Whoever still waits in `chunk` gets UpstreamCut.
        """
        ...


class Upstream(Protocol):
    """One configured provider endpoint. It answers in the wire format of the path that it is asked for."""

    def speaks(self, path: str) -> bool:
        """Whether requests with this path can be sent here; an answer that never changes."""
        ...

    async def send(self, request: UpstreamRequest) -> Answer:
        """Send, and return when the response's head is here. Raises UpstreamError."""
        ...

    def retire(self) -> None:
        """No new requests will come (a newer snapshot replaced it); answers under way go on. Idempotent."""
        ...

    async def aclose(self) -> None:
        """Close all connections, answers under way included; idempotent."""
        ...
