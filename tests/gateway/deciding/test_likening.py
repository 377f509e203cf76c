"""Likenesses over a real store: what is handed on, who writes, and what waits before a policy may act."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
import redis

from flags.change import Draft, View
from flags.codec import document_of
from flags.errors import StoreUnavailable
from flags.ledger import Author
from flags.model import Kind, ObjectKey, Rollout
from gateway.deciding.diverting import Diverting
from gateway.deciding.likeness import SETTLE_SECONDS
from gateway.deciding.likening import HANDED_ON_SECONDS, Likening, Parts
from gateway.deciding.sightings import Seen, Sightings
from gateway.deciding.tally import Noted as Gave
from gateway.house import House
from policies import verbs
from policies.act import Breach
from policies.lease import Lease
from policies.outcome import How
from policies.verdict import Standing, Verdict
from tests.gateway.deciding.decided import decided_by, entries, flag, until
from tests.gateway.deciding.providers import FLAG
from tests.redis_server import RedisServer

HALF = "tests.gateway.deciding.providers:half"
V6, V7 = (Gave(FLAG, "support-bot", name, How.COIN) for name in ("v6", "v7"))


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
async def house(redis_server: RedisServer, tmp_path: Path) -> AsyncIterator[House]:
    """A worker whose own likening rests."""
    async with decided_by(redis_server, tmp_path, HALF) as (made, _):
        await made.likening.aclose()
        yield made


def likening(house: House, clock: Clock | None = None) -> Likening:
    store = house.store
    return Likening(
        house.elsewhere,
        Sightings(store),
        Parts(store, house.newest, house.degraded, clock or Clock()),
        lambda: Lease(store, "likenesses"),
        Diverting(store, house.measures),
    )


async def on_trial(house: House, percent: float) -> Breach:
    """v7 is tried at `percent`, and a policy finds it bad."""
    key = ObjectKey(Kind.FLAG, FLAG)

    def decide(view: View) -> list[Draft]:
        before = view.flag(FLAG)
        after = verbs.stamped(before, replace(before, rollout=Rollout("v7", percent)), view.time)
        return [Draft("rollout", key, document_of(after))]

    await house.store.change(Author("tester", "set up"), [key], decide)
    docket = house.automation.docket
    await until(lambda: FLAG in docket().of_flag, lambda: asyncio.sleep(0.01))
    verdict = Verdict("error-brake", "case", Standing.BREACHED, 2.0, "v7 is bad")
    return Breach(docket().of_flag[FLAG], docket().known["error-brake"], verdict)


async def changed_long_ago(house: House) -> None:
    """So that the flag may change again."""
    key = ObjectKey(Kind.FLAG, FLAG)

    def decide(view: View) -> list[Draft]:
        return [
            Draft("set up", key, document_of(replace(view.flag(FLAG), changed_at="2020-01-01T00:00:00Z")))
        ]

    await house.store.change(Author("tester", "set up"), [key], decide)


async def next_second(house: House) -> None:
    """Until Redis' clock is in the trial's first whole second, before which nothing is of its stage."""
    began = await Sightings(house.store).seen()
    await until_second(house, began.now + 1)


async def until_second(house: House, second: int) -> None:
    while (await Sightings(house.store).seen()).now < second:
        await asyncio.sleep(0.02)


async def test_what_workers_hand_on_is_seen_by_all(house: House) -> None:
    one, other = Sightings(house.store), Sightings(house.store)
    await one.add({V6: 3, V7: 1})
    await other.add({V6: 2})

    seen = await one.seen()

    assert isinstance(seen, Seen)
    assert abs(seen.now - time.time()) < 60
    totals = {name: sum(e.times for e in seen.of(FLAG) if e.variant == name) for name in ("v6", "v7")}
    assert totals == {"v6": 5, "v7": 1}
    assert {each.how for each in seen.of(FLAG)} == {How.COIN}
    assert (await one.seen()).of(FLAG) == seen.of(FLAG)


async def test_notes_expire(house: House, redis_server: RedisServer) -> None:
    await Sightings(house.store).add({V6: 1})

    with redis.Redis.from_url(redis_server.url) as client:
        left = [client.ttl(key) for key in client.keys("*:given:*")]

    assert left
    assert all(0 < seconds <= 900 for seconds in left)


async def test_of_two_workers_that_find_the_same_one_writes_it(house: House) -> None:
    workers = likening(house), likening(house)
    await changed_long_ago(house)
    await Sightings(house.store).add({V6: 18, V7: 2})
    seen = await Sightings(house.store).seen()
    await until_second(house, seen.now + SETTLE_SECONDS)

    written = await asyncio.gather(*(each.round() for each in workers))

    assert sum(written) == 1
    (entry,) = await entries(house, "observed")
    assert entry.actor == f"provider/{HALF}"
    assert entry.evidence == {"given": {"v6": 18, "v7": 2}}


async def test_what_redis_does_not_take_is_kept(house: House, redis_server: RedisServer) -> None:
    house.elsewhere.tally.note(V7, "")
    redis_server.kill()

    with pytest.raises(StoreUnavailable):
        await likening(house).hand_on()

    assert house.elsewhere.tally.take() == {V7: 1}
    redis_server.start()


async def test_a_policy_waits_until_all_that_was_given_is_known_and_then_acts(house: House) -> None:
    clock = Clock()
    made, breach = likening(house, clock), await on_trial(house, 50.0)

    first = await made.holds(breach)
    clock.now += HANDED_ON_SECONDS
    second = await made.holds(breach)

    assert (first, second) == (False, True)
    # The next breach of the same case waits anew.
    assert await made.holds(breach) is False


async def test_a_policy_does_not_act_on_a_share_that_was_passed(house: House) -> None:
    clock = Clock()
    made, breach = likening(house, clock), await on_trial(house, 10.0)
    await next_second(house)
    await Sightings(house.store).add({V6: 5, V7: 5})
    before = flag(house, FLAG).variants["v7"].generation

    await made.holds(breach)
    clock.now += HANDED_ON_SECONDS
    held = await made.holds(breach)
    await until(lambda: flag(house, FLAG).variants["v7"].generation > before, lambda: asyncio.sleep(0.01))

    after = flag(house, FLAG)
    assert held is False
    assert after.rollout is not None
    assert after.rollout.percent >= 50
    assert after.withdrawn == frozenset()


async def test_alone_a_worker_acts_unless_its_own_provider_passed_the_share(house: House) -> None:
    made, breach = likening(house), await on_trial(house, 10.0)
    for gave, times in ((V6, 45), (V7, 5)):
        for _ in range(times):
            house.elsewhere.tally.note(gave, "")

    within = made.holds_alone(breach)
    for _ in range(30):
        house.elsewhere.tally.note(V7, "")

    assert within is True
    assert made.holds_alone(breach) is False
    await house.elsewhere.trust([])
    assert made.holds_alone(breach) is True


async def test_what_the_store_decides_is_not_waited_for(house: House) -> None:
    breach = await on_trial(house, 50.0)
    await house.elsewhere.trust([])

    assert await likening(house).holds(breach) is True


async def test_people_are_told_once_that_a_routes_provider_is_not_asked(house: House) -> None:
    await house.elsewhere.trust([])

    for each in (likening(house), likening(house)):
        await each.hand_on()
        await each.hand_on()

    (entry,) = await entries(house, "undecided")
    assert entry.object == "route/support-bot"
    assert "does not name" in entry.reason
