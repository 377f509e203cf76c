"""Keys that are made while a whole gateway runs: who may come in then, on every door."""

from __future__ import annotations

from pathlib import Path

import httpx
import msgspec
import pytest

from gateway.auth import NO_KEYS, guard_bind, keyring
from gateway.errors import Forbidden
from gateway.start import take_config
from tests.gateway.open_house import open_house

CONFIG = """
upstreams: {mock: {kind: simulated}}
flags:
  bot.model: {layer: model, variants: {m: {upstream: mock, model: m}}}
routes: {bot: {}, other: {model: bot.model}}
"""
CHAT = {"model": "bot", "messages": [{"role": "user", "content": "hello"}]}


async def test_once_an_app_key_exists_calls_without_one_are_refused(redis_url: str, tmp_path: Path) -> None:
    async with open_house(redis_url, tmp_path, CONFIG) as (_, url), httpx.AsyncClient(base_url=url) as client:
        open_door = await client.post("/v1/chat/completions", json=CHAT)
        key = (await client.post("/admin/v1/keys", json={"name": "ci", "routes": ["bot"]})).json()["key"]
        mine = {"authorization": f"Bearer {key}"}
        shut = await client.post("/v1/chat/completions", json=CHAT)
        opened = await client.post("/v1/chat/completions", json=CHAT, headers=mine)
        elsewhere = await client.post("/v1/chat/completions", json={**CHAT, "model": "other"}, headers=mine)
        pinned = await client.post(
            "/v1/chat/completions", json=CHAT, headers={**mine, "x-pointsman-pin": "bot.model=m"}
        )
        await client.post("/admin/v1/keys/ci/revoke", json={})
        again = await client.post("/v1/chat/completions", json=CHAT)

    found = [each.status_code for each in (open_door, shut, opened, elsewhere, pinned, again)]
    assert found == [200, 401, 200, 404, 403, 200]


async def test_keys_that_are_made_stand_beside_those_of_the_key_file_when_it_is_reread(
    redis_url: str, tmp_path: Path
) -> None:
    async with (
        open_house(redis_url, tmp_path, CONFIG) as (house, url),
        httpx.AsyncClient(base_url=url) as client,
    ):
        key = (await client.post("/admin/v1/keys", json={"name": "ci"})).json()["key"]

        house.keys = keyring({"POINTSMAN_APP_KEYS": "shop:a-key-of-the-environment"})

        assert house.keys.caller(key.encode()).name == "ci"
        assert house.keys.caller(b"a-key-of-the-environment").name == "shop"
        assert len(house.own_keys.apps) == 1


async def test_an_address_that_others_reach_is_not_opened_by_keys_that_may_be_revoked(
    redis_url: str, tmp_path: Path
) -> None:
    async with (
        open_house(redis_url, tmp_path, CONFIG) as (house, url),
        httpx.AsyncClient(base_url=url) as client,
    ):
        await client.post("/admin/v1/keys", json={"name": "app"})
        await client.post("/admin/v1/keys", json={"name": "root", "role": "admin"})

        guard_bind("0.0.0.0", house.keys)
        with pytest.raises(Forbidden):
            guard_bind("0.0.0.0", house.own_keys)
        house.settings = msgspec.structs.replace(house.settings, host="0.0.0.0", config=None)
        with pytest.raises(Forbidden):
            await take_config(house, 1)


async def test_a_worker_that_starts_without_the_store_knows_the_keys_of_its_copy(
    redis_url: str, tmp_path: Path
) -> None:
    async with (
        open_house(redis_url, tmp_path, CONFIG) as (house, url),
        httpx.AsyncClient(base_url=url) as client,
    ):
        key = (await client.post("/admin/v1/keys", json={"name": "ci"})).json()["key"]
        last = house.snapshot()
        house.keys = NO_KEYS

        house.swap(last, None)

        assert house.keys.caller(key.encode()).name == "ci"
