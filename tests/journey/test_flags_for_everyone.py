"""The README's sections on flags beyond the gateway's routes, run as they stand there."""

from __future__ import annotations

import functools
import json
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import yaml

from tests.fleet import ROOT, Fleet
from tests.journey.readme import EVERYONE, blocks, commands, merged
from tests.journey.traffic import until
from tests.redis_server import RedisServer

APPS, SWITCHES, ELSEWHERE, FLAGD = EVERYONE
# In the place of somebody's own flag system; it gives v7 to everybody.
OUR_FLAGS = """
from openfeature.provider.in_memory_provider import InMemoryFlag, InMemoryProvider

def provider():
    return InMemoryProvider({"support-bot.prompt": InMemoryFlag("all", {"all": "v7"})})
"""


@pytest.fixture
def fleet(tmp_path: Path, server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[Fleet]:
    """Two workers of the config that a reader has who went through these sections."""
    monkeypatch.setenv("OPENAI_API_KEY", "sk-unused")
    config = functools.reduce(merged, map(yaml.safe_load, blocks("yaml", "First use", *EVERYONE)))
    folder = tmp_path / "fleet"
    folder.mkdir()
    (folder / "our_flags.py").write_text(OUR_FLAGS)
    with Fleet(folder, yaml.safe_dump(config), redis=server.url, inside=True) as running:
        until(lambda: len(running.workers()) == 2, "two workers")
        yield running


def does(fleet: Fleet, line: str) -> str:
    """A command that must succeed, typed in the fleet's folder; what it prints."""
    names = {name: str(fleet.folder / name) for name in ("flags.json", "imported-flags.yaml")}
    done = fleet.command(*(names.get(word, word) for word in shlex.split(line)))
    assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"
    return done.stdout


def test_the_readme_s_sections_on_flags_for_everyone(fleet: Fleet, server: RedisServer) -> None:
    """Commands, config and code work as the README prints them, in that order."""
    rollout, explain, page_key = commands(APPS)
    off, back = commands(SWITCHES)
    bring, take = commands(FLAGD)
    snippet = "".join(blocks("python", APPS)).replace("redis://127.0.0.1:6379", server.url)

    shown = [does(fleet, line) for line in (rollout, explain)]
    service = subprocess.run(
        [sys.executable, "-c", snippet], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    asked = httpx.post(
        f"{fleet.url}/ofrep/v1/evaluate/flags/banner", json={"context": {"targetingKey": "u", "plan": "gold"}}
    ).json()
    switched = [does(fleet, off), fleet.command("status").stdout, does(fleet, back)]
    (fleet.folder / "flags.json").write_text(does(fleet, take))
    imported = does(fleet, bring)
    given = [
        httpx.post(f"{fleet.url}/v1/chat/completions", json={"model": "support-bot", "messages": []}).headers
        for _ in range(3)
    ]
    key = json.loads(does(fleet, f"{page_key} --json"))["key"]
    with_key = {"authorization": f"Bearer {key}", "origin": "https://shop.example"}
    page = httpx.post(f"{fleet.url}/ofrep/v1/evaluate/flags", json={}, headers=with_key)

    assert "on gets 20 %" in shown[0]
    assert "gold" in shown[1]
    assert (service.returncode, service.stderr) == (0, "")
    assert service.stdout in ("True\n", "False\n")
    assert (asked["variant"], asked["value"]["color"]) == ("gold", "gold")
    assert "gateway.cache" in switched[1]
    assert "new-greeting" in (fleet.folder / "imported-flags.yaml").read_text(), imported
    assert ["prompt=v7" in each["x-pointsman-versions"] for each in given] == [True] * 3
    assert page.headers["access-control-allow-origin"] == "https://shop.example"
    assert {each["key"] for each in page.json()["flags"]} == {"new-greeting", "page-size", "banner"}
