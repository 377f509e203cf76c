"""`pointsman eval` against a real server: exit 0 for a pass, 3 for none, 1 for what could not be evaluated."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from gateway.cli.evals import _bar
from tests.fleet import Fleet
from tests.gateway.evals.scene import CONFIG, FLAG

PASSES = """
tests:
  - {description: the capital, vars: {question: Which city?}, assert: [{type: contains, value: Paris}]}
"""
OPEN = """
tests:
  - {vars: {question: Which city?}, assert: [{type: perplexity, value: x}]}
"""


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    with Fleet(tmp_path_factory.mktemp("fleet"), CONFIG, workers=1) as made:
        yield made


@pytest.fixture
def suite(tmp_path: Path) -> Path:
    path = tmp_path / "suite.yaml"
    path.write_text(PASSES)
    return path


def test_a_pass_is_exit_0_and_one_document(fleet: Fleet, suite: Path) -> None:
    done = fleet.command("eval", "run", FLAG, "v6", "--suite", str(suite), "--json")

    told = json.loads(done.stdout)
    assert done.returncode == 0
    assert done.stderr == ""
    assert (told["passed"], told["pass_rate"], told["suite"]) == (True, 1.0, str(suite))


def test_a_gate_that_is_not_passed_is_exit_3_and_names_the_case(fleet: Fleet, suite: Path) -> None:
    done = fleet.command("eval", "run", FLAG, "v7", "--suite", str(suite))

    assert done.returncode == 3
    assert "NOT PASSED" in done.stdout
    assert "✗ the capital" in done.stdout


def test_what_could_not_be_evaluated_is_exit_1_with_its_reason(fleet: Fleet, suite: Path) -> None:
    suite.write_text(OPEN)

    done = fleet.command("eval", "run", FLAG, "v6", "--suite", str(suite))

    assert done.returncode == 1
    assert "perplexity" in done.stdout


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "suite.yaml"),
        ("", "suite.yaml"),
        ("tests: []", "cases"),
        ("tests: [", "suite.yaml"),
        ("tests: [{assert: [{type: contains}]}]", "suite.yaml"),
    ],
    ids=["missing", "blank", "empty", "malformed", "wrong"],
)
@pytest.mark.parametrize("as_json", [True, False])
def test_a_suite_that_cannot_be_read_is_exit_1_and_never_a_pass(
    fleet: Fleet, suite: Path, content: str | None, words: str, as_json: bool
) -> None:
    suite.unlink() if content is None else suite.write_text(content)

    done = fleet.command("eval", "run", FLAG, "v6", "--suite", str(suite), *(["--json"] if as_json else []))

    assert done.returncode == 1
    assert done.stdout == ""
    assert words in done.stderr


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("nothing.prompt", "v6"), 1),
        ((FLAG, "v9"), 1),
        ((FLAG, "v6", "--route", "judge"), 1),
        ((FLAG, "v6", "--repeat", "0"), 2),
        ((FLAG, "v6", "--embedding", "mock"), 2),
    ],
)
def test_what_cannot_be_run_is_not_exit_3(
    fleet: Fleet, suite: Path, words: tuple[str, ...], code: int
) -> None:
    done = fleet.command("eval", "run", *words, "--suite", str(suite))

    assert done.returncode == code
    assert done.stderr


def test_a_flag_without_a_suite_is_exit_1_and_says_what_to_do(fleet: Fleet) -> None:
    done = fleet.command("eval", "run", FLAG, "v6", "--json")

    problem: Any = json.loads(done.stderr)["error"]
    assert done.returncode == 1
    assert problem["rule"] == "no_suite"
    assert "--suite" in problem["mend"]


def test_a_server_that_is_away_is_exit_1(fleet: Fleet, suite: Path) -> None:
    away = ("--url", "http://127.0.0.1:1")
    done = fleet.command("eval", "run", FLAG, "v6", "--suite", str(suite), *away)

    assert done.returncode == 1


def test_the_reports_files_are_written_and_the_kept_one_is_shown(fleet: Fleet, suite: Path) -> None:
    files = suite.parent / "junit.xml", suite.parent / "report.json"
    run = ("eval", "run", FLAG, "v7", "--suite", str(suite))
    done = fleet.command(*run, "--junit", str(files[0]), "--output", str(files[1]), "--json")
    told = json.loads(done.stdout)

    shown = fleet.json("eval", "show", told["report"])
    text = fleet.command("eval", "show", told["report"])

    assert ElementTree.parse(files[0]).getroot().get("failures") == "2"
    assert json.loads(files[1].read_text()) == shown
    assert shown["results"][0]["answer"]["text"] == "v7 says: Rome"
    assert "NOT PASSED" in text.stdout


def test_a_report_that_cannot_be_written_is_exit_1(fleet: Fleet, suite: Path) -> None:
    done = fleet.command(
        "eval", "run", FLAG, "v6", "--suite", str(suite), "--output", str(suite.parent / "no" / "file")
    )

    assert done.returncode == 1
    assert "cannot be written" in done.stderr


PROMPTFOO = """#!{python}
import json, os, sys, urllib.request
out = sys.argv[sys.argv.index("-o") + 1]
body = {{"model": os.environ["POINTSMAN_ROUTE"], "messages": [{{"role": "user", "content": "Which city?"}}]}}
sent = {{"content-type": "application/json", "x-pointsman-pin": os.environ["POINTSMAN_PIN"]}}
url = os.environ["OPENAI_BASE_URL"] + "/chat/completions"
answer = json.load(urllib.request.urlopen(urllib.request.Request(url, json.dumps(body).encode(), sent)))
text = answer["choices"][0]["message"]["content"]
row = {{"testIdx": 0, "promptIdx": 0, "success": "Paris" in text, "score": float("Paris" in text),
       "response": {{"output": text}}, "gradingResult": {{"pass": "Paris" in text, "reason": "Paris?"}}}}
