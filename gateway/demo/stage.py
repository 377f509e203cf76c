"""What the show stands on: a place of its own, `pointsman serve` in it, and a prompt to type commands at.

Knows no story. Nothing is stopped or removed but what it started or made itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shlex
import shutil
import signal
import socket
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from gateway.cli.client import Client, access
from gateway.cli.problem import CommandError

CONFIG = Path(__file__).with_name("support-bot.yaml")
PORT = 4000
WORKERS = 2
# A cold disk may take ten times the usual second.
START_SECONDS = 30.0
LOOK_EVERY_SECONDS = 0.05
# A command answers within a second; the fleet's acknowledgement may take five more.
COMMAND_SECONDS = 20.0
# The traffic has ended by then, so that there is nothing to drain.
STOP_SECONDS = 10.0
LOG_LINES = 12


class StageFailed(Exception):
    """Raised when the server does not start, or a command does not end; the message is for people."""


class Performance(Protocol):
    """What may be ended early, until it cleans up."""

    closing: bool


def end_on_signals(performance: Performance, task: asyncio.Task[Any]) -> None:
    """Let Ctrl-C, a closed terminal or SIGTERM end `task`, once: nothing cuts the cleaning up short, which is bounded."""

    def stop() -> None:
        if not performance.closing:
            performance.closing = True
            task.cancel()

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        task.get_loop().add_signal_handler(number, stop)


@dataclass(frozen=True, slots=True)
class Typed:
    """A command as it was typed, and what came of it; times in seconds of the stage's clock."""

    line: str
    exit_code: int
    output: str
    began: float
    ended: float

    @property
    def seconds(self) -> float:
        return self.ended - self.began


@dataclass(frozen=True, slots=True)
class Noted:
    """A Change as the ledger has it."""

    revision: int
    actor: str
    action: str
    object: str
    reason: str


class Stage:
    """The server and its folder. What changes here: the server's process, and the URL once it is known."""

    def __init__(
        self, environ: Mapping[str, str], clock: Callable[[], float], *, config: Path = CONFIG
    ) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="pointsman-demo-"))
        self._environ = environment(environ, self._folder)
        self._clock, self._config = clock, config
        self._server: asyncio.subprocess.Process | None = None
        self.url = ""

    def __repr__(self) -> str:
        return f"<Stage {self.url or 'not started'} in {self._folder}>"

    async def start(self) -> None:
        """Return once all workers serve. Raises StageFailed with the server's own words."""
        port = PORT if is_free(PORT) else 0
        with self._log.open("wb") as log:
            self._server = await asyncio.create_subprocess_exec(
                *program(), "serve", "-c", str(self._config), "--port", str(port), "--workers", str(WORKERS),
                stdin=asyncio.subprocess.DEVNULL, stdout=log, stderr=log, env=self._environ,
                # Ctrl-C reaches only the demo, which stops the traffic first.
                start_new_session=True,
            )  # fmt: skip
        missing: str | None = "it did not answer"
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(START_SECONDS):
                while self._server.returncode is None:
                    missing = await asyncio.to_thread(self._missing)
                    if missing is None:
                        return
                    await asyncio.sleep(LOOK_EVERY_SECONDS)
        raise StageFailed(f"the server did not start ({missing}):\n{self.log_tail()}")

    async def type(self, line: str) -> Typed:
        """Run a command line as a shell would. Raises StageFailed where it does not end."""
        _, *arguments = shlex.split(line)
        began = self._clock()
        process = await asyncio.create_subprocess_exec(
            *program(), *arguments, env=self._environ, stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        try:
            async with asyncio.timeout(COMMAND_SECONDS):
                output, _ = await process.communicate()
        except TimeoutError:
            raise StageFailed(f"{line}: no answer within {COMMAND_SECONDS:g} s") from None
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        assert process.returncode is not None
        return Typed(line, process.returncode, output.decode(errors="replace").rstrip(), began, self._clock())

    async def noted(self, after: int) -> list[Noted]:
        """The Changes after a revision, oldest first. Raises StageFailed where the server does not answer."""
        page = await self._get(f"/log?after={after}&limit=1000")
        return [
            Noted(one["revision"], one["actor"], one["action"], one["object"], one["reason"])
            for one in page["entries"]
        ]

    async def newest(self) -> int:
        """The ledger's last revision."""
        entries = await self.noted(0)
        return entries[-1].revision if entries else 0

    async def slowest(self) -> int:
        """The revision that every living worker serves by, at least."""
        workers = (await self._get("/workers"))["workers"]
        return min(int(worker["revision"]) for worker in workers if worker["alive"])

    async def _get(self, path: str) -> Any:
        at = access(self.url, None, str(self._folder))
        try:
            return await asyncio.to_thread(Client(lambda: at).get, path)
        except CommandError as error:
            raise StageFailed(f"the server does not answer: {error}\n{self.log_tail()}") from error

    def log_tail(self) -> str:
        """The last that the server said."""
        said = self._log.read_text(errors="replace").splitlines() if self._log.exists() else []
        return "\n".join(said[-LOG_LINES:]) or "(it said nothing)"

    async def aclose(self) -> None:
        """Stop the server, gracefully if it will, and remove the folder. Idempotent."""
        server, self._server = self._server, None
        if server is not None:
            # The first signal stops gracefully, the second at once, the last cannot be refused.
            for number in (signal.SIGTERM, signal.SIGTERM, signal.SIGKILL):
                if await ended(server, number):
                    break
        await asyncio.to_thread(shutil.rmtree, self._folder, ignore_errors=True)

    @property
    def _log(self) -> Path:
        return self._folder / "serve.log"

    def _missing(self) -> str | None:
        """What is missing until all workers serve; None where nothing is."""
        try:
            at = access(None, None, str(self._folder))
            workers = Client(lambda: at).get("/workers")["workers"]
        except CommandError as error:
            return str(error)
        self.url = at.url
        alive = sum(bool(worker["alive"]) for worker in workers)
        return None if alive >= WORKERS else f"{alive} of {WORKERS} workers are alive"


async def ended(process: asyncio.subprocess.Process, number: signal.Signals) -> bool:
    """Signal it, and tell whether it ended in time."""
    with contextlib.suppress(ProcessLookupError):
        process.send_signal(number)
    try:
        async with asyncio.timeout(STOP_SECONDS):
            await process.wait()
    except TimeoutError:
        return False
    return True


def program() -> tuple[str, ...]:
    """The `pointsman` of this very Python; without an installed one, the same by hand."""
    script = Path(sys.executable).with_name("pointsman")
    if script.exists():
        return (str(script),)
    return (sys.executable, "-c", "from gateway.cli import main; main()")


def environment(environ: Mapping[str, str], folder: Path) -> dict[str, str]:
    """What the commands see: this machine's, but no other server, store or key than the demo's."""
    kept = {
        name: value
        for name, value in environ.items()
        if not name.startswith("POINTSMAN_") and name != "REDIS_URL"
    }
    return kept | {"POINTSMAN_DATA_DIR": str(folder)}


def is_free(port: int) -> bool:
    """Whether a server could listen on this port of the loopback interface."""
    with socket.socket() as probe:
        # As the server binds: a port whose last connections only linger is free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def shown_program() -> str:
    """How a person would type `pointsman` in another terminal, in this folder."""
    first, *more = program()
    if more or shutil.which("pointsman") == first:
        return "pointsman"
    with contextlib.suppress(ValueError):
        return os.fspath(Path(first).relative_to(Path.cwd()))
    return first
