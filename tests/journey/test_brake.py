"""The machine pulls the brake, in a real fleet: for what is worse, at once; for nothing else, ever."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import plain
from tests.fleet import Fleet
from tests.journey.traffic import (
    PATIENT_APPS,
    Apps,
    fleet_with_apps,
    log_of,
    roll_out,
    rolled_back,
    until,
    wait_for_rollback,
)
from tests.redis_server import RedisServer, binaries

FLAG, MODEL = "support-bot.prompt", "support-bot.model"
CONFIG = """
upstreams:
  mock:
    kind: simulated
    rules:
      - {contains: BROKEN, reply: {status: 500}}
      - {contains: HANGING, reply: {fault: hang}}
      - {contains: '"temperature":7', reply: {status: 400}}
      - {contains: SLOW, reply: {delay_seconds: 0.12}}
      - {contains: BLIND, reply: {text: ""}}
    reply: {delay_seconds: 0.004}
flags:
  support-bot.prompt:
    layer: prompt
    serve: fine
    soak: {seconds: 1, requests: 40}
    variants:
      fine: {messages: [{role: system, content: "You are fine."}]}
      also: {messages: [{role: system, content: "You are fine too."}]}
      broken: {messages: [{role: system, content: "You are BROKEN."}]}
      hanging: {messages: [{role: system, content: "You are HANGING."}]}
      slow: {messages: [{role: system, content: "You are SLOW."}]}
      needy: {messages: [{role: system, content: "You serve {{ company }}."}]}
  support-bot.model:
    layer: model
    serve: small
    variants:
      small: {upstream: mock, model: small, price: {input_per_million: 1, output_per_million: 1}}
      dear: {upstream: mock, model: small, price: {input_per_million: 9, output_per_million: 9}}
      wrong: {upstream: mock, model: small, params: {temperature: 7}}
routes:
  support-bot: {}
