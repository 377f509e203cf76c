"""`pointsman top` and `status` as people see them: the screen, the terminal that is left as it was, the bad days."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import pty
import signal
import sys
import termios
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from flags.model import Layer
from gateway.cli.problem import CommandError
from gateway.cli.terminal import ENTER, HOME, LEAVE, Line, frame, has_colours
from gateway.cli.top import Watched, screen
from policies.outcome import Part
from policies.policy import ERROR_RATE, Policy
from tests.gateway.builders import flag
from tests.gateway.measured import GPT, PROMPT, V7, failed, measure, outcome, score
from tests.gateway.office import Office, by, prompt
from tests.gateway.test_cli import COMMAND, Shell, imported_by


@pytest.fixture
def shell(served: str, tmp_path: Path) -> Shell:
    """A shell that knows the office's server."""
    return Shell(tmp_path, POINTSMAN_URL=served, POINTSMAN_ACTOR="alice")


@pytest.fixture
async def canary(office: Office) -> Office:
    """v7 at 10 %: it answers one call in three, which costs three times as much; then a target is forced open."""
    office.policies = {"error-brake": Policy("error-brake", ERROR_RATE, limit=0.05)}
    await office.operations.rollout(by(), PROMPT, "v7", 10)
    tried = [failed(V7, part=Part.TRIED, how="c") for _ in range(2)]
    good = [outcome(part=Part.SHIELD) for _ in range(2)] + [outcome() for _ in range(27)]
    await measure(office, [*good, *tried, outcome(V7, GPT, cost_usd=0.03)], [score("accuracy", 0.5, V7)])
    permit = office.breakers.permit("support-bot", "mock/gpt-4.1", 0.0)
    assert permit is not None
    permit.failed(0.0, None)
    return office


class TestStatus:
    async def test_versions_stand_under_their_layer_with_what_they_did(
        self, canary: Office, shell: Shell
    ) -> None:
        told = (await shell("status")).out
        (v6,) = [line.split() for line in told.splitlines() if line.split()[:2] == ["v6", "served"]]
        (v7,) = [line for line in told.splitlines() if line.split()[:2] == ["v7", "candidate"]]

        assert "support-bot  30 requests in 5 min" in told
        assert "2 shielded" in told
        assert v6[:6] == ["v6", "served", "90.6", "%", "29", "0"]
        assert "66.7 %" in v7
        assert " 0.03 " in v7
        assert "accuracy 0.5 (1)" in v7
        assert "▓" in v7
        assert v7.endswith("% error-brake")

    async def test_a_rollout_rests_while_the_pipeline_pins_its_layer(
        self, canary: Office, shell: Shell
    ) -> None:
        before = (await shell("status")).out
        pins = {"p1": {"pins": {"prompt": "v6"}}}
        await canary.declare(flag("support-bot.pipeline", Layer.PIPELINE, pins))
        after, screen = (await shell("status")).out, (await shell("top", "--once")).out

        assert "rests" not in before
        assert "v7 at 10 %, rests while the pipeline pins this layer" in after
        assert "prompt: v6, pinned by pipeline p1" in screen

    async def test_a_flag_tells_its_versions_figures(self, canary: Office, shell: Shell) -> None:
        told = await shell("status", PROMPT)

        assert "v7  candidate" in told.out
        assert "66.7 %" in told.out

    async def test_a_span_without_requests_shows_what_is_served_and_no_empty_table(
        self, shell: Shell
    ) -> None:
        told = (await shell("status")).out

        assert "support-bot  no requests in 5 min" in told
        assert "evidence" not in told

    async def test_the_contracts_fields_stay(self, canary: Office, shell: Shell) -> None:
        await canary.declare(prompt("shop.prompt"), routes=["shop"])
        told = (await shell("status", "support-bot", "--json")).document

        assert {"revision", "degraded", "workers", "routes"} <= told.keys()
        assert told["routes"]["support-bot"]["prompt"]["rollout"]["variant"] == "v7"
        assert list(told["gauges"]) == ["support-bot"]


