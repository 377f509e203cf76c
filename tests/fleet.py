"""A real `pointsman serve` for tests: its processes, its port, its directory. Knows commands and signals, no code."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx

from tests import plain

# A server that takes longer to come up on a test machine is broken.
START_SECONDS = 20.0
ROOT = Path(__file__).parents[1]
COMMAND = (sys.executable, "-c", "from gateway.cli import main; main()")


class Fleet:
    """One supervisor with its workers in `folder`; a context manager. Given a URL it uses that Redis."""

    def __init__(
        self,
        folder: Path,
        config: str,
        *,
        workers: int = 2,
        redis: str | None = None,
        options: Sequence[str] = (),
        inside: bool = False,
    ) -> None:
        self.folder = folder
        # Where it is started: where the tests are, or in its folder.
        self._directory = folder if inside else None
        self.config = folder / "pointsman.yaml"
        self.data_dir = folder / "data"
        self._options = ("--workers", str(workers), *(("--redis", redis) if redis else ()), *options)
        self._process: subprocess.Popen[bytes] | None = None
        folder.mkdir(parents=True, exist_ok=True)
        self.config.write_text(config)

    def __repr__(self) -> str:
        return f"Fleet({self.folder}, pid={self._process and self._process.pid})"

    @property
    def environ(self) -> dict[str, str]:
        """The environment of the server and of its commands: nobody's keys and nobody's directory."""
        kept = {
            name: value for name, value in os.environ.items() if not name.startswith(("POINTSMAN", "REDIS"))
        }
        found = {"PYTHONPATH": str(ROOT)} if self._directory else {}
        return {**kept, **found, "POINTSMAN_DATA_DIR": str(self.data_dir), "POINTSMAN_ACTOR": "tester"}

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def url(self) -> str:
        """Where it serves, as its own note says."""
        return str(json.loads((self.data_dir / "server.json").read_text())["url"])

    @property
    def log(self) -> str:
        """What it wrote to its terminal so far."""
        return (self.folder / "serve.log").read_text()

    def start(self) -> Fleet:
        """Start it, or start it again; returns once its note of where it serves is there."""
        command = [*COMMAND, "serve", "-c", str(self.config), "--port", "0", *self._options]
        with (self.folder / "serve.log").open("ab") as log:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self.environ,
                cwd=self._directory,
                start_new_session=True,
            )
        deadline = time.monotonic() + START_SECONDS
        while not (self.data_dir / "server.json").exists():
            assert self._process.poll() is None, self.log
            assert time.monotonic() < deadline, self.log
            time.sleep(0.02)
        return self

    def stop(self) -> int:
        """Ask it to stop, and wait; the exit code."""
        assert self._process is not None
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
        try:
            return self._process.wait(45)
        except subprocess.TimeoutExpired:
            self._process.kill()
            raise

    def kill(self) -> None:
        """End the supervisor and its workers at once, as a power cut does (SIGKILL)."""
        assert self._process is not None
        for pid in (self.pid, *(each["pid"] for each in self.workers())):
            os.kill(pid, signal.SIGKILL)
        self._process.wait()
        (self.data_dir / "server.json").unlink()

    def __enter__(self) -> Fleet:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def command(self, *words: str, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
        """Run one command as an operator would."""
        return subprocess.run(
            [*COMMAND, *words],
            capture_output=True,
            text=True,
            env=self.environ,
            input=stdin,
            timeout=60,
            check=False,
        )

    def json(self, *words: str) -> Any:
        """The document that a command answers with `--json`; the command must succeed."""
        done = self.command(*words, "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def ask(self, client: httpx.Client | None = None, **fields: Any) -> httpx.Response:
        """One chat completion."""
        body = {
            "model": "support-bot",
            "messages": [{"role": "user", "content": "Where is my order?"}],
            **fields,
        }
        post = client.post if client else plain.post
        return post(f"{self.url}/v1/chat/completions", json=body, timeout=30)

    def read(self, path: str) -> Any:
        """What the operators' API answers."""
        return plain.get(f"{self.url}/admin/v1{path}", timeout=10).raise_for_status().json()

    def workers(self) -> list[dict[str, Any]]:
        """The workers that are alive, as the fleet knows them."""
        return [worker for worker in self.read("/workers")["workers"] if worker["alive"]]


CONFIG = """
upstreams:
  mock: {kind: simulated}
flags:
  support-bot.prompt:
    layer: prompt
    serve: v6
    variants:
      v6: {messages: [{role: system, content: "You are v6."}]}
      v7: {messages: [{role: system, content: "You are v7."}]}
  support-bot.model:
    layer: model
    serve: gpt-4.1
    variants:
      gpt-4.1: {upstream: mock, model: gpt-4.1}
      gpt-4o: {upstream: mock, model: gpt-4o}
routes:
  support-bot: {}
"""
