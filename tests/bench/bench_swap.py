"""How long a request waits while one of 10,000 flags changes, end to end: by a probe at a steady rate.

Quiet spans, changes through the same process and changes through another one alternate in one run, so that the
machine's own hiccups are in all three. The pure swap is measured by snapshot_swap.
"""

from __future__ import annotations

import contextlib
import math
import signal
import tempfile
import time
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.bench import cpu, wire
from tests.bench.admin import Operator
from tests.bench.bench_rollback import Answers
from tests.bench.load import Plan, quantile, result_of, start
from tests.bench.options import Options
from tests.bench.peers import ROUTE, Place, declaration, pointsman
from tests.bench.report import Section, Table, number
from tests.bench.running import CHAT, HEADERS, gateway, upstream
from tests.redis_server import RedisServer, binaries, free_port

FLAGS, QUICK_FLAGS = 10_000, 2_000
# A probe every 2 ms: a pause of 1 ms meets every second change, one of 2 ms each.
RATE = 500.0
# Between two changes, so that each has its own span of quiet behind it.
PAUSE_SECONDS = 0.08
CHANGES_A_TURN = 20
# How long after a change's return a request may still have waited for it.
AFTER_SECONDS = 0.02
LONGEST_SECONDS = 240.0
QUIET, HERE, ELSEWHERE = "quiet", "changed here", "changed elsewhere"


@dataclass(frozen=True, slots=True)
class Span:
    """One change, or as long a time without: from its sending to a little after its return (CLOCK_MONOTONIC)."""

    case: str
    began: float
    ended: float


def run(options: Options) -> Section:
    """Two servers on one store; the probe asks one, and either of them changes a flag."""
    flags = QUICK_FLAGS if options.quick else FLAGS
    with (
        tempfile.TemporaryDirectory() as name,
        upstream(options) as upstream_port,
        store(Path(name), options) as url,
    ):
        near = Place(Path(name) / "near", free_port(), upstream_port)
        far = Place(Path(name) / "far", free_port(), upstream_port)
        with (
            gateway(
                "near",
                pointsman(near, "--redis", url, config=many(near, flags)),
                near,
                (options.gateway_cpu,),
            ),
            gateway("far", pointsman(far, "--redis", url), far, (options.load_cpu,)),
            contextlib.closing(Operator(near.port)) as here,
            contextlib.closing(Operator(far.port)) as elsewhere,
        ):
            here.wait_for(2)
            turns = 1 if options.quick else 10
            spans, answers = probe(near, lambda: take_turns(here, elsewhere, turns))
    return Section("swap", [table(flags, spans, answers)], exported(spans, answers))


@contextlib.contextmanager
def store(folder: Path, options: Options) -> Iterator[str]:
    """A Redis or Valkey of our own on the core of the load; its URL."""
    found = binaries()
    server = RedisServer(folder / "store", found.get("redis") or found["valkey"])
    with cpu.pinned_to(options.load_cpu):
        server.start()
    try:
        yield server.url
    finally:
        server.stop()


def many(place: Place, count: int) -> dict[str, object]:
    """The usual route, and that many plain flags beside it."""
    plain = {"variants": {"on": True, "off": False}, "serve": "off"}
    declared = declaration(place)
    flags = declared["flags"]
    assert isinstance(flags, dict)
    return {**declared, "flags": flags | {flag(number): plain for number in range(count)}}


def flag(number: int) -> str:
    """The name of a plain flag."""
    return f"plain-{number:05d}"


def probe(place: Place, during: Callable[[], list[Span]]) -> tuple[list[Span], Answers]:
    """Ask at a steady rate while `during` runs; every answer's times."""
    records = place.folder / "records"
    plan = Plan(
        port=place.port,
        path=CHAT,
        headers=HEADERS,
        body=wire.request_body(ROUTE, 900, stream=False),
        mark=wire.JSON_MARK,
        seconds=LONGEST_SECONDS,
        rate=RATE,
        records=str(records),
    )
    process = start(plan)
    try:
        time.sleep(1.0)
        spans = during()
    finally:
        process.send_signal(signal.SIGTERM)
        result = result_of(process, 5)
    if result.failed:
        print(f"failed requests: {result.failed}")
    return spans, Answers.read(records, result.versions)


def take_turns(here: Operator, elsewhere: Operator, turns: int) -> list[Span]:
    """Quiet, changes here, changes elsewhere, and again."""
    spans: list[Span] = []
    for turn in range(turns):
        spans += changes(HERE, here, turn)
        spans += changes(ELSEWHERE, elsewhere, turn)
        spans += quiet(spans[-2 * CHANGES_A_TURN :])
    return spans


def changes(case: str, operator: Operator, turn: int) -> list[Span]:
    """One flag after the other is switched."""
    spans = []
    for number_of_flag in range(CHANGES_A_TURN):
        began = time.monotonic()
        operator.verb(flag(number_of_flag), "switch", variant="off" if turn % 2 else "on")
        spans.append(Span(case, began, time.monotonic() + AFTER_SECONDS))
        time.sleep(PAUSE_SECONDS)
    return spans


def quiet(like: Sequence[Span]) -> list[Span]:
    """As many spans, as long as those, in which nothing is changed."""
    spans = []
    for one in like[::2]:
        began = time.monotonic()
        spans.append(Span(QUIET, began, began + one.ended - one.began))
        time.sleep(one.ended - one.began + PAUSE_SECONDS - AFTER_SECONDS)
    return spans


def waits(spans: Sequence[Span], answers: Answers, case: str) -> tuple[list[float], list[float]]:
    """Milliseconds of all requests under way in a case's spans, and the longest of each span; both in order."""
    everything: list[float] = []
    longest: list[float] = []
    order = sorted(zip(answers.began, answers.ended, strict=True))
    starts = [began for began, _ in order]
    for span in (one for one in spans if one.case == case):
        # A request that began up to a second before may still have been under way.
        first, last = bisect_left(starts, span.began - 1.0), bisect_left(starts, span.ended)
        took = [(ended - began) * 1000 for began, ended in order[first:last] if ended >= span.began]
        everything += took
        longest.append(max(took, default=math.nan))
    return sorted(everything), sorted(longest)


def table(flags: int, spans: Sequence[Span], answers: Answers) -> Table:
    """One line a case."""
    head = (
        *("case", "spans", "requests", "p50 ms", "p99", "p99.9", "longest"),
        *("longest of a span: p50", "p90", "p99", "added to p50", "added to p90"),
    )
    _, base = waits(spans, answers, QUIET)
    rows = []
    for case in (QUIET, HERE, ELSEWHERE):
        took, longest = waits(spans, answers, case)
        shares = [quantile(took, share) for share in (0.5, 0.99, 0.999, 1.0)]
        peaks = [quantile(longest, share) for share in (0.5, 0.9, 0.99)]
        added = [quantile(longest, share) - quantile(base, share) for share in (0.5, 0.9)]
        rows.append((case, str(len(longest)), str(len(took)), *map(number, (*shares, *peaks, *added))))
    note = (
        f"{RATE:.0f} probes a second to one worker; a span lasts from a change's sending to {AFTER_SECONDS * 1000:.0f} ms"
        " after its acknowledgement. Changed here: the probed process also serves the command and waits for Redis."
    )
    return Table(f"requests while one of {flags:,} flags changes", head, rows, note)


def exported(spans: Sequence[Span], answers: Answers) -> object:
    """The longest wait of each span, by case."""
    return {case: waits(spans, answers, case)[1] for case in (QUIET, HERE, ELSEWHERE)}
