"""256 streams at once through one worker for a minute: none lost, none reordered, every byte the upstream's."""

from __future__ import annotations

import asyncio
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.bench import cpu
from tests.bench.load import new_loop
from tests.bench.options import Options
from tests.bench.peers import ROUTE, Place, pointsman
from tests.bench.report import Section, Table, number
from tests.bench.running import gateway
from tests.bench.streaming import Sender, Tally, read_streams
from tests.redis_server import free_port

READERS = 256
SECONDS, QUICK_SECONDS = 60.0, 5.0
EVENTS = 40
# 20 pieces a second each: what a chatty model writes.
PIECE_SECONDS = 0.05


def run(options: Options) -> Section:
    """One worker, all streams."""
    seconds = QUICK_SECONDS if options.quick else SECONDS
    with tempfile.TemporaryDirectory() as folder, provider() as upstream:
        place = Place(Path(folder), free_port(), upstream)
        with gateway(
            "pointsman", pointsman(place, workers=1, config=config(upstream)), place, checked=False
        ) as one:
            before, began = cpu.Usage.of(one.pids()), time.monotonic()
            tally = asyncio.run(
                read_streams(one.port, ROUTE, readers=READERS, seconds=seconds, events=EVENTS)
            )
            spent, took = cpu.Usage.of(one.pids()).since(before), time.monotonic() - began
    return Section("streams", [table(tally, spent, took)], [{"whole": tally.whole, "wrong": tally.wrong}])


def config(upstream: int) -> dict[str, object]:
    """A route with nothing but a model, so that what goes out is what came in."""
    return {
        "upstreams": {"sender": {"kind": "openai", "base_url": f"http://127.0.0.1:{upstream}/v1"}},
        "flags": {
            f"{ROUTE}.model": {
                "layer": "model",
                "variants": {"m1": {"upstream": "sender", "model": "m"}},
            }
        },
        "routes": {ROUTE: {}},
    }


@contextmanager
def provider() -> Iterator[int]:
    """The sending end, in a thread of its own; its port."""
    loop, port, ready = new_loop(), free_port(), threading.Event()

    async def serve() -> None:
        await loop.create_server(lambda: Sender(EVENTS, PIECE_SECONDS), "127.0.0.1", port)
        ready.set()

    def work() -> None:
        loop.run_until_complete(serve())
        loop.run_forever()

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    ready.wait(10)
    try:
        yield port
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)


def table(tally: Tally, spent: float, took: float) -> Table:
    """What came of it."""
    pieces = max(1, tally.whole * (EVENTS + 1))
    return Table(
        f"{READERS} streams at once, one worker, {took:.0f} s",
        ("streams whole", "lost or changed", "MiB", "gateway CPU", "µs a piece"),
        [
            (
                str(tally.whole),
                str(len(tally.wrong)),
                number(tally.size / 2**20),
                f"{100 * spent / took:.0f} %",
                number(1e6 * spent / pieces),
            )
        ],
        "Each stream is compared with what was sent, to the byte; pieces are cut anywhere.",
    )
