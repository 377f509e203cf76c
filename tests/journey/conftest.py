"""A store of its own for each journey that has one beside the gateway."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.redis_server import RedisServer, binaries


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    found = binaries()
    with RedisServer(tmp_path / "redis", found.get("valkey") or found["redis"]) as running:
        yield running
