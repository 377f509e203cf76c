"""Fixtures of the gateway's tests: one real server for all, a namespace of its own for each office."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

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
