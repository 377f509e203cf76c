"""Fleets of workers on a real server."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from tests.policies.working import Worker
from tests.redis_server import RedisServer

Hire = Callable[..., Awaitable[Worker]]


@pytest.fixture
async def hire(redis_server: RedisServer) -> AsyncIterator[Hire]:
    """Starts workers of one namespace."""
    namespace, hired = f"t{uuid.uuid4().hex[:12]}", list[Worker]()

    async def one(name: str = "w1") -> Worker:
        worker = Worker(redis_server.url, namespace, name)
        hired.append(worker)
        return await worker.start()

    yield one
    for worker in hired:
        await worker.aclose()


@pytest.fixture
async def worker(hire: Hire) -> Worker:
    """One worker, with a prompt flag of which v6 is served and safe, one route, and one error policy."""
    return await hire()
