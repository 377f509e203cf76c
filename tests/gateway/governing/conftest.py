"""A namespace of its own for each test of the clerks, and a worker that follows it."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator

import pytest

from tests.flags.stores import Following
from tests.gateway.governing.records import a_worker


@pytest.fixture
def namespace() -> str:
    return f"clerk-{uuid.uuid4().hex[:12]}"


@pytest.fixture
async def one(redis_url: str, namespace: str) -> AsyncIterator[Following]:
    """A worker that follows a namespace of its own."""
    async with a_worker(redis_url, namespace) as found:
        yield found
