"""An installed promptfoo is run apart from everything, and only what it plainly says was passed counts as passed."""

from __future__ import annotations

import json
import os
import shutil
import stat
import time
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any, ClassVar

import pytest

from flags.errors import Invalid
from gateway.evals.promptfoo import NotRun, Target, Tool, run_promptfoo
from gateway.evals.promptfoo_results import results_in
from policies.evals.gate import Thresholds
from policies.evals.report import Report

CONFIG = 'providers: [{id: "openai:chat:r", config: {headers: {x-pointsman-pin: "{{env.POINTSMAN_PIN}}"}}}]\n'
TARGET = Target("http://127.0.0.1:9/", "chat.prompt", "v2", hash="a" * 64, route="chat", key="sk-app")


def row(success: object = True, **more: Any) -> dict[str, Any]:
    """A result as version 3 writes it."""
    assertion = {"type": "contains", "metric": "m", "weight": 2}
    component = {"pass": success, "score": 1 if success else 0, "reason": "r", "assertion": assertion}
    graded = {
        "pass": success,
        "score": 1 if success else 0.25,
        "reason": "All assertions passed" if success else "Expected output to contain 30",
        "componentResults": [component],
    }
    return {
        "success": success,
        "score": graded["score"],
        "latencyMs": 250,
        "cost": 0.002,
        "failureReason": 0 if success else 1,
        "gradingResult": graded,
        "namedScores": {"m": 1},
        "vars": {"question": "x"},
        "provider": {"id": "openai:chat:r"},
        "response": {"output": "30 days", "tokenUsage": {"prompt": 7, "completion": 3}},
        "testCase": {"description": "First"},
        "testIdx": 0,
        "promptIdx": 0,
        **more,
    }


def out(*rows: Any, version: int = 3) -> bytes:
    inner = {"version": version, "results": list(rows), "stats": {"successes": 1, "failures": 0}}
    return json.dumps(inner if version == 1 else {"evalId": "e", "results": inner, "config": {}}).encode()


@pytest.mark.parametrize("version", [1, 2, 3])
def test_a_result_of_every_version_is_read(version: int) -> None:
    (found,) = results_in(out(row(), version=version))

    assert (found.passed, found.score, found.title, found.metrics) == (True, 1.0, "First", {"m": 1.0})
    assert found.answer is not None
    assert (found.answer.text, found.answer.seconds, found.answer.cost_usd) == ("30 days", 0.25, 0.002)
    assert (found.answer.input_tokens, found.answer.output_tokens) == (7, 3)
    assert [(each.name, each.passed, each.weight, each.metric) for each in found.checks] == [
        ("contains", True, 2.0, "m")
    ]


@pytest.mark.parametrize(
    ("found", "passed"),
    [
        (row(), True),
        (row(False), False),
        (row(False, error="Expected output to contain 30"), False),
        (row(False, failureReason=2, error="API error: 401"), None),
        (row(False, gradingResult=None, error="API error: 500"), None),
        (row(False, gradingResult=None, failureReason=None), None),
        (row(error="late"), None),
        (row("yes"), None),
        (row(None), None),
        ({}, None),
        ("garbage", None),
        (None, None),
        (
            row(
                score="NaN",
                latencyMs=None,
                cost="?",
                namedScores=[1],
                response="x",
                testCase=3,
                gradingResult=[],
            ),
            True,
        ),
        ({"success": True}, True),
    ],
)
def test_only_what_is_plainly_passed_is(found: Any, passed: bool | None) -> None:
    (result,) = results_in(out(found))

    assert result.passed is passed
    assert 0 <= result.score <= 1


def test_repeats_of_a_case_are_told_from_cases() -> None:
    other = {"description": "Second"}
    rows = [
        row(),
        row(testIdx=1),
        row(testCase=other),
        row(provider="other"),
        row(testCase=None),
        row(testCase=None),
    ]

    found = [(each.case, each.repeat) for each in results_in(out(*rows))]

    assert found == [(1, 1), (1, 2), (2, 1), (3, 1), (4, 1), (5, 1)]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"null",
        b"[]",
        b"{}",
        b'{"results": {}}',
        b'{"results": "x"}',
        b'{"results": []}',
        b"[" * 99_999,
        b"\xff",
    ],
)
def test_garbage_is_no_result(data: bytes) -> None:
    with pytest.raises(Invalid, match="promptfoo's result"):
        results_in(data)


