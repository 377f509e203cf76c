"""A whole worker whose route a provider decides, and apps that ask it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
from openfeature import api

from flags.ledger import Entry
from flags.model import Flag
from gateway.deciding.likening import Likening
from gateway.house import House
from tests.gateway.open_house import open_house
from tests.redis_server import RedisServer

CONFIG = """
upstreams:
  good: {{kind: simulated}}
  bad: {{kind: simulated, reply: {{status: 500, error_rate: 1.0}}}}
flags:
  support-bot.prompt:
    layer: prompt
    serve: v6
    variants:
      v6: {{messages: [{{role: system, content: You are v6.}}]}}
      v7: {{messages: [{{role: system, content: You are v7.}}]}}
  support-bot.model:
    layer: model
    variants: {{gpt: {{upstream: good, model: gpt-4.1}}, poor: {{upstream: bad, model: gpt-4.1}}}}
    serve: gpt
routes:
  support-bot: {{decisions: {{openfeature: "{reference}"}}}}
policies:
  error-brake: {{metric: error_rate, limit: 0.05, action: rollback}}
"""
MODEL = "support-bot.model"


@asynccontextmanager
async def decided_by(
    redis: RedisServer, folder: Path, reference: str, config: str = CONFIG
) -> AsyncIterator[tuple[House, str]]:
    async with open_house(redis.url, folder, config.format(reference=reference)) as (house, url):
        await house.elsewhere.trust([reference])
        try:
            yield house, url
        finally:
            api.clear_providers()


async def ask(url: str, users: int, begin: int = 0) -> list[str]:
    """Which versions answered."""
    async with httpx.AsyncClient(base_url=url) as client:
        found = []
        for number in range(begin, begin + users):
            body = {
                "model": "support-bot",
                "user": f"user-{number}",
                "messages": [{"role": "user", "content": "Where is my order?"}],
            }
            answer = await client.post("/v1/chat/completions", json=body)
            found.append(answer.headers["x-pointsman-versions"])
        return found


def flag(house: House, key: str) -> Flag:
    return house.snapshot().flags[key].flag


async def until(true: Callable[[], bool], again: Callable[[], Awaitable[Any]]) -> None:
    async with asyncio.timeout(60):
        while not true():
            await again()


async def looked(likening: Likening) -> None:
    await likening.hand_on()
    await asyncio.sleep(0.2)


async def entries(house: House, action: str) -> list[Entry]:
    return [each for each in await house.store.read_log(0, 1_000) if each.action == action]


class Asking:
    """Called again and again: each time as many users ask that did not ask before, and what they got is handed on."""

    def __init__(self, house: House, url: str, users: int, *, begin: int = 0) -> None:
        self._house, self._url, self._users = house, url, users
        self.asked = begin

    async def __call__(self) -> None:
        await ask(self._url, self._users, self.asked)
        self.asked += self._users
        await looked(self._house.likening)