class TestOnce:
    async def test_where_there_is_no_terminal_it_is_printed_once_and_plain(
        self, canary: Office, shell: Shell
    ) -> None:
        told = await shell("top")

        assert (told.code, told.err, "\x1b" in told.out) == (0, "", False)
        assert "2 workers alive" in told.out
        assert "  prompt  v6" in told.out
        assert "rollout prompt: v7 at 10 %" in told.out

    async def test_rollbacks_stand_at_the_bottom_and_other_changes_do_not(
        self, canary: Office, shell: Shell
    ) -> None:
        await canary.operations.rollback(by("policy/error-brake", "2 of 3 failed"), PROMPT)
        lines = (await shell("top", "--once")).out.splitlines()

        assert lines[-2] == "brakes"
        assert lines[-1].endswith(f"policy/error-brake  rollback  flag/{PROMPT}: 2 of 3 failed")

    async def test_as_json_it_is_one_document(self, canary: Office, shell: Shell) -> None:
        await canary.operations.rollback(by(), PROMPT)
        told = (await shell("top", "--minutes", "10", "--json")).document

        assert (told["minutes"], [entry["action"] for entry in told["brakes"]]) == (10, ["rollback"])
        assert told["gauges"]["support-bot"]["requests"] == 30

    @pytest.mark.parametrize("minutes", ["0", "361", "x"])
    async def test_a_span_that_is_none_is_wrong_usage(self, shell: Shell, minutes: str) -> None:
        assert (await shell("top", "--minutes", minutes)).code == 2

    async def test_without_a_server_it_is_exit_1_with_the_mend(self, tmp_path: Path) -> None:
        told = await Shell(tmp_path)("top")

        assert (told.code, "pointsman serve" in told.err) == (1, True)


def test_it_imports_nothing_heavy() -> None:
    heavy = {"litellm", "starlette", "redis", "httpx", "uvicorn", "openai", "rich", "opentelemetry", "curses"}

    assert imported_by("top", "--url", "http://127.0.0.1:1") & heavy == set()


class Terminal:
    """`pointsman top` on a terminal of its own."""

    def __init__(self, process: asyncio.subprocess.Process, master: int, slave: int) -> None:
        self.process, self.master, self.slave = process, master, slave
        self.shown = ""

    async def until(self, text: str, times: int = 1) -> None:
        """Read on until `text` was shown so many times."""
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(20):
            while self.shown.count(text) < times:
                part = await loop.run_in_executor(None, os.read, self.master, 65536)
                self.shown += part.decode(errors="replace")

    def resize(self, rows: int, columns: int) -> None:
        termios.tcsetwinsize(self.slave, (rows, columns))
        self.process.send_signal(signal.SIGWINCH)


@contextlib.asynccontextmanager
async def top_on_a_terminal(env: Mapping[str, str], *arguments: str) -> AsyncIterator[Terminal]:
    master, slave = pty.openpty()
    termios.tcsetwinsize(slave, (40, 160))
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", COMMAND, "top", *arguments),
        stdin=slave,
        stdout=slave,
        stderr=slave,
        env={**env, "TERM": "xterm-256color"},
        start_new_session=True,
    )
    try:
        yield Terminal(process, master, slave)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
        os.close(master)
        os.close(slave)


