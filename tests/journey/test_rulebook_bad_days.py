"""Bad days of the rulebook, in a real fleet: whoever dies, hangs or cheats, a rollback is complete and told once."""

from __future__ import annotations

import json
import os
import signal
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import redis

from tests import plain
from tests.fleet import Fleet
from tests.journey.traffic import Apps, log_of, roll_out, until, wait_for_rollback
from tests.journey.webhook import Receiver
from tests.redis_server import RedisServer

FLAG = "support-bot.prompt"
SLOW = "{vars: {question: 'SLOWLY, where is my order?'}, assert: [{type: contains, value: order}]}"
QUICK = "{vars: {question: 'Where is my order?'}, assert: [{type: contains, value: order}]}"
BAD = ("v7", "v8", "v9", "v10", "v11", "v12")
CONFIG = """
upstreams:
  mock:
    kind: simulated
    rules:
      - {contains: BROKEN, reply: {status: 500}}
      - {contains: SLOWLY, reply: {delay_seconds: 2, text: "Your order is on its way."}}
    reply: {delay_seconds: 0.004, text: "Your order is on its way."}
flags:
  support-bot.prompt:
    layer: prompt
    serve: v6
    promotion: {evals: suite.yaml, min_pass_rate: 0.95}
    variants:
      v5: {messages: [{role: system, content: "You are v5."}]}
      v6: {messages: [{role: system, content: "You are v6."}]}
      v7: {messages: [{role: system, content: "You are v7."}]}
      v8: {messages: [{role: system, content: "You are v8."}]}
      v9: {messages: [{role: system, content: "You are v9."}]}
      v10: {messages: [{role: system, content: "You are v10."}]}
      v11: {messages: [{role: system, content: "You are v11."}]}
      v12: {messages: [{role: system, content: "You are v12."}]}
      broken: {messages: [{role: system, content: "You are BROKEN."}]}
  support-bot.model:
    layer: model
    serve: small
    variants:
      small: {upstream: mock, model: small}
routes:
  support-bot: {}
"""
# What is written into a record when its step ends, in the words that begin the entry's reason.
AFTER = ("acknowledge", "evaluate", "log", "changelog", "notify", "helped")
ONCE = Counter([*AFTER, "closed"])
# A lease that runs out, a suite of seconds, and a machine that does other things as well.
PATIENCE_SECONDS = 90.0


@contextmanager
def serving(
    tmp_path: Path,
    server: RedisServer | None,
    *,
    workers: int = 2,
    suite: str = QUICK,
    hooks: dict[str, Receiver] | None = None,
) -> Iterator[Fleet]:
    """A fleet whose flag has a suite, with a CloudEvents webhook for each receiver."""
    with ExitStack() as stack:
        for hook in (hooks or {}).values():
            stack.enter_context(hook.listening())
        lines = [
            f"  {name}: {{kind: cloudevents, url: '{hook.url}'}}" for name, hook in (hooks or {}).items()
        ]
        config = CONFIG + ("\n".join(["notify:", *lines, ""]) if lines else "")
        made = Fleet(tmp_path / "fleet", config, workers=workers, redis=server and server.url)
        (tmp_path / "fleet" / "suite.yaml").write_text(f"tests:\n  - {suite}\n")
        with made as fleet:
            whole(fleet, workers)
            yield fleet


def whole(fleet: Fleet, workers: int) -> None:
    """As many as there are to be, and none of them one that died a moment ago."""

    def lives() -> bool:
        pids = [each["pid"] for each in fleet.workers()]
        return len(pids) == workers and all(Path(f"/proc/{pid}").exists() for pid in pids)

    until(lives, f"{workers} workers", seconds=PATIENCE_SECONDS)


def rolled_back(fleet: Fleet, variant: str = "v7") -> str:
    """`variant` is served to all and rolled back by hand, whichever workers confirm it; the rollback's id."""
    done = {}
    for verb, order in (("switch", {"variant": variant}), ("rollback", {})):
        url = f"{fleet.url}/admin/v1/flags/{FLAG}/{verb}"
        done = plain.post(
            url, json={**order, "reason": "wrong answers", "wait_seconds": 0}, timeout=30
        ).json()
    return str(done["id"])


