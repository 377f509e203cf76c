"""The thread that follows for a service: its beginning and end, forks, and whatever its listener does."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from flags.errors import Invalid
from flags.following import Following, Namespace, changed_flags
from flags.model import Kind, ObjectKey, Position
from flags.store import Store
from tests.flags.provided import Service
from tests.flags.stores import opened, put
from tests.flags.test_provider import flag, snapshot_of
from tests.redis_server import RedisServer

ROOT = Path(__file__).parents[2]


async def shutdown(service: Service) -> None:
    await asyncio.to_thread(service.provider.shutdown)


# Processes


def run(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A Python process of its own, with warnings as it finds them."""
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", code, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=30, cwd=ROOT)


FORKED = """
import asyncio, os, sys, time
from openfeature import api
from flags.provider import PointsmanProvider
from tests.flags.stores import opened, put

async def write(serve):
    async with opened(sys.argv[1]) as store:
        await put(store, serve)

def reaches(text):
    deadline = time.monotonic() + 10
    while client.get_string_value("chat.prompt", "none") != text and time.monotonic() < deadline:
        time.sleep(0.01)
    print(os.getpid() == first, client.get_string_value("chat.prompt", "none"), flush=True)

first = os.getpid()
asyncio.run(write("v1"))
api.set_provider_and_wait(PointsmanProvider(sys.argv[1]))
client = api.get_client()
child = os.fork()
if child == 0:
    reaches("one")
    asyncio.run(write("v2"))
    reaches("two")
    sys.exit(0)
_, status = os.waitpid(child, 0)
reaches("two")
asyncio.run(write("v1"))
reaches("one")
print(status)
"""


def test_after_a_fork_child_and_parent_each_follow(redis_server: RedisServer) -> None:
    done = run(FORKED, redis_server.url)

    assert done.stdout.splitlines() == ["False one", "False two", "True two", "True one", "0"], done.stderr
    assert done.stderr == ""


ENDING = """
import sys, threading
from openfeature import api
from flags.provider import PointsmanProvider

api.set_provider_and_wait(PointsmanProvider(sys.argv[1], copy=sys.argv[2]))
print(api.get_client().get_string_value("chat.prompt", "none"), flush=True)
if sys.argv[3:]:
    import os, signal
    os.kill(int(sys.argv[3]), signal.SIGSTOP)
"""


@pytest.mark.parametrize("hanging", [False, True])
async def test_a_process_ends_though_nobody_shuts_the_provider_down(
    redis_server: RedisServer, tmp_path: Path, hanging: bool
) -> None:
    async with opened(redis_server.url) as store:
        await put(store, "v1")
    pid = [str(redis_server.pid)] if hanging else []

    try:
        done = await asyncio.to_thread(run, ENDING, redis_server.url, str(tmp_path / "copy"), *pid)
    finally:
        redis_server.resume()

    assert (done.returncode, done.stdout) == (0, "one\n")
    assert "Traceback" not in done.stderr
    assert "Error" not in done.stderr


BUSY = """
import asyncio, sys, time
from openfeature import api
from flags.provider import PointsmanProvider
from tests.flags.stores import opened, put

async def write(serve):
    async with opened(sys.argv[1]) as store:
        await put(store, serve)

def counted(until):
    # A main thread that never waits: the thread that follows gets its turns by the interpreter alone.
    deadline = time.monotonic() + 10
    while client.get_string_value("chat.prompt", "none") != until and time.monotonic() < deadline:
        sum(range(100))
    print(client.get_string_value("chat.prompt", "none"), flush=True)

async def blocked():
    write_beside = asyncio.create_task(asyncio.to_thread(asyncio.run, write("v1")))
    await asyncio.sleep(0)
    counted("one")
    await write_beside

asyncio.run(write("v1"))
api.set_provider_and_wait(PointsmanProvider(sys.argv[1]))
client = api.get_client()
asyncio.run(write("v2"))
counted("two")
asyncio.run(blocked())
print(client.get_provider_status().value)
"""


def test_a_busy_process_and_a_blocked_loop_follow_all_the_same(redis_server: RedisServer) -> None:
    done = run(BUSY, redis_server.url)

    assert done.stdout.splitlines() == ["two", "one", "READY"], done.stderr


LOOPING = """
import asyncio, gc, os, sys, threading
from flags.provider import PointsmanProvider
from tests.flags.stores import opened, put

async def write():
    async with opened(sys.argv[1]) as store:
        await put(store, "v1")

def live(times):
    for _ in range(times):
        provider = PointsmanProvider(sys.argv[1])
        provider.initialize(None)
        provider.shutdown()
    gc.collect()
    return threading.active_count(), len(os.listdir("/proc/self/fd")), len(gc.get_objects())

asyncio.run(write())
live(10)
before, after = live(1), live(50)
print(before[:2] == after[:2], after[2] - before[2])
"""


