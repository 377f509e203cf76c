"""The example workflow: well-formed, and what of its commands is ours does what its comments say, on a real gateway."""

from __future__ import annotations

import os
import re
import stat
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.fleet import ROOT, Fleet

FILE = ROOT / "deploy" / "ci" / "pointsman.yaml"
WORKFLOW = yaml.safe_load(FILE.read_text())
PULL_REQUEST = "https://github.com/acme/shop/pull/7"
CONFIG = """\
# What the shop asks models.
upstreams:
  mock: {kind: simulated}
flags:
  support-bot.prompt:
    layer: prompt
    # Who gets what, when it was first declared.
    serve: v6
    safe: v6
    variants:
      v6: {messages: [{role: system, content: "You are v6."}]}
      v7: {messages: [{role: system, content: "You are v7."}]} # warmer
  support-bot.model:
    layer: model
    serve: gpt-4.1
    safe: gpt-4.1
    variants:
      gpt-4.1: {upstream: mock, model: gpt-4.1}
routes:
  support-bot: {}
"""
ADDED = '      v8: {messages: [{role: system, content: "You are v8."}]}\n'
SUITE = """\
prompts: ["{{question}}"]
tests:
  - vars: {question: "Where is my order?"}
    assert: [{type: latency, threshold: 60000}]
"""
# Stands in for GitHub's own command: notes what it was told, and answers as it would.
GH = """#!/bin/sh
echo "$@" >> "$GH_LOG"
case "$*" in
  *api*) echo "https://github.com/acme/shop/pull/7" ;;
  *reviews*) echo "bob, carol" ;;
  *create*) echo "https://github.com/acme/shop/pull/8" ;;
esac
"""


def steps(job: str) -> dict[str, Mapping[str, Any]]:
    """The job's named steps."""
    return {step["name"]: step for step in WORKFLOW["jobs"][job]["steps"] if "name" in step}


