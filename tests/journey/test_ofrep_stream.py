"""The streams by which a fleet tells of changes, as their clients see them: who may, how many, how they end."""

from __future__ import annotations

import asyncio
import json
import os
import resource
import signal
import socket
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

import httpx
import pytest

from tests import plain
from tests.fleet import Fleet
from tests.journey.interop import scene
from tests.journey.interop.scene import ANN_KEY, BOSS_TOKEN
from tests.journey.traffic import until

BULK = "/ofrep/v1/evaluate/flags"
# As many clients as a test machine takes beside its servers.
CROWD = 300


def stream_of(fleet: Fleet, key: str | None = None) -> str:
    """The address of the event stream that a bulk answer names."""
    answer = plain.post(f"{fleet.url}{BULK}", json={}, headers={"x-api-key": key} if key else {}).json()
    return f"{fleet.url}{answer['eventStreams'][0]['endpoint']['requestUri']}"


def events(answer: httpx.Response) -> Generator[tuple[str, dict[str, object]], None, None]:
    """The events of a stream with their ids, as they come."""
    found: dict[str, str] = {}
    for line in answer.iter_lines():
        name, _, value = line.partition(": ")
        if line:
            found[name] = value
        elif "data" in found:
            assert found["event"] == "message"
            yield found["id"], json.loads(found["data"])
            found = {}


def listened(crowd: ExitStack, address: str, last: str = "") -> Iterator[tuple[str, dict[str, object]]]:
    """The events of one more client in the `crowd`, which leaves with it."""
    headers = {"Last-Event-ID": last} if last else {}
    told = events(crowd.enter_context(plain.stream("GET", address, headers=headers, timeout=20)))
    # The connection closes with the iterator: somebody must keep it.
    crowd.callback(told.close)
    return told


def revision_in(event: tuple[str, dict[str, object]]) -> int:
    """The revision that an event tells of."""
    return int(str(event[1]["etag"]).strip('"').partition("-")[0])


def test_a_change_is_told_once_and_the_id_resumes_after_it(tmp_path: Path) -> None:
    with scene.fleet(tmp_path / "f") as fleet:
        address = stream_of(fleet)
        with plain.stream("GET", address, timeout=20) as answer:
            told = events(answer)
            first = next(told)
            revision = fleet.json("switch", "limit", "high")["revision"]
            second = next(told)
        fleet.json("switch", "limit", "low")
        with plain.stream("GET", address, headers={"Last-Event-ID": second[0]}, timeout=20) as answer:
            third = next(events(answer))

        assert answer.headers["content-type"].startswith("text/event-stream")
        assert revision_in(first) < revision_in(second) == revision < revision_in(third)
        assert second[1]["type"] == "refetchEvaluation"


def test_who_knows_the_newest_is_told_nothing_until_it_changes(tmp_path: Path) -> None:
    """What changes no answer is no event either: a key for another app, say."""
    with scene.fleet(tmp_path / "f", keys=True) as fleet:
        address = stream_of(fleet, ANN_KEY)
        with plain.stream("GET", address, timeout=20) as answer:
            known, _ = next(events(answer))

        with plain.stream("GET", address, headers={"Last-Event-ID": known}, timeout=20) as answer:
            told = events(answer)
            fleet.json("keys", "create", "another", "--token", BOSS_TOKEN)
            revision = fleet.json("switch", "limit", "high", "--token", BOSS_TOKEN)["revision"]
            only = next(told)

        assert revision_in(only) == revision


def test_so_many_streams_and_no_more(tmp_path: Path) -> None:
    """One too many is told when to come again, and has its place when another leaves."""
    with scene.fleet(tmp_path / "f", ofrep={"streams": 3}) as fleet:
        address = stream_of(fleet)
        with ExitStack() as open_streams:
            for _ in range(3):
                next(listened(open_streams, address))
            refused = plain.get(address)
        until(lambda: _opens(address), "a place is free again")

        assert refused.status_code == 429
        assert int(refused.headers["Retry-After"]) >= 1
        assert refused.json()["errorDetails"]


def _opens(address: str) -> bool:
    with plain.stream("GET", address, timeout=20) as answer:
        return answer.status_code == 200


def test_a_server_that_stops_ends_its_streams_in_order(tmp_path: Path) -> None:
    """Each comes to its end, none is torn off, and the server waits for no client."""
    with scene.fleet(tmp_path / "f") as fleet:
        with plain.stream("GET", stream_of(fleet), timeout=20) as answer:
            told = events(answer)
            next(told)
            started = time.monotonic()
            fleet.stop()
            rest = list(told)

        assert rest == []
        # A stream that is waited for holds a server up for as long as it is patient; that is many seconds.
        assert time.monotonic() - started < 10


def test_the_streams_of_a_key_end_with_the_key(tmp_path: Path) -> None:
    with scene.fleet(tmp_path / "f", keys=True) as fleet:
        made = fleet.json("keys", "create", "page", "--token", BOSS_TOKEN)["key"]
        address = stream_of(fleet, made)
        with plain.stream("GET", address, timeout=40) as answer:
            told = events(answer)
            next(told)
            fleet.json("keys", "revoke", "page", "--token", BOSS_TOKEN)
            rest = [event for event in told if revision_in(event) < 0]

        assert rest == []
        assert plain.get(address).status_code == 401


