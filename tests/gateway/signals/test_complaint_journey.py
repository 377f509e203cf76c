"""Complaints over a whole gateway: from an answer, by feedback, to the rollback of the version that gave it."""

from __future__ import annotations

import asyncio
from pathlib import Path

import httpx

from flags.model import Kind, ObjectKey
from gateway.house import House
from tests.gateway.open_house import open_house

CONFIG = """
upstreams: {mock: {kind: simulated}}
flags:
  bot.model:
    layer: model
    serve: m1
    rollout: {variant: m2, percent: 50}
    variants: {m1: {upstream: mock, model: m1}, m2: {upstream: mock, model: m2}}
routes: {bot: {}}
policies: {unhappy: {metric: complaint, limit: 3, action: rollback}}
"""


async def complain(client: httpx.AsyncClient, user: str) -> str:
    """Ask, and complain; what answered."""
    chat = {"model": "bot", "user": user, "messages": [{"role": "user", "content": "hello"}]}
    answer = await client.post("/v1/chat/completions", json=chat)
    body = {
        "decision": answer.headers["x-pointsman-decision"],
        "metric": "complaint",
        "value": True,
        "comment": "my card number is 4111",
    }
    taken = await client.post("/v1/feedback", json=body)
    assert taken.status_code == 202, taken.text
    return answer.headers["x-pointsman-versions"]


async def rolled_back(house: House) -> None:
    while not house.snapshot().flags["bot.model"].flag.withdrawn:
        await asyncio.sleep(0.02)


async def test_three_users_who_complain_of_a_candidate_roll_it_back(redis_url: str, tmp_path: Path) -> None:
    async with (
        open_house(redis_url, tmp_path, CONFIG) as (house, url),
        httpx.AsyncClient(base_url=url) as client,
    ):
        unhappy = 0
        for number in range(60):
            unhappy += await complain(client, f"user-{number}") == "model=m2"
            if unhappy == 3:
                break
        async with asyncio.timeout(10):
            await rolled_back(house)
        flag = house.snapshot().flags["bot.model"].flag
        entries = await house.store.read_log(0, 100)
        held = house.snapshot().of_kind(Kind.ROLLBACK)

    (entry,) = [each for each in entries if (each.actor, each.action) == ("policy/unhappy", "rollback")]
    assert (flag.withdrawn, flag.served) == ({"m2"}, "m1")
    assert entry.object == str(ObjectKey(Kind.FLAG, "bot.model"))
    assert "4111" not in str([each.reason for each in entries]) + str(entry.evidence)
    assert len(held) == 1
