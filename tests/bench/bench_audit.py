"""A ledger of 100,000 changes in a real Redis: verifying, anchoring, a worker's start, archiving. Asserts nothing."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import httpx

from flags.anchor import anchor
from flags.archive import Copy, checkpoint, trim
from flags.audit import Audit, Known, State
from flags.canonical import canonical, digest
from flags.connect import connect
from flags.ledger import Author, Entry, entry_from
from flags.model import Json
from flags.store import Store
from flags.walk import Walk
from policies.governance.changelog import is_about, logged
from tests.bench.bench_ledger import ledger
from tests.bench.options import Options
from tests.bench.report import Section, Table, number
from tests.fleet import Fleet
from tests.redis_server import RedisServer, binaries

CHANGES, QUICK_CHANGES = 100_000, 5_000
# The newest entries always stay.
KEPT = 1_000
PAGE = 500
# A start in a process of its own: what it takes, and how much memory that process has then.
START = """
import asyncio, sys, time
from flags.connect import connect, connect_listener
from flags.fleet import WorkerInfo
from flags.store import Store
from flags.watch import Watcher
async def main(url):
    began = time.perf_counter()
    watcher = Watcher(Store(connect(url), "default"), connect_listener(url), WorkerInfo("w"), lambda *_: None)
    await watcher.start()
    while watcher.snapshot is None:
        await asyncio.sleep(0.001)
    took = time.perf_counter() - began
    # Not the peak that the kernel counts: that begins with the parent's.
    status = open("/proc/self/status").read()
    print(took, status.split("VmRSS:")[1].split()[0])
    await watcher.aclose()
asyncio.run(main(sys.argv[1]))
"""
Answer = TypeVar("Answer")


class Nothing:
    """Counts nothing of what goes."""

    def take(self, entry: Entry) -> None:
        """One more."""

    def document(self) -> dict[str, Json]:
        """Nothing."""
        return {}


def run(options: Options) -> Section:
    """Fill a Redis with a ledger as `change` would have left it, and go through a year of an auditor's life."""
    count = QUICK_CHANGES if options.quick else CHANGES
    found = binaries()
    with (
        tempfile.TemporaryDirectory() as folder,
        RedisServer(
            Path(folder), found.get("redis") or found["valkey"], options=("--appendfsync", "no")
        ) as server,
    ):
        lines = list(ledger(count))
        _fill(server, lines)
        rows = asyncio.run(_measured(server, lines))
    return Section("audit", [Table("the ledger as evidence", ("what", "value"), rows)], dict(rows))


def _fill(server: RedisServer, lines: list[bytes]) -> None:
    """Entries, objects, contents and head, in batches: through `change` it would take minutes."""
    store = Store(connect(server.url), "default")
    newest = {entry.object: entry for entry in map(entry_from, lines)}
    with server.client() as client:
        for at in range(0, len(lines), 1_000):
            pipe = client.pipeline(transaction=False)
            for number_, line in enumerate(lines[at : at + 1_000], at + 1):
                pipe.xadd(store.keys.ledger, {"e": line}, id=f"{number_}-0")
            pipe.execute()
        for name, entry in newest.items():
            stored = {"document": entry.after, "revision": entry.revision}
            client.hset(store.keys.objects, name, canonical(stored))
        for value in range(8):
            client.hset(store.keys.contents, digest(value), canonical(value))
        last = entry_from(lines[-1])
        client.hset(
            store.keys.head,
            mapping={"revision": last.revision, "hash": last.hash, "affecting": last.revision},
        )