class TestLive:
    @pytest.mark.parametrize(
        ("end", "code"), [("q", 0), (signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["q", "ctrl-c", "term"]
    )
    async def test_the_terminal_is_left_as_it_was(
        self, canary: Office, shell: Shell, end: Any, code: int
    ) -> None:
        async with top_on_a_terminal(shell.env) as terminal:
            before = termios.tcgetattr(terminal.slave)
            await terminal.until("support-bot")
            during = termios.tcgetattr(terminal.slave)
            if end == "q":
                os.write(terminal.master, b"q")
            else:
                terminal.process.send_signal(end)
            await terminal.until(LEAVE)
            ended = await asyncio.wait_for(terminal.process.wait(), 10)
            after = termios.tcgetattr(terminal.slave)

        assert (ended, terminal.shown.startswith(ENTER)) == (code, True)
        assert during != before
        assert after == before
        assert "Traceback" not in terminal.shown

    async def test_it_is_drawn_again_and_a_new_size_is_obeyed_at_once(
        self, canary: Office, shell: Shell
    ) -> None:
        async with top_on_a_terminal(shell.env) as terminal:
            await terminal.until(HOME, times=2)
            terminal.shown = ""
            terminal.resize(5, 30)
            await terminal.until("more lines")
            narrow = terminal.shown

        assert "…" in narrow
        assert "\x1b[1m" in narrow

    async def test_no_color_means_none(self, canary: Office, shell: Shell) -> None:
        async with top_on_a_terminal({**shell.env, "NO_COLOR": "1"}) as terminal:
            await terminal.until("support-bot")
            await terminal.until(HOME, times=2)

        assert "\x1b[1m" not in terminal.shown
        assert "\x1b[32m" not in terminal.shown


def test_a_picture_is_cut_to_its_screen() -> None:
    lines = [Line(f"line {number} is long", "bad") for number in range(5)]
    drawn = frame(lines, 8, 3, colours=False)

    assert drawn == "\x1b[Hline 0 …\x1b[K\r\nline 1 …\x1b[K\r\n… 3 mor…\x1b[K\x1b[J"
    assert frame(lines[:1], 80, 3, colours=True) == "\x1b[H\x1b[31mline 0 is long\x1b[0m\x1b[K\x1b[J"


def test_no_color_counts_unless_it_is_empty() -> None:
    assert [has_colours(env) for env in ({}, {"NO_COLOR": ""}, {"NO_COLOR": "0"})] == [True, True, False]


class Server:
    """Answers from a list; then it is gone."""

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)
        self.asked: list[str] = []

    def get(self, path: str, query: Any = None) -> Any:
        self.asked.append(f"{path} {json.dumps(query)}")
        if not self.answers:
            raise CommandError(1, {"code": "no_server", "message": "no server answers"})
        return self.answers.pop(0)


STATUS = {
    "namespace": "n",
    "revision": 3,
    "degraded": False,
    "minutes": 5,
    "workers": [],
    "routes": {},
    "gauges": {},
    "diverted": {},
    "switches": {},
    "decided_by": {},
}


def entry(revision: int, action: str = "rollback") -> dict[str, Any]:
    return {
        "revision": revision, "time": "2999-01-01T00:00:00Z", "actor": "a", "action": action, "object": "flag/x",
        "reason": "r", "link": None,
    }  # fmt: skip


class TestWatched:
    def test_while_the_server_is_gone_the_last_picture_stays_and_says_so(self) -> None:
        watched = Watched(Server(STATUS, {"entries": [entry(3)], "next": None}), 5)  # type: ignore[arg-type]
        there, gone, still = watched.lines(), watched.lines(), watched.lines()

        assert "last figures" in gone[0].text
        assert [*gone[1:]] == there
        assert gone == still

    def test_the_ledger_is_read_on_from_where_it_was(self) -> None:
        server = Server(
            STATUS, {"entries": [entry(1), entry(2, "switch")], "next": 2}, {"entries": [entry(3)], "next": None},
            STATUS, {"entries": [], "next": None},
        )  # fmt: skip
        watched = Watched(server, 5)  # type: ignore[arg-type]
        watched.look()
        _, brakes = watched.look()

        assert [each["revision"] for each in brakes] == [1, 3]
        assert [asked.split()[2].strip(",") for asked in server.asked if asked.startswith("/log")] == [
            "0",
            "2",
            "3",
        ]

    def test_while_the_store_is_away_the_ledger_is_not_asked(self) -> None:
        server = Server({**STATUS, "degraded": True})
        (line, *_) = Watched(server, 5).lines()  # type: ignore[arg-type]

        assert (line.style, "DEGRADED" in line.text) == ("bad", True)

    def test_the_local_brake_of_the_worker_that_answers_is_told(self) -> None:
        server = Server({**STATUS, "degraded": True, "diverted": {"a.prompt": "v7"}})
        (line, *_) = Watched(server, 5).lines()  # type: ignore[arg-type]

        assert "local brake of the worker that answered: a.prompt without v7" in line.text

    def test_a_ledger_that_cannot_be_read_now_does_not_end_the_picture(self) -> None:
        class Refusing(Server):
            def get(self, path: str, query: Any = None) -> Any:
                if path == "/log":
                    raise CommandError(1, {"code": "store_unavailable", "message": "away"})
                return super().get(path, query)

        found, brakes = Watched(Refusing(STATUS), 5).look()  # type: ignore[arg-type]

        assert (found, [*brakes]) == (STATUS, [])


def test_an_empty_house_has_a_screen_too() -> None:
    assert screen(STATUS, [])[0].text == "pointsman n  revision 3, 0 workers alive"
