"""A ledger that was altered is told of, once; a whole one is read again after a rest that its length decides."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count

from flags.change import Draft
from flags.model import Kind, ObjectKey
from flags.store import Store
from gateway.notices.chain_watch import REST_SECONDS, REST_TIMES, ChainWatch
from policies.notices.event import Event, EventKind
from tests.flags.stores import ANN, always, opened
from tests.redis_server import RedisServer

BOT = ObjectKey(Kind.ROUTE, "bot")


class Told:
    def __init__(self) -> None:
        self.events: list[Event] = []

    async def tell(self, event: Event) -> None:
        self.events.append(event)


async def written(store: Store, times: int) -> None:
    for number in range(times):
        await store.change(ANN, [BOT], always(Draft("apply", BOT, {"spec": {"description": str(number)}})))


def lasting(seconds: float) -> Iterator[float]:
    """A clock that goes on by so much whenever it is asked."""
    return (number * seconds for number in count())


async def rest_of(store: Store) -> float:
    """For how long nobody reads the ledger again, in seconds."""
    key = store.keys.lease("chain")
    return (await store.calls.run(lambda redis: redis.pttl(key))) / 1000


async def test_an_entry_that_was_removed_is_told_once_a_day(redis_server: RedisServer) -> None:
    async with opened(redis_server.url) as store:
        told = Told()
        await written(store, 3)
        watch = ChainWatch(store, told)
        await store.calls.run(lambda redis: redis.xdel(store.keys.ledger, "2-0"))

        looks = [await watch.look(), await watch.look()]
        rest = await rest_of(store)

    assert looks == [True, False]
    assert [(event.kind, event.object) for event in told.events] == [(EventKind.CHAIN_BROKEN, "ledger")]
    assert REST_SECONDS - 60 < rest <= REST_SECONDS


async def rest_after(url: str, seconds: float) -> float:
    """For how long nobody reads a whole ledger again, where reading it took so many seconds."""
    async with opened(url) as store:
        await written(store, 3)
        clock = lasting(seconds)
        found = await ChainWatch(store, Told(), lambda: next(clock)).look()
        rest = await rest_of(store)
        key = store.keys.lease("chain")
        await store.calls.run(lambda redis: redis.delete(key))

    assert not found
    return rest


async def test_a_small_ledger_is_read_again_soon_and_a_long_one_later(redis_server: RedisServer) -> None:
    short, long, longest = [await rest_after(redis_server.url, seconds) for seconds in (0.02, 5.0, 1_000.0)]

    assert 0 < short <= 0.02 * REST_TIMES
    assert 5.0 * REST_TIMES - 60 < long <= 5.0 * REST_TIMES
    assert REST_SECONDS - 60 < longest <= REST_SECONDS
