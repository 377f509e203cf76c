"""What apps track reaches the namespace: who got what, by a hash; bounded; and without a word where Redis says no."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flags.model import Reason, Resolution
from flags.store import Store
from flags.tracking import FLAGS_OF_A_USER, PAGE, Counts, Got, Track, Tracker, take
from flags.units import Units, unit_key
from tests.flags.stores import opened
from tests.redis_server import RedisServer

NOW = 1_800_000_000.0
V7 = Resolution("chat.prompt", "v7", "seven", Reason.SPLIT, 2)
SMALL = Resolution("chat.model", "small", {"model": "small"}, Reason.STATIC, 1)


class Clock:
    """Seconds that a test sets."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> float:
        return self.now


def tracker(clock: Clock | None = None, **bounds: int) -> Tracker:
    ids = iter(range(1_000_000))
    return Tracker(
        now=clock or Clock(), new_id=lambda: f"t{next(ids)}", entropy=lambda size: b"u" * size, **bounds
    )


async def sent(tracker: Tracker, store: Store) -> list[Track]:
    """What a gateway takes after a `send`."""
    await tracker.send(store)
    tracks, unread = await take(store, 10_000)
    assert unread == 0
    return tracks


def flags_of(track: Track) -> dict[str, str]:
    return {got.flag: got.variant for got in track.got}


async def test_a_track_says_what_its_user_last_got_and_names_nobody(any_redis: RedisServer) -> None:
    tracks = tracker()
    tracks.note("user-7", but(V7, variant="v6"))
    tracks.note("user-7", V7)
    tracks.note("user-7", SMALL)
    tracks.note("user-8", SMALL)
    tracks.add("thumbs_up", 1.0, "user-7", {"email": "ann@example.org", "route": "chat"})

    async with opened(any_redis.url) as store:
        (track,) = await sent(tracks, store)

        unit = Units(await unit_key(store, bytes)).of("user-7")
    assert (track.id, track.metric, track.value, track.unit, track.route) == (
        "t0", "thumbs_up", 1.0, unit, "chat",
    )  # fmt: skip
    assert [got[:4] for got in map(fields, track.got)] == [
        ("chat.prompt", "v7", 2, Reason.SPLIT),
        ("chat.model", "small", 1, Reason.STATIC),
    ]
    assert tracks.counts == Counts(sent=1)


async def test_neither_the_user_nor_other_attributes_are_in_redis(redis_server: RedisServer) -> None:
    tracks = tracker()
    tracks.note("user-7", V7)
    tracks.add("thumbs_up", 1.0, "user-7", {"email": "ann@example.org", "comment": "awful"})

    async with opened(redis_server.url) as store:
        await tracks.send(store)
    with redis_server.client() as client:
        rows = client.xrange("{pointsman:default}:tracks")

    assert len(rows) == 1
    assert not {word for word in (b"user-7", b"ann@", b"awful") if word in repr(rows).encode()}


async def test_each_track_is_taken_once(redis_server: RedisServer) -> None:
    tracks = tracker()
    tracks.note("user-7", V7)
    for _ in range(5):
        tracks.add("thumbs_up", 1.0, "user-7")

    async with opened(redis_server.url) as store:
        await tracks.send(store)
        first, _ = await take(store, 3)
        second, _ = await take(store, 3)
        third = await take(store, 3)

    assert [track.id for track in first] == ["t0", "t1", "t2"]
    assert [track.id for track in second] == ["t3", "t4"]
    assert third == ([], 0)


async def test_what_cannot_be_read_is_taken_away_and_counted(redis_server: RedisServer) -> None:
    with redis_server.client() as client:
        for text in (b"not json", b"\xff", b'{"id": 7}', b'{"id": "a", "metric": "m", "value": "one"}'):
            client.xadd("{pointsman:default}:tracks", {"t": text})
        client.xadd("{pointsman:default}:tracks", {"t": b'{"id": "a", "metric": "m", "later": 1}'})

    async with opened(redis_server.url) as store:
        tracks, unread = await take(store, 100)

        assert await take(store, 100) == ([], 0)
    assert (tracks, unread) == ([Track("a", "m")], 4)


async def test_a_decision_or_a_request_id_says_what_is_meant(redis_server: RedisServer) -> None:
    tracks = tracker()
    tracks.note("user-7", V7)
    tracks.add("thumbs_up", None, "user-7", {"decision": "1~token"})
    tracks.add("thumbs_up", 0.5, None, {"request_id": "req-1"})

    async with opened(redis_server.url) as store:
        by_token, by_id = await sent(tracks, store)

    assert (by_token.decision, by_token.value, by_token.got) == ("1~token", None, ())
    assert (by_id.request_id, by_id.value, by_id.unit) == ("req-1", 0.5, "")


