"""A real HTTP server around any upstream, so that the official SDKs can talk to it."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import uvicorn

from gateway.errors import UpstreamError
from gateway.upstream.base import Upstream, UpstreamRequest

Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]


class Server(uvicorn.Server):
    """One that leaves the process's signals alone."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def app_of(upstream: Upstream) -> Callable[[dict[str, Any], Receive, Send], Awaitable[None]]:
    """What comes below `/v1` goes to `upstream`, and its answer back, chunk by chunk."""

    async def app(scope: dict[str, Any], receive: Receive, send: Send) -> None:
        body, more = b"", True
        while more:
            message = await receive()
            body, more = body + message.get("body", b""), message.get("more_body", False)
        content_type = dict(scope["headers"]).get(b"content-type", b"application/json")
        path = scope["raw_path"].decode().removeprefix("/v1")
        if scope["query_string"]:
            path += "?" + scope["query_string"].decode()
        request = UpstreamRequest(path, body, method=scope["method"], content_type=content_type)
        answer = await upstream.send(request)
        start = {"type": "http.response.start", "status": answer.status, "headers": list(answer.headers)}
        await send(start)
        try:
            while data := await answer.chunk():
                await send({"type": "http.response.body", "body": data, "more_body": True})
        except UpstreamError:
            return  # a body without its end: the server closes the connection
        await send({"type": "http.response.body", "body": b""})

    return app


@asynccontextmanager
async def served(upstream: Upstream) -> AsyncIterator[str]:
    """The address of a server around `upstream`, on a free loopback port."""
    async with listening(app_of(upstream)) as address:
        yield address


@asynccontextmanager
async def listening(app: Any) -> AsyncIterator[str]:
    """The address of an ASGI app on a free loopback port."""
    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(app, lifespan="off", log_config=None, http="httptools", ws="none")
    server = Server(config)
    task = asyncio.create_task(server.serve([listener]))
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        await task
        listener.close()