"""


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[tuple[Fleet, Apps]]:
    with fleet_with_apps(tmp_path, CONFIG) as both:
        yield both


def test_a_dead_candidate_is_withdrawn_and_no_user_sees_an_error(stage: tuple[Fleet, Apps]) -> None:
    fleet, apps = stage
    roll_out(fleet, FLAG, "broken")

    with apps.asking() as got:
        entry = wait_for_rollback(fleet, FLAG)

    assert {each.status for each in got} == {200}
    assert any(each.shielded for each in got)
    state = fleet.json("status", FLAG)
    assert state["withdrawn"] == ["broken"]
    assert state["rollout"] is None
    assert entry["evidence"]
    assert {each.versions["prompt"] for each in apps.ask_many(40)} == {"fine"}
    audit = fleet.json("audit", "verify", "--recompute")
    assert audit["ok"], audit
    again = fleet.command("rollout", FLAG, "broken", "--percent", "10", "--json")
    assert again.returncode == 3, again.stderr


def test_a_restored_candidate_starts_with_fresh_evidence(stage: tuple[Fleet, Apps]) -> None:
    fleet, apps = stage
    roll_out(fleet, MODEL, "wrong")
    with apps.asking():
        wait_for_rollback(fleet, MODEL)

    fleet.json("restore", MODEL, "wrong", "--reason", "the provider takes it now")
    roll_out(fleet, MODEL, "wrong")
    got = apps.ask_many(100, temperature=1)

    assert {each.status for each in got} == {200}
    assert len(rolled_back(fleet)) == 1
    assert fleet.json("status", MODEL)["rollout"]["variant"] == "wrong"


def test_a_candidate_whose_parameters_make_the_provider_answer_400_is_rolled_back(
    stage: tuple[Fleet, Apps],
) -> None:
    fleet, apps = stage
    roll_out(fleet, MODEL, "wrong")

    with apps.asking() as got:
        wait_for_rollback(fleet, MODEL)

    assert {each.status for each in got} == {200}


def test_a_candidate_that_needs_a_variable_nobody_sends_is_rolled_back(stage: tuple[Fleet, Apps]) -> None:
    fleet, apps = stage
    roll_out(fleet, FLAG, "needy")

    with apps.asking() as got:
        wait_for_rollback(fleet, FLAG)

    assert {each.status for each in got} == {200}


def test_a_candidate_that_hangs_is_rolled_back_though_its_users_leave(stage: tuple[Fleet, Apps]) -> None:
    fleet, apps = stage
    # What is usual must be known first.
    apps.ask_many(250, stream=True)
    roll_out(fleet, FLAG, "hanging", 50)

    def gone() -> bool:
        apps.leave_many(10, 0.3)
        return bool(rolled_back(fleet))

    until(gone, "the hanging candidate is gone", 60)


def test_a_slow_candidate_is_rolled_back(stage: tuple[Fleet, Apps]) -> None:
    fleet, apps = stage
    apps.ask_many(250)
    roll_out(fleet, FLAG, "slow")

    with apps.asking() as got:
        entry = wait_for_rollback(fleet, FLAG)

    assert {each.status for each in got} == {200}
    assert entry["actor"] in {"policy/latency", "policy/ttft"}


def test_a_dear_candidate_is_rolled_back(stage: tuple[Fleet, Apps]) -> None:
    fleet, apps = stage
    apps.ask_many(250)
    roll_out(fleet, MODEL, "dear")

    with apps.asking():
        entry = wait_for_rollback(fleet, MODEL)

    assert entry["actor"] == "policy/cost"


def test_a_worsening_score_rolls_the_candidate_back(stage: tuple[Fleet, Apps]) -> None:
    fleet, apps = stage
    roll_out(fleet, FLAG, "also", 30)

    def judged() -> bool:
        for each in apps.ask_many(30):
            value = 0 if each.versions["prompt"] == "also" else 1
            told = {"metric": "accuracy", "value": value, "decision": each.decision}
            answer = plain.post(f"{fleet.url}/v1/feedback", json=told, timeout=10)
            assert answer.status_code == 202, answer.text
        return bool(rolled_back(fleet))

    until(judged, "the inaccurate candidate is gone", 60)
    assert rolled_back(fleet)[0]["actor"] == "policy/accuracy"


def test_neither_an_outage_nor_bad_callers_roll_anything_back_and_none_blinds_the_brake(
    stage: tuple[Fleet, Apps],
) -> None:
    fleet, apps = stage
    roll_out(fleet, FLAG, "broken", 1)
    fleet.json("rollout", "abort", FLAG)
    roll_out(fleet, FLAG, "also")

    outage = apps.ask_many(300, apps=PATIENT_APPS, simulate={"status": 503})
    bad_callers = apps.ask_many(300, simulate={"status": 400})
    apps.ask_many(200, user="constant")
    apps.ask_many(100, apps=PATIENT_APPS, simulate={"status": 503}, user="constant")

    assert {each.status for each in outage} == {503}
    assert {each.status for each in bad_callers} == {400}
    assert rolled_back(fleet) == []

    roll_out(fleet, FLAG, "broken")
    with apps.asking():
        wait_for_rollback(fleet, FLAG)


def test_a_served_version_that_goes_bad_goes_back_to_the_safe_one(stage: tuple[Fleet, Apps]) -> None:
    fleet, apps = stage
    fleet.json("switch", MODEL, "wrong")

    with apps.asking() as got:
        entry = wait_for_rollback(fleet, MODEL)

    assert entry["after"]["withdrawn"] == ["wrong"]
    assert {each.status for each in got} == {200}
    assert apps.ask().versions["model"] == "small"


def test_a_rollout_goes_through_its_steps_though_the_worker_that_drove_it_dies(tmp_path: Path) -> None:
    with fleet_with_apps(tmp_path, CONFIG) as (fleet, apps), apps.asking(forgiving=True):
        fleet.json("rollout", FLAG, "also", "--steps", "10,50,100", "--hold", "1s", "--min-requests", "5")
        os.kill(fleet.workers()[0]["pid"], signal.SIGKILL)

        until(lambda: fleet.json("status", FLAG)["serve"] == "also", "promoted", 40)
        until(lambda: fleet.json("status", FLAG)["safe"] == "also", "soaked", 40)

        steps = [entry["after"]["rollout"]["percent"] for entry in log_of(fleet, "rollout.step")]
        assert steps == [50]
        assert rolled_back(fleet) == []


def test_a_paused_rollout_stays_where_it_is(stage: tuple[Fleet, Apps]) -> None:
    fleet, apps = stage
    with apps.asking():
        fleet.json("rollout", FLAG, "also", "--steps", "10,50,100", "--hold", "1s", "--min-requests", "5")
        fleet.json("rollout", "pause", FLAG)
        apps.ask_many(200)

        state = fleet.json("status", FLAG)["rollout"]
        assert (state["percent"], state["state"]) == (10, "paused")

        fleet.json("rollout", "resume", FLAG)
        until(lambda: fleet.json("status", FLAG)["serve"] == "also", "promoted", 40)


def test_while_redis_is_away_a_worker_brakes_for_itself_and_commits_when_it_is_back(tmp_path: Path) -> None:
    with (
        RedisServer(tmp_path / "redis", sorted(binaries().items())[0][1]) as redis,
        fleet_with_apps(tmp_path, CONFIG, redis=redis.url) as (fleet, apps),
    ):
        apps.ask_many(50)
        roll_out(fleet, FLAG, "broken", 50)
        redis.kill()

        def braked() -> bool:
            return any(each.degraded == "local-brake" for each in apps.ask_many(40))

        until(braked, "a local brake", 60)
        # Any worker may answer, also one that has not braked yet.
        told = until(lambda: fleet.json("status")["diverted"], "the brake is shown")
        assert told == {FLAG: "broken"}
        redis.start()
        wait_for_rollback(fleet, FLAG)

        assert len(rolled_back(fleet)) == 1
        assert fleet.json("status", FLAG)["withdrawn"] == ["broken"]
        until(lambda: {each.degraded for each in apps.ask_many(10)} == {""}, "nothing degraded")


def test_feedback_that_is_forged_unknown_or_nonsense_is_refused_and_told_apart(
    stage: tuple[Fleet, Apps],
) -> None:
    fleet, apps = stage
    got = apps.ask()

    def tell(**fields: Any) -> tuple[int, str]:
        answer = plain.post(f"{fleet.url}/v1/feedback", json={"metric": "accuracy", "value": 1, **fields})
        body = answer.json()
        return answer.status_code, body["error"]["code"] if "error" in body else body["status"]

    assert tell(decision=got.decision) == (202, "accepted")
    assert tell(request_id=got.request_id)[0] == 202
    assert tell(decision=got.decision[:-2] + "AA") == (400, "invalid_decision")
    assert tell(request_id="req-0-1")[0] == 404
    assert tell(decision=got.decision, metric="charm")[0] == 400
    assert tell(decision=got.decision, value=7)[0] == 400
    assert tell()[0] == 400


def test_every_worker_tells_the_fleets_totals(stage: tuple[Fleet, Apps]) -> None:
    fleet, apps = stage
    apps.ask_many(100)

    def counted() -> list[float]:
        totals = []
        for _ in range(6):
            text = plain.get(f"{fleet.url}/metrics").text
            lines = [line for line in text.splitlines() if line.startswith("pointsman_requests_total{")]
            totals.append(sum(float(line.rsplit(" ", 1)[1]) for line in lines))
        return totals

    until(lambda: set(counted()) == {100.0}, "100 requests, whoever is asked")


def test_an_operator_forces_a_breaker_open_on_every_worker(stage: tuple[Fleet, Apps]) -> None:
    fleet, apps = stage
    apps.ask_many(10)

    done = fleet.json("breakers", "force", "support-bot", "mock/small", "open", "--reason", "provider's wish")
    got = apps.ask_many(20)

    assert done["acknowledged"] == 2
    assert {each.status for each in got} == {503}
    fleet.json("breakers", "force", "support-bot", "mock/small", "auto", "--reason", "over")
    assert {each.status for each in apps.ask_many(20)} == {200}
    assert json.loads(fleet.command("breakers", "--json").stdout)