def installed(folder: Path, script: str, name: str = "promptfoo") -> dict[str, str]:
    """An environment on whose PATH a program of that name runs a script; $OUT is where it should write."""
    program = folder / "bin" / name
    program.parent.mkdir(exist_ok=True)
    program.write_text(
        f'#!/bin/sh\nfor each in "$@"; do [ "$last" = -o ] && OUT=$each; last=$each; done\n{script}\n'
    )
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    return {
        "PATH": f"{program.parent}:{os.defpath}",
        "HOME": "/home/user",
        "OPENAI_API_KEY": "sk-real",
        "PROMPTFOO_X": "1",
    }


def run(folder: Path, script: str, *, text: str = CONFIG, seconds: float = 60, npx: bool = False) -> Report:
    config = folder / "promptfooconfig.yaml"
    config.write_text(text)
    (folder / "result.json").write_bytes(out(row(), row(False, testCase={"description": "Second"})))
    name = "npx" if npx else "promptfoo"
    tool = Tool(installed(folder, script, name), npx=npx, timeout_seconds=seconds)
    return run_promptfoo(config, TARGET, tool, thresholds=Thresholds(0.5), started="t")


@pytest.mark.parametrize("code", [0, 100])
def test_a_run_becomes_a_report_judged_by_our_own_gate(tmp_path: Path, code: int) -> None:
    report = run(tmp_path, f'cp {tmp_path}/result.json "$OUT"; exit {code}')

    assert (report.passed, report.gated.pass_rate, report.gated.cases, report.by) == (
        True,
        0.5,
        2,
        "promptfoo",
    )
    assert (report.flag, report.variant, report.hash, report.suite) == (
        "chat.prompt",
        "v2",
        "a" * 64,
        "promptfooconfig.yaml",
    )


def test_it_is_run_quietly_apart_and_towards_the_gateway(tmp_path: Path) -> None:
    run(tmp_path, f'env > {tmp_path}/env; echo "$@" > {tmp_path}/args; cp {tmp_path}/result.json "$OUT"')
    told = dict(line.split("=", 1) for line in (tmp_path / "env").read_text().splitlines() if "=" in line)
    arguments = (tmp_path / "args").read_text().split()

    assert told["OPENAI_BASE_URL"] == "http://127.0.0.1:9/v1"
    assert (told["OPENAI_API_KEY"], told["POINTSMAN_PIN"]) == ("sk-app", "chat.prompt=v2")
    assert (told["POINTSMAN_ROUTE"], told["NO_PROXY"]) == ("chat", "127.0.0.1")
    assert (told["PROMPTFOO_DISABLE_TELEMETRY"], told["PROMPTFOO_DISABLE_UPDATE"]) == ("1", "1")
    assert told["HOME"] == told["PROMPTFOO_CONFIG_DIR"] != "/home/user"
    assert "PROMPTFOO_X" not in told
    assert not Path(told["HOME"]).exists()
    assert "--no-cache" in arguments
    assert arguments[:2] == ["eval", "-c"]


def test_npx_may_fetch_it_when_asked(tmp_path: Path) -> None:
    report = run(tmp_path, f'[ "$2" = promptfoo@latest ] && cp {tmp_path}/result.json "$OUT"', npx=True)

    assert report.passed


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("exit 0", "wrote no result: it printed nothing"),
        ("echo broken; exit 1", "ended with code 1: broken"),
        ("echo 'promptfoo requires a supported Node.js runtime (>=22)'; exit 1", "Node.js is too old"),
        ('echo {} > "$OUT"', "no list of results"),
        ('echo "no json" > "$OUT"', "no JSON"),
        ("kill -9 $$", "ended with code -9"),
    ],
)
def test_what_is_no_run_could_not_be_evaluated(tmp_path: Path, script: str, message: str) -> None:
    with pytest.raises(NotRun, match=message):
        run(tmp_path, script)


