"""CPU per request beside nginx and litellm: 1 KB, 20 KB, a stream, and a steady rate. Knows no rollback.

CPU per request is user and system time of a gateway's whole process tree, divided by the right answers that
the load received: the one figure that a busy machine leaves alone. Rounds are interleaved, so that noise hits
all alike.
"""

from __future__ import annotations

import contextlib
import json
import math
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.bench import cpu, wire
from tests.bench.load import Plan, Result, result_of, start
from tests.bench.options import Options, cores_apart
from tests.bench.peers import ROUTE, Missing, Peer, Place, peers
from tests.bench.report import Section, Table, median, number, spread
from tests.bench.running import CHAT, HEADERS, NotStarted, Running, built, gateway, upstream
from tests.redis_server import free_port

ANCHOR = "nginx"
# Slow enough for litellm to keep up.
RATE = 50.0


@dataclass(frozen=True, slots=True)
class Phase:
    """One kind of work."""

    name: str
    about: str
    size: int
    connections: int
    stream: bool = False
    rate: float | None = None
    # A stream lasts 0.7 s, so it needs longer for as many answers.
    longer: float = 1.0


PHASES = (
    Phase("json_1k", "1 KB request, 32 connections, saturated", 900, 32),
    Phase("json_20k", "20 KB request, 32 connections, saturated", 20_000, 32),
    Phase(
        "stream",
        "streams of 64 content events (68 in all), 10 ms apart, 16 connections",
        900,
        16,
        stream=True,
        longer=2.0,
    ),
    Phase("rate", f"1 KB request, {RATE:.0f} a second, latency from the due time", 900, 32, rate=RATE),
)


def phases(options: Options) -> tuple[Phase, ...]:
    """All of them; a quick run leaves out the steady rate."""
    return PHASES[:3] if options.quick else PHASES


@dataclass(frozen=True, slots=True)
class Sample:
    """One gateway in one round of one phase."""

    cpu_us: float
    event_us: float
    result: Result
    pss: float
    # The share of the gateway's core that went to other processes meanwhile: above a few percent they have cooled
    # its caches, which costs an interpreter more than it costs nginx.
    others: float


Samples = dict[str, dict[str, list[Sample]]]


def run(options: Options) -> Section:
    """Start all peers, load them in turn, and compare."""
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        place = Place(Path(folder), free_port(), stack.enter_context(upstream(options)))
        wanted, missing = peers(options)
        running = []
        for peer in wanted:
            try:
                running.append(stack.enter_context(begun(peer, place, options)))
            except NotStarted as error:
                missing.append(Missing(peer.name, str(error)))
        samples = measure(running, options, place.folder)
    return Section("requests", tables(running, missing, samples, options), exported(samples))


def begun(peer: Peer, place: Place, options: Options) -> contextlib.AbstractContextManager[Running]:
    """A peer that answers, in a folder and on a port of its own. Raises NotStarted."""
    if peer.launch is None:
        return contextlib.nullcontext(Running(peer.name, place.upstream_port))
    own = Place(place.folder / peer.name, free_port(), place.upstream_port)
    return gateway(peer.name, peer.launch(own), own, (options.gateway_cpu,))


def measure(running: Sequence[Running], options: Options, folder: Path) -> Samples:
    """All phases, round by round; the first round warms up and is not counted."""
    samples: Samples = {one.name: {phase.name: [] for phase in phases(options)} for one in running}
    for number_of_round in range(-1, options.rounds):
        for phase in PHASES[:1] if options.quick and number_of_round < 0 else phases(options):
            order = running if number_of_round % 2 else running[::-1]
            for one in order:
                sample = once(one, phase, options, folder, warming=number_of_round < 0)
                if number_of_round >= 0:
                    samples[one.name][phase.name].append(sample)
                    print(
                        f"  round {number_of_round + 1} {phase.name:9} {one.name:10} {sample.cpu_us:9.1f} us"
                        f"  failed {sample.result.failed or 0}", file=sys.stderr,
                    )  # fmt: skip
    return samples


def once(one: Running, phase: Phase, options: Options, folder: Path, *, warming: bool) -> Sample:
    """Load one gateway once."""
    plan = Plan(
        port=one.port,
        path=CHAT,
        headers=HEADERS,
        body=wire.request_body(ROUTE, phase.size, stream=phase.stream),
        mark=wire.STREAM_MARK if phase.stream else wire.JSON_MARK,
        times=wire.CONTENT_EVENTS if phase.stream else 1,
        connections=phase.connections,
        rate=phase.rate,
        seconds=phase.longer * options.seconds / (2 if warming else 1),
    )
    pids = one.pids()
    began, busy, before = time.monotonic(), cpu.core_busy_seconds(options.gateway_cpu), cpu.Usage.of(pids)
    result = by_lab(plan, options.lab, folder, options) if options.lab else by_load(plan, options)
    used = cpu.Usage.of(pids).since(before) * 1e6
    rest = cpu.core_busy_seconds(options.gateway_cpu) - busy - used / 1e6
    cost = used / result.answers if result.answers else math.nan
    per_event = used / result.events if result.events else math.nan
    return Sample(cost, per_event, result, cpu.memory(pids).pss, max(0.0, rest / (time.monotonic() - began)))


