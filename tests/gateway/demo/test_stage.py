"""What the demo starts and types: its own server only, and never somebody else's."""

from __future__ import annotations

import asyncio
import os
import socket
from pathlib import Path

import pytest

from gateway.demo.stage import Stage, StageFailed, environment, is_free


def test_the_commands_see_no_other_server_store_or_key() -> None:
    """A user's own Redis, server and tokens are not touched by a demo."""
    own = {"PATH": "/bin", "REDIS_URL": "redis://x", "POINTSMAN_URL": "http://x", "POINTSMAN_APP_KEYS": "a:b"}

    assert environment(own, Path("/demo")) == {"PATH": "/bin", "POINTSMAN_DATA_DIR": "/demo"}


def test_a_port_is_free_until_somebody_listens() -> None:
    """Then the demo takes another."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        assert not is_free(port)

    assert is_free(port)


async def test_a_server_that_does_not_start_is_told_in_its_own_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The demo fails with the server's reason, and its folder is gone afterwards."""
    bad = tmp_path / "bad.yaml"
    bad.write_text("flags: 7\n")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    stage = Stage({"PATH": "/usr/bin:/bin"}, asyncio.get_running_loop().time, config=bad)

    with pytest.raises(StageFailed, match=r"bad\.yaml"):
        await stage.start()
    await stage.aclose()
    await stage.aclose()

    assert os.listdir(tmp_path) == ["bad.yaml"]


async def test_a_typed_line_is_run_as_a_shell_would() -> None:
    """Words, quotes, output and exit code."""
    stage = Stage({"PATH": "/usr/bin:/bin"}, asyncio.get_running_loop().time)
    try:
        typed = await stage.type('pointsman rollback support-bot.prompt --reason "errors since v7"')
    finally:
        await stage.aclose()

    assert typed.exit_code == 1
    assert "pointsman serve" in typed.output
    assert typed.ended > typed.began
