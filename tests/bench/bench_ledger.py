"""How long it takes to check a ledger of 100,000 entries, and in how much memory. Asserts nothing."""

from __future__ import annotations

import time
import tracemalloc
from collections.abc import Callable, Iterator
from typing import TypeVar

from flags.audit import Report, verify
from flags.canonical import digest
from flags.ledger import Author, Deed, entry_json, seal
from flags.model import START, Document, Kind, ObjectKey, Position
from tests.bench.options import Options
from tests.bench.report import Section, Table, number

ENTRIES, QUICK_ENTRIES = 100_000, 5_000
OBJECTS = 200
Answer = TypeVar("Answer")


def run(options: Options) -> Section:
    """Seal a ledger, verify it, and verify a part of it again under a memory trace."""
    count = QUICK_ENTRIES if options.quick else ENTRIES
    lines, sealing = timed(lambda: list(ledger(count)))
    report, verifying = timed(lambda: verify(iter(lines)))
    few, many = (peak(lines[:size]) for size in (len(lines) // 10, len(lines)))
    size = sum(map(len, lines))
    rows = [
        ("entries", f"{count:,}"),
        ("bytes an entry", number(size / count)),
        ("sealing, µs an entry", number(sealing / count * 1e6)),
        ("verifying, µs an entry", number(verifying / count * 1e6)),
        ("verifying all, s", number(verifying)),
        (f"peak memory of verifying {len(lines) // 10:,}, KB", number(few / 1024)),
        (f"peak memory of verifying {len(lines):,}, KB", number(many / 1024)),
        ("found in order", str(report.ok)),
    ]
    return Section("ledger", [Table("audit verify", ("what", "value"), rows)], dict(rows))


def ledger(count: int) -> Iterator[bytes]:
    """A ledger of `count` entries about OBJECTS flags, each with eight variants."""
    position: Position = START
    before: dict[str, Document] = {}
    for turn in range(count):
        key = ObjectKey(Kind.FLAG, f"flag-{turn % OBJECTS}")
        after = document(turn)
        deed = Deed("switch", key, before.get(key.name), after)
        entry = seal(
            Author("bench", "a switch"),
            deed,
            after=position,
            time="2026-01-01T00:00:00.000Z",
            change_id=f"{turn:032x}",
        )
        before[key.name], position = after, entry.position
        yield entry_json(entry)


def document(turn: int) -> Document:
    """A flag's document with eight variants."""
    variants = {f"v{number}": {"hash": digest(number), "generation": 1 + turn % 5} for number in range(8)}
    return {"variants": variants, "serve": f"v{turn % 8}", "safe": "v0", "layer": "prompt"}


def timed(work: Callable[[], Answer]) -> tuple[Answer, float]:
    """What `work` returns, and its seconds."""
    began = time.perf_counter()
    return work(), time.perf_counter() - began


def peak(lines: list[bytes]) -> int:
    """Bytes allocated at most while `lines` are verified, beyond the lines themselves."""
    tracemalloc.start()
    try:
        report: Report = verify(iter(lines))
        assert report.entries == len(lines)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
