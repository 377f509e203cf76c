"""One gateway for a module's tests: a house over a real store behind a real socket, asking simulated providers over HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

import anthropic
import msgspec
import openai
import pytest
import pytest_asyncio

from gateway.app import build_app
from gateway.house import House
from gateway.patience import Patience
from gateway.settings import Settings
from gateway.spec import Reply, Rule, UpstreamSpec
from gateway.upstream.base import Answer, UpstreamRequest
from gateway.upstream.simulated import Simulated
from policies.breaker import State
from tests.gateway.open_house import declare
from tests.gateway.upstream.serving import listening, served

MAX_BODY_BYTES = 100_000

CONFIG = """
upstreams:
  openai: {{kind: openai, base_url: {address}/v1}}
  claude: {{kind: anthropic, base_url: {address}}}
flags:
  bot.prompt:
    layer: prompt
    serve: v6
    variants:
      v6:
        messages:
          - {{role: system, content: "You answer for {{{{ company }}}}."}}
          - {{role: user, content: "Example?"}}
          - {{role: assistant, content: "Sure."}}
        variables: {{company: Acme}}
  bot.model: {{layer: model, serve: good, variants: {{good: {{upstream: openai, model: good}}}}}}
  claude.model: {{layer: model, serve: good, variants: {{good: {{upstream: claude, model: good}}}}}}
  trial.model:
    layer: model
    serve: good
    rollout: {{variant: bad, percent: 100}}
    variants: {{good: {{upstream: openai, model: good}}, bad: {{upstream: openai, model: bad}}}}
  claude-trial.model:
    layer: model
    serve: good
    rollout: {{variant: bad, percent: 100}}
    variants: {{good: {{upstream: claude, model: good}}, bad: {{upstream: claude, model: bad}}}}
routes:
  bot: {{}}
  plain: {{model: bot.model}}
  claude: {{prompt: bot.prompt}}
  plain-claude: {{model: claude.model}}
  trial: {{}}
  claude-trial: {{}}
"""
# What the model "bad" is asked fails, on every wire.
BAD = (Rule(reply=Reply(status=500), model="bad"),)


class Spy:
    """A simulated provider that keeps what it was asked. What changes here: that list."""

    def __init__(self, simulated: Simulated) -> None:
        self._simulated = simulated
        self.seen: list[UpstreamRequest] = []

    async def send(self, request: UpstreamRequest) -> Answer:
        self.seen.append(request)
        return await self._simulated.send(request)


@dataclass(frozen=True)
class Wired:
    """A gateway's address, its house, and the provider behind it."""

    address: str
    house: House
    spy: Spy

    def last(self, path: str) -> dict[str, Any]:
        """The body that the provider saw last, which came by `path`."""
        request = self.spy.seen[-1]
        assert request.path.partition("?")[0] == path
        found: dict[str, Any] = msgspec.json.decode(request.body)
        return found


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def wired(redis_url: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Wired]:
    """The gateway, open for the module."""
    folder = tmp_path_factory.mktemp("wired")
    async with AsyncExitStack() as stack:
        patience = Patience(asyncio.get_running_loop())
        stack.callback(patience.aclose)
        spec = UpstreamSpec(kind="simulated", rules=list(BAD))
        spy = Spy(Simulated(spec, patience=patience, loop=asyncio.get_running_loop()))
        provider = await stack.enter_async_context(served(spy))  # type: ignore[arg-type]
        settings = Settings(
            data_dir=str(folder), redis=redis_url, namespace=folder.name, max_body_bytes=MAX_BODY_BYTES
        )
        house = await House.open(settings, environ={})
        stack.push_async_callback(house.aclose)
        await declare(house, folder, CONFIG.format(address=provider))
        yield Wired(await stack.enter_async_context(listening(build_app(house))), house, spy)


@pytest_asyncio.fixture(loop_scope="module", autouse=True)
async def without_breakers(request: pytest.FixtureRequest) -> None:
    """What one test has its provider fail must not close the way for the next."""
    if "wired" in request.fixturenames:
        breakers = request.getfixturevalue("wired").house.breakers
        for _, breaker in breakers.all():
            breaker.force(State.OFF, breakers.clock())


@pytest_asyncio.fixture(loop_scope="module")
async def openai_sdk(wired: Wired) -> AsyncIterator[openai.AsyncOpenAI]:
    """OpenAI's own SDK, which asks once."""
    async with openai.AsyncOpenAI(base_url=f"{wired.address}/v1", api_key="k", max_retries=0) as sdk:
        yield sdk


@pytest_asyncio.fixture(loop_scope="module")
async def anthropic_sdk(wired: Wired) -> AsyncIterator[anthropic.AsyncAnthropic]:
    """Anthropic's own SDK, which asks once."""
    async with anthropic.AsyncAnthropic(base_url=wired.address, api_key="k", max_retries=0) as sdk:
        yield sdk
