"""An operator flips the gateway's own switches on a real server: the verbs of ordinary flags, live, without a restart."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.fleet import Fleet

CONFIG = """
upstreams: {mock: {kind: simulated}}
flags:
  bot.model: {layer: model, serve: m, variants: {m: {upstream: mock, model: gpt-4.1}}}
  gateway.model: {layer: model, serve: m, variants: {m: {upstream: mock, model: gpt-4.1}}}
  gateway.content-logging:
    serve: "off"
    variants: {"on": true, "off": false}
    targeting: {if: [{and: [{"==": [{var: route}, bot]}, {"==": [{var: plan}, gold]}]}, "on"]}
routes:
  bot: {cache: {seconds: 60}}
  gateway: {}
"""
CACHE = "x-pointsman-cache"


@pytest.fixture
def fleet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Fleet]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with Fleet(tmp_path, CONFIG, workers=1) as started:
        yield started


def done(result: subprocess.CompletedProcess[str], code: int = 0) -> Any:
    """The one document of a command that ended so."""
    assert result.returncode == code, (result.stdout, result.stderr)
    return json.loads(result.stdout if code == 0 else result.stderr)


def asked(fleet: Fleet, text: str, route: str = "bot", **metadata: str) -> httpx.Response:
    body = {
        "model": route,
        "temperature": 0,
        "messages": [{"role": "user", "content": text}],
        "metadata": metadata,
    }
    with httpx.Client(trust_env=False) as client:
        return client.post(
            f"{fleet.url}/v1/chat/completions", json=body, headers={"authorization": "Bearer sk-app"}
        )


def hit(fleet: Fleet, text: str) -> bool:
    """Whether the second of two that are alike comes from the cache; what is kept is written behind the answer."""
    asked(fleet, text)
    return any(asked(fleet, text).headers.get(CACHE, "").startswith("hit") for _ in range(20))


def test_a_switch_exists_before_anybody_wrote_it_and_the_verbs_work_on_it(fleet: Fleet) -> None:
    shipped = done(fleet.command("status", "gateway.cache", "--json"))
    assert (shipped["served"], shipped["safe"], shipped["revision"]) == ("on", "on", 0)
    assert hit(fleet, "one")
    assert "gateway.cache" not in done(fleet.command("export", "--json"))["flags"]

    switched = done(fleet.command("switch", "gateway.cache", "off", "--reason", "stale answers", "--json"))

    assert (switched["from"], switched["to"], switched["changed"]) == ("on", "off", True)
    assert not hit(fleet, "two")
    told = done(fleet.command("status", "--json"))["switches"]["gateway.cache"]
    assert (told["served"], told["value"], told["usual"]) == ("off", False, True)
    assert "switch gateway.cache: off (usually on" in fleet.command("status").stdout
    assert "switch gateway.cache: off (usually on" in fleet.command("top", "--once").stdout
    assert "gateway.cache, gateway.shadow" in fleet.command("switch", "gateway.kitchen", "off").stderr
    exported = done(fleet.command("export", "--json"))["flags"]["gateway.cache"]
    assert (exported["serve"], exported["safe"]) == ("off", "on")

    back = done(fleet.command("rollback", "gateway.cache", "--reason", "the answers were right", "--json"))

    assert (back["from"], back["to"]) == ("off", "on")
    assert hit(fleet, "three")
    assert "gateway.cache" not in done(fleet.command("status", "--json"))["switches"]
    log = [
        json.loads(line)
        for line in fleet.command("log", "--flag", "gateway.cache", "--json").stdout.splitlines()
    ]
    assert [each["action"] for each in log if each["object"] == "flag/gateway.cache"] == [
        "switch",
        "rollback",
    ]
    versions = done(fleet.command("versions", "gateway.cache", "--json"))
    assert {each["name"] for each in versions["versions"]} == {"on", "off"}
    why = done(fleet.command("explain", "gateway.cache", "--key", "user-7", "--json"))
    assert (why["variant"], why["value"]) == ("on", True)


def test_a_switch_rolls_out_and_back_like_any_flag(fleet: Fleet) -> None:
    done(fleet.command("rollout", "gateway.retries", "off", "--percent", "10", "--json"))

    state = done(fleet.command("status", "gateway.retries", "--json"))

    assert (state["served"], state["rollout"]["percent"]) == ("on", 10)
    assert "switch gateway.retries: on, off at 10 %" in fleet.command("status").stdout
    done(fleet.command("rollback", "gateway.retries", "--reason", "enough", "--json"))
    assert done(fleet.command("status", "gateway.retries", "--json"))["withdrawn"] == ["off"]
    refused = done(fleet.command("rollback", "gateway.shield", "--reason", "why not", "--json"), code=3)
    assert "safe version" in refused["error"]["message"]


def test_declared_with_a_rule_content_is_logged_for_those_requests_only(fleet: Fleet) -> None:
    asked(fleet, "never logged", plan="iron")
    asked(fleet, "elsewhere", route="gateway", plan="gold")
    asked(fleet, "Where is my order?", plan="gold")

    lines = [line for line in fleet.log.splitlines() if "pointsman.content" in line]

    (line,) = lines
    said = json.loads(line.partition("pointsman.content: ")[2])
    assert (said["route"], said["wire"], said["status"]) == ("bot", "chat", 200)
    assert json.loads(said["request"])["messages"][0]["content"] == "Where is my order?"
    assert json.loads(said["answer"])["choices"]
    assert "sk-app" not in fleet.log
    assert "never logged" not in fleet.log


def test_what_a_switch_does_not_take_is_refused_by_check_and_apply(fleet: Fleet, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text("flags: {gateway.cache: {variants: {half: 50}}}\n")

    checked = fleet.command("check", str(wrong))
    applied = fleet.command("apply", "-f", str(wrong), "--json")

    assert checked.returncode == 1
    assert "flags.gateway.cache.variants.half" in checked.stdout + checked.stderr
    assert applied.returncode != 0
    assert done(fleet.command("status", "gateway.cache", "--json"))["revision"] == 0


def test_numbers_are_declared_and_switched_live_though_it_was_thrown_before(
    fleet: Fleet, tmp_path: Path
) -> None:
    done(fleet.command("switch", "gateway.keep-alive", "off", "--json"))
    numbers = tmp_path / "numbers.yaml"
    numbers.write_text("flags: {gateway.keep-alive: {serve: usual, variants: {usual: 15, quick: 2}}}\n")

    done(fleet.command("apply", "-f", str(numbers), "--json"))
    done(fleet.command("switch", "gateway.keep-alive", "quick", "--json"))

    told = done(fleet.command("status", "--json"))["switches"]["gateway.keep-alive"]
    assert (told["served"], told["value"]) == ("quick", 2)
    assert "switch gateway.keep-alive: quick (2) (usually on" in fleet.command("status").stdout
