"""The brake in a hostile world: what only half fails, what fails late, and a Redis that comes and goes."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests import plain
from tests.fleet import Fleet
from tests.journey.traffic import (
    fleet_with_apps,
    log_of,
    roll_out,
    rolled_back,
    until,
    wait_for_rollback,
)
from tests.redis_server import RedisServer, binaries

FLAG = "support-bot.prompt"
CONFIG = """
upstreams:
  mock:
    kind: simulated
    rules:
      - {contains: BROKEN, reply: {status: 500}}
      - {contains: FLAKY, reply: {error_rate: 0.2}}
      - {contains: CUTTING, reply: {fault: cut, after_chunks: 1}}
    reply: {delay_seconds: 0.002}
flags:
  support-bot.prompt:
    layer: prompt
    serve: fine
    variants:
      fine: {messages: [{role: system, content: "You are fine."}]}
      also: {messages: [{role: system, content: "You are ALSO fine."}]}
      broken: {messages: [{role: system, content: "You are BROKEN."}]}
      flaky: {messages: [{role: system, content: "You are FLAKY."}]}
      cutting: {messages: [{role: system, content: "You are CUTTING."}]}
  support-bot.model:
    layer: model
    serve: small
    variants:
      small: {upstream: mock, model: small}
routes:
  support-bot: {}
"""
NOISY = CONFIG.replace("reply: {delay_seconds: 0.002}", "reply: {delay_seconds: 0.002, error_rate: 0.03}")


def audited(fleet: Fleet) -> bool:
    """Whether every automatic decision is reproduced from the ledger alone."""
    return bool(fleet.json("audit", "verify", "--recompute")["ok"])


def counted(fleet: Fleet) -> float:
    """The requests that the fleet has counted."""
    text = plain.get(f"{fleet.url}/metrics").text
    lines = [line for line in text.splitlines() if line.startswith("pointsman_requests_total{")]
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines)


@contextmanager
def troubled(redis: RedisServer) -> Iterator[None]:
    """Meanwhile this Redis hangs and dies, in turn, whatever it is asked just then."""
    over = threading.Event()

    def trouble() -> None:
        while not over.wait(0.7):
            redis.pause()
            over.wait(0.9)
            redis.resume()
            over.wait(0.4)
            redis.kill()
            over.wait(0.3)
            redis.start()

    thread = threading.Thread(target=trouble)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def test_noise_rolls_nothing_back_whoever_makes_it(tmp_path: Path) -> None:
    """Three in a hundred fail in both arms; of a few heavy users every third stream breaks."""
    with fleet_with_apps(tmp_path, NOISY) as (fleet, apps):
        roll_out(fleet, FLAG, "also", 30)

        apps.ask_many(2_000)
        apps.ask_many(500, stream=True)
        for user in ("heavy-1", "heavy-2", "heavy-3"):
            cut = {"fault": "cut", "after_chunks": 1, "error_rate": 0.34}
            apps.ask_many(100, user=user, stream=True, simulate=cut)
        until(lambda: counted(fleet) == 2_800, "all are counted")

        assert rolled_back(fleet) == []
        assert fleet.json("status", FLAG)["rollout"]["variant"] == "also"


def test_one_in_five_is_enough_and_nobody_sees_it(tmp_path: Path) -> None:
    with fleet_with_apps(tmp_path, CONFIG) as (fleet, apps):
        roll_out(fleet, FLAG, "flaky", 10)

        with apps.asking(0.005) as got:
            wait_for_rollback(fleet, FLAG)

        assert {each.status for each in got} == {200}
        assert audited(fleet)


def test_a_candidate_that_fails_only_in_mid_stream_is_rolled_back(tmp_path: Path) -> None:
    with fleet_with_apps(tmp_path, CONFIG) as (fleet, apps):
        roll_out(fleet, FLAG, "cutting")

        with apps.asking(0.01, stream=True):
            wait_for_rollback(fleet, FLAG)

        assert audited(fleet)


def test_a_percentage_that_never_stands_still_neither_rolls_back_nor_blinds(tmp_path: Path) -> None:
    with fleet_with_apps(tmp_path, NOISY) as (fleet, apps), apps.asking(0.005):
        for number in range(25):
            roll_out(fleet, FLAG, "also", 10 + number % 7 * 5)
        healthy = rolled_back(fleet)
        until(
            lambda: (
                fleet.command("rollout", FLAG, "flaky", "--percent", str(10 + time.time_ns() % 40))
                and rolled_back(fleet)
            ),
            "the flaky candidate is gone",
        )

        assert healthy == []
        assert audited(fleet)


def test_what_serves_everybody_goes_back_when_it_begins_to_fail_later(tmp_path: Path) -> None:
    with fleet_with_apps(tmp_path, CONFIG) as (fleet, apps):
        fleet.json("switch", FLAG, "also")
        apps.ask_many(100)
        failing = "- {contains: ALSO, reply: {status: 500}}\n      - {contains: BROKEN"
        fleet.config.write_text(CONFIG.replace("- {contains: BROKEN", failing))
        fleet.json("apply", "-f", str(fleet.config))

        with apps.asking(0.005) as got:
            entry = wait_for_rollback(fleet, FLAG)

        assert {each.status for each in got} == {200}
        assert entry["after"]["withdrawn"] == ["also"]
        assert audited(fleet)


def test_where_nothing_can_go_back_it_is_told_once(tmp_path: Path) -> None:
    with fleet_with_apps(tmp_path, CONFIG) as (fleet, apps):
        apps.ask_many(50)

        with apps.asking(0.005, simulate={"status": 500}):
            until(lambda: log_of(fleet, "alert"), "an alert")
            apps.ask_many(300, simulate={"status": 500})

        (alert,) = log_of(fleet, "alert")
        assert alert["object"] == "route/support-bot"
        assert alert["reason"].startswith("nothing to roll back")
        assert audited(fleet)


def test_a_dry_run_tells_once_and_a_pause_holds_until_a_person_resumes(tmp_path: Path) -> None:
    declared = """policies:
  dry: {metric: error_rate, limit: 0.05, dry_run: true}
  halt: {metric: error_rate, times_safe: 2, action: pause}
