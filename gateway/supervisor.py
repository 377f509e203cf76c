"""Keeps the workers of one host alive: binds the port, starts them, restarts those that die, stops all gracefully.

It serves no request and knows neither flags nor upstreams. Workers share its listening socket, so connections that
wait in the queue of a dead worker are taken by another. A worker's standard input carries its settings and then
stays open: its end tells the worker that the supervisor is gone.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import json
import os
import signal
import socket
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from flags.embedded import Embedded
from flags.errors import FlagError
from gateway.recording import create
from gateway.settings import Settings, make_data_dir, write_private

# A worker that dies sooner than this after its start is restarted later and later, up to the limit.
YOUNG_SECONDS = 5.0
BACKOFF_SECONDS, BACKOFF_LIMIT_SECONDS = 0.2, 5.0
# What a worker gets on top of its drain time to close its own connections before it is killed.
MARGIN_SECONDS = 3.0
# glibc gives the top of its heap back and takes it again with every body of 20 KB: 5 µs a request. It may keep 16 MiB.
MALLOC = {"MALLOC_TRIM_THRESHOLD_": str(16 << 20), "MALLOC_TOP_PAD_": str(1 << 20)}

# How often a server looks whether the note of where one serves on this directory still stands.
NOTE_SECONDS = 1.0
# The start of a worker takes half a second here; a cold disk may take ten times that.
READY_SECONDS = 30.0
# A worker's first words, and how much of what follows is read at once.
READY, OUTPUT_BYTES = b"ready\n", 65_536


@dataclass(slots=True)
class WorkerProcess:
    """One worker's place: its number stays, its process changes."""

    number: int
    process: asyncio.subprocess.Process | None = None
    started: float = 0.0
    backoff: float = BACKOFF_SECONDS
    task: asyncio.Task[None] | None = field(default=None, repr=False)
    # Whether it has said that it serves, and who reads what it writes.
    serves: asyncio.Event = field(default_factory=asyncio.Event, repr=False)
    output: asyncio.Task[None] | None = field(default=None, repr=False)


class StartFailed(Exception):
    """Raised when the first worker, the socket or the store cannot start; the message is for the operator."""


