"""`audit verify FILE --recompute`: offline, from an exported ledger alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from gateway.cli.audit import audit
from tests.policies.test_judge import LIMIT, errors, on_trial, stored
from tests.policies.test_recount import BREACH, line


@pytest.fixture
def verify(tmp_path: Path) -> Any:
    """The command's report on a file of entries, and its exit code."""

    def verified(*entries: bytes, options: tuple[str, ...] = ("--recompute",)) -> tuple[dict[str, Any], int]:
        file = tmp_path / "ledger.jsonl"
        file.write_bytes(b"\n".join(entries))
        done = CliRunner().invoke(audit, ["verify", str(file), "--json", *options], standalone_mode=False)
        return json.loads(done.stdout), done.return_value

    return verified


def test_a_ledger_whose_decisions_are_reproduced_is_good(verify: Any) -> None:
    report, code = verify(line(BREACH))

    assert (report["ok"], report["entries"], report["recomputed"], report["problems"]) == (True, 1, 1, [])
    assert report["root"]
    assert code == 0


def test_a_decision_that_is_not_reproduced_fails_the_audit(verify: Any) -> None:
    forged = line(stored(on_trial(LIMIT, errors(3, 3, 0))))
    report, code = verify(forged)

    assert (report["ok"], report["recomputed"]) == (False, 1)
    assert report["problems"][0].startswith("revision 1, the rollback of flag/bot.prompt by policy/limit")
    assert code == 1


def test_without_the_option_nothing_is_judged_again(verify: Any) -> None:
    report, code = verify(line({"formula": "none"}), options=())

    assert (report["ok"], code) == (True, 0)
    assert "recomputed" not in report


def test_both_kinds_of_problem_are_told(verify: Any) -> None:
    edited = line(None).replace(b"5 of 5", b"9 of 9")
    report, code = verify(edited)

    assert code == 1
    assert "was edited" in report["problems"][0]
    assert "it has no evidence" in report["problems"][1]