def test_a_crowd_that_does_not_read_costs_nobody_else_anything(tmp_path: Path) -> None:
    """They open streams with the smallest buffers and read nothing, while flags change: one who reads sees the last."""
    with scene.fleet(tmp_path / "f") as fleet:
        address = urlsplit(stream_of(fleet))
        request = f"GET {address.path}?{address.query} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
        with ExitStack() as crowd, plain.stream("GET", address.geturl(), timeout=20) as answer:
            for _ in range(CROWD):
                deaf = crowd.enter_context(socket.socket())
                deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)
                deaf.connect((str(address.hostname), int(address.port or 0)))
                deaf.sendall(request)
            told = events(answer)
            for number in range(20):
                revision = _switch(fleet, ("high", "low")[number % 2])
            seen = next(event for event in told if revision_in(event) == revision)
            value = plain.post(f"{fleet.url}{BULK}/limit", json={}).json()["variant"]

        assert revision_in(seen) == revision
        assert value == "low"


def _switch(fleet: Fleet, variant: str) -> int:
    done = plain.post(f"{fleet.url}/admin/v1/flags/limit/switch", json={"variant": variant}, timeout=20)
    return int(done.raise_for_status().json()["revision"])


def test_a_crowd_whose_worker_dies_comes_back_to_the_others(tmp_path: Path) -> None:
    """Killed, not stopped: each connection breaks at once. All are back, each is told of what it missed."""
    with scene.fleet(tmp_path / "f", workers=2) as fleet, ExitStack() as crowd:
        address = stream_of(fleet)
        last, _ = _first(crowd, address)
        for _ in range(CROWD):
            _first(crowd, address)
        victim = fleet.workers()[0]["pid"]

        os.kill(victim, signal.SIGKILL)
        revision = until(lambda: _switch_or_none(fleet), "a worker that is left takes it")
        back = [_first(crowd, address, last) for _ in range(CROWD)]

        assert {revision_in(event) for event in back} == {revision}


def _switch_or_none(fleet: Fleet) -> int | None:
    try:
        return _switch(fleet, "high")
    except httpx.HTTPError:
        return None


def _first(crowd: ExitStack, address: str, last: str = "") -> tuple[str, dict[str, object]]:
    return next(listened(crowd, address, last))


def test_a_crowd_larger_than_what_a_process_usually_may_open_locks_no_operator_out(tmp_path: Path) -> None:
    """A server that was started under a low soft limit of open files (1,024 in most shells) takes what the hard one allows."""
    fleet = scene.fleet(tmp_path / "f")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (CROWD - 50, hard))
    try:
        fleet.start()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    with ExitStack() as crowd:
        crowd.callback(fleet.stop)
        address = stream_of(fleet)
        for _ in range(CROWD):
            _first(crowd, address)
        revision = _switch(fleet, "high")

    assert revision > 0


# So many come back at once where a page is busy and its fleet dies.
STORM = 1_000


@pytest.mark.full
def test_a_thousand_who_all_come_back_at_once_see_the_rollback_that_was_thrown_meanwhile(
    tmp_path: Path,
) -> None:
    """All workers are killed. The clients are rude: they come again at once, and again, whatever they were told."""
    with scene.fleet(tmp_path / "f", workers=2) as fleet:
        until(lambda: len(fleet.workers()) == 2, "two workers")
        fleet.json("switch", "limit", "high")
        revision, missed, refused = asyncio.run(_storm(fleet, urlsplit(stream_of(fleet))))
        value = plain.post(f"{fleet.url}{BULK}/limit", json={}).json()["variant"]
        memory = max(_megabytes(each["pid"]) for each in fleet.workers())

    assert (value, missed, refused) == ("low", 0, 0)
    assert revision > 0
    # Idle it has some 60; a client may cost 15 KB.
    assert memory < 150


class _Rude:
    """One client: the revision that it was told of last, and how often it was refused."""

    def __init__(self, address: SplitResult) -> None:
        self._address = address
        self._last = ""
        self.revision = self.refused = 0

    async def run(self) -> None:
        while True:
            with suppress(OSError, EOFError):
                await self._listen()
            await asyncio.sleep(0.01)

    async def _listen(self) -> None:
        reader, writer = await asyncio.open_connection(self._address.hostname, self._address.port)
        last = f"Last-Event-ID: {self._last}\r\n" if self._last else ""
        asked = f"GET {self._address.path}?{self._address.query} HTTP/1.1\r\nHost: localhost\r\n{last}\r\n"
        try:
            writer.write(asked.encode())
            self.refused += b" 200 " not in await reader.readline()
            while line := await reader.readline():
                if line.startswith(b"id: "):
                    self._last = line[4:].strip().decode()
                    self.revision = int(self._last.partition("-")[0])
        finally:
            writer.close()


async def _storm(fleet: Fleet, address: SplitResult) -> tuple[int, int, int]:
    """The revision of the rollback, who had not heard of it, and how many answers were no stream."""
    crowd = [_Rude(address) for _ in range(STORM)]
    tasks = [asyncio.create_task(each.run()) for each in crowd]
    try:
        await _soon(lambda: all(each.revision for each in crowd))
        for worker in await asyncio.to_thread(fleet.workers):
            os.kill(worker["pid"], signal.SIGKILL)
        revision = await asyncio.to_thread(until, lambda: _rolled_back(fleet), "a worker takes it")
        await _soon(lambda: all(each.revision == revision for each in crowd))
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    missed = sum(each.revision != revision for each in crowd)
    return revision, missed, sum(each.refused for each in crowd)


async def _soon(happened: Callable[[], bool]) -> None:
    """Wait some seconds for it; whoever asks looks whether it did."""
    with suppress(TimeoutError):
        async with asyncio.timeout(30):
            while not happened():
                await asyncio.sleep(0.01)


def _rolled_back(fleet: Fleet) -> int | None:
    body = {"reason": "it annoys people"}
    with suppress(httpx.HTTPError):
        done = plain.post(f"{fleet.url}/admin/v1/flags/limit/rollback", json=body, timeout=20)
        return int(done.raise_for_status().json()["revision"])
    return None


def _megabytes(pid: int) -> int:
    """What a process has in memory."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") // 1_000_000