def read(fleet: Fleet, path: str) -> Any:
    """What the operators' API answers, by whichever worker: one may die meanwhile, or not have heard of it yet."""

    def answered() -> Any:
        with suppress(httpx.HTTPError):
            return fleet.read(path)
        return None

    return until(answered, f"{path} is answered", seconds=PATIENCE_SECONDS)


def record_of(fleet: Fleet, change_id: str) -> dict[str, Any]:
    found: dict[str, Any] = read(fleet, f"/rollbacks/{change_id}")
    return found


def step_of(fleet: Fleet, change_id: str, name: str) -> dict[str, Any]:
    found: dict[str, Any] = next(
        each for each in record_of(fleet, change_id)["steps"] if each["name"] == name
    )
    return found


def steps_of(fleet: Fleet, change_id: str) -> Counter[str]:
    """How often each step was recorded as ended, and how often the record was closed."""
    entries = read(fleet, f"/log?object=rollback/{change_id}&limit=1000")["entries"]
    found: Counter[str] = Counter()
    for each in entries:
        found += Counter(closed=each["action"] == "rollback.done")
        if each["action"] == "rollback.step":
            name = each["reason"].partition(":")[0]
            # One that was tried in vain, or is waited for, is noted as well.
            found += Counter({name: each["after"]["steps"][name].get("state", "open") != "open"})
    return found


def close(fleet: Fleet, change_id: str) -> dict[str, Any]:
    """The record once nothing is left to do; users ask meanwhile, so that it can be said whether it helped."""

    def over() -> dict[str, Any] | None:
        for number in range(4):
            assert fleet.ask(user=f"u{number}").status_code == 200
        found = record_of(fleet, change_id)
        return found if found["closed"] else None

    found: dict[str, Any] = until(over, "closed", seconds=PATIENCE_SECONDS)
    return found


def told(fleet: Fleet, event: str) -> dict[str, dict[str, Any]]:
    """How far an event is, by channel; nothing while the outbox has not come to it."""
    with suppress(httpx.HTTPStatusError):
        return {each["channel"]: each for each in fleet.read(f"/notices/{event}")["receipts"]}
    return {}


def kill_driver(server: RedisServer, fleet: Fleet, change_id: str) -> None:
    """Kill whoever holds the record's lease (SIGKILL); any worker, where nobody is at it for a while."""
    with redis.Redis(port=server.port) as client:

        def holder() -> str:
            held = client.get(f"{{pointsman:default}}:lease:rollback:{change_id}")
            name, _, token = (held or b"").decode().partition("/")  # type: ignore[union-attr]  # a sync client's answer
            return name if token else ""

        deadline = time.monotonic() + 2.0
        while not (found := holder()) and time.monotonic() < deadline:
            time.sleep(0.002)
    pids = {each["id"]: each["pid"] for each in read(fleet, "/workers")["workers"]}
    living = [pid for pid in pids.values() if Path(f"/proc/{pid}").exists()]
    os.kill(pids.get(found) or living[0], signal.SIGKILL)


def test_the_driver_dies_at_each_step_in_turn_and_each_step_is_recorded_once(
    tmp_path: Path, server: RedisServer
) -> None:
    """Six rollbacks, each of which loses its driver as it comes to another step; those before it still want theirs."""
    ids: list[str] = []
    steps = ("", "log", "changelog", "notify", "acknowledge", "evaluate")
    with serving(tmp_path, server, workers=3) as fleet:
        for variant, step in zip(BAD, steps, strict=True):
            ids.append(rolled_back(fleet, variant))
            until(
                lambda at=step: not at or step_of(fleet, ids[-1], at)["time"],  # type: ignore[misc]
                f"{step} is reached",
                seconds=PATIENCE_SECONDS,
            )
            kill_driver(server, fleet, ids[-1])

        records = [close(fleet, each) for each in ids]

        assert [steps_of(fleet, each) for each in ids] == [ONCE] * len(BAD)
        ended = [{each["name"]: each["done"] for each in record["steps"]} for record in records]
        assert ended == [dict.fromkeys(("locate", "restore", *AFTER), True)] * len(BAD), records
        assert fleet.json("audit", "verify")["ok"]