def test_a_user_of_whom_nothing_is_known_judges_nothing() -> None:
    tracks = tracker()
    tracks.note("", V7)
    tracks.note(None, V7)
    tracks.note("user-7", Resolution("chat.prompt", None, None, Reason.DISABLED))
    for user in ("user-7", "", None):
        tracks.add("thumbs_up", 1.0, user)

    assert tracks.counts == Counts(unmatched=3)


@pytest.mark.parametrize(
    ("metric", "value", "attributes"),
    [
        ("", 1.0, {}),
        ("m" * 129, 1.0, {}),
        ("\ud800", 1.0, {}),
        (7, 1.0, {}),
        ("m", float("nan"), {}),
        ("m", float("inf"), {}),
        ("m", 10**400, {}),
        ("m", "1", {}),
        ("m", [1], {}),
        ("m", 1.0, {"decision": "x" * 16_385}),
        ("m", 1.0, {"decision": 7}),
        ("m", 1.0, {"request_id": ["a"]}),
        ("m", 1.0, {"route": "r" * 129}),
    ],
)
def test_what_cannot_be_a_track_is_counted_and_kept_nowhere(
    metric: Any, value: Any, attributes: Mapping[str, object]
) -> None:
    tracks = tracker()
    tracks.note("user-7", V7)
    tracks.add(metric, value, "user-7", attributes)

    assert tracks.counts == Counts(invalid=1)
    assert "0 tracks wait" in repr(tracks)


async def test_users_not_seen_for_longest_are_forgotten_first(redis_server: RedisServer) -> None:
    tracks = tracker(users=10)
    for number in range(35):
        tracks.note("faithful", V7)
        tracks.note(f"u{number}", V7)
    for user in ("u0", "u34", "faithful"):
        tracks.add("m", 1.0, user)

    async with opened(redis_server.url) as store:
        found = await sent(tracks, store)

    assert [track.id for track in found] == ["t1", "t2"]
    assert tracks.counts.unmatched == 1


async def test_of_a_user_so_many_flags_are_remembered(redis_server: RedisServer) -> None:
    tracks = tracker()
    for number in range(FLAGS_OF_A_USER + 3):
        tracks.note("user-7", but(V7, flag=f"f{number}"))
    tracks.add("m", 1.0, "user-7")

    async with opened(redis_server.url) as store:
        (track,) = await sent(tracks, store)

    assert [*flags_of(track)] == [f"f{number}" for number in range(3, FLAGS_OF_A_USER + 3)]


@given(st.lists(st.integers(0, 30), max_size=200), st.integers(1, 8))
def test_memory_is_bounded_and_the_last_users_are_known(users: list[int], room: int) -> None:
    """Whoever is among the last `users` different ones is known; more than twice as many never are."""
    tracks = tracker(users=room)
    for user in users:
        tracks.note(f"u{user}", V7)

    recent = list(dict.fromkeys(reversed(users)))[:room]
    held = tracks._young.keys() | tracks._old.keys()
    assert {f"u{user}" for user in recent} <= held
    assert len(tracks._young) + len(tracks._old) <= 2 * room


async def test_when_it_was_got_is_in_the_time_of_redis_and_rather_too_early(
    redis_server: RedisServer,
) -> None:
    """Our clock is years ahead; what counts is Redis'."""
    clock = Clock()
    tracks = tracker(clock)
    async with opened(redis_server.url) as store:
        clock.now += 10.7
        await tracks.send(store)
        tracks.note("user-7", V7)
        clock.now += 3
        tracks.add("m", 1.0, "user-7")
        (track,) = await sent(tracks, store)
        with redis_server.client() as client:
            now = client.time()[0]

    assert -6 <= track.got[0].at - now + 3 <= 1


async def test_a_full_queue_drops_what_is_new_and_counts_it(redis_server: RedisServer) -> None:
    tracks = tracker(room=2)
    tracks.note("user-7", V7)
    for _ in range(5):
        tracks.add("m", 1.0, "user-7")
    async with opened(redis_server.url) as store:
        found = await sent(tracks, store)
        tracks.add("m", 1.0, "user-7")
        more = await sent(tracks, store)

    assert [track.id for track in found] == ["t0", "t1"]
    assert [track.id for track in more] == ["t5"]
    assert tracks.counts == Counts(sent=3, dropped=3)


async def test_more_than_a_page_goes_in_several_calls(redis_server: RedisServer) -> None:
    tracks = tracker()
    tracks.note("user-7", V7)
    for _ in range(2 * PAGE + 1):
        tracks.add("m", 1.0, "user-7")

    async with opened(redis_server.url) as store:
        found = await sent(tracks, store)

    assert [track.id for track in found] == [f"t{number}" for number in range(2 * PAGE + 1)]


