"""A fleet records what it measured, and the recording tells what other policies would have done."""

from __future__ import annotations

from pathlib import Path

from tests.fleet import Fleet
from tests.journey.test_brake import CONFIG, FLAG
from tests.journey.traffic import Apps, roll_out, until, wait_for_rollback


def test_what_two_workers_recorded_replays_to_the_rollback_that_happened(tmp_path: Path) -> None:
    file = tmp_path / "recorded.jsonl"
    with Fleet(tmp_path / "fleet", CONFIG, options=("--record", str(file))) as fleet:
        until(lambda: len(fleet.workers()) == 2, "both workers alive")
        apps = Apps(fleet)
        roll_out(fleet, FLAG, "broken")
        with apps.asking(user="Jane Doe"), apps.asking():
            entry = wait_for_rollback(fleet, FLAG)
        apps.close()
        fleet.stop()
        told = fleet.json("policies", "test", "--replay", str(file), "-c", str(fleet.config))

    [fired] = [each for each in told["fired"] if each["case"].startswith(FLAG)]

    assert entry["actor"] == f"policy/{fired['policy']}"
    assert told["malformed"] == 0
    assert not [word for word in ("Jane", "You are", "Where is") if word in file.read_text()]


def test_a_file_that_cannot_be_written_keeps_the_server_from_starting(tmp_path: Path) -> None:
    fleet = Fleet(tmp_path / "fleet", CONFIG)

    done = fleet.command("serve", "--port", "0", "--record", str(tmp_path / "missing" / "file"))

    assert done.returncode == 1
    assert "--record" in done.stderr
    assert "No such file or directory" in done.stderr
    assert "Traceback" not in done.stderr
