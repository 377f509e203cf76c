"""The app over a real store: which path leads to which door, and what each says."""

from __future__ import annotations

import asyncio
import gc
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
import uvicorn

from flags.change import Draft, View
from flags.ledger import Author
from gateway.app import build_app
from gateway.auth import keyring
from gateway.config.declaration import Known
from gateway.config.loading import load_file
from gateway.declaring.plan import Options, plan
from gateway.house import House
from gateway.settings import Settings
from gateway.supervisor import bind
from gateway.worker import uvicorn_config
from tests.fleet import CONFIG
from tests.redis_server import RedisServer, binaries

CHAT = {"model": "support-bot", "messages": [{"role": "user", "content": "Where is my order?"}]}


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    with RedisServer(tmp_path / "redis", binaries()["valkey"]) as redis:
        opened = await House.open(Settings(data_dir=str(tmp_path), redis=redis.url), environ={})
        await declare(opened, tmp_path)
        yield opened
        await opened.aclose()


async def declare(house: House, folder: Path) -> None:
    (folder / "pointsman.yaml").write_text(CONFIG)
    declaration = load_file(folder / "pointsman.yaml", Known())

    def decide(view: View) -> tuple[Draft, ...]:
        return plan(declaration, view, Options("tester")).drafts

    committed = await house.store.change(Author("tester", "set up"), None, decide)
    await house.store.acknowledged(committed.position, 5, [house.worker.id])


@pytest.fixture
async def client(house: House) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(app=build_app(house), raise_app_exceptions=True)
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as connected:
        yield connected


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/chat/completions"])
async def test_apps_are_answered_with_and_without_v1(client: httpx.AsyncClient, path: str) -> None:
    answer = await client.post(path, json=CHAT)

    assert answer.status_code == 200
    assert answer.headers["x-pointsman-versions"] == "prompt=v6;model=gpt-4.1"


async def test_models_are_the_routes(client: httpx.AsyncClient) -> None:
    listed = (await client.get("/v1/models")).json()
    one = (await client.get("/models/support-bot")).json()

    assert [model["id"] for model in listed["data"]] == ["support-bot"]
    assert one == listed["data"][0]
    assert (await client.get("/v1/models/nope")).status_code == 404


@pytest.mark.parametrize(
    "path", ["/livez", "/readyz", "/health/liveliness", "/health/liveness", "/health/readiness"]
)
async def test_health_answers_under_every_known_name(client: httpx.AsyncClient, path: str) -> None:
    assert (await client.get(path)).status_code == 200


async def test_a_draining_process_is_not_ready_but_alive(client: httpx.AsyncClient, house: House) -> None:
    house.drain()

    ready = await client.get("/readyz")

    assert (ready.status_code, ready.json()["status"]) == (503, "shutting_down")
    assert (await client.get("/livez")).status_code == 200


async def test_a_draining_process_takes_no_new_requests(client: httpx.AsyncClient, house: House) -> None:
    house.drain()

    refused = await client.post("/v1/chat/completions", json=CHAT)

    assert (refused.status_code, refused.headers["connection"]) == (503, "close")
    assert refused.headers["retry-after"]
    assert "stopping" in refused.json()["error"]["message"]


@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/nope"), ("GET", "/v1/chat/completions"), ("POST", "/v1/nope")]
)
async def test_every_answer_carries_an_id_and_the_revision(
    client: httpx.AsyncClient, method: str, path: str
) -> None:
    answer = await client.request(method, path)

    assert answer.status_code in {404, 405}
    assert answer.headers["x-request-id"].startswith("req-")
    assert answer.headers["x-pointsman-revision"] == "4"
    assert answer.json()["error"]["code"] in {"not_found", "method_not_allowed"}


async def test_a_route_is_named_where_it_is_known_though_the_request_is_refused(
    client: httpx.AsyncClient,
) -> None:
    answer = await client.post("/v1/chat/completions", json=CHAT, headers={"x-pointsman-context": "[]"})

    assert (answer.status_code, answer.headers["x-pointsman-route"]) == (400, "support-bot")
    assert answer.headers["x-pointsman-attempts"] == "0"
    assert float(answer.headers["x-pointsman-overhead-ms"]) > 0