class Runner:
    """Runs a job's scripts as a runner does (`bash -e -o pipefail`), in a repository of its own."""

    def __init__(self, folder: Path, fleet: Fleet) -> None:
        self.folder, self.fleet = folder / "repository", fleet
        self.log = folder / "gh.log"
        tools = folder / "tools"
        tools.mkdir()
        self.folder.mkdir()
        self._tool(tools / "gh", GH)
        body = "from gateway.cli import main; main()"
        self._tool(tools / "pointsman", f'#!/bin/sh\nexec "{sys.executable}" -c "{body}" "$@"\n')
        self._tool(tools / "python", f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
        self.environ = {
            **fleet.environ,
            "PYTHONPATH": str(ROOT),
            "PATH": f"{tools}:{os.environ['PATH']}",
            "GH_LOG": str(self.log),
            **{name: value for name, value in WORKFLOW["env"].items() if "${{" not in value},
            "POINTSMAN_URL": fleet.url,
            "GITHUB_SHA": "0123abc",
            "GITHUB_REPOSITORY": "acme/shop",
            "GITHUB_SERVER_URL": "https://github.com",
            "PULL_REQUEST": PULL_REQUEST,
        }
        self.git("init", "--quiet", "--initial-branch", "main")
        (self.folder / "suites").mkdir()
        (self.folder / "suites" / "support.yaml").write_text(SUITE)
        self.config = self.folder / "pointsman.yaml"
        self.config.write_text(CONFIG)
        self.git("add", ".")
        self.git("commit", "--quiet", "--message", "first")

    @staticmethod
    def _tool(path: Path, text: str) -> None:
        path.write_text(text)
        path.chmod(path.stat().st_mode | stat.S_IXUSR)

    def git(self, *words: str) -> str:
        identity = ("-c", "user.name=t", "-c", "user.email=t@example.com")
        done = subprocess.run(
            ["git", *identity, *words],
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=True,
            timeout=30,
        )
        return done.stdout

    def run(self, job: str, *names: str, **environ: str) -> subprocess.CompletedProcess[str]:
        """The named steps, one after the other; the last one's result, or the first that failed."""
        for name in names:
            command = ["bash", "-e", "-o", "pipefail", "-c", steps(job)[name]["run"]]
            done = subprocess.run(
                command,
                cwd=self.folder,
                env={**self.environ, **environ},
                capture_output=True,
                text=True,
                timeout=120,
                check=False,
            )
            if done.returncode:
                return done
        return done


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """A gateway in production, with what the repository's main branch declares."""
    with Fleet(tmp_path_factory.mktemp("ci"), CONFIG, workers=1) as running:
        yield running


@pytest.fixture
def runner(fleet: Fleet, tmp_path: Path) -> Runner:
    """A runner that has checked the repository out."""
    return Runner(tmp_path, fleet)


class TestForm:
    def test_it_is_a_workflow_with_the_three_triggers(self) -> None:
        # YAML 1.1 takes the key `on` for true, and GitHub takes both.
        assert set(WORKFLOW[True]) == {"pull_request", "push", "workflow_dispatch"}
        for job in WORKFLOW["jobs"].values():
            assert {"if", "runs-on", "timeout-minutes", "steps"} <= job.keys()
            for step in job["steps"]:
                assert ("uses" in step) != ("run" in step)

    def test_no_text_of_others_becomes_part_of_a_script(self) -> None:
        """`${{ … }}` in `run` is pasted before the shell reads it; by the environment it stays a value."""
        scripts = [step["run"] for job in WORKFLOW["jobs"].values() for step in job["steps"] if "run" in step]

        assert scripts
        assert not [script for script in scripts if "${{" in script]

    def test_only_the_production_environment_gets_tokens_that_write(self) -> None:
        for job in WORKFLOW["jobs"].values():
            said = yaml.safe_dump(job)
            writes = "POINTSMAN_OPERATOR" in said or "POINTSMAN_APPROVER" in said
            assert writes == (job.get("environment") == "production")

    def test_its_scripts_are_shell(self) -> None:
        for job in WORKFLOW["jobs"].values():
            for step in job["steps"]:
                done = subprocess.run(
                    ["bash", "-n", "-c", step.get("run", ":")], capture_output=True, check=False
                )
                assert done.returncode == 0, done.stderr


class TestPullRequest:
    def test_the_plan_is_a_comment_that_tells_what_would_change(self, runner: Runner) -> None:
        runner.config.write_text(CONFIG.replace("  support-bot.model:", ADDED + "  support-bot.model:", 1))

        done = runner.run("plan", "Check the file", "Make the plan", "Show the plan")

        plan = (runner.folder / "plan.md").read_text()
        assert done.returncode == 0, done.stderr
        assert "1 to update" in plan
        assert re.search(r"\| `variants\.v8` \|  \| `[0-9a-f]{12}…` \|", plan)
        assert f"pr comment {PULL_REQUEST} --body-file plan.md" in runner.log.read_text()

    def test_an_edited_version_fails_the_plan(self, runner: Runner) -> None:
        runner.config.write_text(CONFIG.replace("You are v7.", "You are new."))

        done = runner.run("plan", "Check the file", "Make the plan")

        assert done.returncode == 3
        assert "immutable" in done.stderr

    def test_new_versions_are_evaluated_on_a_gateway_of_their_own(self, runner: Runner) -> None:
        runner.config.write_text(CONFIG.replace("  support-bot.model:", ADDED + "  support-bot.model:", 1))

        done = runner.run("evals", "Find the new versions", "Ask them the suite")

        assert (runner.folder / "new.txt").read_text() == "support-bot.prompt v8\n"
        assert done.returncode == 0, done.stderr + (runner.folder / "serve.log").read_text()
        assert (runner.folder / "reports" / "support-bot.prompt-v8.xml").exists()
        assert "v8" not in str(runner.fleet.read("/flags/support-bot.prompt")["variants"])

    def test_a_version_that_does_not_pass_fails_the_job(self, runner: Runner) -> None:
        runner.config.write_text(CONFIG.replace("  support-bot.model:", ADDED + "  support-bot.model:", 1))
        suite = runner.folder / "suites" / "support.yaml"
        suite.write_text(SUITE.replace("{type: latency, threshold: 60000}", "{type: equals, value: never}"))

        done = runner.run("evals", "Find the new versions", "Ask them the suite")

        assert done.returncode == 3, done.stderr


class TestMerge:
    def test_what_was_merged_is_declared_evaluated_and_approved_by_link(self, runner: Runner) -> None:
        added = ADDED.replace("v8", "v9")
        runner.config.write_text(CONFIG.replace("  support-bot.model:", added + "  support-bot.model:", 1))

        names = ("Find the pull request", "Apply", "Evaluate and approve the new versions")
        done = runner.run("apply", *names, APPROVER="unused")

        log = runner.fleet.read("/log?limit=1000")["entries"]
        said = {each["action"]: each for each in log if each["link"] == PULL_REQUEST}
        assert "v9" in runner.fleet.read("/flags/support-bot.prompt")["variants"]
        assert runner.fleet.read("/flags/support-bot.prompt")["served"] == "v6"
        assert {"declare", "eval"} <= said.keys()
        # On a gateway without keys everybody is who they say; here the one who approves is the one who declared.
        assert done.returncode == 3
        assert "own" in done.stderr
        assert "approved in review by" in steps("apply")[names[2]]["run"]


class TestAfterRollback:
    def test_the_file_follows_what_is_served_and_the_checklist_is_ticked(self, runner: Runner) -> None:
        fleet = runner.fleet
        runner.config.write_text(_declared(fleet))
        runner.git("commit", "--quiet", "--all", "--allow-empty", "--message", "as declared")
        fleet.json("switch", "support-bot.prompt", "v7")
        rollback = fleet.json("rollback", "support-bot.prompt", "--reason", "wrong answers")["id"]

        done = runner.run("after-rollback", "Make the change", ROLLBACK=rollback)
        (runner.folder / "link.txt").write_text(f"{PULL_REQUEST}\n")
        ticked = runner.run("after-rollback", "Tick the checklist", ROLLBACK=rollback)

        after = runner.config.read_text()
        assert done.returncode == 0, done.stdout + done.stderr
        assert "# warmer" in after
        assert "# Who gets what, when it was first declared." in after
        assert "withdrawn" in after
        assert ticked.returncode == 0, ticked.stderr
        record = fleet.read(f"/rollbacks/{rollback}")
        assert PULL_REQUEST in str(record)

    def test_the_change_is_proposed_as_a_branch_of_its_own(self, runner: Runner, tmp_path: Path) -> None:
        subprocess.run(["git", "init", "--quiet", "--bare", str(tmp_path / "origin")], check=True, timeout=30)
        runner.git("remote", "add", "origin", str(tmp_path / "origin"))
        runner.config.write_text(CONFIG.replace("serve: v6", "serve: v7"))
        (runner.folder / "record.txt").write_text("what happened\n")

        done = runner.run("after-rollback", "Propose it", ROLLBACK="c1")

        assert done.returncode == 0, done.stderr
        assert (runner.folder / "link.txt").read_text() == "https://github.com/acme/shop/pull/8\n"
        assert runner.git("branch", "--show-current").strip() == "pointsman/rollback-c1"
        assert runner.git("diff", "--name-only", "main", "HEAD").split() == ["pointsman.yaml"]


def _declared(fleet: Fleet) -> str:
    """The repository's file with whatever versions tests before this one have declared."""
    variants = fleet.read("/flags/support-bot.prompt")["variants"]
    added = "".join(ADDED.replace("v8", name) for name in ("v8", "v9") if name in variants)
    return CONFIG.replace("  support-bot.model:", added + "  support-bot.model:", 1)
