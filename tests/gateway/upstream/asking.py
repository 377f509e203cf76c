"""How the tests of this folder ask an upstream and take its answer."""

from __future__ import annotations

import asyncio

from gateway.upstream.base import Answer, Headers, Upstream, UpstreamRequest


async def ask(
    upstream: Upstream,
    body: bytes = b"{}",
    *,
    seconds: float = 30.0,
    connect_seconds: float | None = None,
    headers: Headers = (),
) -> Answer:
    """Send one chat request with a deadline of `seconds`."""
    until = asyncio.get_running_loop().time() + seconds
    request = UpstreamRequest(
        "/chat/completions", body, headers, connect_seconds=connect_seconds, expires_at=until
    )
    return await upstream.send(request)


async def everything(answer: Answer) -> bytes:
    """All chunks to the end."""
    parts = []
    while part := await answer.chunk():
        parts.append(part)
    return b"".join(parts)
