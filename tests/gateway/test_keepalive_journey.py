"""Signs of life from a whole worker over a real socket: both official SDKs, and a client that stops reading."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import anthropic
import openai
import pytest
import uvicorn

from flags.change import Draft, View
from flags.ledger import Author
from gateway.app import build_app
from gateway.config.declaration import Known
from gateway.config.loading import load_file
from gateway.declaring.plan import Options, plan
from gateway.house import House
from gateway.keepalive import COMMENT
from gateway.settings import Settings
from gateway.supervisor import bind
from gateway.worker import uvicorn_config
from tests.redis_server import RedisServer, binaries

# Patience looks every 50 ms: each silence of 0.3 s has room for some comments.
CONFIG = """
upstreams: {mock: {kind: simulated}}
flags:
  bot.model:
    layer: model
    serve: m
    variants:
      m:
        upstream: mock
        model: gpt-4.1
        params: {simulate: {text: Hello there., delay_seconds: 0.3, chunks: 2, chunk_delay_seconds: 0.3}}
routes:
  bot: {keep_alive_seconds: 0.05}
"""
SAID = "Hello there."


@pytest.fixture
async def port(tmp_path: Path) -> AsyncIterator[int]:
    with RedisServer(tmp_path / "redis", binaries()["valkey"]) as redis:
        house = await House.open(Settings(data_dir=str(tmp_path), redis=redis.url), environ={})
        (tmp_path / "pointsman.yaml").write_text(CONFIG)
        declaration = load_file(tmp_path / "pointsman.yaml", Known())

        def decide(view: View) -> tuple[Draft, ...]:
            return plan(declaration, view, Options("tester")).drafts

        committed = await house.store.change(Author("tester", "set up"), None, decide)
        await house.store.acknowledged(committed.position, 5, [house.worker.id])
        listener = bind("127.0.0.1", 0)
        server = uvicorn.Server(uvicorn_config(build_app(house)))
        server.config.load()
        server.lifespan = server.config.lifespan_class(server.config)
        await server.startup(sockets=[listener])
        yield listener.getsockname()[1]
        await server.shutdown(sockets=[listener])
        await house.aclose()


async def test_both_sdks_read_what_was_said_between_the_comments(port: int) -> None:
    asked = [{"role": "user", "content": "Hello?"}]
    async with openai.AsyncOpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key="k") as sdk:
        stream = await sdk.chat.completions.create(model="bot", messages=asked, stream=True)  # type: ignore[call-overload]  # plain JSON
        chunks = [chunk async for chunk in stream]
    async with (
        anthropic.AsyncAnthropic(base_url=f"http://127.0.0.1:{port}", api_key="k") as other,
        other.messages.stream(model="bot", max_tokens=50, messages=asked) as messages,  # type: ignore[arg-type]  # plain JSON
    ):
        text = await messages.get_final_text()

    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == SAID
    assert text == SAID


async def test_on_the_wire_comments_stand_between_whole_events(port: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    body = json.dumps({"model": "bot", "stream": True, "messages": [{"role": "user", "content": "?"}]})
    writer.write(
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\nconnection: close\r\n"
        b"content-type: application/json\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body.encode())
    )
    answer = await reader.read()
    writer.close()
    head, _, rest = answer.partition(b"\r\n\r\n")
    parts = [part for part in rest.split(b"\r\n")[1::2] if part]

    assert head.startswith(b"HTTP/1.1 200")
    assert head.count(b"content-type") == 1
    assert parts[0] == COMMENT
    assert parts.count(COMMENT) >= 3
    assert all(part.startswith((b"data: ", b":")) and part.endswith(b"\n\n") for part in parts)
    assert parts[-1].endswith(b"data: [DONE]\n\n")
