"""The store on real servers: who wins, what is written once, what is told when Redis is away."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor

import pytest

from flags.canonical import digest
from flags.change import Draft, View
from flags.errors import Conflict, Invalid, NotFound, Refused, StoreUnavailable
from flags.fleet import WorkerInfo
from flags.ledger import Author, Entry
from flags.model import START, Kind, ObjectKey, Position
from flags.store import Store
from tests.flags.stores import ANN, BOB, CHAT, OTHER, always, document, draft, opened, put, served
from tests.redis_server import RedisServer


async def test_a_change_is_an_entry_an_object_and_a_new_head(any_redis: RedisServer) -> None:
    async with opened(any_redis.url) as store:
        committed = await put(store, "v2")

        (entry,) = committed.entries
        loaded = await store.load()
        assert (entry.revision, entry.actor, entry.reason, entry.action) == (1, "ann", "because", "switch")
        assert (entry.object, entry.before, entry.after) == (str(CHAT), None, document("v2"))
        assert (entry.affects, entry.prev) == ((str(CHAT),), "")
        assert await store.read_log(0, 10) == [entry]
        assert loaded.position == committed.position == (await store.head()).position
        assert loaded.objects[CHAT].document == document("v2")
        assert set(loaded.contents.values()) == {"one", "two"}


async def test_before_is_what_was_read_and_time_is_rfc_3339(redis_server: RedisServer) -> None:
    async with opened(redis_server.url) as store:
        first = await put(store, "v1")

        second = await put(store, "v2")

        (entry,) = second.entries
        assert entry.before == document("v1")
        assert entry.prev == first.position.hash
        assert entry.time.endswith("Z")
        assert len(entry.time) == len("2026-01-01T00:00:00.000Z")


async def test_an_unknown_namespace_is_empty_and_starts_at_zero(redis_server: RedisServer) -> None:
    async with opened(redis_server.url, "fresh") as store:
        loaded = await store.load()

        assert (loaded.position, loaded.revision, loaded.objects) == (START, 0, {})


async def test_namespaces_do_not_meet(redis_server: RedisServer) -> None:
    async with opened(redis_server.url, "one") as one, opened(redis_server.url, "two") as two:
        await put(one)

        assert (await two.head()).position == START


async def test_nothing_to_change_writes_nothing(redis_server: RedisServer) -> None:
    async with opened(redis_server.url) as store:
        before = await put(store)

        committed = await store.change(ANN, [CHAT], always())

        assert committed.entries == ()
        assert committed.position == before.position == (await store.head()).position


async def test_a_batch_is_written_whole_under_consecutive_revisions(any_redis: RedisServer) -> None:
    async with opened(any_redis.url) as store:
        committed = await store.change(ANN, None, always(draft(CHAT), draft(OTHER), draft(CHAT, "v2")))

        assert [entry.revision for entry in committed.entries] == [1, 2, 3]
        assert committed.entries[2].before == document("v1")
        loaded = await store.load()
        assert loaded.objects[CHAT].document == document("v2")
        assert (loaded.objects[CHAT].revision, loaded.objects[OTHER].revision) == (3, 2)


async def test_a_batch_with_one_bad_draft_writes_nothing(redis_server: RedisServer) -> None:
    bad = Draft("declare", OTHER, document(), {"0" * 64: "not its hash"})
    async with opened(redis_server.url) as store:
        with pytest.raises(Invalid, match="lies under 000"):
            await store.change(ANN, None, always(draft(), bad))

        assert (await store.head()).position == START
        assert (await store.load()).objects == {}


async def test_an_entry_above_64_kib_is_refused_and_nothing_is_written(redis_server: RedisServer) -> None:
    wordy = Author("ann", "x" * 65_536)
    async with opened(redis_server.url) as store:
        with pytest.raises(Refused, match="at most 65536") as refused:
            await put(store, author=wordy)

        assert refused.value.rule == "entry_too_large"
        assert (await store.head()).position == START


async def test_deleting_takes_the_object_away_and_keeps_the_entry(redis_server: RedisServer) -> None:
    async with opened(redis_server.url) as store:
        await put(store)

        committed = await store.change(ANN, [CHAT], always(Draft("delete", CHAT, None)))

        assert committed.entries[0].after is None
        assert committed.entries[0].before == document("v1")
        assert CHAT not in (await store.load()).objects


async def test_a_note_stands_in_the_chain_and_changes_no_object(redis_server: RedisServer) -> None:
    async with opened(redis_server.url) as store:
        first = await put(store)

        note = await store.change(ANN, [CHAT], always(Draft("approve", CHAT, None, affects=False)))

        loaded = await store.load()
        assert note.entries[0].affects == ()
        assert note.entries[0].prev == first.position.hash
        assert loaded.position == note.position
        assert loaded.revision == first.position.revision
        assert loaded.objects[CHAT].revision == first.position.revision


async def test_of_two_writers_one_wins_and_the_other_is_told_of_both_changes(any_redis: RedisServer) -> None:
    async with opened(any_redis.url) as store:
        await put(store)
        decide = _Interrupted(any_redis, draft(CHAT, "v1", "rollback"), rival=draft(CHAT, "v2"))

        with pytest.raises(Conflict) as conflict:
            await store.change(ANN, [CHAT], decide)

        message = str(conflict.value)
        assert "switch by bob at revision 2 (it was Tuesday)" in message
        assert "by ann (because) was not written" in message
        theirs = conflict.value.theirs
        assert isinstance(theirs, tuple)
        assert [entry.actor for entry in theirs if isinstance(entry, Entry)] == ["bob"]
        assert (await store.head()).position.revision == 2
        assert (await store.load()).objects[CHAT].document == document("v2")


async def test_who_insists_decides_again_on_what_is_there_now_and_wins(any_redis: RedisServer) -> None:
    async with opened(any_redis.url) as store:
        await put(store)
        decide = _Interrupted(any_redis, draft(CHAT, "v1", "rollback"), rival=draft(CHAT, "v2"))

        committed = await store.change(ANN, [CHAT], decide, insist=True)

        assert decide.saw == ["v1", "v2"]
        assert committed.entries[0].before == document("v2")
        assert (await store.load()).objects[CHAT].document == document("v1")


async def test_who_insists_and_finds_it_done_writes_nothing(redis_server: RedisServer) -> None:
    async with opened(redis_server.url) as store:
        await put(store, "v2")
        decide = _Interrupted(redis_server, draft(CHAT, "v1"), rival=draft(CHAT, "v1"), unless="v1")

        committed = await store.change(ANN, [CHAT], decide, insist=True)

        assert committed.entries == ()
        assert (await store.head()).position.revision == 2


async def test_a_change_of_another_object_meanwhile_is_no_conflict(redis_server: RedisServer) -> None:
    async with opened(redis_server.url) as store:
        await put(store)
        decide = _Interrupted(redis_server, draft(CHAT, "v2"), rival=draft(OTHER, "v2"))

        committed = await store.change(ANN, [CHAT], decide)

        assert committed.position.revision == 3
        assert [entry.actor for entry in await store.read_log(0, 10)] == ["ann", "bob", "ann"]


async def test_many_writers_at_once_leave_one_unbroken_chain(any_redis: RedisServer) -> None:
    async with opened(any_redis.url) as store:
        keys = [ObjectKey(Kind.FLAG, f"flag-{number}") for number in range(8)]

        await asyncio.gather(*(put(store, key=key) for key in keys))

        entries = await store.read_log(0, 100)
        assert [entry.revision for entry in entries] == list(range(1, 9))
        assert [entry.prev for entry in entries[1:]] == [entry.hash for entry in entries[:-1]]
        assert {entry.object for entry in entries} == {str(key) for key in keys}


async def test_a_write_whose_answer_was_lost_is_written_once(any_redis: RedisServer) -> None:
    """The first attempt commits, its answer never comes; the retry is told *already* and reports success."""
    async with opened(any_redis.url) as store, opened(any_redis.url) as rival:
        lose = _LostAnswer(store, then=lambda: put(rival, "v2", OTHER, BOB))

        committed = await put(store, "v2")

        assert lose.lost == 1
        entries = await store.read_log(0, 10)
        assert [entry.actor for entry in entries] == ["ann", "bob"]
        assert committed.entries == (entries[0],)


async def test_writing_to_an_object_that_was_not_read_is_a_mistake_of_the_caller(
    redis_server: RedisServer,
) -> None:
    async with opened(redis_server.url) as store:
        with pytest.raises(ValueError, match="was not read"):
            await store.change(ANN, [OTHER], always(draft(CHAT)))

        assert (await store.head()).position == START


async def test_a_view_without_the_flag_names_those_it_has(redis_server: RedisServer) -> None:
    def decide(view: View) -> list[Draft]:
        assert view.flag("chat.prompt").serve == "v1"
        view.flag("chatt.prompt")
        return []

    async with opened(redis_server.url) as store:
        await put(store)

        with pytest.raises(NotFound, match=r'"chatt.prompt" does not exist \(flags: chat.prompt\)'):
            await store.change(ANN, None, decide)


async def test_everything_is_there_after_a_crash(any_redis: RedisServer) -> None:
    async with opened(any_redis.url) as store:
        committed = await put(store, "v2")
        any_redis.kill()
        any_redis.start()

        loaded = await store.load()

        assert loaded.position == committed.position
        assert loaded.objects[CHAT].document == document("v2")


async def test_a_hanging_redis_is_unavailable_and_says_so_within_the_bound(any_redis: RedisServer) -> None:
    async with opened(any_redis.url) as store:
        await put(store)
        any_redis.pause()
        try:
            # A quarter of a second, asked twice: far below this only if the bound works.
            async with asyncio.timeout(5):
                for call in (store.head(), store.workers(), put(store, "v2"), store.load()):
                    with pytest.raises(StoreUnavailable, match="did not answer"):
                        await call
        finally:
            any_redis.resume()

        assert served(await _view(store)) == "v1"


async def test_a_redis_that_is_away_is_unavailable_and_then_back(redis_server: RedisServer) -> None:
    async with opened(redis_server.url) as store:
        committed = await put(store)
        redis_server.kill()
        with pytest.raises(StoreUnavailable, match="cannot be reached"):
            await put(store, "v2")
        redis_server.start()

        assert (await store.head()).position == committed.position


async def test_a_load_sees_one_state_while_others_write(redis_server: RedisServer) -> None:
    """Objects are read in pages; what changes meanwhile is taken from the ledger, never half."""
    keys = [ObjectKey(Kind.FLAG, f"flag-{number}") for number in range(700)]
    async with opened(redis_server.url) as store, opened(redis_server.url) as rival:
        await store.change(ANN, None, always(*(draft(key) for key in keys)))
        writing = asyncio.create_task(_write_on(rival, keys))

        loaded = [await store.load() for _ in range(5)]

        writing.cancel()
        await asyncio.gather(writing, return_exceptions=True)
        for state in loaded:
            # Each write switches a pair of flags in one batch: never one without the other.
            assert all(
                served(state, left) == served(state, right)  # type: ignore[arg-type]
                for left, right in zip(keys[0::2], keys[1::2], strict=True)
            )
            assert max(stored.revision for stored in state.objects.values()) == state.position.revision


async def test_a_secret_is_made_once_and_the_same_for_all(redis_server: RedisServer) -> None:
    async with opened(redis_server.url) as one, opened(redis_server.url) as two:
        made = await asyncio.gather(one.secret("key", lambda: b"\x00\xffa"), two.secret("key", lambda: b"b"))

        assert made[0] == made[1]
        assert made[0] in (b"\x00\xffa", b"b")


async def test_contents_that_are_not_there_are_left_out(redis_server: RedisServer) -> None:
    async with opened(redis_server.url) as store:
        await put(store)
        known = next(iter((await store.load()).contents))

        assert set(await store.contents([known, "0" * 64])) == {known}


async def test_a_content_that_does_not_meet_its_hash_is_left_out_and_told(
    redis_server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    async with opened(redis_server.url) as store:
        await put(store)
        with redis_server.client() as client:
            client.hset(store.keys.contents, digest("one"), b'"EVIL"')

        loaded = await store.load()

        assert loaded.contents == {digest("two"): "two"}
        assert f"the content {digest('one')} does not meet its hash" in caplog.text


async def test_contents_at_hand_are_not_read_again(redis_server: RedisServer) -> None:
    async with opened(redis_server.url) as store:
        await put(store)
        held = (await store.load()).contents
        with redis_server.client() as client:
            client.delete(store.keys.contents)

        assert (await store.load(held)).contents == held
        assert (await store.load()).contents == {}


async def test_acknowledged_counts_those_at_the_position_and_names_the_others(any_redis: RedisServer) -> None:
    async with opened(any_redis.url) as store:
        await store.beat(WorkerInfo("w1"), START)
        await store.beat(WorkerInfo("w2"), START)
        committed = await put(store)
        await store.beat(WorkerInfo("w1"), committed.position)
        await store.beat(WorkerInfo("late"), START)

        acks = await store.acknowledged(committed.position, 0.05, committed.workers)

        assert committed.workers == ("w1", "w2")
        assert (acks.acknowledged, acks.workers, acks.missing) == (1, 2, ("w2",))


async def test_a_worker_further_on_has_acknowledged_unless_its_history_is_lost(
    redis_server: RedisServer,
) -> None:
    async with opened(redis_server.url) as store:
        first = await put(store)
        second = await put(store, "v2")
        await store.beat(WorkerInfo("ahead"), second.position)
        await store.beat(WorkerInfo("lost"), Position(second.position.revision, "0" * 64))

        acks = await store.acknowledged(first.position, 0.05, ["ahead", "lost"])

        assert (acks.acknowledged, acks.missing) == (1, ("lost",))


async def test_a_worker_that_left_is_not_awaited(redis_server: RedisServer) -> None:
    async with opened(redis_server.url) as store:
        await store.beat(WorkerInfo("gone"), START)
        committed = await put(store)
        await store.fleet.leave("gone")

        acks = await store.acknowledged(committed.position, 5, committed.workers)

        assert (acks.acknowledged, acks.workers, acks.missing) == (0, 0, ())


async def test_a_worker_that_is_dead_is_missing_at_once_and_not_awaited_by_the_next_write(
    redis_server: RedisServer,
) -> None:
    async with opened(redis_server.url) as store:
        await store.beat(WorkerInfo("dead"), START)
        _let_pass(redis_server, store, "dead", seconds=6)

        committed = await put(store)
        async with asyncio.timeout(5):
            acks = await store.acknowledged(committed.position, 60, ["dead"])

        assert committed.workers == ()
        assert acks.missing == ("dead",)
        assert [state.alive for state in await store.workers()] == [False]


async def test_a_redis_that_goes_away_after_the_write_leaves_a_write_with_workers_missing(
    redis_server: RedisServer,
) -> None:
    async with opened(redis_server.url) as store:
        await store.beat(WorkerInfo("w1"), START)
        committed = await put(store)
        redis_server.kill()

        acks = await store.acknowledged(committed.position, 0.05, committed.workers)

        assert (acks.acknowledged, acks.workers, acks.missing) == (0, 1, ("w1",))


async def test_a_redis_that_comes_back_in_time_still_tells_who_acknowledged(
    redis_server: RedisServer,
) -> None:
    async with opened(redis_server.url) as store:
        await store.beat(WorkerInfo("w1"), START)
        committed = await put(store)
        redis_server.kill()
        waiting = asyncio.create_task(store.acknowledged(committed.position, 10, committed.workers))
        await asyncio.sleep(0)
        await asyncio.to_thread(redis_server.start)
        await store.beat(WorkerInfo("w1"), committed.position)

        assert (await waiting).missing == ()


async def test_who_beat_by_a_clock_that_was_set_back_is_not_alive_for_ever(
    redis_server: RedisServer,
) -> None:
    """After a fail-over to a host whose clock is behind, rows of the dead lie in the future."""
    async with opened(redis_server.url) as store:
        await store.beat(WorkerInfo("w1"), START)
        _let_pass(redis_server, store, "w1", seconds=-600)

        assert (await put(store)).workers == ()


async def test_rows_of_the_dead_are_forgotten_after_an_hour(redis_server: RedisServer) -> None:
    async with opened(redis_server.url) as store:
        for name, seconds in (("old", 3601), ("recent", 3000)):
            await store.beat(WorkerInfo(name), START)
            _let_pass(redis_server, store, name, seconds=seconds)

        await store.fleet.forget()

        assert [state.info.id for state in await store.workers()] == ["recent"]


class _Interrupted:
    """A decision during which, the first time, a rival's write commits."""

    def __init__(self, server: RedisServer, ours: Draft, *, rival: Draft, unless: str = "") -> None:
        self._server, self._ours, self._rival, self._unless = server, ours, rival, unless
        self.saw: list[object] = []

    def __call__(self, view: View) -> list[Draft]:
        self.saw.append(served(view))
        if len(self.saw) == 1:
            # Decisions are synchronous, so the rival has a loop of its own, in a thread.
            with ThreadPoolExecutor(1) as pool:
                pool.submit(asyncio.run, self._write()).result()
        return [] if self.saw[-1] == self._unless else [self._ours]

    async def _write(self) -> None:
        async with opened(self._server.url) as rival:
            await rival.change(BOB, [self._rival.key], always(self._rival))