def test_a_service_that_makes_providers_again_and_again_keeps_nothing_of_them(
    redis_server: RedisServer,
) -> None:
    done = run(LOOPING, redis_server.url)

    even, objects = done.stdout.split()
    assert even == "True", done.stderr
    # One object kept of each would be fifty.
    assert abs(int(objects)) < 25


# The thread


class Quiet:
    """A listener that remembers, and raises where it is told to."""

    def __init__(self, *, raising: bool = False) -> None:
        self.seen: list[object] = []
        self.raising = raising

    def swapped(self, changed: list[str] | None) -> None:
        self.seen.append(changed)
        if self.raising:
            raise RuntimeError("a listener's own fault")

    def contact(self, lost: str | None) -> None:
        self.seen.append(lost)


@pytest.fixture
def listener() -> Quiet:
    return Quiet()


@pytest.fixture
def following(redis_server: RedisServer, listener: Quiet) -> Iterator[Following]:
    found = Following(Namespace(redis_server.url), listener)
    yield found
    found.stop()


def test_it_waits_for_the_first_snapshot_only_as_long_as_it_was_told(following: Following) -> None:
    assert following.wait(0.0) is False
    assert following.current() is None
    following.start()

    assert following.wait(10.0) is True
    assert following.current() is not None


def test_a_listener_that_raises_is_logged_and_followed_on(
    redis_server: RedisServer, listener: Quiet, following: Following, caplog: pytest.LogCaptureFixture
) -> None:
    listener.raising = True
    following.start()
    assert following.wait(10.0)

    written = asyncio.run(_put(redis_server.url))
    while (snapshot := following.current()) and snapshot.position != written:
        threading.Event().wait(0.01)

    following.stop()
    assert listener.seen == [None, None, ["chat.prompt"]]
    assert "who follows the flags went wrong" in caplog.text


async def _put(url: str) -> Position:
    async with opened(url) as store:
        return (await put(store, "v2")).position


def test_its_chore_is_done_again_and_again_and_once_at_the_end_whatever_it_raises(
    redis_server: RedisServer,
) -> None:
    calls: list[str] = []
    thrice = threading.Event()

    async def chore(store: Store) -> None:
        calls.append(store.keys.namespace)
        if len(calls) == 3:
            thrice.set()
        raise RuntimeError("a chore's own fault")

    following = Following(Namespace(redis_server.url, "shop"), Quiet(), chore)
    following.start()
    assert thrice.wait(10.0)
    before = len(calls)
    following.stop()

    assert len(calls) > before
    assert set(calls) == {"shop"}


def test_what_is_left_for_later_is_done_on_the_thread_and_not_after_its_end(following: Following) -> None:
    done: list[str] = []
    first = threading.Event()
    following.later(0.0, lambda: done.append("before the start"))
    following.start()
    following.later(0.0, lambda: done.append(threading.current_thread().name))
    following.later(0.0, first.set)
    assert first.wait(10.0)
    following.stop()
    following.later(0.0, lambda: done.append("after the end"))

    assert done == ["pointsman-flags"]


def test_it_may_be_stopped_from_its_own_thread(following: Following) -> None:
    stopped = threading.Event()

    def stop() -> None:
        following.stop()
        stopped.set()

    following.start()
    following.later(0.0, stop)

    assert stopped.wait(10.0)


def test_a_source_that_can_be_none_is_refused_at_the_start_and_nothing_runs() -> None:
    following = Following(Namespace("nonsense"), Quiet())

    with pytest.raises(Invalid, match="the Redis URL"):
        following.start()

    assert "running=False" in repr(following)


# What changed


def test_the_flags_that_changed_are_those_stored_otherwise_or_with_other_contents() -> None:
    same, other = flag(), flag(serve="b")
    before = snapshot_of({"same": same, "other": same, "gone": same, "erased": flag(["kept"])}, "kept")
    after = snapshot_of({"same": same, "other": other, "new": same, "erased": flag(["kept"])}, revision=9)

    assert changed_flags(before, after, None) == ["erased", "gone", "new", "other"]
    assert changed_flags(before, after, frozenset((ObjectKey(Kind.FLAG, "other"),))) == ["other"]
    assert changed_flags(before, after, frozenset((ObjectKey(Kind.ROUTE, "other"),))) == []
