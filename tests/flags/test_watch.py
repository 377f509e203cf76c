"""The watcher on real servers: it is always at the end of the ledger, or says that it is not."""

from __future__ import annotations

import asyncio
import gc
import shutil
from pathlib import Path

import pytest

from flags.canonical import digest
from flags.change import Draft
from flags.connect import connect_listener
from flags.disk import DiskCopy
from flags.fleet import WorkerInfo
from flags.model import Kind, ObjectKey, Position
from flags.store import Store
from flags.watch import Watcher, collector_paused
from tests.flags.stores import (
    ANN,
    CHAT,
    OTHER,
    always,
    document,
    draft,
    following,
    opened,
    put,
    served,
)
from tests.redis_server import RedisServer


async def test_it_starts_with_what_is_there_and_then_gets_each_change(any_redis: RedisServer) -> None:
    async with opened(any_redis.url) as store:
        await put(store, "v1")
        async with following(any_redis.url) as worker:
            assert served(worker.snapshot) == "v1"
            assert worker.snapshots[0][1] is None

            committed = await put(store, "v2")
            acks = await store.acknowledged(committed.position, 5, committed.workers)

            # Acknowledged means swapped: no waiting here.
            assert served(worker.snapshot) == "v2"
            assert (acks.acknowledged, acks.missing) == (1, ())
            assert worker.snapshot.position == committed.position
            assert worker.snapshots[-1][1] == {CHAT}
            assert not worker.watcher.degraded


async def test_contents_that_are_new_come_with_the_change(redis_server: RedisServer) -> None:
    async with opened(redis_server.url) as store, following(redis_server.url) as worker:
        committed = await put(store, "v2")

        await worker.reaches(committed)

        assert set(worker.snapshot.flags["chat.prompt"].values.values()) == {"one", "two"}


async def test_a_batch_is_seen_whole_or_not_at_all(redis_server: RedisServer) -> None:
    keys = [ObjectKey(Kind.FLAG, f"flag-{number}") for number in range(350)]
    async with opened(redis_server.url) as store, following(redis_server.url) as worker:
        committed = await store.change(ANN, None, always(*(draft(key) for key in keys)))
        await worker.reaches(committed)

        assert {len(snapshot.objects) for snapshot, _ in worker.snapshots} == {0, 350}
        assert worker.snapshots[-1][1] == set(keys)


async def test_a_note_moves_the_position_and_leaves_the_revision(redis_server: RedisServer) -> None:
    async with opened(redis_server.url) as store, following(redis_server.url) as worker:
        first = await put(store)
        await worker.reaches(first)
        note = await store.change(ANN, [CHAT], always(Draft("approve", CHAT, None, affects=False)))

        await worker.reaches(note)

        assert worker.snapshot.revision == first.position.revision
        assert worker.snapshots[-1][1] == frozenset()


async def test_a_batch_compiles_what_it_changed_and_nothing_else(redis_server: RedisServer) -> None:
    keys = [ObjectKey(Kind.FLAG, f"flag-{number}") for number in range(60)]
    async with opened(redis_server.url) as store, following(redis_server.url) as worker:
        await worker.reaches(await store.change(ANN, None, always(*(draft(key) for key in keys))))
        before = worker.snapshot

        batch = [draft(key, "v2") for key in keys[:30]]
        await worker.reaches(await store.change(ANN, None, always(*batch)))

        same = {key.name for key in keys if worker.snapshot.flags[key.name] is before.flags[key.name]}
        assert same == {key.name for key in keys[30:]}
        assert worker.snapshots[-1][1] == set(keys[:30])