class _LostAnswer:
    """Lets the first answer of apply.lua get lost, as a cut connection would, with `then` done meanwhile."""

    def __init__(self, store: Store, then: object) -> None:
        self.lost = 0
        self._inner = store._calls._redis
        self._then = then
        store._calls._redis = self  # type: ignore[assignment]

    def __getattr__(self, name: str) -> object:
        return getattr(self._inner, name)

    async def evalsha(self, sha: str, keys: int, *args: object) -> object:
        answer = await self._inner.evalsha(sha, keys, *args)  # type: ignore[arg-type]
        if self.lost == 0 and answer[0] == b"committed":
            self.lost = 1
            await self._then()  # type: ignore[operator]
            raise ConnectionResetError("the answer was lost")
        return answer

    async def eval(self, text: str, keys: int, *args: object) -> object:
        await self._inner.script_load(text)  # type: ignore[no-untyped-call]
        return await self.evalsha(_sha(text), keys, *args)


def _sha(text: str) -> str:
    import hashlib  # noqa: PLC0415

    return hashlib.sha1(text.encode()).hexdigest()


async def _view(store: Store) -> View:
    return (await store.change(ANN, None, always())).view


async def _write_on(store: Store, keys: list[ObjectKey]) -> None:
    turn = 0
    while True:
        turn += 1
        at = 2 * (turn * 37 % (len(keys) // 2))
        serve = "v1" if turn % 2 else "v2"
        await store.change(ANN, keys[at : at + 2], always(draft(keys[at], serve), draft(keys[at + 1], serve)))


def _let_pass(server: RedisServer, store: Store, worker: str, *, seconds: int) -> None:
    """Make the worker's last beat so many seconds old."""
    with server.client() as client:
        row = client.hget(store.keys.workers, worker)
        assert isinstance(row, bytes)
        seen, _, text = row.partition(b" ")
        client.hset(store.keys.workers, worker, f"{int(seen) - seconds * 1000} {text.decode()}")