def test_all_die_in_the_middle_and_after_a_restart_it_is_completed_and_told_once(
    tmp_path: Path, server: RedisServer
) -> None:
    hook = Receiver(500)
    with serving(tmp_path, server, suite=SLOW, hooks={"audit": hook}) as fleet:
        change_id = rolled_back(fleet)
        # Tried in vain, so that nobody holds a claim on it, which would have to run out first.
        until(lambda: hook.refused and told(fleet, change_id)["audit"]["found"], "it was tried")
        fleet.kill()
        fleet.start()
        hook.status = 200

        record = close(fleet, change_id)

        assert steps_of(fleet, change_id) == ONCE
        assert {each["state"] for each in record["steps"]} == {"done"}, record
        assert hook.of("rollback") == {change_id: 1}


def test_redis_dies_in_the_middle_and_is_back_and_the_record_is_completed(
    tmp_path: Path, server: RedisServer
) -> None:
    """Killed while the suite runs: what was recorded stands, and the suite is run again."""
    hook = Receiver()
    with serving(tmp_path, server, suite=SLOW, hooks={"audit": hook}) as fleet:
        change_id = rolled_back(fleet)
        until(lambda: step_of(fleet, change_id, "evaluate")["time"], "the suite runs")

        server.kill()
        until(lambda: fleet.ask().headers.get("x-pointsman-degraded") == "redis", "degraded is told")
        server.start()
        whole(fleet, 2)
        record = close(fleet, change_id)

        assert steps_of(fleet, change_id) == ONCE
        assert {each["state"] for each in record["steps"]} == {"done"}, record
        assert set(hook.of("rollback")) == {change_id}
        assert fleet.json("audit", "verify")["ok"]


def test_a_restart_of_all_with_the_store_of_its_own_goes_on_where_it_was(tmp_path: Path) -> None:
    """No Redis was given; the server is stopped in order while the suite runs, and started again."""
    with serving(tmp_path, None, suite=SLOW) as fleet:
        change_id = rolled_back(fleet)
        until(lambda: step_of(fleet, change_id, "evaluate")["time"], "the suite runs")

        code = fleet.stop()
        fleet.start()
        record = close(fleet, change_id)

        assert code == 0
        assert steps_of(fleet, change_id) == ONCE
        assert {each["state"] for each in record["steps"]} == {"done"}, record


def test_hooks_that_hang_fail_or_redirect_hold_up_neither_the_switch_nor_each_other(
    tmp_path: Path, server: RedisServer
) -> None:
    hanging, failing, moved, well = Receiver(), Receiver(500), Receiver(302), Receiver()
    hanging.answers.clear()
    elsewhere = Receiver()
    moved.location = elsewhere.url
    hooks = {"hanging": hanging, "failing": failing, "moved": moved, "well": well}
    with elsewhere.listening(), serving(tmp_path, server, hooks=hooks) as fleet:
        done = fleet.json("switch", FLAG, "v7")
        done = fleet.json("rollback", FLAG, "--reason", "wrong answers")
        until(lambda: well.of("rollback"), "the channel that is well has it")
        until(lambda: (told(fleet, done["id"]).get("moved") or {}).get("found"), "the redirect is seen")
        receipts = told(fleet, done["id"])
        open_step = step_of(fleet, done["id"], "notify")

        assert (done["acknowledged"], done["missing"]) == (2, [])
        assert "a redirect to 127.0.0.1: redirects are refused" in receipts["moved"]["found"]
        assert (receipts["hanging"]["state"], receipts["well"]["state"]) == ("due", "told")
        assert (open_step["state"], elsewhere.taken) == ("open", [])

        moved.status = failing.status = 200
        hanging.answers.set()
        record = close(fleet, done["id"])

        assert {each["state"] for each in record["steps"]} == {"done"}, record
        for name in ("failing", "moved", "well"):
            assert hooks[name].of("rollback") == {done["id"]: 1}, name
        # One that answered too late has it twice, by the same id.
        assert set(hanging.of("rollback")) == {done["id"]}