class Supervisor:
    """The parent of all. What changes here: the workers' processes, and whether we are stopping."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._workers = [WorkerProcess(number) for number in range(settings.workers)]
        self._stopping = asyncio.Event()
        self._impatient = asyncio.Event()
        self._embedded: Embedded | None = None
        self._socket: socket.socket | None = None
        self._note_task: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        alive = sum(w.process is not None and w.process.returncode is None for w in self._workers)
        return (
            f"<Supervisor {alive} of {len(self._workers)} workers alive, stopping={self._stopping.is_set()}>"
        )

    async def run(self) -> int:
        """Serve until told to stop. The exit code: 0 after a graceful stop, 1 when the start failed."""
        self._listen_to_signals()
        note = Path(self._settings.data_dir) / "server.json"
        try:
            usable_data_dir(note.parent)
            usable_recording(self._settings.record)
            await self._start(note)
            await self._stopping.wait()
        except (StartFailed, FlagError) as error:
            print(f"pointsman: {error}", file=sys.stderr)  # noqa: T201  # the operator's terminal, before any log
            return 1
        finally:
            await self._stop(note)
        return 0

    async def _start(self, note: Path) -> None:
        self._socket = bind(self._settings.host, self._settings.port)
        port = self._socket.getsockname()[1]
        if self._settings.redis is None:
            self._embedded = Embedded(Path(self._settings.data_dir))
            url = await self._embedded.start()
            self._settings = msgspec.structs.replace(self._settings, redis=url, port=port)
        else:
            self._settings = msgspec.structs.replace(self._settings, port=port)
        # The first declares the config file, and shows whether anything can start at all.
        first, *others = self._workers
        await self._spawn(first)
        if not await self._ready(first):
            if self._stopping.is_set():
                return
            await self._ended(first)
            raise StartFailed("the first worker did not start; its reason stands above")
        for worker in others:
            await self._spawn(worker)
        for worker in self._workers:
            worker.task = asyncio.create_task(self._keep(worker))
        self._note_task = asyncio.create_task(self._keep_note(note))
        plural = "" if len(self._workers) == 1 else "s"
        print(  # noqa: T201  # the operator's terminal
            f"Pointsman serves on {url_of(self._settings)} with {len(self._workers)} worker{plural}",
            file=sys.stderr,
        )

    async def _keep_note(self, note: Path) -> None:
        """Say where we serve, for commands on this host; leave the note of another that lives, and replace it later."""
        while True:
            if not note_stands(note):
                write_private(note, json.dumps({"url": url_of(self._settings), "pid": os.getpid()}))
            await asyncio.sleep(NOTE_SECONDS)

    async def _spawn(self, worker: WorkerProcess) -> None:
        assert self._socket is not None
        worker.started = time.monotonic()
        worker.process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "gateway.worker", str(self._socket.fileno()), str(worker.number),
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, pass_fds=(self._socket.fileno(),),
            # Ctrl-C reaches only the supervisor, which stops workers first and the store last.
            start_new_session=True, env={**os.environ, **MALLOC},
        )  # fmt: skip
        worker.serves = asyncio.Event()
        worker.output = asyncio.create_task(_follow(worker.process, worker.serves))
        stdin = worker.process.stdin
        assert stdin is not None
        with contextlib.suppress(ConnectionError):
            stdin.write(self._settings.to_json().encode() + b"\n")
            await stdin.drain()

    async def _ready(self, worker: WorkerProcess) -> bool:
        """Wait for the worker's word that it serves; False when it died, hangs, or we are told to stop."""
        process = worker.process
        assert process is not None
        waits = [
            asyncio.create_task(each)
            for each in (worker.serves.wait(), process.wait(), self._stopping.wait())
        ]
        await asyncio.wait(waits, timeout=READY_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        for task in waits:
            task.cancel()
        return worker.serves.is_set()

    async def _keep(self, worker: WorkerProcess) -> None:
        """Restart a worker whenever it dies, until we stop."""
        while not self._stopping.is_set():
            assert worker.process is not None
            code = await worker.process.wait()
            if self._stopping.is_set():
                return
            young = time.monotonic() - worker.started < YOUNG_SECONDS
            worker.backoff = min(worker.backoff * 2, BACKOFF_LIMIT_SECONDS) if young else BACKOFF_SECONDS
            print(  # noqa: T201  # the operator's terminal
                f"pointsman: worker {worker.number} ended with {code}; it is started again", file=sys.stderr
            )
            if young:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._stopping.wait(), worker.backoff)
                    return
            try:
                await self._spawn(worker)
            except OSError as error:  # no process or descriptor to be had now; the next turn tries again
                print(f"pointsman: worker {worker.number} cannot be started: {error}", file=sys.stderr)  # noqa: T201

    async def _ended(self, worker: WorkerProcess) -> None:
        """Let a worker that gave up end by itself, so that its exit is seen."""
        assert worker.process is not None
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(worker.process.wait(), MARGIN_SECONDS)

    async def _stop(self, note: Path) -> None:
        """Workers first (no new requests, running streams get time to end), the store last."""
        self._stopping.set()
        if self._note_task is not None:
            self._note_task.cancel()
        forget(note)
        if self._socket is not None:
            self._socket.close()
        for worker in self._workers:
            if worker.task is not None:
                worker.task.cancel()
        running = [w.process for w in self._workers if w.process is not None and w.process.returncode is None]
        for process in running:
            send(process, signal.SIGTERM)
        await self._wait_for(running)
        for process in running:
            send(process, signal.SIGKILL)
            await process.wait()
        if self._embedded is not None:
            await self._embedded.aclose()

    async def _wait_for(self, running: list[asyncio.subprocess.Process]) -> None:
        if not running:
            return
        ended = asyncio.create_task(all_ended(running))
        impatient = asyncio.create_task(self._impatient.wait())
        await asyncio.wait(
            {ended, impatient},
            timeout=self._settings.drain_seconds + MARGIN_SECONDS,
            return_when=asyncio.FIRST_COMPLETED,
        )
        impatient.cancel()
        ended.cancel()

    def _listen_to_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._on_stop)
        loop.add_signal_handler(signal.SIGHUP, self._on_hangup)

    def _on_stop(self) -> None:
        """The first signal stops gracefully, a second one at once."""
        if self._stopping.is_set():
            self._impatient.set()
        self._stopping.set()

    def _on_hangup(self) -> None:
        """One worker rereads the config file for the whole fleet; all reread their keys."""
        for worker in self._workers:
            if worker.process is not None:
                send(worker.process, signal.SIGHUP)


