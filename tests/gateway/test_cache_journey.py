"""The response cache in a whole worker over a real Redis: hits, a rollback, and a Redis that hangs."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from flags.change import Draft, View
from flags.ledger import Author
from gateway.app import build_app
from gateway.config.declaration import Known
from gateway.config.loading import load_file
from gateway.declaring.plan import Options, plan
from gateway.house import House
from gateway.order import Order
from gateway.settings import Settings
from tests.redis_server import RedisServer, binaries

CONFIG = """
upstreams: {mock: {kind: simulated}}
flags:
  bot.prompt:
    layer: prompt
    serve: v7
    safe: v6
    variants:
      v6: {messages: [{role: system, content: You are v6.}]}
      v7: {messages: [{role: system, content: You are v7.}]}
  bot.model: {layer: model, serve: m, variants: {m: {upstream: mock, model: gpt-4.1}}}
routes:
  bot: {cache: {seconds: 60}}
"""
CHAT = {"model": "bot", "messages": [{"role": "user", "content": "Where is my order?"}]}
MESSAGES = {**CHAT, "max_tokens": 50}
EMBEDDINGS = {"model": "bot", "input": "parcel"}
COMPLETIONS = {"model": "bot", "prompt": "Say hello."}
RESPONSES = {"model": "bot", "input": "Hello?"}
CACHE = "x-pointsman-cache"


@pytest.fixture
def redis(tmp_path: Path) -> RedisServer:
    return RedisServer(tmp_path / "redis", binaries()["valkey"])


@pytest.fixture
async def house(redis: RedisServer, tmp_path: Path) -> AsyncIterator[House]:
    with redis:
        opened = await House.open(Settings(data_dir=str(tmp_path), redis=redis.url), environ={})
        (tmp_path / "pointsman.yaml").write_text(CONFIG)
        declaration = load_file(tmp_path / "pointsman.yaml", Known())

        def decide(view: View) -> tuple[Draft, ...]:
            return plan(declaration, view, Options("tester")).drafts

        committed = await opened.store.change(Author("tester", "set up"), None, decide)
        await opened.store.acknowledged(committed.position, 5, [opened.worker.id])
        yield opened
        await opened.aclose()


@pytest.fixture
async def client(house: House) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(app=build_app(house), raise_app_exceptions=True)
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as connected:
        yield connected


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/chat/completions", CHAT),
        ("/v1/messages", MESSAGES),
        ("/v1/completions", COMPLETIONS),
        ("/v1/embeddings", EMBEDDINGS),
        ("/v1/responses", {**RESPONSES, "store": False}),
    ],
)
async def test_every_wire_that_has_no_lasting_effects_is_answered_from_it(
    client: httpx.AsyncClient, house: House, path: str, body: dict[str, object], stream: bool
) -> None:
    asked = {**body, "stream": True} if stream and path != "/v1/embeddings" else body
    first = await client.post(path, json=asked)
    await house.cache.settled()
    second = await client.post(path, json=asked)

    assert (first.status_code, first.headers[CACHE]) == (200, "miss")
    assert (second.status_code, second.headers[CACHE]) == (200, "hit")
    assert second.content == first.content
    assert second.headers["content-type"] == first.headers["content-type"]


async def test_a_response_that_the_provider_stores_is_asked_of_it_each_time(
    client: httpx.AsyncClient, house: House
) -> None:
    for _ in range(2):
        answer = await client.post("/v1/responses", json=RESPONSES)
        await house.cache.settled()

        assert CACHE not in answer.headers


async def test_after_a_rollback_nothing_of_the_withdrawn_version_is_found(
    client: httpx.AsyncClient, house: House
) -> None:
    await client.post("/v1/chat/completions", json=CHAT)
    await house.cache.settled()
    await house.operations.rollback(Order(Author("tester", "because"), 5.0), "bot.prompt")
    after = await client.post("/v1/chat/completions", json=CHAT)

    assert after.headers[CACHE] == "miss"
    assert "prompt=v6" in after.headers["x-pointsman-versions"]


async def test_a_redis_that_hangs_costs_one_request_a_moment_and_none_its_answer(
    client: httpx.AsyncClient, house: House, redis: RedisServer
) -> None:
    await client.post("/v1/chat/completions", json=CHAT)
    await house.cache.settled()
    redis.pause()
    answers = [await client.post("/v1/chat/completions", json=CHAT) for _ in range(3)]
    redis.resume()

    assert [answer.status_code for answer in answers] == [200] * 3
    assert [answer.headers[CACHE] for answer in answers] == ["miss"] * 3
