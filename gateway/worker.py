"""One worker process: a House behind uvicorn on the supervisor's socket. Started by gateway.supervisor, not by people."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import resource
import signal
import socket
import sys
import time
from collections.abc import Iterator

import uvicorn

from flags.errors import FlagError
from gateway.app import build_app
from gateway.errors import GatewayError
from gateway.house import House
from gateway.http.protocol import LOOK_SECONDS, Protocol
from gateway.settings import Settings
from gateway.start import follow_flagd, reread, take_config

log = logging.getLogger("pointsman.worker")

# Idle connections of apps are kept this long: longer than the SDKs' pools keep theirs, so that it is they who
# close, and no request meets a connection that we are just closing.
KEEP_ALIVE_SECONDS = 75


# A request makes some hundred objects and no cycles: young ones are looked at every few hundred requests instead
# of every few (1 µs a request), old ones hardly ever.
COLLECT = (50_000, 50, 1_000)


# How long a worker that stops still answers "not ready", so that a probe or two can see it.
LINGER_SECONDS = 0.3
QUIET_TICK_SECONDS = 0.05
# What is left after the drain time (events, operators' calls) gets this long to end.
LAST_SECONDS = 2

# Files that a worker may have open: each client is one, each call of an upstream another. Shells and services begin with
# 1,024, which a thousand pages that listen use up; then no request gets in any more, and no operator.
OPEN_FILES = 65_536


class Server(uvicorn.Server):
    """uvicorn, told when to say "ready", and saying when it begins to stop."""

    def __init__(self, config: uvicorn.Config, house: House) -> None:
        super().__init__(config)
        self._house = house

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """uvicorn's own raises the signal once more in the end, and the process dies before the house is closed."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.handle_exit, number, None)
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, and tell the supervisor."""
        await super().startup(sockets)
        # What was made until now lives as long as the process: the collector need not look at it again.
        gc.collect()
        gc.freeze()
        gc.set_threshold(*COLLECT)
        sys.stdout.write("ready\n")
        sys.stdout.flush()

    async def on_tick(self, counter: int) -> bool:
        """Ten times a second; now and then look for connections on which nothing comes."""
        if counter % (10 * LOOK_SECONDS) == 0:
            for connection in list(self.server_state.connections):
                if isinstance(connection, Protocol):
                    connection.look()
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Not ready any more and no new requests, but still there to say so; time for running streams; then close."""
        self._house.drain()
        await self._quiet()
        await super().shutdown(sockets)

    async def _quiet(self) -> None:
        """Wait until no request runs, a moment at least (who balances load must see it), the drain time at most."""
        began = time.monotonic()
        while (waited := time.monotonic() - began) < self._house.settings.drain_seconds:
            if self._house.pipeline.running == 0 and waited >= LINGER_SECONDS:
                return
            await asyncio.sleep(QUIET_TICK_SECONDS)


async def serve(settings: Settings, listener: socket.socket, number: int) -> None:
    """Serve until told to stop."""
    house = await House.open(settings)
    try:
        tasks = await take_config(house, number)
        tasks += await follow_flagd(house, number)
        server = Server(uvicorn_config(build_app(house)), house)
        follow_hangup(house, number)
        follow_supervisor(server)
        await server.serve([listener])
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    finally:
        await house.aclose()


def uvicorn_config(app: object) -> uvicorn.Config:
    """uvicorn at its cheapest: httptools and uvloop, and nothing on the way that we do not need."""
    return uvicorn.Config(
        app,  # type: ignore[arg-type]  # uvicorn's own type is narrower than ASGI's
        http=Protocol,
        loop="auto",
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        date_header=False,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=LAST_SECONDS,
    )


def follow_hangup(house: House, number: int) -> None:
    """SIGHUP: every worker rereads its keys; the first also declares the config file anew."""
    loop = asyncio.get_running_loop()
    tasks: set[asyncio.Task[None]] = set()

    def on_hangup() -> None:
        task = loop.create_task(reread(house, number))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    loop.add_signal_handler(signal.SIGHUP, on_hangup)


def follow_supervisor(server: Server) -> None:
    """Stop gracefully when standard input ends: the supervisor is gone, and nobody would stop us otherwise."""
    loop = asyncio.get_running_loop()
    stdin = sys.stdin.fileno()

    def on_readable() -> None:
        if not os.read(stdin, 1024):
            loop.remove_reader(stdin)
            server.should_exit = True

    loop.add_reader(stdin, on_readable)


def allow_open_files() -> None:
    """Let this process have up to OPEN_FILES open, where the system's hard limit does."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, OPEN_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(OSError, ValueError):  # some systems have a lower one that they do not tell
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def read_settings() -> Settings:
    """The first line of standard input, byte by byte: what follows belongs to follow_supervisor."""
    line = bytearray()
    while (byte := os.read(0, 1)) not in (b"", b"\n"):
        line += byte
    return Settings.from_json(line.decode())


def main(argv: list[str]) -> int:
    """`python -m gateway.worker FD NUMBER`; the settings come on standard input."""
    logging.basicConfig(
        level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    # It notes the URL of each post, and a webhook's URL is a secret.
    logging.getLogger("httpx").setLevel(logging.WARNING)
    # Until we can reread the config there is nothing to reread; its default would end us.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    allow_open_files()
    settings = read_settings()
    listener = socket.socket(fileno=int(argv[0]))
    config = uvicorn.Config(app="", loop="auto", log_config=None)
    try:
        with asyncio.Runner(loop_factory=config.get_loop_factory()) as runner:
            runner.run(serve(settings, listener, int(argv[1])))
    except (FlagError, GatewayError) as error:
        print(f"pointsman: {error}", file=sys.stderr)  # noqa: T201  # the operator's terminal
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
