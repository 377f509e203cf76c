"""Bad days of a whole fleet, each with real processes: Redis gone, workers killed, upstreams that fail, clients that leave."""

from __future__ import annotations

import json
import os
import signal
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests import plain
from tests.fleet import CONFIG, Fleet
from tests.redis_server import RedisServer, binaries
from tests.scripted_upstream import End, ScriptedUpstream, events, scripted_upstream_in_thread, stream_answer

# Until something that must happen soon has happened; every wait ends earlier when it has.
SOON_SECONDS = 15.0


def until(happened: Callable[[], Any], what: str) -> Any:
    """Wait for something that must come true soon, and give back what it said."""
    deadline = time.monotonic() + SOON_SECONDS
    while time.monotonic() < deadline:
        found = happened()
        if found:
            return found
        time.sleep(0.02)
    raise AssertionError(f"still not: {what}")


class Load:
    """Apps that ask without pause, on connections of their own, and count what they get."""

    def __init__(self, fleet: Fleet, *, apps: int = 4) -> None:
        self.fleet = fleet
        self.statuses: Counter[int] = Counter()
        self.versions: list[tuple[float, str]] = []
        self.failures: list[str] = []
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._app, args=(fleet.url, n)) for n in range(apps)]

    def _app(self, url: str, number: int) -> None:
        with httpx.Client(timeout=20) as client:
            while not self._over.is_set():
                began = time.monotonic()
                try:
                    answer = self.fleet.ask(client, user=f"u{number}", stream=number % 2 == 1)
                except httpx.HTTPError as error:
                    self.failures.append(repr(error))
                    continue
                self.statuses[answer.status_code] += 1
                self.versions.append((began, answer.headers.get("x-pointsman-versions", "")))

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def assert_no_failure(self) -> None:
        assert not self.failures
        assert set(self.statuses) == {200}