def by_load(plan: Plan, options: Options) -> Result:
    """Our own load generator, on its core."""
    with cpu.pinned_to(options.load_cpu):
        process = start(plan)
    return result_of(process, plan.seconds)


def by_lab(plan: Plan, lab: Path, folder: Path, options: Options) -> Result:
    """The lab's load generator in C: cheaper, so more of the time the gateway is what waits."""
    body = folder / "body.json"
    body.write_bytes(plan.body)
    command = [str(built(lab / "load.c")), "-p", str(plan.port), "-u", plan.path, "-b", str(body)]
    command += ["-c", str(plan.connections), "-d", str(plan.seconds)]
    command += [part for name, value in plan.headers.items() for part in ("-H", f"{name}: {value}")]
    command += ["-r", str(plan.rate)] if plan.rate else []
    command += ["-s"] if plan.times > 1 else []
    with cpu.pinned_to(options.load_cpu):
        output = subprocess.run(command, capture_output=True, check=True, timeout=plan.seconds + 30).stdout
    found = json.loads(output)
    failed = {"connection closed": found["errors"], "bad status": found["bad_status"]}
    return Result(
        answers=found["requests"], failed={k: v for k, v in failed.items() if v}, seconds=found["seconds"],
        events=found["events"], p50=found["p50"], p99=found["p99"], p999=found["p999"], longest=found["max"],
        first_p50=found["ttft_p50"], first_p99=found["ttft_p99"],
    )  # fmt: skip


def tables(
    running: Sequence[Running], missing: Sequence[Missing], samples: Samples, options: Options
) -> list[Table]:
    """One table a phase, then start-up and memory."""
    names = [one.name for one in running if one.process is not None]
    found = [phase_table(phase, names, samples, options) for phase in phases(options)]
    head = ("gateway", "start to first 200 (s)", "PSS of the tree after load (MiB)")
    rows = [
        (
            one.name,
            number(one.start_seconds),
            number(max(s.pss for p in samples[one.name].values() for s in p)),
        )
        for one in running
        if one.process is not None
    ]
    left_out = "; ".join(f"{one.name}: {one.reason}" for one in missing)
    found.append(Table("start and memory", head, rows, f"Left out: {left_out}" if left_out else ""))
    return found


def phase_table(phase: Phase, names: Sequence[str], samples: Samples, options: Options) -> Table:
    """One phase: CPU as a median with its spread, and as multiples of nginx and of litellm."""
    unit, first = ("stream", "first content ") if phase.stream else ("request", "")
    head = [
        *("gateway", f"CPU µs/{unit}", f"x {ANCHOR}", "litellm / it"),
        *(f"{unit}s/s", f"{first}p50 µs", f"{first}p99 µs", "core lost to others", "failed"),
    ]
    rows = [phase_row(name, phase, samples) for name in ("direct", *names)]
    note = (
        "" if cores_apart(options) else "Gateway and load shared a core: compare this with no other machine."
    )
    return Table(f"{phase.name}: {phase.about}", head, rows, note)


def phase_row(name: str, phase: Phase, samples: Samples) -> tuple[str, ...]:
    """One gateway's line."""
    results = [sample.result for sample in samples[name][phase.name]]
    p50 = [r.first_p50 if phase.stream else r.p50 for r in results]
    p99 = [r.first_p99 if phase.stream else r.p99 for r in results]
    return (
        name,
        spread([sample.cpu_us for sample in samples[name][phase.name]]) if name != "direct" else "–",
        times(name, ANCHOR, phase, samples),
        times("litellm", name, phase, samples),
        number(median([r.answers / r.seconds for r in results])),
        number(median(p50)),
        number(median(p99)),
        f"{median([sample.others for sample in samples[name][phase.name]]):.0%}" if name != "direct" else "–",
        str(sum(sum(r.failed.values()) for r in results)),
    )


def times(one: str, other: str, phase: Phase, samples: Samples) -> str:
    """How many times the CPU of `other` it took `one`: the median of the ratios, round by round."""
    if "direct" in {one, other} or one not in samples or other not in samples:
        return "–"
    pairs = zip(samples[one][phase.name], samples[other][phase.name], strict=True)
    return spread([a.cpu_us / b.cpu_us for a, b in pairs])


def exported(samples: Samples) -> object:
    """Every sample, as JSON has it."""
    return {
        name: {
            phase: [
                {
                    "cpu_us": s.cpu_us,
                    "event_us": s.event_us,
                    "answers": s.result.answers,
                    "failed": s.result.failed,
                }
                | {
                    "p50_us": s.result.p50,
                    "p99_us": s.result.p99,
                    "first_p50_us": s.result.first_p50,
                    "others": s.others,
                    "pss_mib": s.pss,
                }
                for s in got
            ]
            for phase, got in phases.items()
        }
        for name, phases in samples.items()
    }