json.dump({{"version": 3, "results": {{"version": 3, "results": [row]}}}}, open(out, "w"))
sys.exit(0 if row["success"] else 100)
"""


@pytest.fixture
def promptfoo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A config, and a program of promptfoo's name that asks one question."""
    program = tmp_path / "bin" / "promptfoo"
    program.parent.mkdir()
    program.write_text(PROMPTFOO.format(python=sys.executable))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    config = tmp_path / "promptfooconfig.yaml"
    config.write_text("providers: [{id: openai:chat:bot, config: {headers: {x: '{{env.POINTSMAN_PIN}}'}}}]")
    return config


@pytest.mark.parametrize(("variant", "code"), [("v6", 0), ("v7", 3)])
def test_promptfoos_result_is_written_on_the_card(
    fleet: Fleet, promptfoo: Path, variant: str, code: int
) -> None:
    words = ("--flag", FLAG, "--variant", variant, "--route", "bot", "--json")
    done = fleet.command("eval", "promptfoo", str(promptfoo), *words)

    told = json.loads(done.stdout)
    assert (done.returncode, told["passed"]) == (code, code == 0)
    assert fleet.json("eval", "show", told["report"])["by"] == "promptfoo"


def test_what_promptfoo_cannot_evaluate_is_exit_1(fleet: Fleet, promptfoo: Path) -> None:
    words = ("--flag", FLAG, "--variant", "v6", "--route", "nowhere")
    done = fleet.command("eval", "promptfoo", str(promptfoo), *words)
    unknown = fleet.command("eval", "promptfoo", str(promptfoo), "--flag", FLAG, "--variant", "v9")

    assert (done.returncode, unknown.returncode) == (1, 1)
    assert "promptfoo ended with code 1" in done.stderr
    assert "v6, v7" in unknown.stderr


def test_a_person_at_a_terminal_sees_how_far_it_is(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")

    with _bar() as tell:
        tell({"done": 3, "total": 7, "passed": 2, "failed": 1, "not_evaluated": 0})

    told = capsys.readouterr()
    assert "3/7" in told.err
    assert told.out == ""
