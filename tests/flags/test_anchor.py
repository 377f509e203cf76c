"""The anchor is advanced by what is new only, by whoever asks, and stops at the first entry that does not go on."""

from __future__ import annotations

import asyncio

import pytest

from flags import anchor as anchoring
from flags.anchor import anchor, kept_anchor
from flags.audit import verify
from flags.call import Reply
from flags.errors import LedgerBroken
from flags.merkle import MerkleTree
from flags.store import Store
from tests.flags.stores import opened, put
from tests.redis_server import RedisServer


async def rooted(store: Store) -> str:
    """The anchor, the long way."""
    return str(verify(await store.read_log_bytes(0, 10_000)).anchor)


class Counted:
    """Counts the calls that a store makes."""

    def __init__(self, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
        self.calls = 0
        run = store.calls.run

        async def counting(*args: object, **options: object) -> Reply:
            self.calls += 1
            return await run(*args, **options)  # type: ignore[arg-type]

        monkeypatch.setattr(
            type(store.calls), "run", lambda _self, *args, **options: counting(*args, **options)
        )


def test_a_tree_goes_on_from_its_frontier() -> None:
    whole = MerkleTree()
    for number in range(70):
        whole.add(b"%d" % number)
        again = MerkleTree.restored(whole.size, whole.frontier)
        assert (again.root(), again.size) == (whole.root(), whole.size)


@pytest.mark.parametrize("frontier", [(), ("00",), ("zz" * 32,), ("00" * 32, "00" * 32)])
def test_what_is_no_frontier_of_that_size_is_refused(frontier: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match=r"frontier|fromhex"):
        MerkleTree.restored(4, frontier)


async def test_the_anchor_is_that_of_the_whole_ledger_however_it_grew(any_redis: RedisServer) -> None:
    async with opened(any_redis.url) as store:
        assert str(await anchor(store)) == await rooted(store)
        for turn in range(9):
            await put(store, f"v{1 + turn % 2}")
            if turn % 3 == 0:
                assert str(await anchor(store)) == await rooted(store)

        assert str(await anchor(store)) == await rooted(store)
        assert await kept_anchor(store) == await anchor(store)


async def test_where_nothing_is_new_it_takes_one_call(
    redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(redis_server.url) as store:
        await put(store)
        await anchor(store)
        counted = Counted(store, monkeypatch)

        await anchor(store)

        assert counted.calls == 1


async def test_only_new_entries_are_read(redis_server: RedisServer) -> None:
    """Those that were anchored may even be gone: nobody looks at them again."""
    async with opened(redis_server.url) as store:
        await put(store)
        await put(store, "v2")
        await anchor(store)
        await put(store)
        whole = await rooted(store)
        with redis_server.client() as client:
            client.xdel(store.keys.ledger, "1-0")

        assert str(await anchor(store)) == whole


async def test_workers_that_ask_at_once_agree(
    redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(anchoring, "PAGE", 3)
    monkeypatch.setattr(anchoring, "KEEP_EVERY", 4)
    async with opened(redis_server.url) as store, opened(redis_server.url) as other:
        for turn in range(20):
            await put(store, f"v{1 + turn % 2}")

        found = await asyncio.gather(*(anchor(each) for each in (store, other) * 4))

        assert {str(each) for each in found} == {await rooted(store)}
        assert str(await kept_anchor(store)) == await rooted(store)


@pytest.mark.parametrize("deed", ["edited", "removed", "cut", "resealed"])
async def test_what_does_not_continue_the_anchor_is_told(redis_server: RedisServer, deed: str) -> None:
    async with opened(redis_server.url) as store:
        await put(store)
        await anchor(store)
        for serve in ("v2", "v1", "v2"):
            await put(store, serve)
        text = (await store.read_log_bytes(2, 1))[0]
        with redis_server.client() as client:
            if deed == "edited":
                await _replaced(store, client, 3, text.replace(b"ann", b"eve"))
            if deed == "removed":
                client.xdel(store.keys.ledger, "3-0")
            if deed == "cut":
                client.xdel(store.keys.ledger, "3-0", "4-0")
            if deed == "resealed":
                client.hset(store.keys.anchor, "hash", "0" * 64)

        for _ in range(2):
            with pytest.raises(LedgerBroken, match="the ledger is broken: ") as broken:
                await anchor(store)
        assert "audit verify" in str(broken.value.mend)


@pytest.mark.parametrize("field", ["frontier", "size", "revision"])
async def test_an_edited_anchor_that_can_be_none_is_told(redis_server: RedisServer, field: str) -> None:
    async with opened(redis_server.url) as store:
        await put(store)
        await anchor(store)
        with redis_server.client() as client:
            client.hset(store.keys.anchor, field, "what")

        with pytest.raises(LedgerBroken, match="anchor in Redis is none"):
            await anchor(store)


async def test_a_ledger_that_fell_back_is_anchored_anew(redis_server: RedisServer) -> None:
    async with opened(redis_server.url) as store:
        await put(store)
        position = (await put(store, "v2")).position
        await put(store)
        await anchor(store)
        with redis_server.client() as client:
            client.xdel(store.keys.ledger, "3-0")
            client.hset(store.keys.head, mapping={"revision": 2, "hash": position.hash})

        found = await anchor(store)

        assert str(found) == await rooted(store)
        assert found.size == 2


async def _replaced(store: Store, client: object, revision: int, text: bytes) -> None:
    """Put another text in a revision's place, as somebody with Redis in hand would."""
    rows = [(await store.read_log_bytes(at, 1))[0] for at in range((await store.head()).position.revision)]
    rows[revision - 1] = text
    client.delete(store.keys.ledger)  # type: ignore[attr-defined]
    for at, row in enumerate(rows, 1):
        client.xadd(store.keys.ledger, {"e": row}, id=f"{at}-0")  # type: ignore[attr-defined]
