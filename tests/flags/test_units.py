"""People are named by a keyed hash: the same everywhere in a namespace, and for ever."""

from __future__ import annotations

import pytest

from flags.errors import StoreUnavailable
from flags.units import UNIT_LENGTH, Units, unit_key
from tests.flags.stores import opened
from tests.redis_server import RedisServer

UNITS = Units(b"u" * 32)


def test_a_unit_is_what_it_always_was() -> None:
    """Evidence names people by it: another hash would make everybody a stranger."""
    assert UNITS.of("user-7") == "S8kiifB9kcY"
    assert UNITS.of("\ud800") == "05ZEFG61pwU"


def test_a_unit_has_one_length_and_another_key_gives_another() -> None:
    named = [UNITS.of(key) for key in ("user-7", "user-8", "", "x" * 10_000, "üsér")]

    assert {len(each) for each in named} == {UNIT_LENGTH}
    assert len({*named, Units(b"v" * 32).of("user-7")}) == 6


async def test_all_get_the_key_of_whoever_came_first(redis_server: RedisServer) -> None:
    async with opened(redis_server.url) as store, opened(redis_server.url, "other") as other:
        first = await unit_key(store, lambda size: b"a" * size)
        second = await unit_key(store, lambda size: b"b" * size)
        elsewhere = await unit_key(other, lambda size: b"c" * size)

    assert (first, second, elsewhere) == (b"a" * 32, b"a" * 32, b"c" * 32)


async def test_one_who_may_only_read_gets_the_key_where_there_is_one(redis_server: RedisServer) -> None:
    with redis_server.client() as client:
        client.execute_command("ACL", "SETUSER", "reader", "on", ">pw", "~*", "+@read", "+@connection")
    url = redis_server.url.replace("redis://", "redis://reader:pw@")
    async with opened(redis_server.url) as store, opened(url) as reader:
        with pytest.raises(StoreUnavailable):
            await unit_key(reader, bytes)
        made = await unit_key(store, lambda size: b"a" * size)

        assert await unit_key(reader, bytes) == made
