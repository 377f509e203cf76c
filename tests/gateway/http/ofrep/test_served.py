"""OFREP by a whole worker over a real store and a real socket."""

from __future__ import annotations

import asyncio
import ctypes
import json
import socket
import struct
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from flags.fleet import WorkerInfo
from flags.ledger import Author
from gateway.house import House
from gateway.http.ofrep import hub as hubs
from gateway.http.ofrep.hub import TURN_SECONDS, Hub
from gateway.order import Order
from gateway.start import take_config
from tests.gateway.open_house import open_house
from tests.redis_server import RedisServer, binaries

FLAGS = "/ofrep/v1/evaluate/flags"
USER: Any = {"context": {"targetingKey": "user-7", "plan": "gold"}}
CONFIG = """
flags:
  greeting:
    variants: {"on": true, "off": false}
    serve: "off"
    targeting: {if: [{"==": [{var: plan}, gold]}, "on"]}
  price: {variants: {low: 1, high: 2.5}, serve: low}
  words: {variants: {a: hello, b: goodbye}, serve: a}
  shape: {variants: {a: {size: 1}, b: {size: 2}}, serve: a}
"""

Opened = tuple[House, httpx.AsyncClient]


@pytest.fixture
async def opened(redis_url: str, tmp_path: Path) -> AsyncIterator[Opened]:
    async with (
        open_house(redis_url, tmp_path, CONFIG) as (house, url),
        httpx.AsyncClient(base_url=url) as client,
    ):
        yield house, client


def order() -> Order:
    return Order(Author("tester", "because"))


def hub_of(house: House) -> Hub:
    found = house.on_served.__self__  # type: ignore[attr-defined]  # it is a method of the hub
    assert isinstance(found, Hub)
    return found


async def address(client: httpx.AsyncClient) -> str:
    told = (await client.post(FLAGS, json=USER)).json()["eventStreams"]
    return str(told[0]["endpoint"]["requestUri"])


async def event(lines: AsyncIterator[str]) -> dict[str, str]:
    """The next event, by field."""
    fields: dict[str, str] = {}
    async for line in lines:
        if line.startswith(":"):
            continue
        if not line:
            if "data" in fields:
                return fields
            fields = {}
            continue
        name, _, value = line.partition(": ")
        fields[name] = value
    return {}


async def until(true: Any) -> None:
    async with asyncio.timeout(5):
        while not true():
            await asyncio.sleep(0.005)


async def test_flags_of_all_types_are_answered(opened: Opened) -> None:
    values = {
        key: (await opened[1].post(f"{FLAGS}/{key}", json=USER)).json()["value"]
        for key in ("greeting", "price", "words", "shape")
    }

    assert values == {"greeting": True, "price": 1.0, "words": "hello", "shape": {"size": 1}}


async def test_a_rollback_reaches_who_listens_and_the_answer_is_new(opened: Opened) -> None:
    house, client = opened
    await house.operations.switch(order(), "words", "b")
    first = await client.post(FLAGS, json=USER)

    async with client.stream("GET", await address(client)) as stream:
        lines = stream.aiter_lines()
        await event(lines)
        await house.operations.rollback(order(), "words")
        told = await event(lines)

    data = json.loads(told["data"])
    again = await client.post(
        FLAGS,
        params={"flagConfigEtag": data["etag"]},
        json=USER,
        headers={"if-none-match": first.headers["etag"]},
    )
    assert data["type"] == "refetchEvaluation"
    assert again.status_code == 200
    assert again.headers["etag"].startswith(data["etag"].rstrip('"'))
    assert {each["key"]: each["variant"] for each in again.json()["flags"]}["words"] == "a"


async def test_who_comes_back_level_hears_nothing_until_something_changes(opened: Opened) -> None:
    house, client = opened
    uri = await address(client)
    async with client.stream("GET", uri) as stream:
        last = (await event(stream.aiter_lines()))["id"]

    async with client.stream("GET", uri, headers={"last-event-id": last}) as stream:
        lines = stream.aiter_lines()
        waiting = asyncio.ensure_future(event(lines))
        await until(lambda: len(hub_of(house)) == 1)
        await house.operations.switch(order(), "words", "b")
        told = await waiting

    assert told["id"] != last


async def test_who_leaves_is_noticed(opened: Opened) -> None:
    house, client = opened

    async with client.stream("GET", await address(client)) as stream:
        await event(stream.aiter_lines())
        assert len(hub_of(house)) == 1

    await until(lambda: len(hub_of(house)) == 0)


async def test_a_worker_that_stops_ends_its_streams_at_once(opened: Opened) -> None:
    house, client = opened

    async with client.stream("GET", await address(client)) as stream:
        lines = stream.aiter_lines()
        await event(lines)
        house.drain()

        assert await event(lines) == {}
    again = await client.post(FLAGS, json=USER)
    assert (again.status_code, again.headers["connection"]) == (200, "close")