async def test_the_stream_keeps_the_newest(
    redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flags.tracking.WAITING", 100)
    tracks = tracker()
    tracks.note("user-7", V7)
    for _ in range(600):
        tracks.add("m", 1.0, "user-7")

    async with opened(redis_server.url) as store:
        found = await sent(tracks, store)

    assert len(found) < 300
    assert found[-1].id == "t599"


async def test_while_redis_is_away_tracks_wait_and_it_is_told_once(
    redis_server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    clock = Clock()
    tracks = tracker(clock)
    tracks.note("user-7", V7)
    async with opened(redis_server.url) as store:
        tracks.add("m", 1.0, "user-7")
        await tracks.send(store)
        redis_server.kill()
        for _ in range(3):
            tracks.add("m", 1.0, "user-7")
            clock.now += 2
            await tracks.send(store)
        redis_server.start()
        clock.now += 2
        found = await sent(tracks, store)

    assert [track.id for track in found] == ["t0", "t1", "t2", "t3"]
    assert tracks.counts == Counts(sent=4)
    assert len(warnings(caplog)) == 1


@pytest.mark.parametrize("scripts", ["-@scripting", "+@scripting"])
async def test_a_user_that_may_only_read_tracks_in_vain_without_harm(
    scripts: str, redis_server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    with redis_server.client() as client:
        allowed = ("+@read", "+@connection", "+time", scripts)
        client.execute_command("ACL", "SETUSER", "reader", "on", ">pw", "~*", *allowed)
    clock = Clock()
    tracks = tracker(clock, room=2)
    tracks.note("user-7", V7)
    async with opened(redis_server.url) as store:
        await unit_key(store, bytes)
    async with opened(redis_server.url.replace("redis://", "redis://reader:pw@")) as reader:
        for _ in range(5):
            tracks.add("m", 1.0, "user-7")
            assert await tracks.send(reader) == 0
            clock.now += 60

    assert tracks.counts.sent == 0
    # Room is for two, and for what is on its way.
    assert tracks.counts.dropped in {2, 3}
    assert len(warnings(caplog)) == 1


async def test_after_a_refusal_it_rests(redis_server: RedisServer) -> None:
    with redis_server.client() as client:
        client.execute_command("ACL", "SETUSER", "default", "-evalsha")
    clock = Clock()
    tracks = tracker(clock)
    tracks.note("user-7", V7)
    tracks.add("m", 1.0, "user-7")
    async with opened(redis_server.url) as store:
        await tracks.send(store)
        with redis_server.client() as client:
            client.execute_command("ACL", "SETUSER", "default", "+evalsha")
        clock.now += 9
        early = await tracks.send(store)
        clock.now += 2
        later = await tracks.send(store)

    assert (early, later) == (0, 1)


@pytest.mark.parametrize("hours", [-1, 1])
async def test_a_clock_that_is_set_makes_nobody_rest_and_moves_no_score(
    redis_server: RedisServer, hours: int
) -> None:
    clock = Clock()
    tracks = tracker(clock)
    async with opened(redis_server.url) as store:
        tracks.note("user-7", V7)
        tracks.add("m", 1.0, "user-7")
        await sent(tracks, store)
        redis_server.kill()
        tracks.add("m", 1.0, "user-7")
        await tracks.send(store)
        redis_server.start()
        clock.now += hours * 3600
        again = await sent(tracks, store)
        tracks.note("user-7", V7)
        tracks.add("m", 1.0, "user-7")
        (track,) = await sent(tracks, store)
        with redis_server.client() as client:
            now = client.time()[0]

    assert len(again) == 1
    assert -6 <= track.got[0].at - now <= 1


async def test_another_history_has_another_key_for_units(redis_server: RedisServer) -> None:
    clock = Clock()
    tracks = tracker(clock)
    tracks.note("user-7", V7)
    async with opened(redis_server.url) as store:
        tracks.add("m", 1.0, "user-7")
        (before,) = await sent(tracks, store)
        with redis_server.client() as client:
            client.hset("{pointsman:default}:secrets", "unit", b"another")
        tracks.add("m", 1.0, "user-7")
        clock.now += 3601
        (after,) = await sent(tracks, store)

    assert before.unit != after.unit == Units(b"another").of("user-7")


async def test_threads_may_note_and_add_at_once(redis_server: RedisServer) -> None:
    tracks = tracker(users=50)
    start = threading.Barrier(4)

    def work(name: int) -> None:
        start.wait()
        for number in range(500):
            tracks.note(f"u{name}-{number % 70}", but(V7, flag=f"f{number % 80}"))
            tracks.add("m", 1.0, f"u{name}-{number % 70}")

    threads = [threading.Thread(target=work, args=(name,)) for name in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    async with opened(redis_server.url) as store:
        found = await sent(tracks, store)

    assert len(found) >= 1_000
    assert len({track.id for track in found}) == len(found)


def but(resolution: Resolution, **changes: Any) -> Resolution:
    """`resolution` with other fields."""
    return Resolution(**{
        "flag": resolution.flag, "variant": resolution.variant, "value": None, "reason": resolution.reason,
        "generation": resolution.generation, **changes,
    })  # fmt: skip


def fields(got: Got) -> tuple[Any, ...]:
    return (got.flag, got.variant, got.generation, got.reason, got.at)


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [each.message for each in caplog.records if each.levelno >= logging.WARNING]
