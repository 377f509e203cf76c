"""`pointsman demo`, run for real: what it shows, how it ends, and that it leaves nothing behind."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fleet import COMMAND
from tests.journey.leftovers import left

# Half a minute on a quiet machine, a minute on a fifth of a core; every wait inside is bounded.
DEMO_SECONDS = 280.0
pytestmark = pytest.mark.timeout(300)


@pytest.fixture
def folder() -> Iterator[Path]:
    """A short place for temporary things: a socket's path must not be long."""
    with tempfile.TemporaryDirectory(prefix="show-") as made:
        yield Path(made)


def demo_environment(folder: Path) -> dict[str, str]:
    """The demo makes its folder in `folder`; a store and a server of the user's own are named, and in vain."""
    own = {
        "REDIS_URL": "redis://127.0.0.1:1/0",
        "POINTSMAN_URL": "http://127.0.0.1:1",
        "POINTSMAN_TOKEN": "mine",
    }
    return {**os.environ, **own, "TMPDIR": str(folder)}


@contextlib.contextmanager
def port_4000_taken() -> Iterator[None]:
    """Somebody else listens where the demo would."""
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with contextlib.suppress(OSError):  # then somebody else does already
            other.bind(("127.0.0.1", 4000))
            other.listen()
        yield


def test_the_demo_shows_a_rollback_and_leaves_nothing_behind(folder: Path) -> None:
    """Exit 0: four candidates withdrawn by the machine, one version by hand, and no failure seen by any user."""
    with port_4000_taken():
        done = subprocess.run(
            [*COMMAND, "demo", "--once"],
            env=demo_environment(folder), capture_output=True, text=True, timeout=DEMO_SECONDS, check=False,
        )  # fmt: skip

    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    assert "\x1b" not in done.stdout
    for candidate, policy in (
        ("v7 fails half its calls", "error-brake"),
        ("patient is ten times slower", "(slow|first-word)-brake"),
        ("grand costs ten times as much", "cost-brake"),
        ("v8 answers so that nobody is helped", "score-brake"),
    ):
        assert re.search(rf"^  {candidate}: withdrawn by policy/{policy}$", done.stdout, re.MULTILINE), (
            done.stdout
        )
    assert done.stdout.count("failures seen by users: 0") == 4
    assert len(re.findall(r"\d+ ms after its first bad answer", done.stdout)) == 4
    assert len(re.findall(r"^    evidence \S+ of \d+ needed$", done.stdout, re.MULTILINE)) == 4
    assert "whatever v7 fails is answered by v6" in done.stdout
    assert "support-bot.prompt: v9 → v6, all 2 workers switched" in done.stdout
    assert "that began after its return, v9 answered 0" in done.stdout
    assert "ms of them in the server" in done.stdout
    assert "FAIL" not in done.stdout
    assert list(folder.iterdir()) == []
    assert left(f"POINTSMAN_DATA_DIR={folder}") == []


@contextlib.contextmanager
def running_demo(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """A demo that stays up; killed at the end should it not have ended."""
    command = [*COMMAND, "demo"]
    with subprocess.Popen(command, env=demo_environment(folder), stdout=subprocess.PIPE, text=True) as demo:
        try:
            yield demo
        finally:
            demo.kill()


def lines_until(demo: subprocess.Popen[str], text: str) -> list[str]:
    """Its lines up to the first that holds `text`."""
    assert demo.stdout is not None
    lines = []
    for line in demo.stdout:
        lines.append(line)
        if text in line:
            return lines
    raise AssertionError(f"{text!r} never came: {lines}")


def test_the_demo_stays_up_to_play_with(folder: Path) -> None:
    """The commands that it proposes work, and Ctrl-C ends a good show with exit code 0."""
    with running_demo(folder) as demo:
        url = lines_until(demo, "It stays up")[-1].rpartition("=")[2].strip()
        proposed = [
            line.split("pointsman ", 1)[1]
            for line in lines_until(demo, "pointsman top")
            if "pointsman " in line
        ]
        environ = {**os.environ, "POINTSMAN_URL": url}
        done = [
            subprocess.run(
                [*COMMAND, *shlex.split(line)], env=environ, capture_output=True, text=True, check=False
            )
            for line in proposed
        ]
        os.kill(demo.pid, signal.SIGINT)
        assert demo.stdout is not None
        rest = demo.stdout.read()

    assert [line.split()[0] for line in proposed] == [
        "status",
        "explain",
        "log",
        "rollback",
        "audit",
        "restore",
        "rollback",
        "restore",
        "rollout",
        "top",
    ]
    assert [each.returncode for each in done] == [0] * len(proposed), [each.stderr for each in done]
    assert "✓  acknowledge" in done[3].stdout
    assert "workers switched" in done[5].stdout
    assert "v9 → v6" in done[6].stdout
    assert rest.endswith("Stopped and cleaned up.\n")
    assert demo.returncode == 0
    assert list(folder.iterdir()) == []


def test_a_demo_that_is_interrupted_cleans_up(folder: Path) -> None:
    """Ended in the middle of the show: exit 130, no process and no file left."""
    with running_demo(folder) as demo:
        lines_until(demo, " req/s")
        os.kill(demo.pid, signal.SIGTERM)
        assert demo.stdout is not None
        rest = demo.stdout.read()

    assert demo.returncode == 130
    assert rest.endswith("Stopped and cleaned up.\n")
    assert list(folder.iterdir()) == []
    assert left(f"POINTSMAN_DATA_DIR={folder}") == []
