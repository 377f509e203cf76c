"""flagd files at a real server: followed live, rolled back against, invalid, and through import and export."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.flags.flagd.test_round_trip import text
from tests.flags.flagd.test_writing import FILE
from tests.fleet import CONFIG, Fleet
from tests.gateway.following.making import a_flag, text_of
from tests.journey.traffic import until
from tests.redis_server import RedisServer


def serving(
    folder: Path, file: Path, *, workers: int = 1, redis: str | None = None, config: str = CONFIG
) -> Fleet:
    return Fleet(folder / "fleet", config, workers=workers, redis=redis, options=("--flagd", str(file)))


def served(fleet: Fleet, flag: str) -> Any:
    found = fleet.command("status", flag, "--json")
    return json.loads(found.stdout)["served"] if found.returncode == 0 else None


def test_a_file_is_served_followed_and_rolled_back_against(tmp_path: Path) -> None:
    file = tmp_path / "flags.json"
    file.write_text(text_of(new_greeting=a_flag(), old=a_flag()))
    with serving(tmp_path, file, workers=2) as fleet:
        first = served(fleet, "new-greeting")
        file.write_text(text_of(new_greeting=a_flag("on")))
        until(lambda: served(fleet, "new-greeting") == "on", "the edit is served")
        gone = served(fleet, "old")
        fleet.json("rollback", "new-greeting", "--reason", "it annoys people")
        file.write_text(text_of(new_greeting=a_flag("on", metadata={"team": "core"})))
        until(lambda: "core" in fleet.command("export").stdout, "the edit is taken")
        back = served(fleet, "new-greeting")
        fleet.stop()
        fleet.start()
        after_restart = served(fleet, "new-greeting")
        log = [json.loads(line) for line in fleet.command("log", "--json").stdout.splitlines()]
        verified = fleet.json("audit", "verify")

    assert (first, gone, back, after_restart) == ("off", None, "off", "off")
    assert [each["action"] for each in log if each["actor"] == "flagd/flags.json"] == [
        "declare", "declare", "declare", "delete", "declare",
    ]  # fmt: skip
    assert "the file serves on, which is withdrawn here: off is served" in fleet.log
    assert verified["ok"]


def test_an_invalid_file_keeps_the_last_good_one_and_stands_in_the_ledger(tmp_path: Path) -> None:
    file = tmp_path / "flags.json"
    file.write_text(text_of(f=a_flag()))
    with serving(tmp_path, file) as fleet:
        file.write_text('{"flags": {\n"f": 1}}')
        until(lambda: "refused" in fleet.command("log").stdout, "the refusal is in the ledger")
        kept = served(fleet, "f")
        file.write_text(text_of(f=a_flag("on")))
        until(lambda: served(fleet, "f") == "on", "it recovers")
        verified = fleet.json("audit", "verify")

    assert (kept, verified["ok"]) == ("off", True)
    assert fleet.log.count("the flagd file is not taken") == 1
    assert f"{file}:2: flags.f: expected an object" in fleet.log


def test_a_file_that_is_invalid_at_start_serves_what_the_store_has(tmp_path: Path) -> None:
    file = tmp_path / "flags.json"
    file.write_text(text_of(f=a_flag()))
    with serving(tmp_path, file) as fleet:
        fleet.stop()
        file.write_text("{")
        fleet.start()
        kept, asked = served(fleet, "f"), fleet.ask().status_code

    assert (kept, asked) == ("off", 200)
    assert f"{file}:1: not JSON" in fleet.log


def test_redis_away_is_waited_for(tmp_path: Path, server: RedisServer) -> None:
    file = tmp_path / "flags.json"
    file.write_text(text_of(f=a_flag()))
    with serving(tmp_path, file, redis=server.url) as fleet:
        server.stop()
        file.write_text(text_of(f=a_flag("on")))
        until(lambda: "is not taken yet, Redis is away" in fleet.log, "it is noticed")
        server.start()
        until(lambda: served(fleet, "f") == "on", "it is taken then", seconds=30)


def test_one_key_in_both_files_is_refused_and_told(tmp_path: Path) -> None:
    file = tmp_path / "flags.json"
    file.write_text(text_of(f=a_flag(), g=a_flag()))
    config = 'flags: {f: {serve: "on", variants: {"on": true}}}\n'
    with serving(tmp_path, file, config=config) as fleet:
        found = served(fleet, "f"), served(fleet, "g")

    assert found == ("on", "off")
    assert "flag 'f': it comes from another declaration" in fleet.log


def test_apply_does_not_touch_what_the_file_operates(tmp_path: Path) -> None:
    file, config = tmp_path / "flags.json", tmp_path / "more.yaml"
    file.write_text(text_of(f=a_flag()))
    config.write_text('flags: {f: {serve: "on", variants: {"on": true}}}\n')
    with serving(tmp_path, file) as fleet:
        refused = fleet.command("apply", "-f", str(config))
        config.write_text(fleet.command("export").stdout)
        unchanged = fleet.json("apply", "-f", str(config))

    assert refused.returncode == 3
    assert "follows flagd/flags.json" in refused.stderr
    assert unchanged["changed"] is False


@pytest.mark.parametrize("through_a_file", [True, False])
def test_a_file_goes_in_and_comes_out_as_it_was(tmp_path: Path, through_a_file: bool) -> None:
    file, ours = tmp_path / "flags.json", tmp_path / "ours.yaml"
    file.write_text(json.dumps(FILE))
    with Fleet(tmp_path / "fleet", "upstreams: {mock: {kind: simulated}}\n", workers=1) as fleet:
        if through_a_file:
            imported = fleet.command("import", str(file), "--out", str(ours))
            applied = fleet.command("apply", "-f", str(ours))
        else:
            imported = applied = fleet.command("import", str(file), "--apply")
        exported = fleet.command("export", "--format", "flagd")
        again = fleet.command("import", "--json", "--apply", str(file))

    assert (imported.returncode, applied.returncode) == (0, 0), imported.stderr + applied.stderr
    assert text(json.loads(exported.stdout)) == text(FILE)
    assert "not in the file: upstreams (1)" in exported.stderr
    assert json.loads(again.stdout)["applied"]["changed"] is False


def test_what_is_operated_goes_through_a_flagd_file_to_another_store(tmp_path: Path) -> None:
    file = tmp_path / "flags.json"
    config = "flags: {f: {serve: a, variants: {a: 1, b: 2, c: 3}}}\n"
    with Fleet(tmp_path / "one", config, workers=1) as fleet:
        fleet.json("switch", "f", "b")
        fleet.json("rollback", "f", "--reason", "bad")
        fleet.json("rollout", "f", "c", "--percent", "12.5")
        file.write_text(fleet.command("export", "--format", "flagd").stdout)
        before = fleet.json("status", "f")
    with Fleet(tmp_path / "two", "upstreams: {mock: {kind: simulated}}\n", workers=1) as fleet:
        done = fleet.command("import", str(file), "--apply")
        after = fleet.json("status", "f")

    told = ("serve", "safe", "served", "withdrawn")
    assert {name: after[name] for name in told} == {name: before[name] for name in told}
    assert (after["rollout"]["variant"], after["rollout"]["percent"]) == ("c", 12.5)
    assert "the rollout of c at 12.5 %" in done.stderr
