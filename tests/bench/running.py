"""Processes under measurement: started, known to answer, stopped. Knows how, not who (that is peers)."""

from __future__ import annotations

import contextlib
import http.client
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.bench import cpu, wire
from tests.bench.options import Options
from tests.bench.peers import ROUTE, Launch, Place
from tests.redis_server import free_port

# litellm takes 7 s on a quiet machine.
START_SECONDS = 30.0
STOP_SECONDS = 10.0
# How often a starting gateway is asked whether it answers: also the error of its start-up time.
ASK_AGAIN_SECONDS = 0.005
CHAT = "/v1/chat/completions"
# litellm wants a key's form even where it checks none.
HEADERS = {"Authorization": "Bearer none"}
STREAM_INTERVAL_MICROSECONDS = 10_000


class NotStarted(Exception):
    """Raised when a gateway does not answer rightly; the message holds the end of its log."""


@dataclass(slots=True)
class Running:
    """A gateway that answers. `process` None: the upstream itself."""

    name: str
    port: int
    start_seconds: float = 0.0
    process: subprocess.Popen[bytes] | None = None

    def pids(self) -> list[int]:
        """Its whole process tree."""
        return cpu.tree(self.process.pid) if self.process is not None else []


def post(port: int, path: str, body: bytes, *, timeout: float = 10) -> tuple[int, bytes]:
    """One POST on a connection of its own."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    try:
        connection.request("POST", path, body, HEADERS | {"Content-Type": "application/json"})
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


@contextlib.contextmanager
def upstream(options: Options, *, interval: int = STREAM_INTERVAL_MICROSECONDS) -> Iterator[int]:
    """The mock provider's port, on the core of the load."""
    port = free_port()
    with cpu.pinned_to(options.load_cpu), contextlib.ExitStack() as cleanup:
        if options.lab is not None:
            tool = built(options.lab / "mock_upstream.c")
            process = subprocess.Popen(
                [str(tool), f"{port}:0:{interval}:{wire.CONTENT_EVENTS}"], stdin=subprocess.PIPE
            )
        else:
            command = [sys.executable, "-m", "tests.bench.upstream", str(port), str(interval)]
            process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        cleanup.callback(stop, process)
        wait_until_it_answers("upstream", port, process)
        yield port


def built(source: Path) -> Path:
    """The tool compiled from `source`, once in a while: it is kept beside the temporary files."""
    target = Path(tempfile.gettempdir()) / f"pointsman-bench-{source.stem}"
    if not target.exists() or target.stat().st_mtime < source.stat().st_mtime:
        compiler = shutil.which("cc") or shutil.which("gcc")
        if compiler is None:
            raise NotStarted("--lab needs a C compiler (cc or gcc)")
        subprocess.run([compiler, "-O2", "-w", "-o", str(target), str(source)], check=True)
    return target


@contextlib.contextmanager
def gateway(
    name: str, launch: Launch, place: Place, cpus: tuple[int, ...] = (), *, checked: bool = True
) -> Iterator[Running]:
    """A gateway that has given its first 200; stopped in the end. Raises NotStarted.

    Where its answers are not those of tests.bench.upstream, they cannot be `checked`.
    """
    folder, port = place.folder, place.port
    folder.mkdir(parents=True, exist_ok=True)
    for file, text in launch.files.items():
        (folder / file).write_text(text)
    environ = os.environ | dict(launch.environ)
    # It would charge every Python gateway for compiling itself at each start.
    environ.pop("PYTHONDONTWRITEBYTECODE", None)
    log = folder / "log"
    with log.open("wb") as output, cpu.pinned_to(*(cpus or os.sched_getaffinity(0))):
        began = time.monotonic()
        process = subprocess.Popen(
            launch.command, cwd=folder, env=environ, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
            start_new_session=True,
        )  # fmt: skip
    try:
        wait_until_it_answers(name, port, process, log)
        running = Running(name, port, time.monotonic() - began, process)
        if checked:
            check(running, log)
        yield running
    finally:
        stop(process)


def wait_until_it_answers(
    name: str, port: int, process: subprocess.Popen[bytes], log: Path | None = None
) -> None:
    """Ask for a completion until one comes."""
    body, last = wire.request_body(ROUTE, 900, stream=False), "no answer"
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise NotStarted(f"{name} ended with {process.returncode}: {tail(log)}")
        try:
            status, text = post(port, CHAT, body)
        except (OSError, http.client.HTTPException):
            time.sleep(ASK_AGAIN_SECONDS)
            continue
        if status == 200:
            return
        last = f"{status} {text[:300]!r}"
        time.sleep(ASK_AGAIN_SECONDS)
    raise NotStarted(f"{name} did not answer in {START_SECONDS:.0f} s ({last}): {tail(log)}")


def check(running: Running, log: Path | None = None) -> None:
    """Raises NotStarted unless a large answer and a stream come back whole: nobody is measured who cheats."""
    status, text = post(running.port, CHAT, wire.request_body(ROUTE, 20_000, stream=False))
    if status != 200 or wire.JSON_MARK not in text:
        raise NotStarted(f"{running.name}: wrong answer {status} {text[:300]!r}; {tail(log)}")
    status, text = post(running.port, CHAT, wire.request_body(ROUTE, 900, stream=True))
    if status != 200 or text.count(wire.STREAM_MARK) != wire.CONTENT_EVENTS or b"[DONE]" not in text:
        raise NotStarted(f"{running.name}: wrong stream {status} {text[:300]!r}; {tail(log)}")


def tail(log: Path | None) -> str:
    """The end of a log, for the operator."""
    return log.read_text(errors="replace")[-1500:].strip() if log is not None and log.exists() else "no log"


def stop(process: subprocess.Popen[bytes]) -> None:
    """End a process and whatever it leaves behind."""
    pids = cpu.tree(process.pid)
    if process.stdin is not None:
        process.stdin.close()
    process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    if process.stdout is not None:
        process.stdout.close()
    for pid in pids[1:]:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
