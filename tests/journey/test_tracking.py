"""A service that never passes through the proxy follows the same switches, and what its users say turns them."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests import plain
from tests.fleet import CONFIG, Fleet
from tests.journey.traffic import roll_out, rolled_back, until
from tests.redis_server import RedisServer

RESULT = re.compile(r'pointsman_feedback_total\{result="(\w+)"\} (\S+)')
FLAG = "support-bot.prompt"
JUDGED = """
metrics:
  helpful: {type: boolean, better: higher}
policies:
  helpful-brake: {metric: helpful, times_safe: 1.5, action: rollback}
"""


class Service:
    """The service, in its own process (tests/journey/apps_with_flags.py)."""

    def __init__(self, url: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.journey.apps_with_flags", url],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=dict(os.environ),
        )
        assert self._read() == {"ready": True}

    def _read(self) -> Any:
        assert self._process.stdout is not None
        return json.loads(self._process.stdout.readline())

    def order(self, **fields: Any) -> dict[str, str]:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(fields) + "\n")
        self._process.stdin.flush()
        answer: dict[str, str] = self._read()
        return answer

    def versions(self, users: list[str]) -> dict[str, str]:
        """Who gets which version now."""
        return self.order(ask=users)

    def stop(self) -> int:
        """End its input, and wait; the exit code."""
        self._process.communicate(timeout=20)
        return self._process.returncode


@contextmanager
def service(url: str) -> Iterator[Service]:
    running = Service(url)
    try:
        yield running
    finally:
        assert running.stop() == 0


@pytest.fixture
def fleet(tmp_path: Path, server: RedisServer) -> Iterator[Fleet]:
    with Fleet(tmp_path / "fleet", CONFIG + JUDGED, workers=2, redis=server.url) as running:
        until(lambda: len(running.workers()) == 2, "all workers alive")
        yield running


def scores(fleet: Fleet, variant: str) -> tuple[int, float]:
    """How many scores `status` shows of a version, and their mean."""
    versions = fleet.json("status")["gauges"]["support-bot"]["layers"]["prompt"]["versions"]
    shown = {each["variant"]: each["scores"] for each in versions}.get(variant, {}).get("helpful")
    return (0, 0.0) if shown is None else (shown["count"], round(shown["mean"], 2))


def heard(fleet: Fleet) -> dict[str, int]:
    """What became of the scores that were sent in."""
    lines = plain.get(f"{fleet.url}/metrics", timeout=10).text.splitlines()
    found = (RESULT.fullmatch(line) for line in lines)
    return {each[1]: int(float(each[2])) for each in found if each is not None}


def test_what_users_of_another_service_say_is_seen_in_status(fleet: Fleet, server: RedisServer) -> None:
    with service(server.url) as apps:
        apps.versions(["ann", "bob", "eve"])
        apps.order(say={"ann": 1.0, "bob": 0.0, "eve": None})
        apps.order(say={"ann": 0.5})
        apps.order(say={"ann": 1.0}, metric="unheard")
        apps.order(say={"nobody": 1.0})

        became = {"accepted": 3, "invalid": 1, "no_metric": 1}
        until(lambda: heard(fleet) == became, "all were heard")

    until(lambda: scores(fleet, "v6") == (3, 0.67), "they are shown")
    with server.client() as client:
        assert not client.keys("*ann*")


def test_what_users_say_is_enough_to_roll_back_and_the_service_follows(
    fleet: Fleet, server: RedisServer
) -> None:
    """No request ever passed through the proxy."""
    users = [f"user-{number}" for number in range(120)]
    with service(server.url) as apps:
        roll_out(fleet, FLAG, "v7", 30)
        until(lambda: "v7" in apps.versions(users).values(), "some got v7")

        def pulled() -> bool:
            got = apps.versions(users)
            apps.order(say={user: float(got[user] == "v6") for user in users})
            return bool(rolled_back(fleet))

        until(pulled, "the brake was pulled")
        until(lambda: set(apps.versions(users).values()) == {"v6"}, "the service follows")

    (entry,) = rolled_back(fleet)
    assert entry["actor"] == "policy/helpful-brake"
    assert fleet.json("status", FLAG)["withdrawn"] == ["v7"]
    assert fleet.json("audit", "verify", "--recompute")["ok"]


def test_a_track_may_name_the_answer_that_it_judges(fleet: Fleet, server: RedisServer) -> None:
    """The service asks through the proxy, and tracks by the decision that it was given, or by the request."""
    first, second = fleet.ask(user="ann"), fleet.ask(user="bob")
    with service(server.url) as apps:
        apps.order(say={"ann": 0.0}, attributes={"decision": first.headers["x-pointsman-decision"]})
        apps.order(say={"ann": 0.0}, attributes={"decision": first.headers["x-pointsman-decision"]})
        apps.order(say={"bob": 1.0}, attributes={"request_id": second.headers["x-request-id"]})
        apps.order(say={"bob": 1.0}, attributes={"decision": "1~made~up"})

        became = {"accepted": 3, "duplicate": 1, "forged": 1}
        until(lambda: heard(fleet) == became, "all were heard")

    until(lambda: scores(fleet, "v6") == (2, 0.5), "each answer has one score")


def test_what_is_said_while_redis_is_away_is_counted_when_it_is_back(
    fleet: Fleet, server: RedisServer
) -> None:
    with service(server.url) as apps:
        apps.versions(["ann", "bob"])
        apps.order(say={"ann": 1.0})
        until(lambda: scores(fleet, "v6")[0] == 1, "the first was heard")
        server.kill()
        apps.order(say={"bob": 1.0})
        server.start()

        until(lambda: scores(fleet, "v6")[0] == 2, "the second was heard")


def test_what_was_said_last_is_sent_when_the_service_ends(fleet: Fleet, server: RedisServer) -> None:
    with service(server.url) as apps:
        apps.versions(["ann"])
        apps.order(say={"ann": 1.0})

    until(lambda: scores(fleet, "v6")[0] == 1, "it was heard")
