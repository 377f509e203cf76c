"""The verbs about versions as a shell sees them."""

from __future__ import annotations

from pathlib import Path

import pytest

from flags.codec import document_of
from flags.model import Promotion
from gateway.cli import version_text
from gateway.cli.terminal import Line
from gateway.cli.versions import _painted
from tests.gateway.office import Office, key_of
from tests.gateway.test_cli import PROMPT, Shell
from tests.gateway.versions.making import governed


@pytest.fixture
def shell(served: str, tmp_path: Path) -> Shell:
    """A shell that knows the office's server; who types is bob."""
    return Shell(tmp_path, POINTSMAN_URL=served, POINTSMAN_ACTOR="bob")


@pytest.fixture
async def governing(office: Office) -> Office:
    """The prompt flag asks for one approval; carol declared its versions."""
    await office.put(key_of(PROMPT), document_of(governed(Promotion(approvals=1))))
    return office


@pytest.mark.usefixtures("governing")
class TestVersions:
    async def test_a_version_is_seen_approved_and_rejected(self, shell: Shell) -> None:
        approved = await shell("approve", PROMPT, "v7", "--reason", "read it")
        listed = await shell("versions", PROMPT)
        rejected = await shell("reject", PROMPT, "v7", "--reason", "rude", "--json")

        assert (approved.code, approved.err) == (0, "")
        assert approved.out.startswith(f"{PROMPT} v7 is approved: approved (revision ")
        assert "approved by bob (admin)" in approved.out
        (row,) = [line for line in listed.out.splitlines() if line.startswith("v7")]
        assert row.split()[:5] == ["v7", "7.0.0", "approved", "pending", "1/1"]
        assert row.endswith("last known good")
        assert (rejected.code, rejected.document["stage"], rejected.document["approvals"]) == (
            0,
            "rejected",
            [],
        )

    async def test_a_life_shows_each_rule_and_the_command_that_mends_it(self, shell: Shell) -> None:
        whole = await shell("lifecycle", "show", PROMPT)
        one = await shell("lifecycle", "show", PROMPT, "v7")

        assert "rules: a valid record; approved by 1 (approver or admin), not the author" in whole.out
        assert whole.out.count("✗ approved: 0 of 1 approvals") == 3
        assert f"→ pointsman approve {PROMPT} v7\n" in one.out
        assert "✓ valid_record" in one.out
        assert one.out.endswith("  content:\n    [system]\n    You are v7.\n")

    async def test_an_author_is_refused_with_exit_3(self, shell: Shell) -> None:
        shell.env["POINTSMAN_ACTOR"] = "carol"

        told = await shell("approve", PROMPT, "v7", "--json")

        assert (told.code, told.out, told.error["rule"]) == (3, "", "own_version")

    async def test_another_hash_than_the_one_that_was_read_is_exit_3(self, shell: Shell) -> None:
        other = await shell("approve", PROMPT, "v7", "--hash", "0" * 64, "--json")
        short = await shell("approve", PROMPT, "v7", "--hash", "0123456789ab")

        assert (other.code, other.error["rule"]) == (3, "hash_changed")
        assert (short.code, "all 64 hex digits" in short.err) == (2, True)

    async def test_deprecating_what_is_safe_warns_and_is_taken_back(self, shell: Shell) -> None:
        silent = await shell("deprecate", PROMPT, "v6")
        told = await shell("deprecate", PROMPT, "v6", "--reason", "old")
        back = await shell("deprecate", PROMPT, "v6", "--undo")

        assert silent.code == 2
        assert told.code == 0
        assert "warning: v6 is the safe version, and no other satisfies the rules" in told.err
        assert "warning: v6 is still given to users" in told.err
        assert (back.code, "is no longer deprecated: production" in back.out) == (0, True)

    async def test_two_versions_are_compared(self, shell: Shell) -> None:
        told = await shell("diff", PROMPT, "v6", "v7")
        differs = await shell("diff", PROMPT, "v6", "v7", "--exit-code", "--json")
        same = await shell("diff", PROMPT, "v6", "v6", "--exit-code")

        assert (told.code, told.out.splitlines()[-2:]) == (0, ["-You are v6.", "+You are v7."])
        assert (differs.code, differs.document["same"]) == (4, False)
        assert (same.code, same.out.startswith("v6 and v6 have the same content")) == (0, True)

    @pytest.mark.parametrize(
        "arguments",
        [(), (PROMPT,), (PROMPT, "v6"), (PROMPT, "v6", "v7", "v8"), (PROMPT, "v6", "v7", "-f", "x.yaml")],
    )
    async def test_diff_takes_a_file_or_a_flag_and_two_versions(
        self, shell: Shell, arguments: tuple[str, ...]
    ) -> None:
        assert (await shell("diff", *arguments)).code == 2

    async def test_status_tells_the_last_known_good_version(self, shell: Shell) -> None:
        await shell("approve", PROMPT, "v7")

        told = await shell("status", PROMPT)

        assert "  last known good: v7 (the newest version that was approved by bob (admin)" in told.out
        assert "  v6 is safe, UNGOVERNED: approved: 0 of 1 approvals" in told.out


def test_colours_come_only_with_a_terminal_and_escapes_never() -> None:
    line = Line("a \x1b[31m b", "bad")

    assert _painted(line, colours=False) == "a \\x1b[31m b"
    assert _painted(line, colours=True) == "\x1b[31ma \\x1b[31m b\x1b[0m"


def test_a_stale_and_an_unevaluated_run_are_told_as_such() -> None:
    run = {
        "suite": "s.yaml",
        "passed": None,
        "pass_rate": 0.5,
        "score": 0.25,
        "cases": 4,
        "not_evaluated": 2,
        "at": "2027-01-20T00:00:00.123Z",
        "by": "alice",
        "report_link": "/admin/v1/evals/e1",
        "stale": True,
    }

    assert version_text._run(run) == (
        "s.yaml: NOT EVALUATED, pass rate 0.5, score 0.25, 4 cases, 2 not evaluated, 2027-01-20T00:00:00Z by alice,"
        " report /admin/v1/evals/e1, stale: of another suite than the current one"
    )
