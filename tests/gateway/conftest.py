"""Fixtures of the gateway's tests: one real server for all, a namespace of its own for each office."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator

import pytest
import uvicorn
from starlette.applications import Starlette

from gateway.http.admin import admin_mount
from tests.gateway.office import Office, model, prompt
from tests.redis_server import RedisServer, binaries


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Redis or Valkey that lives as long as the tests."""
    found = binaries()
    binary = found.get("valkey") or found["redis"]
    with RedisServer(tmp_path_factory.mktemp("redis"), binary) as server:
        yield server.url


@pytest.fixture
async def office(redis_url: str) -> AsyncIterator[Office]:
    """An office with one route of a prompt and a model, followed by two workers."""
    made = await Office(redis_url).start(workers=2)
    await made.declare(prompt(), model(), routes=["support-bot"])
    yield made
    await made.aclose()


@pytest.fixture
async def served(office: Office) -> AsyncIterator[str]:
    """The office behind a real socket; its URL."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    app = Starlette(routes=[admin_mount(office)])
    config = uvicorn.Config(app, log_config=None, lifespan="off", timeout_graceful_shutdown=1)
    server = uvicorn.Server(config)
    task = asyncio.create_task(server.serve([listener]))
    while not server.started:
        await asyncio.sleep(0.005)
    yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    office.stopped = server.should_exit = True
    await task
    listener.close()