async def test_who_listens_is_told_once_no_worker_answers_with_what_was_before(
    opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    house, client = opened
    monkeypatch.setattr(hubs, "FOLLOWED_SECONDS", 60.0)
    slow = WorkerInfo("slow")
    await house.store.beat(slow, house.snapshot().position)

    async with client.stream("GET", await address(client)) as stream:
        lines = stream.aiter_lines()
        await event(lines)
        waiting = asyncio.ensure_future(event(lines))
        switching = asyncio.ensure_future(house.operations.switch(order(), "words", "b"))
        await until(lambda: house.snapshot().flags["words"].flag.serve == "b")
        early = await asyncio.wait([waiting], timeout=0.05)
        await house.store.beat(slow, house.snapshot().position)
        told = await waiting
        await switching

    assert early == (set(), {waiting})
    assert json.loads(told["data"])["type"] == "refetchEvaluation"


async def test_who_does_not_read_is_cut_off_though_the_kernel_would_hold_more(
    opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    house, client = opened
    hub, ask = hub_of(house), f"GET {await address(client)} HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n".encode()
    port = client.base_url.port
    with socket.socket() as deaf:
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
        deaf.connect(("127.0.0.1", port))
        deaf.sendall(ask)
        await until(lambda: len(hub) == 1)
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(ask)
        await until(lambda: len(hub) == 2)

        for number in range(100):
            monkeypatch.setattr(house, "diverted", lambda number=number: {"words": str(number)})
            hub.poke()
            await asyncio.sleep(0.001)
        for _ in range(2 * TURN_SECONDS):
            hub.tick()

        await until(lambda: len(hub) == 1)
        await reader.read(65_536)
        assert not reader.at_eof()
        # Its connection has an end, behind the little that lay in the kernel.
        deaf.settimeout(5)
        lay = sum(iter(lambda: len(deaf.recv(65_536)), 0))
        assert lay < 1_000_000
        writer.close()


async def test_who_has_vanished_is_cut_off_and_its_stream_forgotten(opened: Opened) -> None:
    """Its host takes nothing any more and says nothing, as one that lost its power: no end comes, no reset."""
    house, client = opened
    hub, ask = hub_of(house), f"GET {await address(client)} HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n".encode()
    with socket.create_connection(("127.0.0.1", client.base_url.port or 0)) as gone:
        gone.sendall(ask)
        await until(lambda: len(hub) == 1)
        reader, writer = await asyncio.open_connection("127.0.0.1", client.base_url.port)
        writer.write(ask)
        await until(lambda: len(hub) == 2)
        _deafen(gone)

        for _ in range(3):
            for _ in range(TURN_SECONDS):
                hub.tick()
            # Signs of life go out, and the living take them.
            await asyncio.sleep(0.02)

        await until(lambda: len(hub) == 1)
        await reader.read(65_536)
        assert not reader.at_eof()
        writer.close()


def _deafen(client: socket.socket) -> None:
    """Have the kernel drop all that comes for `client`, acknowledgements included: a filter of one instruction, "none"."""
    instruction = ctypes.create_string_buffer(struct.pack("HBBI", 0x06, 0, 0, 0))
    attach_filter = 26
    program = struct.pack("HP", 1, ctypes.addressof(instruction))
    client.setsockopt(socket.SOL_SOCKET, attach_filter, program)


async def test_a_change_that_touches_no_flag_is_told_to_nobody(opened: Opened) -> None:
    house, client = opened

    async with client.stream("GET", await address(client)) as stream:
        lines = stream.aiter_lines()
        first = await event(lines)
        created = await client.post("/admin/v1/keys", json={"name": "page", "flags_only": True})
        await house.operations.switch(order(), "words", "b")
        second = await event(lines)

    assert created.status_code == 200
    assert int(second["id"].split("-")[0]) - int(first["id"].split("-")[0]) == 2


async def test_a_key_for_flags_alone_reads_flags_and_uses_no_route(opened: Opened) -> None:
    _, client = opened
    made = (await client.post("/admin/v1/keys", json={"name": "page", "flags_only": True})).json()
    page = {"authorization": f"Bearer {made['key']}"}

    flags = await client.post(FLAGS, json=USER, headers=page)
    models = await client.get("/v1/models", headers=page)

    assert [each["key"] for each in flags.json()["flags"]] == ["greeting", "price", "shape", "words"]
    assert models.json()["data"] == []
    assert (await client.post(FLAGS, json=USER)).status_code == 401


async def test_what_the_config_says_of_ofrep_is_read_again_when_told(opened: Opened, tmp_path: Path) -> None:
    house, client = opened
    config = tmp_path / "page.yaml"
    config.write_text('ofrep: {cors: ["https://app.example"]}\n' + CONFIG.strip())
    house.settings = type(house.settings)(data_dir=str(tmp_path), config=str(config))

    await take_config(house, number=1)
    answer = await client.options(FLAGS, headers={"origin": "https://app.example"})

    assert answer.headers["access-control-allow-origin"] == "https://app.example"


async def test_a_worker_away_from_its_store_still_answers(tmp_path: Path) -> None:
    with RedisServer(tmp_path / "redis", binaries()["valkey"]) as redis:
        async with (
            open_house(redis.url, tmp_path, CONFIG) as (house, url),
            httpx.AsyncClient(base_url=url) as client,
        ):
            redis.stop()
            await until(house.degraded)

            answer = await client.post(FLAGS, params={"flagConfigEtag": '"99-x"'}, json=USER)

            assert answer.status_code == 200