"""
    with fleet_with_apps(tmp_path, CONFIG + declared) as (fleet, apps):
        roll_out(fleet, FLAG, "broken")

        with apps.asking(0.01):
            until(lambda: log_of(fleet, "rollout.pause") and log_of(fleet, "alert"), "a pause, and a note")
            apps.ask_many(100)
            resumed = fleet.json("rollout", "resume", FLAG)
            apps.ask_many(100)

        assert [entry["actor"] for entry in log_of(fleet, "rollout.pause")] == ["policy/halt"]
        assert [entry["actor"] for entry in log_of(fleet, "alert")] == ["policy/dry"]
        assert resumed["committed"]
        assert fleet.json("status", FLAG)["rollout"]["state"] == "running"
        assert rolled_back(fleet) == []


def test_a_redis_that_hangs_and_dies_all_the_time_loses_no_count_and_no_rollback(tmp_path: Path) -> None:
    with (
        RedisServer(tmp_path / "redis", sorted(binaries().items())[0][1]) as redis,
        fleet_with_apps(tmp_path, NOISY, redis=redis.url) as (fleet, apps),
    ):
        roll_out(fleet, FLAG, "also", 30)
        with troubled(redis):
            apps.ask_many(1_500)
        until(lambda: counted(fleet) == 1_500, "all are counted")
        healthy = rolled_back(fleet)

        roll_out(fleet, FLAG, "broken", 50)
        with troubled(redis), apps.asking(0.01):
            time.sleep(4)
        wait_for_rollback(fleet, FLAG)

        assert healthy == []
        assert len(rolled_back(fleet)) == 1
        assert audited(fleet)


def test_a_worker_that_is_killed_while_it_judges_is_missed_by_nobody(tmp_path: Path) -> None:
    with fleet_with_apps(tmp_path, CONFIG) as (fleet, apps):
        roll_out(fleet, FLAG, "flaky")
        apps.ask_many(30)

        os.kill(fleet.workers()[0]["pid"], signal.SIGKILL)
        until(lambda: len(fleet.workers()) == 2, "another in its place")
        with apps.asking(0.01):
            wait_for_rollback(fleet, FLAG)

        assert len(rolled_back(fleet)) == 1
        assert audited(fleet)