def test_a_run_that_hangs_is_ended_with_all_that_it_started(tmp_path: Path) -> None:
    child = tmp_path / "child"
    with pytest.raises(NotRun, match="took longer"):
        run(tmp_path, f"sleep 600 & echo $! > {child}; wait", seconds=2)

    assert ended(int(child.read_text()))


def ended(process: int) -> bool:
    """Whether a process that was told to end does so; a signal takes its time on a busy machine."""
    for _ in range(200):
        try:
            state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
        except FileNotFoundError:
            return True
        if state in "ZX":
            return True
        time.sleep(0.05)
    return False


@pytest.mark.parametrize(("npx", "name"), [(False, "promptfoo is not on PATH"), (True, "npx is not on PATH")])
def test_a_missing_tool_is_named(tmp_path: Path, npx: bool, name: str) -> None:
    config = tmp_path / "c.yaml"
    config.write_text(CONFIG)

    with pytest.raises(NotRun, match=name):
        run_promptfoo(
            config, TARGET, Tool({"PATH": str(tmp_path)}, npx=npx), thresholds=Thresholds(), started="t"
        )


@pytest.mark.parametrize(
    ("text", "message"), [("", "nothing in this file"), ("providers: [x]", "pins no version")]
)
def test_a_config_that_pins_nothing_is_not_run(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(Invalid, match=message):
        run(tmp_path, f"touch {tmp_path}/ran", text=text)

    assert not (tmp_path / "ran").exists()


def test_the_pin_may_stand_in_a_file_that_the_config_names(tmp_path: Path) -> None:
    (tmp_path / "provider.yaml").write_text(CONFIG)

    report = run(tmp_path, f'cp {tmp_path}/result.json "$OUT"', text="providers: [file://provider.yaml]")

    assert report.passed


def test_a_missing_config_is_told(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match="cannot be read"):
        run_promptfoo(tmp_path / "no.yaml", TARGET, Tool({}), thresholds=Thresholds(), started="t")


def test_a_target_does_not_tell_its_key() -> None:
    assert "sk-app" not in repr(TARGET)


class Gateway(BaseHTTPRequestHandler):
    """Answers `30 days` to whatever it is asked, and keeps path, pin and key."""

    asked: ClassVar[list[tuple[str, str | None, str | None]]] = []

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        self.asked.append((self.path, self.headers["x-pointsman-pin"], self.headers["authorization"]))
        message = {"role": "assistant", "content": "30 days"}
        body = json.dumps({"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        """Nothing."""


@pytest.mark.full
def test_the_real_promptfoo_asks_the_pinned_version_and_leaves_a_result_that_we_read(tmp_path: Path) -> None:
    if shutil.which("promptfoo") is None:
        pytest.skip("promptfoo is not on PATH (npm install -g promptfoo)")
    config = tmp_path / "promptfooconfig.yaml"
    config.write_text(
        CONFIG + "prompts: ['{{q}}']\nevaluateOptions: {repeat: 2}\ntests:\n"
        "- {description: days, vars: {q: how long}, assert: [{type: contains, value: '30'}]}\n"
        "- {vars: {q: how many weeks}, assert: [{type: contains, value: weeks}]}\n"
    )
    with ThreadingHTTPServer(("127.0.0.1", 0), Gateway) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        target = replace(TARGET, url=f"http://127.0.0.1:{server.server_port}")
        report = run_promptfoo(
            config, target, Tool(dict(os.environ)), thresholds=Thresholds(0.5), started="t"
        )
        server.shutdown()

    assert report.passed
    assert {each.title: each.passed for each in report.results} == {"days": True, "case 2": False}
    assert sorted((each.case, each.repeat) for each in report.results) == [(1, 1), (1, 2), (2, 1), (2, 2)]
    assert set(Gateway.asked) == {("/v1/chat/completions", "chat.prompt=v2", "Bearer sk-app")}