@pytest.fixture(params=sorted(binaries()))
def redis(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[RedisServer]:
    with RedisServer(tmp_path / "redis", binaries()[request.param]) as server:
        yield server


@contextmanager
def fleet_on(redis: RedisServer, tmp_path: Path, workers: int = 2) -> Iterator[Fleet]:
    with Fleet(tmp_path / "fleet", CONFIG, workers=workers, redis=redis.url) as fleet:
        until(lambda: len(fleet.workers()) == workers, "all workers alive")
        yield fleet


def positions(fleet: Fleet) -> set[int]:
    return {worker["revision"] for worker in fleet.workers()}


def served(fleet: Fleet) -> str:
    return str(fleet.json("status", "support-bot.prompt")["served"])


def test_redis_killed_and_restarted_under_load_fails_no_request_and_loses_no_change(
    redis: RedisServer, tmp_path: Path
) -> None:
    with fleet_on(redis, tmp_path) as fleet, Load(fleet) as load:
        fleet.json("switch", "support-bot.prompt", "v7")
        redis.kill()
        until(lambda: "redis" in plain.get(f"{fleet.url}/readyz").json()["degraded"], "degraded is told")
        assert plain.get(f"{fleet.url}/readyz").status_code == 200
        refused = fleet.command("rollback", "support-bot.prompt", "--reason", "x", "--json")
        assert refused.returncode == 1
        assert json.loads(refused.stderr)["error"]["code"] == "store_unavailable"
        assert fleet.ask().headers["x-pointsman-degraded"] == "redis"

        redis.start()
        until(lambda: not plain.get(f"{fleet.url}/readyz").json()["degraded"], "recovered")
        until(lambda: len(fleet.workers()) == 2, "both workers are back")
        assert served(fleet) == "v7"
        done = fleet.json("rollback", "support-bot.prompt", "--reason", "after the outage")
        assert (done["to"], done["acknowledged"], done["missing"]) == ("v6", 2, [])
        assert fleet.command("audit", "verify").returncode == 0
    load.assert_no_failure()


def test_redis_that_hangs_fails_no_request_and_refuses_writes_in_time(
    redis: RedisServer, tmp_path: Path
) -> None:
    with fleet_on(redis, tmp_path) as fleet, Load(fleet) as load:
        redis.pause()
        refused = plain.post(
            f"{fleet.url}/admin/v1/flags/support-bot.prompt/rollback", json={"reason": "x"}, timeout=10
        )
        assert refused.status_code == 503
        until(lambda: plain.get(f"{fleet.url}/readyz").json()["status"] == "degraded", "degraded is told")
        redis.resume()
        until(lambda: plain.get(f"{fleet.url}/readyz").json()["status"] == "healthy", "recovered")
    load.assert_no_failure()


def test_a_ledger_whose_last_change_was_replaced_is_noticed_by_every_worker(
    redis: RedisServer, tmp_path: Path
) -> None:
    """Redis comes back from an older file, and another change takes the lost one's revision."""
    with fleet_on(redis, tmp_path) as fleet:
        saved = redis.folder / "saved"
        redis.stop()
        os.system(f"cp -r {redis.folder}/appendonlydir {saved}")
        redis.start()
        until(lambda: len(fleet.workers()) == 2, "both workers are back")
        fleet.json("switch", "support-bot.prompt", "v7")
        lost = max(positions(fleet))
        until(lambda: fleet.ask().headers["x-pointsman-versions"].startswith("prompt=v7"), "v7 is served")

        redis.kill()
        os.system(f"rm -rf {redis.folder}/appendonlydir && mv {saved} {redis.folder}/appendonlydir")
        redis.start()
        until(lambda: served(fleet) == "v6" and len(fleet.workers()) == 2, "the older history is served")
        done = fleet.json("switch", "support-bot.model", "gpt-4o")

        assert done["revision"] == lost
        assert done["acknowledged"] == 2
        seen = {fleet.ask().headers["x-pointsman-versions"] for _ in range(20)}
        assert seen == {"prompt=v6;model=gpt-4o"}
        assert "history" in fleet.log


def test_a_content_spoiled_beside_the_ledger_is_not_served_and_audit_finds_it(
    redis: RedisServer, tmp_path: Path
) -> None:
    with fleet_on(redis, tmp_path, workers=1) as fleet:
        v7 = fleet.json("status", "support-bot.prompt")["variants"]["v7"]["hash"]
        with redis.client() as client:
            client.hset(
                "{pointsman:default}:contents", v7, b'{"messages":[{"content":"EVIL","role":"system"}]}'
            )
        found = fleet.command("audit", "verify", "--json")
        assert found.returncode == 1
        assert v7 in found.stdout
        assert fleet.stop() == 0
        (fleet.data_dir / "snapshot-default.jsonl").unlink()

        fleet.start()

        assert fleet.ask().status_code == 200
        pinned = plain.post(
            f"{fleet.url}/v1/chat/completions",
            json={"model": "support-bot", "messages": []},
            headers={"x-pointsman-pin": "support-bot.prompt=v7"},
        )
        assert "prompt=v7" not in pinned.headers.get("x-pointsman-versions", "")


def test_a_restart_without_redis_serves_the_last_snapshot_from_disk(
    redis: RedisServer, tmp_path: Path
) -> None:
    with fleet_on(redis, tmp_path) as fleet:
        fleet.json("switch", "support-bot.prompt", "v7")
        time.sleep(1.2)  # the copy is written at most once a second
        assert fleet.stop() == 0
        redis.kill()

        fleet.start()

        answer = until(fleet.ask, "an answer")
        assert answer.status_code == 200
        assert answer.headers["x-pointsman-versions"] == "prompt=v7;model=gpt-4.1"
        assert answer.headers["x-pointsman-degraded"] == "redis"
        redis.start()
        until(lambda: plain.get(f"{fleet.url}/readyz").json()["status"] == "healthy", "recovered")


def test_a_killed_worker_comes_back_and_the_others_serve_on(tmp_path: Path) -> None:
    with Fleet(tmp_path, CONFIG, workers=2) as fleet:
        before = until(lambda: len(fleet.workers()) == 2 and fleet.workers(), "both workers")
        os.kill(before[0]["pid"], signal.SIGKILL)
        with httpx.Client(timeout=10) as client:
            answered = [fleet.ask(client).status_code for _ in range(50)]

        def replaced() -> bool:
            pids = {worker["pid"] for worker in fleet.workers()}
            return before[1]["pid"] in pids and len(pids - {before[0]["pid"]}) == 2

        until(replaced, "the worker is replaced")
        assert answered == [200] * 50


def test_the_workers_of_a_killed_supervisor_end_and_so_does_its_store(tmp_path: Path) -> None:
    fleet = Fleet(tmp_path, CONFIG, workers=2).start()
    pids = [
        worker["pid"]
        for worker in until(lambda: len(fleet.workers()) == 2 and fleet.workers(), "both workers")
    ]

    os.kill(fleet.pid, signal.SIGKILL)

    until(lambda: not any(alive(pid) for pid in pids), "the workers ended")
    fleet.stop()
    (fleet.data_dir / "server.json").unlink()
    with fleet:
        assert fleet.ask().status_code == 200


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"
    except FileNotFoundError:
        return False


def test_two_operators_at_once_one_wins_and_the_other_is_told(tmp_path: Path) -> None:
    """Both switch the same flag in the same instant, again and again: each is answered, and the ledger holds."""
    with Fleet(tmp_path, CONFIG, workers=2) as fleet:
        until(lambda: len(fleet.workers()) == 2, "both workers")
        answers: list[int] = []

        def switch(variant: str) -> None:
            url = f"{fleet.url}/admin/v1/flags/support-bot.prompt/switch"
            answers.extend(
                plain.post(url, json={"variant": variant}, timeout=20).status_code for _ in range(25)
            )

        operators = [threading.Thread(target=switch, args=(variant,)) for variant in ("v6", "v7")]
        for operator in operators:
            operator.start()
        for operator in operators:
            operator.join()

        assert set(answers) <= {200, 409}
        assert fleet.command("audit", "verify").returncode == 0


def native(upstream: ScriptedUpstream, **content: Any) -> str:
    """The config with a native upstream and a short patience."""
    model = json.dumps({"upstream": "mock", "model": "gpt-4.1", **content})
    return CONFIG.replace("{kind: simulated}", f"{{kind: openai, base_url: {upstream.base_url}}}").replace(
        "gpt-4.1: {upstream: mock, model: gpt-4.1}", f"gpt-4.1: {model}"
    )


def test_a_client_that_leaves_closes_the_upstream_within_a_second(tmp_path: Path) -> None:
    """Before the first content (the upstream hangs) and in the middle of a stream."""
    with scripted_upstream_in_thread() as upstream, Fleet(tmp_path, native(upstream), workers=1) as fleet:
        upstream.will(stream_answer(End.HANG), stream_answer(*events("one", "two")[:2], End.HANG))
        for count in (1, 2):
            with socket.create_connection(("127.0.0.1", int(fleet.url.rpartition(":")[2]))) as app:
                body = b'{"model":"support-bot","stream":true,"messages":[]}'
                app.sendall(
                    b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % len(body)
                    + body
                )
                until(lambda count=count: len(upstream.requests) == count, "the upstream was asked")
                if count == 2:
                    assert b"200 OK" in app.recv(4096)
            left = time.monotonic()
            until(upstream.requests[-1].closed.is_set, "the upstream was hung up on")
            assert time.monotonic() - left < 1.0  # the promise itself, not a measurement of speed


@pytest.mark.parametrize("workers", [2])
def test_stopping_lets_running_streams_end_and_takes_no_new_requests(tmp_path: Path, workers: int) -> None:
    slow = [piece for event in events(*"abcdefgh") for piece in (event, 0.2)]
    with (
        scripted_upstream_in_thread() as upstream,
        Fleet(tmp_path, native(upstream), workers=workers) as fleet,
    ):
        until(lambda: len(fleet.workers()) == workers, "all workers")
        upstream.will(stream_answer(*slow))
        url = fleet.url
        with plain.stream("POST", f"{url}/v1/chat/completions", json=BODY, timeout=30) as answer:
            lines = answer.iter_lines()
            next(lines)
            os.kill(fleet.pid, signal.SIGTERM)
            # Each connection is taken by any of the workers, and each of them is told by a signal of its own.
            until(
                lambda: all(plain.get(f"{url}/readyz").status_code == 503 for _ in range(10)),
                "told that they are draining",
            )
            refused = plain.post(f"{url}/v1/chat/completions", json=BODY)
            assert (refused.status_code, refused.json()["error"]["code"]) == (503, "stopping")
            rest = [line for line in lines if line]
        assert rest[-1] == "data: [DONE]"
        assert fleet.stop() == 0


BODY = {"model": "support-bot", "stream": True, "messages": [{"role": "user", "content": "hi"}]}
