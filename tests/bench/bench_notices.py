"""From a breach, and from a Change, to the notice delivered; and both themselves while other webhooks hang. Asserts nothing."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from flags.change import Draft
from flags.connect import connect, connect_listener
from flags.fleet import WorkerInfo
from flags.ledger import Author
from flags.model import Kind, ObjectKey
from flags.snapshot import Snapshot
from flags.store import Store
from flags.watch import Watcher
from gateway.notices.noticeboard import Noticeboard
from tests.bench.admin import Operator
from tests.bench.bench_brake import WORKERS, config, drive
from tests.bench.options import Options
from tests.bench.peers import ROUTE, Place, pointsman
from tests.bench.report import Section, Table, number, spread
from tests.bench.running import gateway
from tests.flags.stores import always, draft, put
from tests.redis_server import RedisServer, binaries, free_port
from tests.scripted_upstream import ScriptedUpstream
from tests.scripts import End, Script, head

CHANGES, QUICK_CHANGES, HANGING = 100, 20, 6
BREACHES, QUICK_BREACHES = 10, 2
# Notices come singly in life: what follows at once is told together.
APART_SECONDS = 0.2
OK = Script((head(200, "text/plain", content_length=2) + b"ok",))
HANG = Script((End.HANG,))


def run(options: Options) -> Section:
    """Rollbacks one after the other, first with one webhook that answers, then with six more that hang."""
    count = QUICK_CHANGES if options.quick else CHANGES
    breaches = QUICK_BREACHES if options.quick else BREACHES
    found = [(str(hanging), asyncio.run(breached(breaches, hanging))) for hanging in (0, HANGING)]
    rows = [asyncio.run(measured(count, hanging)) for hanging in (0, HANGING)]
    header = (
        "webhooks that hang",
        "Change acknowledged, ms: median",
        "worst",
        "notice delivered, ms: median",
        "worst",
    )
    tables = [automatic(found), Table("by hand: a rollback and its notice", header, rows)]
    return Section("notices", tables, {"automatic": found, "by hand": rows})


def automatic(found: Sequence[tuple[str, Sequence[Told]]]) -> Table:
    """A row for each number of webhooks that hang."""
    head = (
        "webhooks that hang", "breaches", "s from 4th failure to withdrawal", "ms from withdrawal to notice",
        "s from 4th failure to notice",
    )  # fmt: skip
    rows = [
        (
            hanging,
            str(len(told)),
            spread([each.withdrawn for each in told]),
            spread([1000 * (each.told - each.withdrawn) for each in told]),
            spread([each.told for each in told]),
        )
        for hanging, told in found
    ]
    note = (
        f"{WORKERS} workers, 200 requests/s, a candidate at 10 % all of whose calls fail; shipped policies."
    )
    return Table("by itself: from a breach to its notice", head, rows, note)


class Told(NamedTuple):
    """One breach: seconds from the candidate's fourth failure to its withdrawal, and to the notice of it."""

    withdrawn: float
    told: float


async def breached(count: int, hanging: int) -> list[Told]:
    """Candidates that die under traffic, each on a route of its own."""
    arrived: dict[str, float] = {}

    def note(received: Any) -> Script:
        arrived[received.json["id"]] = time.time()
        return OK

    routes = [ROUTE, *(f"bot-{each}" for each in range(count - 1))]
    async with ScriptedUpstream(choose=note) as good, ScriptedUpstream(choose=lambda _: HANG) as bad:
        urls = {"good": good.address, **{f"bad{n}": bad.address for n in range(hanging)}}
        notify = {name: {"kind": "cloudevents", "url": f"{url}/hook"} for name, url in urls.items()}
        with tempfile.TemporaryDirectory() as folder:
            place = Place(Path(folder), free_port(), 0)
            launch = pointsman(place, workers=WORKERS, config={**config(routes), "notify": notify})
            with (
                gateway("pointsman", launch, place, checked=False) as running,
                contextlib.closing(Operator(running.port)) as operator,
            ):
                operator.wait_for(WORKERS)
                trials = await drive(operator, running.port, routes)
    return [
        Told(each.seconds_after_fourth(each.withdrawn_at), each.seconds_after_fourth(arrived[each.entry]))
        for each in trials
    ]


async def measured(count: int, hanging: int) -> tuple[str, ...]:
    """One row: how long Changes and their notices take."""
    arrived: dict[str, float] = {}

    def note(received: Any) -> Script:
        arrived[received.json["id"]] = time.perf_counter()
        return OK

    with (
        tempfile.TemporaryDirectory() as folder,
        RedisServer(Path(folder), next(iter(binaries().values()))) as redis,
    ):
        async with ScriptedUpstream(choose=note) as good, ScriptedUpstream(choose=lambda _: HANG) as bad:
            urls = {"good": good.address, **{f"bad{n}": bad.address for n in range(hanging)}}
            return await changed(redis.url, urls, arrived, count)


async def changed(
    url: str, urls: Mapping[str, str], arrived: dict[str, float], count: int
) -> tuple[str, ...]:
    """Make the Changes, by one worker that follows and tells."""
    store, listener = Store(connect(url), "bench"), connect_listener(url)
    held: list[Snapshot] = []
    board = Noticeboard(
        store, {}, lambda: held[-1] if held else None, away=lambda: False, clock=time.monotonic
    )

    def swap(snapshot: Snapshot, _: object) -> None:
        held[:] = [snapshot]
        board.wake()

    watcher = Watcher(store, listener, WorkerInfo("w1"), swap)
    await watcher.start()
    board.start()
    specs = [
        Draft("apply", ObjectKey(Kind.NOTIFY, name), {"spec": {"kind": "cloudevents", "url": f"{each}/hook"}})
        for name, each in urls.items()
    ]
    await store.change(Author("bench", "channels"), None, always(*specs))
    await asyncio.sleep(2)
    took: list[float] = []
    told: list[float] = []
    for turn in range(count):
        # Each about a flag of its own: of one flag only ten an hour are told.
        key = ObjectKey(Kind.FLAG, f"f{turn}")
        await put(store, "v2", key)
        await asyncio.sleep(APART_SECONDS)
        began = time.perf_counter()
        committed = await store.change(Author("bench", "worse"), [key], always(draft(key, "v1", "rollback")))
        await store.acknowledged(committed.position, 5, ["w1"])
        took.append((time.perf_counter() - began) * 1000)
        while committed.entries[0].id not in arrived:
            await asyncio.sleep(0.0005)
        told.append((arrived[committed.entries[0].id] - began) * 1000)
    await board.aclose()
    await watcher.aclose()
    await listener.aclose()
    await store.aclose()
    middle = count // 2
    return (
        str(len(urls) - 1),
        *(number(each) for found in (sorted(took), sorted(told)) for each in (found[middle], found[-1])),
    )