async def _measured(server: RedisServer, lines: list[bytes]) -> list[tuple[str, str]]:
    store = Store(connect(server.url), "default")
    count = len(lines)
    with server.client() as client:
        taken = client.info("memory")["used_memory_dataset"]
    report, verifying = await timed(lambda: _verified(store))
    _, first = await timed(lambda: anchor(store))
    _, nothing_new = await timed(lambda: anchor(store))
    told, telling = await timed(lambda: _changelog(store, "flag-7"))
    start, memory = _start(server)
    serving, by_command = await asyncio.to_thread(_served, server)
    upto = count - KEPT
    walk = Walk()
    for line in lines[:upto]:
        walk.take(line)
    copy = Copy(walk.position, walk.anchor, "bench.jsonl")
    _, trimming = await timed(
        lambda: trim(store, Author("bench", "too old"), copy, upto=upto, tally=Nothing())
    )
    _, one_new = await timed(lambda: anchor(store))
    after, again = await timed(lambda: _verified(store))
    start_after, memory_after = _start(server)
    with server.client() as client:
        left = client.info("memory")["used_memory_dataset"]
    await store.aclose()
    return [
        ("changes", f"{count:,}"),
        ("Redis, data, MB", number(taken / 1e6)),
        ("audit verify, live, s", number(verifying)),
        ("audit verify, entries a second", f"{count / verifying:,.0f}"),
        ("it holds", str(report)),
        ("anchor, the first ever, s", number(first)),
        ("anchor, nothing new, ms", number(nothing_new * 1e3)),
        ("anchor, one new entry, ms", number(one_new * 1e3)),
        (f"change log of one flag ({told} of {count:,}), s", number(telling)),
        ("a worker's start, s", number(start)),
        ("a worker's memory then, MB", number(memory / 1024)),
        ("`serve` with one worker until it is ready, s", number(serving)),
        ("`audit verify` against it, over HTTP, s", number(by_command)),
        (f"archive's trim of {upto:,}, survey included, s", number(trimming)),
        ("Redis, data, after it, MB", number(left / 1e6)),
        ("audit verify after it, s", number(again)),
        ("it holds still", str(after)),
        ("a worker's start after it, s", number(start_after)),
        ("a worker's memory then, after it, MB", number(memory_after / 1024)),
    ]


async def _verified(store: Store) -> bool:
    before = await checkpoint(store)
    loaded = await store.load()
    audit, at = Audit(Known(checkpoint=before)), before.revision
    while texts := await store.read_log_bytes(at, PAGE):
        for text in texts:
            audit.take(text)
        at += len(texts)
    return audit.report(State(loaded.position, loaded.objects, await store.bad_contents())).ok


async def _changelog(store: Store, flag: str) -> int:
    found = at = 0
    while texts := await store.read_log_bytes(at, PAGE):
        found += sum(is_about(text, flag) and logged(flag, entry_from(text)) is not None for text in texts)
        at += len(texts)
    return found


def _start(server: RedisServer) -> tuple[float, int]:
    """Seconds until a fresh process has its snapshot, and its KB of memory then."""
    done = subprocess.run(
        [sys.executable, "-c", START, server.url], capture_output=True, text=True, check=True, timeout=60
    )
    seconds, kilobytes = done.stdout.split()
    return float(seconds), int(kilobytes)


def _served(server: RedisServer) -> tuple[float, float]:
    """Seconds until a whole server on this ledger is ready, and those of the command that verifies it, its start included."""
    with tempfile.TemporaryDirectory() as folder:
        fleet = Fleet(Path(folder), "upstreams: {mock: {kind: simulated}}\n", workers=1, redis=server.url)
        began = time.perf_counter()
        with fleet:
            while not _is_ready(fleet):
                time.sleep(0.005)
            serving, began = time.perf_counter() - began, time.perf_counter()
            verdict = fleet.command("audit", "verify")
            assert verdict.returncode in (0, 3), verdict.stderr
            return serving, time.perf_counter() - began


def _is_ready(fleet: Fleet) -> bool:
    try:
        return httpx.get(f"{fleet.url}/readyz").status_code == 200
    except httpx.HTTPError:
        return False


async def timed(work: Callable[[], Awaitable[Answer]]) -> tuple[Answer, float]:
    """What `work` comes to, and its seconds."""
    began = time.perf_counter()
    return await work(), time.perf_counter() - began
