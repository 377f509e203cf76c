"""What all tests share: real servers to store flags in."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from tests import thorough
from tests.redis_server import RedisServer, binaries

SERVERS = binaries()

settings.register_profile(thorough.FULL)


@pytest.fixture(params=sorted(SERVERS))
def any_redis(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[RedisServer]:
    """A running server of each kind that this machine has (Redis 7.0, Valkey 9), for what must hold on all."""
    with RedisServer(tmp_path / "redis", SERVERS[request.param]) as server:
        yield server


@pytest.fixture
def redis_server(tmp_path: Path) -> Iterator[RedisServer]:
    """A running server of one kind, for what does not depend on which."""
    with RedisServer(tmp_path / "redis", next(iter(SERVERS.values()))) as server:
        yield server
