"""How long the event loop stands still while a worker swaps a snapshot of 10,000 flags. Asserts nothing.

The watcher runs here on a real Redis, beside a probe that yields to the loop without rest and notes each gap between two
turns. Another process makes the changes. Run by `python -m tests.bench snapshot_swap`.
"""

from __future__ import annotations

import asyncio
import gc
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from flags.canonical import digest
from flags.change import Draft
from flags.connect import connect, connect_listener
from flags.fleet import WorkerInfo
from flags.ledger import Author
from flags.model import Document, Kind, ObjectKey
from flags.store import Store
from flags.watch import Watcher
from tests.bench import cpu
from tests.bench.load import quantile
from tests.bench.options import Options
from tests.bench.report import Section, Table, number
from tests.redis_server import RedisServer, binaries

FLAGS, QUICK_FLAGS = 10_000, 1_000
CHANGES, QUICK_CHANGES = 200, 50
BATCH = 1_000
# Gaps are ascribed to a change when they lie this close before its swap: fetch, decode, compile and copy.
NEAR_SECONDS = 0.01
PAUSE_SECONDS = 0.01
AUTHOR = Author("bench", "a swap")


def run(options: Options) -> Section:
    """Fill a store, load it, then follow single changes."""
    flags, changes = (QUICK_FLAGS, QUICK_CHANGES) if options.quick else (FLAGS, CHANGES)
    with tempfile.TemporaryDirectory() as folder:
        server = RedisServer(Path(folder), next(iter(binaries().values())))
        with cpu.pinned_to(options.load_cpu):
            server.start()
        try:
            with cpu.pinned_to(options.gateway_cpu):
                rows = asyncio.run(measured(server.url, flags, changes, options.load_cpu))
        finally:
            server.stop()
    head = ("event loop, longest gap", "spans", "p50 ms", "p90", "p99", "longest")
    note = "Loading: one gap for each turn of the loop. Changes: the longest gap near each change."
    return Section(
        "snapshot_swap", [Table(f"swapping a snapshot of {flags:,} flags", head, rows, note)], rows
    )


async def measured(url: str, flags: int, changes: int, other_cpu: int) -> list[Sequence[str]]:
    """The table's rows."""
    store, listener = Store(connect(url), "bench"), connect_listener(url)
    for at in range(0, flags, BATCH):
        drafts = [draft(number, "v1") for number in range(at, at + BATCH)]
        await store.change(AUTHOR, [entry.key for entry in drafts], lambda _view, drafts=drafts: drafts)
    swaps: list[float] = []
    gaps: list[tuple[float, float]] = []
    probe = asyncio.create_task(probed(gaps))
    watcher = Watcher(store, listener, WorkerInfo("bench"), lambda *_: swaps.append(time.perf_counter()))
    began = time.perf_counter()
    await watcher.start()
    loading = time.perf_counter() - began
    load_gaps = [gap for _, gap in gaps]
    gc.collect()
    gc.freeze()
    gaps.clear()
    swaps.clear()
    await asyncio.sleep(1.0)
    quiet = windows([at for at, _ in gaps[:: max(1, len(gaps) // changes)]], gaps)
    gaps.clear()
    with cpu.pinned_to(other_cpu):
        writer = await asyncio.create_subprocess_exec(sys.executable, "-m", __name__, url, str(changes))
    await writer.wait()
    probe.cancel()
    near = windows(swaps, gaps)
    await watcher.aclose()
    await listener.aclose()
    await store.aclose()
    gc.unfreeze()
    return [
        row(f"loading all (in {loading:.2f} s)", load_gaps),
        row("quiet", quiet),
        row("one flag changed elsewhere", near),
    ]


async def probed(gaps: list[tuple[float, float]]) -> None:
    """Note the time of each turn of the loop and how long it took."""
    last = time.perf_counter()
    while True:
        await asyncio.sleep(0)
        now = time.perf_counter()
        gaps.append((now, now - last))
        last = now


def windows(moments: Sequence[float], gaps: Sequence[tuple[float, float]]) -> list[float]:
    """The longest gap near each moment, in seconds."""
    found: list[float] = []
    at = 0
    for moment in moments:
        longest = 0.0
        while at < len(gaps) and gaps[at][0] < moment - NEAR_SECONDS:
            at += 1
        ahead = at
        while ahead < len(gaps) and gaps[ahead][0] - gaps[ahead][1] <= moment:
            longest = max(longest, gaps[ahead][1])
            ahead += 1
        found.append(longest)
    return found


def row(name: str, seconds: Sequence[float]) -> Sequence[str]:
    """One line: how the gaps are spread."""
    order = sorted(value * 1000 for value in seconds)
    return (name, f"{len(order):,}", *(number(quantile(order, share)) for share in (0.5, 0.9, 0.99, 1.0)))


def draft(number_of_flag: int, serve: str) -> Draft:
    """One flag with two variants, serving one of them."""
    key = ObjectKey(Kind.FLAG, f"flag-{number_of_flag}")
    contents = {digest(value): value for value in (f"text one of {key.name}", f"text two of {key.name}")}
    variants = {f"v{at + 1}": {"hash": name, "generation": 1} for at, name in enumerate(contents)}
    document: Document = {"variants": variants, "serve": serve, "safe": "v1"}
    return Draft("switch", key, document, contents)


async def write(url: str, changes: int) -> None:
    """The other process: one change after the other."""
    store = Store(connect(url), "bench")
    for turn in range(changes):
        change = draft(turn, "v2")
        await store.change(AUTHOR, [change.key], lambda _view, change=change: [change])
        await asyncio.sleep(PAUSE_SECONDS)
    await store.aclose()


if __name__ == "__main__":
    asyncio.run(write(sys.argv[1], int(sys.argv[2])))