async def _follow(process: asyncio.subprocess.Process, serves: asyncio.Event) -> None:
    """Hear the worker say that it serves; what else it writes (notices of `kind: stdout`) goes to our own output."""
    assert process.stdout is not None
    while chunk := await process.stdout.read(OUTPUT_BYTES):
        if not serves.is_set() and chunk.startswith(READY):
            serves.set()
            chunk = chunk[len(READY) :]
        with contextlib.suppress(OSError):  # whoever read us has left; the worker must not be stopped by that
            sys.stdout.buffer.write(chunk)
            sys.stdout.buffer.flush()


def usable_data_dir(path: Path) -> None:
    """Make the directory where it is missing. Raises StartFailed where it cannot be used."""
    try:
        make_data_dir(path)
        if not os.access(path, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except OSError as error:
        reason = error.strerror or error
        raise StartFailed(
            f"the data directory {path} cannot be used: {reason}; choose another --data-dir"
        ) from error


def usable_recording(path: str | None) -> None:
    """Make the file to record to, where one is wanted. Raises StartFailed where it cannot be used."""
    try:
        if path is not None:
            create(path)
    except OSError as error:
        raise StartFailed(f"--record {path}: {error.strerror or error}; name another file") from error


async def all_ended(processes: list[asyncio.subprocess.Process]) -> None:
    """Wait until all of them have ended."""
    await asyncio.gather(*(process.wait() for process in processes))


def send(process: asyncio.subprocess.Process, number: signal.Signals) -> None:
    """Signal a process that may have ended meanwhile."""
    with contextlib.suppress(ProcessLookupError):
        process.send_signal(number)


def bind(host: str, port: int) -> socket.socket:
    """The socket that all workers share. Raises StartFailed where the address is taken or none."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        bound = socket.socket(family, kind, protocol)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # Accepted sockets inherit it: without, Nagle and delayed ACK hold a chunk back for 40 ms.
        bound.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        bound.bind(address)
    except OSError as error:
        raise StartFailed(
            f"cannot listen on {host}:{port}: {error.strerror or error}; choose another --port"
        ) from error
    bound.set_inheritable(True)
    return bound


def note_stands(note: Path) -> bool:
    """Whether the note is there and whoever wrote it lives."""
    try:
        os.kill(int(json.loads(note.read_text())["pid"]), 0)
    except (OSError, ValueError, TypeError, KeyError):
        return False
    return True


def forget(note: Path) -> None:
    """Remove our note of where we serve; another supervisor on the same directory may have written its own."""
    with contextlib.suppress(OSError, ValueError):
        if json.loads(note.read_text()).get("pid") == os.getpid():
            note.unlink()


def url_of(settings: Settings) -> str:
    """Where this host's operators reach the server: a wildcard address is reached by loopback."""
    host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(settings.host, settings.host)  # noqa: S104  # compared, not bound
    return f"http://{f'[{host}]' if ':' in host and not host.startswith('[') else host}:{settings.port}"


def run(settings: Settings) -> int:
    """Run a supervisor to its end; the process's exit code."""

    async def main() -> int:
        return await Supervisor(settings).run()

    return asyncio.run(main())
