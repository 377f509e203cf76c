from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.house import House
from tests.gateway.evals.scene import CONFIG
from tests.gateway.open_house import open_house


@pytest.fixture
async def opened(redis_url: str, tmp_path: Path) -> AsyncIterator[tuple[House, str]]:
    """A house and its URL."""
    async with open_house(redis_url, tmp_path, CONFIG) as made:
        yield made


@pytest.fixture
def house(opened: tuple[House, str]) -> House:
    return opened[0]
