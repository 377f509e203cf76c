"""The embedded server: one for each data directory, durable, never orphaned, taken over when its owner ends."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from flags.embedded import Embedded
from flags.errors import StoreUnavailable
from tests.flags.stores import opened, put, served

# Whatever is awaited here takes a tenth of a second; a test machine may be busy.
PATIENCE_SECONDS = 15.0


class Supervisor:
    """Another process with an embedded server of its own or a joined one."""

    def __init__(self, data_dir: Path, lifeline: str = "") -> None:
        command = [
            sys.executable,
            "-m",
            "tests.flags.embedding",
            str(data_dir),
            *([lifeline] if lifeline else []),
        ]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)

    def says(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def server_pid(self) -> int:
        word, _, pid = self.says().partition(" ")
        assert word == "owner"
        return int(pid)

    def end(self, number: int = signal.SIGTERM) -> None:
        if self.process.poll() is None:
            self.process.send_signal(number)
            self.process.wait(PATIENCE_SECONDS)


@pytest.fixture
def supervise(tmp_path: Path) -> Iterator[Callable[..., Supervisor]]:
    running: list[Supervisor] = []

    def start(lifeline: str = "") -> Supervisor:
        running.append(Supervisor(tmp_path / "data", lifeline))
        return running[-1]

    yield start
    for supervisor in running:
        supervisor.end()
        supervisor.process.stdout.close()  # type: ignore[union-attr]


async def test_it_starts_answers_and_ends_with_nothing_left(tmp_path: Path) -> None:
    embedded = Embedded(tmp_path / "data")
    url = await embedded.start()
    pid = embedded.pid
    assert pid is not None
    async with opened(url) as store:
        await put(store)

    await embedded.aclose()
    await embedded.aclose()

    assert _gone(pid)
    assert (tmp_path / "data").stat().st_mode & 0o777 == 0o700


async def test_what_was_acknowledged_is_there_after_a_restart_and_after_a_crash(tmp_path: Path) -> None:
    embedded = Embedded(tmp_path / "data")
    url = await embedded.start()
    async with opened(url) as store:
        await put(store, "v2")
        await embedded.aclose()
        embedded = Embedded(tmp_path / "data")
        assert await embedded.start() == url
        committed = await put(store, "v1")
        first = embedded.pid
        assert first is not None
        os.kill(first, signal.SIGKILL)

        await _until(lambda: embedded.pid not in (None, first))
        loaded = await _answer(store.load)

        assert loaded.position == committed.position
        assert served(loaded) == "v1"
        await embedded.aclose()


async def test_a_second_joins_and_takes_over_when_the_first_ends(tmp_path: Path) -> None:
    one, two = Embedded(tmp_path / "data"), Embedded(tmp_path / "data")
    url = await one.start()
    assert await two.start() == url
    assert (one.owner, two.owner) == (True, False)
    async with opened(url) as store:
        committed = await put(store)

        await one.aclose()
        await _until(lambda: two.pid)

        assert (await _answer(store.head)).position == committed.position
        await two.aclose()
        assert not one.owner
        assert not two.owner


@pytest.mark.parametrize("lifeline", ["", "pipe"])
async def test_an_owner_killed_with_9_leaves_no_server_and_a_joiner_takes_over(
    supervise: Callable[..., Supervisor], tmp_path: Path, lifeline: str
) -> None:
    owner = supervise(lifeline)
    former = owner.server_pid()
    joiner = supervise(lifeline)
    assert joiner.says() == "joiner"
    async with opened(f"unix://{tmp_path}/data/valkey.sock") as store:
        committed = await put(store)

        owner.end(signal.SIGKILL)
        pid = await asyncio.to_thread(joiner.server_pid)

        assert pid != former
        assert _gone(former)
        assert (await _answer(store.head)).position == committed.position
        joiner.end()
        assert _gone(pid)


@pytest.mark.parametrize("lifeline", ["", "pipe"])
def test_an_owner_killed_with_9_with_nobody_left_orphans_nothing(
    supervise: Callable[..., Supervisor], lifeline: str
) -> None:
    owner = supervise(lifeline)
    pid = owner.server_pid()

    owner.end(signal.SIGKILL)

    deadline = time.monotonic() + PATIENCE_SECONDS
    while not _gone(pid) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert _gone(pid)


async def test_a_former_server_that_hangs_is_ended_before_ours_starts(
    supervise: Callable[..., Supervisor], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flags.embedded.STOP_SECONDS", 0.5)
    owner = supervise()
    former = owner.server_pid()
    os.kill(former, signal.SIGSTOP)
    owner.end(signal.SIGKILL)

    embedded = Embedded(tmp_path / "data")
    await embedded.start()

    assert _gone(former)
    await embedded.aclose()


async def test_a_data_directory_too_deep_for_a_socket_gets_a_short_private_one(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 60) / ("e" * 60)
    embedded = Embedded(deep)
    url = await embedded.start()
    socket = Path(url.removeprefix("unix://"))

    assert len(os.fsencode(socket)) <= 107
    assert socket.parent.stat().st_mode & 0o777 == 0o700
    assert (deep / "appendonlydir").is_dir()

    await embedded.aclose()
    (socket.parent).rmdir()


async def test_a_start_that_is_given_up_leaves_nothing_behind(tmp_path: Path) -> None:
    mute = tmp_path / "mute"
    mute.write_text("#!/bin/sh\nexec sleep 60\n")
    mute.chmod(0o700)
    server = Embedded(tmp_path / "data", binary=mute)
    starting = asyncio.create_task(server.start())
    async with asyncio.timeout(PATIENCE_SECONDS):
        while server.pid is None:
            await asyncio.sleep(0.01)

    starting.cancel()
    await asyncio.gather(starting, return_exceptions=True)

    assert (server.pid, server.owner) == (None, False)


async def test_a_server_that_cannot_start_says_why(tmp_path: Path) -> None:
    false = Path("/bin/false")
    embedded = Embedded(tmp_path / "data", binary=false)

    with pytest.raises(StoreUnavailable, match="exit code 1") as error:
        await embedded.start()

    assert "--redis" in (error.value.mend or "")
    assert not embedded.owner


async def test_a_damaged_file_is_told_with_the_servers_own_words(tmp_path: Path) -> None:
    embedded = Embedded(tmp_path / "data")
    url = await embedded.start()
    async with opened(url) as store:
        await put(store)
    await embedded.aclose()
    (manifest,) = (tmp_path / "data" / "appendonlydir").glob("*.manifest")
    manifest.write_text("garbage\n")

    with pytest.raises(StoreUnavailable, match="manifest"):
        await Embedded(tmp_path / "data").start()


def _gone(pid: int) -> bool:
    """Whether the process has ended; a zombie that nobody reaps has."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return True
    return state == "Z"


async def _until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not condition():
            await asyncio.sleep(0.01)


async def _answer(call):  # type: ignore[no-untyped-def]
    """What `call` answers once the server is back."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            try:
                return await call()
            except StoreUnavailable:
                await asyncio.sleep(0.01)
