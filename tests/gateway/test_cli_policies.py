"""`pointsman policies`: what is in force, and what it would have done with a recording."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from flags.model import Document, Kind, ObjectKey
from tests.gateway.office import Office
from tests.gateway.test_cli import Shell
from tests.policies.test_replay import STATE, traffic

DRY = 'policies: {"try": {metric: error_rate, limit: 0.05, dry_run: true}}\n'


@pytest.fixture
def shell(served: str, tmp_path: Path) -> Shell:
    """A shell that knows the office's server."""
    return Shell(tmp_path, POINTSMAN_URL=served, POINTSMAN_ACTOR="alice")


@pytest.fixture
def alone(tmp_path: Path) -> Shell:
    """A shell where no server runs."""
    return Shell(tmp_path)


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    """Ten seconds in which v7, at 10 %, fails every call; and a line that is cut off."""
    path = tmp_path / "outcomes.jsonl"
    lines = [json.dumps(each) for each in (STATE, *traffic(1_000, bad=1.0))]
    path.write_text("\n".join([*lines, '{"time": 1, "rou']), encoding="utf-8")
    return path


class TestList:
    async def test_the_strategy_that_ships_is_in_force_from_the_start(self, shell: Shell) -> None:
        words, told = await shell("policies"), await shell("policies", "--json")

        assert (words.code, told.code, told.err) == (0, 0, "")
        errors = next(line for line in words.out.splitlines() if line.startswith("errors"))
        assert "limit 0.05, 2 × safe" in errors
        assert "rollback" in errors
        assert "shipped" in errors
        named = {policy["name"]: policy for policy in told.document["policies"]}
        assert set(named) == {"accuracy", "complaints", "cost", "errors", "hallucination", "latency", "ttft"}
        assert (named["errors"]["alpha"], named["errors"]["evidence"]) == (0.01, [])

    async def test_a_stored_policy_stands_in_for_the_shipped_one(self, office: Office, shell: Shell) -> None:
        spec: Document = {"metric": "latency", "limit": 2, "routes": ["support-bot"], "dry_run": True}
        await office.put(ObjectKey(Kind.POLICY, "slow"), {"spec": spec})

        told = await shell("policies")

        assert "p95 at most 2 s" in told.out
        assert "all routes but support-bot" in told.out
        assert "dry run" in told.out


class TestReplay:
    async def test_says_what_would_have_happened_and_when(
        self, alone: Shell, recording: Path, tmp_path: Path
    ) -> None:
        config = tmp_path / "c.yaml"
        config.write_text(DRY, encoding="utf-8")

        told = await alone("policies", "test", "--replay", str(recording), "-c", str(config))

        assert told.code == 0
        assert "1970-01-01T00:16:" in told.out
        assert "try would have rolled back bot.prompt/v7/1 (dry run)" in told.out
        assert "outcomes.jsonl:1002: " in told.err

    async def test_as_json_it_is_one_document(self, shell: Shell, recording: Path) -> None:
        """Without a config file the policies are the server's."""
        told = await shell("policies", "test", "--replay", str(recording), "--json")

        assert (told.code, told.err) == (0, "")
        fired = told.document["fired"][0]
        assert (fired["policy"], fired["case"], fired["action"]) == ("errors", "bot.prompt/v7/1", "rollback")
        assert (told.document["malformed"], told.document["problems"][0]["line"]) == (1, 1002)

    async def test_a_file_that_cannot_be_read_is_exit_2(self, alone: Shell, tmp_path: Path) -> None:
        config = tmp_path / "c.yaml"
        config.write_text(DRY, encoding="utf-8")

        told = await alone(
            "policies", "test", "--replay", str(tmp_path / "none"), "-c", str(config), "--json"
        )

        assert (told.code, told.out, told.error["code"]) == (2, "", "usage")

    async def test_a_config_that_is_wrong_is_told_as_check_tells_it(
        self, alone: Shell, recording: Path, tmp_path: Path
    ) -> None:
        config = tmp_path / "c.yaml"
        config.write_text("policies: {p: {metric: cost}}\n", encoding="utf-8")

        told = await alone("policies", "test", "--replay", str(recording), "-c", str(config))

        assert told.code == 1
        assert "there is no bound" in told.err
