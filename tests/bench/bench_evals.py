"""What a suite costs that is run through the gateway: time, CPU and memory of its worker. Asserts nothing.

One real worker, its simulated upstream, one assertion a case. Without a delay every second is ours; with the delay of a
model the time is that of as many answers as are asked at once.
"""

from __future__ import annotations

import json
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

from tests.bench.options import Options
from tests.bench.report import Section, Table, number
from tests.fleet import Fleet

CASES, MANY, QUICK_CASES = 1_000, 10_000, 100
# A small model's answer of a few sentences.
DELAY_SECONDS = 0.2
CONFIG = """
upstreams:
  mock: {{kind: simulated, reply: {{text: "Your parcel is on its way.", delay_seconds: {delay}}}}}
flags:
  bot.prompt: {{layer: prompt, serve: v1, variants: {{v1: {{messages: [{{role: system, content: "You are {{{{ name }}}}."}}]}}}}}}
  bot.model: {{layer: model, serve: m, variants: {{m: {{upstream: mock, model: gpt-4.1}}}}}}
routes: {{bot: {{}}}}
"""


class Run(NamedTuple):
    """How one run went; bytes are the worker's resident memory, before and at its peak."""

    cases: int
    at_once: int
    delay: float
    seconds: float
    cpu_seconds: float
    before: int
    peak: int


def run(options: Options) -> Section:
    """1,000 cases as fast as they go, and with a model's delay; 10,000 for memory."""
    cases = QUICK_CASES if options.quick else CASES
    plans = [(cases, 8, 0.0), (cases, 8, DELAY_SECONDS), (cases, 64, DELAY_SECONDS)]
    if not options.quick:
        plans.append((MANY, 64, 0.0))
    runs = [measured(*plan) for plan in plans]
    head = (
        "cases",
        "at once",
        "an answer takes, s",
        "s",
        "cases/s",
        "CPU ms a case",
        "memory before, MB",
        "peak, MB",
    )
    rows = [
        (
            f"{each.cases:,}",
            str(each.at_once),
            number(each.delay),
            number(each.seconds),
            number(each.cases / each.seconds),
            number(each.cpu_seconds / each.cases * 1000),
            number(each.before / 1e6),
            number(each.peak / 1e6),
        )
        for each in runs
    ]
    note = "Seconds as the command takes them, its own start included; CPU and memory are the worker's."
    return Section("evals", [Table("eval run", head, rows, note)], [each._asdict() for each in runs])


def measured(cases: int, at_once: int, delay: float) -> Run:
    """One run on a server of its own."""
    with tempfile.TemporaryDirectory() as folder, Fleet(Path(folder), config(delay), workers=1) as fleet:
        suite = Path(folder) / "suite.json"
        suite.write_text(json.dumps(document(cases)))
        worker = fleet.workers()[0]["pid"]
        before, cpu = memory(worker)["VmRSS"], cpu_seconds(worker)
        began = time.perf_counter()
        done: Any = fleet.json(
            "eval", "run", "bot.prompt", "v1", "--suite", str(suite), "--concurrency", str(at_once)
        )
        seconds = time.perf_counter() - began
        assert done["passed"] is True
        peak = memory(worker)["VmHWM"]
        return Run(cases, at_once, delay, seconds, cpu_seconds(worker) - cpu, before, peak)


def config(delay: float) -> str:
    """A gateway whose model answers after `delay` seconds."""
    return CONFIG.format(delay=delay)


def document(cases: int) -> dict[str, Any]:
    """A suite of as many cases, each with its own question."""
    return {
        "tests": [
            {
                "vars": {"question": f"Where is parcel {each}?", "name": "Ada"},
                "assert": [{"type": "icontains", "value": "parcel"}],
            }
            for each in range(cases)
        ]
    }


def memory(pid: int) -> dict[str, int]:
    """A process's memory in bytes, by the names of proc(5)'s status."""
    found = {}
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        name, _, value = line.partition(":")
        if value.endswith("kB"):
            found[name] = int(value.split()[0]) * 1024
    return found


def cpu_seconds(pid: int) -> float:
    """CPU time of a process so far."""
    fields = Path(f"/proc/{pid}/schedstat").read_text().split()
    return int(fields[0]) / 1e9