def test_automation_moves_safe_to_the_last_known_good_in_the_same_change_and_tells_whether_it_helped(
    tmp_path: Path, server: RedisServer
) -> None:
    with serving(tmp_path, server) as fleet:
        for variant in ("v5", "v6"):
            fleet.json("eval", "run", FLAG, variant)
        fleet.json("deprecate", FLAG, "v6", "--reason", "v5 is the one that was audited")
        fleet.json("switch", FLAG, "broken")
        with closing(Apps(fleet)) as apps, apps.asking() as got:
            entry = wait_for_rollback(fleet, FLAG)
            record = until(lambda: closed(fleet, entry["id"]), "closed", seconds=PATIENCE_SECONDS)
        opened = log_of(fleet, "rollback.open")
        steps = {each["name"]: each for each in record["steps"]}

        assert {each.status for each in got} == {200}
        assert (entry["after"]["safe"], record["to"]) == ("v5", "v5")
        assert (fleet.json("status", FLAG)["served"], fleet.json("status", FLAG)["withdrawn"]) == (
            "v5",
            ["broken"],
        )
        assert [each["revision"] for each in opened] == [entry["revision"] - 1]
        assert (record["cause"]["metric"], record["from"]) == ("error_rate", "broken")
        assert record["cause"]["requests"] > 0
        assert record["cause"]["bad"] > 0.5
        assert steps["helped"]["done"], steps["helped"]
        assert steps["evaluate"]["done"], steps["evaluate"]


def closed(fleet: Fleet, change_id: str) -> dict[str, Any] | None:
    found = record_of(fleet, change_id)
    return found if found["closed"] else None


def test_what_a_worker_braked_by_itself_has_its_record_when_redis_is_back(
    tmp_path: Path, server: RedisServer
) -> None:
    hook = Receiver()
    with serving(tmp_path, server, hooks={"audit": hook}) as fleet, closing(Apps(fleet)) as apps:
        apps.ask_many(50)
        roll_out(fleet, FLAG, "broken", 50)
        server.kill()
        until(
            lambda: any(each.degraded == "local-brake" for each in apps.ask_many(40)),
            "a local brake",
            seconds=PATIENCE_SECONDS,
        )
        server.start()
        entry = wait_for_rollback(fleet, FLAG)
        record = close(fleet, entry["id"])

        assert record["cause"]["metric"] == "error_rate"
        assert record["ungoverned"]
        assert hook.of("rollback") == {entry["id"]: 1}


def test_an_entry_that_was_altered_in_redis_is_found_where_it_is(tmp_path: Path, server: RedisServer) -> None:
    with serving(tmp_path, server) as fleet:
        for variant in ("v7", "v8", "v9"):
            fleet.json("switch", FLAG, variant)
        revision = altered(server)

        found = fleet.command("audit", "verify", "--json")

        assert found.returncode == 1
        answer = json.loads(found.stdout)
        assert not answer["ok"]
        assert any(str(revision) in each for each in map(str, answer["problems"])), answer
        assert fleet.ask().status_code == 200
        assert fleet.json("rollback", FLAG, "--to", "v6", "--reason", "still possible")["to"] == "v6"


def altered(server: RedisServer) -> int:
    """The entry before the last has another actor, in place; its revision."""
    ledger = "{pointsman:default}:ledger"
    with redis.Redis(port=server.port) as client:
        rows: Any = client.xrange(ledger)
        spoilt = rows[-2][0]
        with client.pipeline() as pipe:
            pipe.delete(ledger)
            for row, fields in rows:
                text = fields[b"e"]
                pipe.xadd(
                    ledger, {"e": text.replace(b"tester", b"nobody") if row == spoilt else text}, id=row
                )
            pipe.execute()
    return int(spoilt.partition(b"-")[0])
