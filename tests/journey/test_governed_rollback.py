"""A rollback that an auditor would sign, in a real fleet: every step once, whichever worker dies while it is done."""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from tests import plain
from tests.fleet import Fleet
from tests.journey.traffic import until
from tests.redis_server import RedisServer

FLAG = "support-bot.prompt"
SUITE = """
description: slow enough that a worker can be killed in the middle of it
tests:
  - {vars: {question: "SLOWLY, where is my order?"}, assert: [{type: contains, value: order}]}
"""
CONFIG = """
upstreams:
  mock:
    kind: simulated
    rules:
      - {contains: SLOWLY, reply: {delay_seconds: 3, text: "Your order is on its way."}}
    reply: {delay_seconds: 0.004}
flags:
  support-bot.prompt:
    layer: prompt
    serve: v6
    promotion: {evals: suite.yaml, min_pass_rate: 0.95}
    variants:
      v6: {messages: [{role: system, content: "You are v6."}]}
      v7: {messages: [{role: system, content: "You are v7."}]}
  support-bot.model:
    layer: model
    serve: small
    variants:
      small: {upstream: mock, model: small}
routes:
  support-bot: {}
"""
STEPS = ["locate", "restore", "acknowledge", "evaluate", "log", "changelog", "notify", "helped"]
CI = "https://ci.example/run/1"
# One lease, a whole suite of three seconds, and a machine that does other things as well.
PATIENCE_SECONDS = 60.0


@pytest.fixture
def fleet(tmp_path: Path, server: RedisServer) -> Iterator[Fleet]:
    """Three workers, and a flag whose promotion asks for a suite."""
    made = Fleet(tmp_path / "fleet", CONFIG, workers=3, redis=server.url)
    (tmp_path / "fleet" / "suite.yaml").write_text(SUITE)
    with made as running:
        until(lambda: len(running.workers()) == 3, "three workers", seconds=PATIENCE_SECONDS)
        yield running


def rolled_back(fleet: Fleet) -> str:
    """v7 is served to all and rolled back by hand; the rollback's id."""
    fleet.json("switch", FLAG, "v7")
    return str(fleet.json("rollback", FLAG, "--reason", "wrong answers")["id"])


def record_of(fleet: Fleet, change_id: str) -> dict[str, Any]:
    found: dict[str, Any] = fleet.read(f"/rollbacks/{change_id}")
    return found


def state_of(fleet: Fleet, change_id: str, step: str) -> str:
    return str(next(each["state"] for each in record_of(fleet, change_id)["steps"] if each["name"] == step))


def steps_of(fleet: Fleet, change_id: str) -> Counter[str]:
    """How often each step was recorded, and how often the record was closed."""
    entries = fleet.read(f"/log?object=rollback/{change_id}&limit=1000")["entries"]
    return Counter(
        "closed" if each["action"] == "rollback.done" else each["reason"].partition(":")[0]
        for each in entries
        if each["action"] in ("rollback.step", "rollback.done")
    )


def holder_of(server: RedisServer, change_id: str) -> str:
    """The worker that holds the record's lease; "" while nobody does."""
    with redis.Redis(port=server.port) as client:
        held = client.get(f"{{pointsman:default}}:lease:rollback:{change_id}")
    name, _, token = (held or b"").decode().partition("/")  # type: ignore[union-attr]  # a sync client's answer
    return name if token else ""


def answer_many(fleet: Fleet, count: int = 25) -> None:
    for number in range(count):
        assert fleet.ask(user=f"u{number}").status_code == 200


def test_the_whole_procedure_is_done_once_and_shown_with_ticks(fleet: Fleet) -> None:
    change_id = rolled_back(fleet)
    until(
        lambda: [state_of(fleet, change_id, step) for step in STEPS].count("open") == 1,
        "all but one step ended",
        seconds=PATIENCE_SECONDS,
    )
    answer_many(fleet)
    until(lambda: record_of(fleet, change_id)["closed"], "closed", seconds=PATIENCE_SECONDS)
    fleet.json("rollback", "tick", change_id, "ci", "--link", CI)

    record = fleet.json("rollback", "show", change_id)
    told = fleet.command("rollback", "show", FLAG)

    assert [each["name"] for each in record["steps"]] == [*STEPS, "ci"]
    assert [each["done"] for each in record["steps"]] == [True] * 9, record["steps"]
    assert {each["name"]: each for each in record["steps"]}["evaluate"]["link"].startswith("/admin/v1/evals/")
    assert steps_of(fleet, change_id) == Counter([*STEPS[2:], "closed"])
    assert "9 of 9 ticked; closed" in told.stdout
    assert fleet.json("audit", "verify")["ok"]


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
def test_the_worker_that_drives_it_dies_or_stands_still_and_another_goes_on(
    fleet: Fleet, server: RedisServer, how: signal.Signals
) -> None:
    """While the suite runs, which takes seconds: whoever holds the lease is gone, and is back, if stopped, later."""
    change_id = rolled_back(fleet)
    until(lambda: holder_of(server, change_id), "somebody drives it", seconds=PATIENCE_SECONDS)
    until(lambda: steps_of(fleet, change_id)["notify"] == 1, "notify is recorded", seconds=PATIENCE_SECONDS)
    driver = holder_of(server, change_id)
    pid = next(each["pid"] for each in fleet.workers() if each["id"] == driver)

    os.kill(pid, how)
    until(
        lambda: holder_of(server, change_id) not in ("", driver),
        "another drives it",
        seconds=PATIENCE_SECONDS,
    )
    until(lambda: _answered(fleet, change_id), "evaluated", seconds=PATIENCE_SECONDS)
    if how is signal.SIGSTOP:
        os.kill(pid, signal.SIGCONT)
    answer_many(fleet)
    until(lambda: record_of(fleet, change_id)["closed"], "closed", seconds=PATIENCE_SECONDS)

    assert steps_of(fleet, change_id) == Counter([*STEPS[2:], "closed"])
    assert fleet.json("audit", "verify")["ok"]


def _answered(fleet: Fleet, change_id: str) -> bool:
    """Whether the evaluation ended; a stopped worker may hold the connection that asks, so a question may fail."""
    try:
        found = plain.get(f"{fleet.url}/admin/v1/rollbacks/{change_id}", timeout=1).json()
    except Exception:  # whatever a worker that stands still does to a client
        return False
    return any(each["name"] == "evaluate" and each["done"] for each in found["steps"])
