"""A worker without Redis whose route a provider decides: it brakes by itself, and by no share that is no longer true."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from openfeature.provider.in_memory_provider import InMemoryProvider

from flags.change import Draft, View
from flags.codec import document_of
from flags.ledger import Author
from flags.model import Kind, ObjectKey, Rollout
from gateway.house import House
from policies import verbs
from tests.gateway.deciding.decided import CONFIG, MODEL, ask, decided_by, entries, flag, looked, until
from tests.gateway.deciding.providers import FLAG, splitting
from tests.redis_server import RedisServer

# The percentage that the provider below gives to `poor` now.
SHARE = [50.0]


def shared() -> InMemoryProvider:
    made = splitting(0.0, "poor", "gpt")

    def toss(*asked: Any) -> Any:
        chosen = splitting(SHARE[0], "poor", "gpt")._flags[FLAG]
        assert chosen.context_evaluator is not None
        return chosen.context_evaluator(*asked)

    made._flags = {MODEL: replace(made._flags[FLAG], context_evaluator=toss)}
    return made


REFERENCE = f"{__name__}:{shared.__name__}"


async def tried_at(house: House, percent: float) -> None:
    """Have the flag stand as a likeness of a provider that gives `poor` to so many."""
    key = ObjectKey(Kind.FLAG, MODEL)

    def decide(view: View) -> Sequence[Draft]:
        before = view.flag(MODEL)
        after = verbs.stamped(before, replace(before, rollout=Rollout("poor", percent)), view.time)
        return [Draft("observed", key, document_of(after))]

    await house.store.change(Author("tester", "set up"), [key], decide)
    await until(lambda: MODEL in house.automation.docket().of_flag, lambda: asyncio.sleep(0.01))


async def test_a_bad_version_is_diverted_here_and_withdrawn_when_redis_is_back(
    redis_server: RedisServer, tmp_path: Path
) -> None:
    SHARE[:] = [50.0]
    async with decided_by(redis_server, tmp_path, REFERENCE) as (house, url):
        await tried_at(house, 75.0)
        redis_server.kill()
        await until(lambda: MODEL in house.automation.diversions, lambda: ask(url, 40))
        alone = await ask(url, 40)
        redis_server.start()
        await until(lambda: MODEL not in house.automation.diversions, lambda: looked(house.likening))
        rollbacks = await entries(house, "rollback")

    assert set(alone) == {"prompt=v6;model=gpt"}
    assert [each.actor for each in rollbacks] == ["policy/error-brake"]
    assert flag(house, MODEL).withdrawn == {"poor"}


async def test_a_share_that_the_provider_raised_meanwhile_condemns_nobody(
    redis_server: RedisServer, tmp_path: Path
) -> None:
    """Both versions fail as often: only by a share that is no longer true it looks like the fault of one."""
    SHARE[:] = [1.0]
    config = CONFIG.replace("gpt: {{upstream: good", "gpt: {{upstream: bad").replace(
        "error_rate: 1.0", "error_rate: 0.4"
    )
    async with decided_by(redis_server, tmp_path, REFERENCE, config) as (house, url):
        await tried_at(house, 5.0)
        redis_server.kill()
        await until(house.degraded, lambda: asyncio.sleep(0.02))
        SHARE[:] = [50.0]
        await ask(url, 120)
        await house.gauge.flush()
        assert house.automation.local is not None
        found = await house.automation.local.look()

    assert (found, dict(house.automation.diversions)) == (0, {})
