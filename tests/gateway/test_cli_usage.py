"""Wrong usage of the command line, and servers that are not there: which exit code, and which sentence."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gateway.cli import run
from tests.gateway.office import Office, prompt
from tests.gateway.test_cli import PROMPT, Shell


@pytest.fixture
def shell(served: str, tmp_path: Path) -> Shell:
    """A shell that knows the office's server."""
    return Shell(tmp_path, POINTSMAN_URL=served, POINTSMAN_ACTOR="alice")


@pytest.fixture
def alone(tmp_path: Path) -> Shell:
    """A shell where no server runs."""
    return Shell(tmp_path)


class TestUsage:
    @pytest.mark.parametrize(
        "arguments",
        [
            ("rollback", PROMPT),
            ("withdraw", PROMPT, "v7"),
            ("restore", PROMPT, "v7"),
            ("revert", f"flag/{PROMPT}", "--to-revision", "3"),
            ("revert", f"flag/{PROMPT}", "--to-revision", "0", "--reason", "x"),
            ("rollout", PROMPT, "v7"),
            ("rollout", PROMPT, "v7", "--percent", "101"),
            ("rollout", PROMPT, "v7", "--percent", "5", "--steps", "5,100"),
            ("rollout", PROMPT, "v7", "--steps", "5,5"),
            ("rollout", PROMPT, "v7", "--steps", "5,101"),
            ("rollout", PROMPT, "v7", "--steps", "5,x"),
            ("rollout", PROMPT, "v7", "--steps", "5,100", "--hold", "soon"),
            ("rollout", PROMPT, "v7", "--percent", "5", "--hold", "10m"),
            ("switch", PROMPT),
            ("explain", "support-bot", "--context", "plan"),
            ("export", "--patch"),
            ("export", "--file", "x.yaml"),
            ("export", "--patch", "--file", "x.yaml", "--format", "flagd"),
            ("rollback", PROMPT, "--reason", ""),
            ("switch", PROMPT, "v7", "--reason", " \t"),
            ("apply", "-f", "x.yaml", "--reason", ""),
            ("rollout", PROMPT, "v7", "--percent", "12.345"),
            ("switch", PROMPT, "v7", "--override"),
            ("rollout", "promote", PROMPT, "--override"),
            ("apply", "-f", "x.yaml", "--override"),
            ("audit", "verify", "--anchor", "nonsense"),
            ("audit", "verify", "--anchor", "3:abc"),
            ("rollback", "show", "ID", "OTHER"),
            ("rollback", "tick", "ID", "log", "--reason", "x"),
            ("check",),
            ("apply",),
            ("nonsense",),
        ],
    )
    def test_wrong_usage_is_exit_2_without_any_server(
        self, arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert run([*arguments, "--json"]) == 2
        told = capsys.readouterr()
        assert told.out == ""
        assert json.loads(told.err)["error"]["code"] == "usage"

    @pytest.mark.parametrize(
        ("arguments", "told"),
        [
            (("rollback", "one", "two"), "rollback takes one FLAG or ROUTE; found 2: one two"),
            (
                ("export", "--patch"),
                "--patch needs the config file that it is to change: --patch --file FILE",
            ),
            (("export", "--file", "x.yaml"), "--file is the file for --patch"),
            (("rollback", PROMPT, "--reason", ""), "it is blank; say why"),
            (("rollout", PROMPT, "v7", "--percent", "12.345"), "found 12.345, expected two decimals at most"),
            (("audit", "verify", "--anchor", "3:abc"), "found '3:abc', expected SIZE:ROOT"),
        ],
    )
    def test_wrong_usage_is_told_in_a_sentence(
        self, arguments: tuple[str, ...], told: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert run([*arguments, "--json"]) == 2
        assert told in json.loads(capsys.readouterr().err)["error"]["message"]

    async def test_a_flag_called_show_is_rolled_back_like_any_other(
        self, office: Office, shell: Shell
    ) -> None:
        await office.declare(prompt("show", serve="v7"))

        told = await shell("rollback", "show", "--reason", "x")

        assert (told.code, told.out.split(",")[0]) == (0, "show: v7 → v6")

    async def test_without_a_server_the_command_that_starts_one_is_told(self, alone: Shell) -> None:
        for arguments in (["status"], ["rollback", PROMPT, "--reason", "x"], ["log"], ["audit", "verify"]):
            told = await alone(*arguments)
            assert (told.code, told.out) == (1, "")
            assert "pointsman serve" in told.err

    async def test_a_server_that_is_gone_is_told_alike(self, alone: Shell) -> None:
        told = await alone("status", "--url", "http://127.0.0.1:1", "--json")

        assert (told.code, told.error["code"]) == (1, "no_server")

    async def test_a_url_that_is_none_is_told(self, alone: Shell) -> None:
        for url in ("localhost:4000", "http://x:99999", "ftp://x", "http://"):
            told = await alone("status", "--url", url)
            assert told.code == 1, url
            assert "Traceback" not in told.err

    async def test_server_json_tells_where_the_server_is(
        self, served: str, alone: Shell, tmp_path: Path
    ) -> None:
        (tmp_path / "data").mkdir()
        (tmp_path / "data" / "server.json").write_text(json.dumps({"url": served, "pid": 1}))

        assert (await alone("status")).code == 0