async def test_a_start_with_redis_at_hand_alarms_nobody(
    redis_server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    async with following(redis_server.url) as worker:
        assert not worker.watcher.degraded

    assert "away" not in caplog.text


async def test_who_is_far_behind_takes_the_objects_instead_of_the_entries(
    redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flags.watch.FAR", 2)
    async with opened(redis_server.url) as store, following(redis_server.url) as worker:
        await worker.reaches(await put(store, "v1"))
        redis_server.kill()
        await worker.until(lambda: worker.watcher.degraded)
        with RedisServer(redis_server.folder, redis_server.binary) as away:
            async with opened(away.url) as elsewhere:
                for serve in ("v2", "v1", "v2"):
                    committed = await put(elsewhere, serve)
        redis_server.start()

        await worker.reaches(committed)

        assert served(worker.snapshot) == "v2"
        assert worker.snapshots[-1][1] is None
        assert worker.histories == []


async def test_a_content_edited_in_redis_is_never_served(redis_server: RedisServer) -> None:
    """Who holds the good one keeps it, over a reload too; who starts now has one variant that cannot answer."""
    async with opened(redis_server.url) as store, following(redis_server.url) as holder:
        await holder.reaches(await put(store, "v1"))
        with redis_server.client() as client:
            client.hset(store.keys.contents, digest("one"), b'"EVIL"')

        await holder.watcher._reload()
        async with following(redis_server.url, "w2") as starter:
            for worker, values in ((holder, {"v1": "one", "v2": "two"}), (starter, {"v2": "two"})):
                assert dict(worker.snapshot.flags["chat.prompt"].values) == values
                committed = await put(store, "v1")
                await worker.reaches(committed)
                assert dict(worker.snapshot.flags["chat.prompt"].values) == values


async def test_an_acknowledgement_overtaken_by_an_older_beat_is_given_again(
    redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(redis_server.url) as store, following(redis_server.url) as worker:
        beat, held, may = worker.store.beat, asyncio.Event(), asyncio.Event()
        told: list[Position] = []
        first = await put(store, "v1")
        assert not (await store.acknowledged(first.position, 5, first.workers)).missing

        async def slow(_store: Store, info: WorkerInfo, position: Position) -> None:
            if position == first.position:
                # Only the regular beat tells a position again; after this one there is no other.
                monkeypatch.setattr("flags.watch.BEAT_SECONDS", 3600)
                held.set()
                await may.wait()
            await beat(info, position)
            told.append(position)

        monkeypatch.setattr(Store, "beat", slow)
        await held.wait()
        second = await put(store, "v2")
        assert not (await store.acknowledged(second.position, 5, second.workers)).missing
        may.set()

        await worker.until(lambda: len(told) == 3)
        assert told == [second.position, first.position, second.position]


async def test_a_deleted_flag_is_gone(redis_server: RedisServer) -> None:
    async with opened(redis_server.url) as store, following(redis_server.url) as worker:
        await put(store)
        committed = await store.change(ANN, [CHAT], always(Draft("delete", CHAT, None)))

        await worker.reaches(committed)

        assert "chat.prompt" not in worker.snapshot.flags


async def test_a_connection_cut_while_it_waits_costs_nothing(any_redis: RedisServer) -> None:
    async with opened(any_redis.url) as store, following(any_redis.url) as worker:
        await put(store, "v1")
        with any_redis.client() as client:
            client.execute_command("CLIENT", "KILL", "TYPE", "normal")
        for serve in ("v2", "v1", "v2"):
            committed = await put(store, serve)

        await worker.reaches(committed)
        await worker.until(lambda: not worker.watcher.degraded)

        assert served(worker.snapshot) == "v2"
        assert worker.histories == []


async def test_entries_written_while_it_was_away_are_caught_up(
    redis_server: RedisServer, tmp_path: Path
) -> None:
    async with opened(redis_server.url) as store, following(redis_server.url) as worker:
        await put(store, "v1")
        redis_server.kill()
        await worker.until(lambda: worker.watcher.degraded)
        away = RedisServer(redis_server.folder, redis_server.binary)
        with away:
            async with opened(away.url) as elsewhere:
                for key in (CHAT, OTHER, CHAT):
                    committed = await put(elsewhere, "v2", key)
        redis_server.start()

        await worker.reaches(committed)
        await worker.until(lambda: not worker.watcher.degraded)

        assert served(worker.snapshot) == served(worker.snapshot, OTHER) == "v2"
        assert worker.histories == []


async def test_redis_gone_leaves_the_last_snapshot_and_says_so(any_redis: RedisServer) -> None:
    async with opened(any_redis.url) as store, following(any_redis.url) as worker:
        await worker.reaches(await put(store, "v2"))
        any_redis.kill()

        await worker.until(lambda: worker.watcher.degraded)
        assert served(worker.snapshot) == "v2"

        any_redis.start()
        await worker.until(lambda: not worker.watcher.degraded)
        assert served(worker.snapshot) == "v2"
        assert worker.histories == []


async def test_redis_that_hangs_is_noticed_and_so_is_its_return(any_redis: RedisServer) -> None:
    async with opened(any_redis.url) as store, following(any_redis.url) as worker:
        await worker.reaches(await put(store, "v1"))
        any_redis.pause()
        try:
            await worker.until(lambda: worker.watcher.degraded, 5)
        finally:
            any_redis.resume()
        committed = await put(store, "v2")

        await worker.reaches(committed)
        await worker.until(lambda: not worker.watcher.degraded)


async def test_a_lost_tail_with_another_in_its_place_is_noticed_by_every_worker(
    any_redis: RedisServer,
) -> None:
    """Redis comes back without its last change and with another one of the same revision."""
    async with opened(any_redis.url) as store:
        await put(store, "v1")
        kept = await put(store, "v1", OTHER)
        async with following(any_redis.url, "w1") as one, following(any_redis.url, "w2") as two:
            any_redis.stop()
            backup = _copy(any_redis)
            any_redis.start()
            lost = await put(store, "v2")
            await asyncio.gather(one.reaches(lost), two.reaches(lost))
            any_redis.kill()
            other = await _rewritten(any_redis, backup, "v2", OTHER)
            assert other.revision == lost.position.revision
            any_redis.start()

            for worker in (one, two):
                await worker.until(lambda worker=worker: worker.snapshot.position == other)
                assert served(worker.snapshot) == "v1"
                assert served(worker.snapshot, OTHER) == "v2"
                (told,) = worker.histories
                assert (told.first, told.last) == (kept.position.revision + 1, lost.position.revision)
                assert told.now == other


async def test_an_older_backup_is_followed_and_told(redis_server: RedisServer) -> None:
    async with opened(redis_server.url) as store, following(redis_server.url) as worker:
        kept = await put(store, "v1")
        redis_server.stop()
        backup = _copy(redis_server)
        redis_server.start()
        for serve in ("v2", "v1", "v2"):
            await worker.reaches(await put(store, serve))
        redis_server.kill()
        _restore(redis_server, backup)
        redis_server.start()

        await worker.until(lambda: worker.snapshot.position == kept.position)

        assert served(worker.snapshot) == "v1"
        assert [(told.first, told.last) for told in worker.histories] == [(2, 4)]


async def test_an_emptied_redis_takes_no_flag_away_until_it_has_a_history_again(
    redis_server: RedisServer,
) -> None:
    async with opened(redis_server.url) as store, following(redis_server.url) as worker:
        await put(store, "v1")
        await worker.reaches(await put(store, "v2"))
        with redis_server.client() as client:
            client.flushall()

        await worker.until(lambda: worker.histories)
        assert served(worker.snapshot) == "v2"
        assert worker.watcher.degraded

        committed = await put(store, "v1", OTHER)
        await worker.reaches(committed)
        await worker.until(lambda: not worker.watcher.degraded)
        assert set(worker.snapshot.objects) == {OTHER}
        assert [told.now.revision for told in worker.histories] == [0, 1]


async def test_it_starts_from_the_copy_on_disk_and_returns_to_the_ledger(
    redis_server: RedisServer, tmp_path: Path
) -> None:
    path = tmp_path / "data" / "snapshot.json"
    async with opened(redis_server.url) as store:
        async with following(redis_server.url, disk=DiskCopy(path, "default")) as worker:
            await worker.reaches(await put(store, "v2"))
        redis_server.kill()

        async with following(redis_server.url, disk=DiskCopy(path, "default")) as worker:
            assert worker.watcher.degraded
            assert served(worker.snapshot) == "v2"
            assert worker.snapshot.flags["chat.prompt"].values["v2"] == "two"
            redis_server.start()
            await worker.reaches(await put(store, "v1"))
            await worker.until(lambda: not worker.watcher.degraded)
            assert worker.histories == []


async def test_without_redis_and_without_a_copy_it_waits_for_redis(
    redis_server: RedisServer, tmp_path: Path
) -> None:
    redis_server.stop()
    async with following(redis_server.url, disk=DiskCopy(tmp_path / "none.json", "default")) as worker:
        assert worker.watcher.snapshot is None
        assert worker.watcher.degraded

        redis_server.start()

        await worker.until(lambda: worker.watcher.snapshot is not None)
        await worker.until(lambda: not worker.watcher.degraded)


async def test_who_closes_leaves_the_fleet(redis_server: RedisServer) -> None:
    async with opened(redis_server.url) as store, following(redis_server.url, "w1") as worker:
        assert [state.info.id for state in await store.workers()] == ["w1"]
        await worker.watcher.aclose()

        assert await store.workers() == []


async def test_what_could_not_be_swapped_is_not_acknowledged_and_tried_again(
    redis_server: RedisServer,
) -> None:
    refusals = 2

    def swap(_snapshot: object, _changed: object) -> None:
        nonlocal refusals
        if armed and refusals:
            refusals -= 1
            raise ValueError("cannot serve this")

    armed = False
    async with opened(redis_server.url) as store:
        listener = connect_listener(redis_server.url)
        watcher = Watcher(store, listener, WorkerInfo("w1"), swap)
        await watcher.start()
        armed = True

        committed = await put(store)
        acks = await store.acknowledged(committed.position, 0.03, committed.workers)
        later = await store.acknowledged(committed.position, 10, committed.workers)

        assert (acks.missing, later.missing) == (("w1",), ())
        assert refusals == 0
        await watcher.aclose()
        await listener.aclose()


async def test_a_stored_flag_that_cannot_be_read_stops_nobody(redis_server: RedisServer) -> None:
    broken = {**document(), "serve": "v9"}
    async with opened(redis_server.url) as store, following(redis_server.url) as worker:
        await put(store, "v1")
        await store.change(ANN, [OTHER], always(Draft("declare", OTHER, broken)))
        committed = await put(store, "v2")

        await worker.reaches(committed)

        assert set(worker.snapshot.flags) == {"chat.prompt"}
        assert "other.prompt" in worker.snapshot.problems


@pytest.mark.parametrize("ends", [(0, 1), (1, 0)])
def test_the_collector_runs_again_however_pauses_overlap(ends: tuple[int, int]) -> None:
    pauses = [collector_paused(), collector_paused()]
    for pause in pauses:
        pause.__enter__()
    assert not gc.isenabled()

    for end in ends:
        pauses[end].__exit__(None, None, None)

    assert gc.isenabled()


def _copy(server: RedisServer) -> Path:
    backup = server.folder.with_name("backup")
    shutil.copytree(server.folder, backup)
    return backup


def _restore(server: RedisServer, backup: Path) -> None:
    shutil.rmtree(server.folder)
    shutil.copytree(backup, server.folder)


async def _rewritten(server: RedisServer, backup: Path, serve: str, key: ObjectKey) -> Position:
    """Give the dead server the backup's data, with one more change; tells its position."""
    _restore(server, backup)
    with RedisServer(server.folder, server.binary) as elsewhere:
        async with opened(elsewhere.url) as store:
            return (await put(store, serve, key)).position
