"""The local brake: what a worker does by itself while Redis is away, and what is left of it afterwards."""

from __future__ import annotations

import asyncio
from functools import partial

import pytest

from flags.model import Flag
from policies import verbs
from policies.act import Breach
from policies.automation import Automation
from policies.diversion import Diversion
from policies.verdict import Standing, Verdict
from tests.policies.conftest import Hire
from tests.policies.working import PROMPT, Worker, a_flag, until
from tests.redis_server import RedisServer

ROLL_OUT = partial(verbs.start, name="v7", share=10)


def a_diversion(worker: Worker) -> Diversion:
    """One of the candidate as it is now."""
    case = worker.automation.docket().of_flag[PROMPT]
    verdict = Verdict("errors", case.key, Standing.BREACHED, 1.0, "it failed")
    return Diversion(Breach(case, case.policies[0], verdict))


async def test_a_diversion_ends_with_the_life_that_was_judged(worker: Worker) -> None:
    diversion = a_diversion(worker)
    flag = await worker.flag()
    reborn = verbs.restore(verbs.withdraw(flag, "v7").flag, "v7").flag

    assert diversion.over(flag) is not None
    assert diversion.over(verbs.start(reborn, "v7", 10).flag) is None
    assert diversion.over(verbs.promote(flag).flag) is None


def as_served(automation: Automation) -> Flag:
    """The prompt flag as this process serves it."""
    flag = automation.roster.flag(PROMPT)
    assert flag is not None
    diversion = automation.diversions.get(PROMPT)
    return (diversion.over(flag) if diversion else None) or flag


@pytest.fixture
async def worker(hire: Hire) -> Worker:
    worker = await hire()
    await worker.declare(a_flag())
    await worker.do(ROLL_OUT)
    return worker


async def away(worker: Worker, redis_server: RedisServer) -> None:
    redis_server.pause()
    await until(lambda: worker.watcher.degraded, 20)


async def back(worker: Worker, redis_server: RedisServer) -> None:
    redis_server.resume()
    await until(lambda: not worker.watcher.degraded, 20)


async def test_what_fails_while_redis_is_away_is_served_no_more_and_withdrawn_when_it_is_back(
    worker: Worker, redis_server: RedisServer
) -> None:
    await away(worker, redis_server)

    worker.serve("v7", 6, ok=False)
    await until(lambda: worker.automation.diversions)
    served = as_served(worker.automation)
    await back(worker, redis_server)
    await worker.automation.tick()

    assert (served.served, served.rollout, served.withdrawn) == ("v6", None, {"v7"})
    assert not worker.automation.diversions
    assert worker.diverted == [frozenset({PROMPT})] * 2
    (entry,) = await worker.log("policy/")
    assert (entry.actor, entry.action) == ("policy/errors", "rollback")
    assert (await worker.flag()).withdrawn == {"v7"}


async def test_healthy_traffic_diverts_nothing(worker: Worker, redis_server: RedisServer) -> None:
    await away(worker, redis_server)
    worker.serve("v6", 50)
    worker.serve("v7", 50)
    await worker.gauge.flush()
    local = worker.automation.local
    assert local is not None

    found = await local.look()
    redis_server.resume()

    assert (found, dict(local.diversions)) == (0, {})


async def test_two_workers_that_diverted_the_same_write_one_change(
    worker: Worker, redis_server: RedisServer, hire: Hire
) -> None:
    other = await hire("w2")
    await other.caught_up()
    await away(worker, redis_server)
    await until(lambda: other.watcher.degraded, 20)
    for each in (worker, other):
        each.serve("v7", 6, ok=False)
        await until(lambda each=each: each.automation.diversions)

    await back(worker, redis_server)
    await until(lambda: not other.watcher.degraded, 20)
    await asyncio.gather(worker.automation.tick(), other.automation.tick())

    assert len(await worker.log("policy/")) == 1
    assert not worker.automation.diversions
    assert not other.automation.diversions