async def test_with_app_keys_an_app_needs_one_and_sees_only_its_routes(
    client: httpx.AsyncClient, house: House
) -> None:
    document: Any = {
        "apps": [
            {"name": "shop", "key": "shop-key-1"},
            {"name": "other", "key": "other-key-1", "routes": ["another"]},
        ]
    }
    house.keys = keyring({}, document)

    assert (await client.post("/v1/chat/completions", json=CHAT)).status_code == 401
    assert (await client.get("/v1/models")).status_code == 401
    for header in (
        {"authorization": "Bearer shop-key-1"},
        {"x-api-key": "shop-key-1"},
        {"api-key": "shop-key-1"},
    ):
        assert (await client.post("/v1/chat/completions", json=CHAT, headers=header)).status_code == 200
    other = {"x-api-key": "other-key-1"}
    assert (await client.post("/v1/chat/completions", json=CHAT, headers=other)).status_code == 404
    assert (await client.get("/v1/models", headers=other)).json()["data"] == []
    pinned = {"x-api-key": "shop-key-1", "x-pointsman-pin": "support-bot.prompt=v7"}
    assert (await client.post("/v1/chat/completions", json=CHAT, headers=pinned)).status_code == 403


async def test_a_keyless_caller_may_pin_a_version(client: httpx.AsyncClient) -> None:
    answer = await client.post(
        "/v1/chat/completions", json=CHAT, headers={"x-pointsman-pin": "support-bot.prompt=v7"}
    )

    assert answer.headers["x-pointsman-versions"] == "prompt=v7;model=gpt-4.1"


async def test_a_page_of_somebody_else_cannot_spend_on_a_keyless_gateway(client: httpx.AsyncClient) -> None:
    """A browser sends `Origin`; a rebound name shows in `Host`. Pages of this machine may ask."""
    evil = await client.post("/v1/chat/completions", json=CHAT, headers={"origin": "https://evil.example"})
    rebound = await client.post(
        "/v1/chat/completions",
        json=CHAT,
        headers={"origin": "http://evil.example:4000", "host": "evil.example:4000"},
    )
    mine = await client.post("/v1/chat/completions", json=CHAT, headers={"origin": "http://localhost:3000"})

    assert (evil.status_code, rebound.status_code, mine.status_code) == (403, 403, 200)


async def test_an_upstream_that_did_not_change_keeps_its_connections(house: House) -> None:
    before = house.upstreams["mock"]
    done = await house.operations.switch(order(), "support-bot.prompt", "v7")

    assert done.acknowledged == 1
    assert house.upstreams["mock"] is before


def order() -> Any:
    from gateway.order import Order  # noqa: PLC0415

    return Order(Author("tester", "because"))


async def test_no_small_packet_waits_for_another_on_the_apps_side(house: House) -> None:
    """TCP_NODELAY on the accepted socket: Nagle and delayed ACK together cost 40 ms a chunk."""
    listener = bind("127.0.0.1", 0)
    port = listener.getsockname()[1]
    server = uvicorn.Server(uvicorn_config(build_app(house)))
    server.config.load()
    server.lifespan = server.config.lifespan_class(server.config)
    await server.startup(sockets=[listener])
    try:
        async with httpx.AsyncClient() as connected:
            await connected.get(f"http://127.0.0.1:{port}/livez")
            accepted = next(iter(server.server_state.connections)).transport.get_extra_info("socket")
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    finally:
        await server.shutdown(sockets=[listener])


async def test_requests_leave_no_circles_for_the_collector(house: House) -> None:
    """A worker hardly ever collects garbage (gateway.worker.COLLECT): what requests left would pile up till then."""
    listener = bind("127.0.0.1", 0)
    server = uvicorn.Server(uvicorn_config(build_app(house)))
    server.config.load()
    server.lifespan = server.config.lifespan_class(server.config)
    await server.startup(sockets=[listener])
    reader, writer = await asyncio.open_connection("127.0.0.1", listener.getsockname()[1])
    ask = b"POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: %d\r\n\r\n%b"
    body = msgspec.json.encode(CHAT)

    async def once() -> None:
        writer.write(ask % (len(body), body))
        head = await reader.readuntil(b"\r\n\r\n")
        await reader.readexactly(int(head.split(b"content-length: ")[1].split(b"\r\n")[0]))

    try:
        for _ in range(3):
            await once()
        gc.collect()
        gc.set_debug(gc.DEBUG_SAVEALL)
        for _ in range(10):
            await once()
        gc.collect()
        left = [each for each in gc.garbage if isinstance(each, dict) and "raw_path" in each]
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        writer.close()
        await server.shutdown(sockets=[listener])

    assert not left
