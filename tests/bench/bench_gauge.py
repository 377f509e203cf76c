"""The gauge at full speed: millions of requests, every one counted, and no memory that grows. Knows no CPU figure.

A simulated upstream answers inside the workers. Afterwards `/metrics` must hold exactly as many requests as the load
had answers; the memory of workers and store is read as the count goes up.
"""

from __future__ import annotations

import http.client
import re
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.bench import cpu, wire
from tests.bench.bench_footprint import ROLES
from tests.bench.load import Plan, result_of, start
from tests.bench.options import Options
from tests.bench.peers import ROUTE, Place, pointsman
from tests.bench.report import Section, Table, number
from tests.bench.running import CHAT, HEADERS, Running, gateway
from tests.redis_server import free_port

WORKERS = 2
TURNS = 10
REQUESTS = 2_000_000
QUICK_REQUESTS = 40_000
CONNECTIONS = 64
# One turn of a load that has come to a stand must end too.
TURN_SECONDS = 300.0
# The last outcomes are flushed within a quarter of a second; two of them is plenty.
FLUSHED_SECONDS = 1.0
COUNTED = re.compile(r"^pointsman_requests_total\{[^}]*\} (\d+)", re.MULTILINE)
DROPPED = re.compile(r"^pointsman_outcomes_dropped_total (\d+)", re.MULTILINE)
MARK = b'"choices"'


@dataclass(frozen=True, slots=True)
class Turn:
    """After one turn: answers that the load had in all, requests that /metrics tells, MiB (PSS) by role."""

    answers: int
    failed: int
    counted: int
    dropped: int
    seconds: float
    mib: dict[str, float]


def run(options: Options) -> Section:
    """Load in turns, and weigh after each."""
    with tempfile.TemporaryDirectory() as folder:
        place = Place(Path(folder), free_port(), 0)
        launch = pointsman(place, workers=WORKERS, config=config())
        with gateway("pointsman", launch, place, checked=False) as running:
            turns = measured(running, QUICK_REQUESTS if options.quick else REQUESTS)
    return Section("gauge", [table(turns)], [turn.mib | {"answers": turn.answers} for turn in turns])


def config() -> dict[str, object]:
    """A route with a rollout, so that there is something to judge, and an upstream that costs nothing."""
    prompts = {name: {"messages": [{"role": "system", "content": name}]} for name in ("v1", "v2")}
    return {
        "upstreams": {"mock": {"kind": "simulated", "reply": {"text": "Yes."}}},
        "flags": {
            f"{ROUTE}.prompt": {
                "layer": "prompt",
                "serve": "v1",
                "variants": prompts,
                "rollout": {"variant": "v2", "percent": 10},
            },
            f"{ROUTE}.model": {
                "layer": "model",
                "serve": "m1",
                "variants": {"m1": {"upstream": "mock", "model": "gpt-4o-mini"}},
            },
        },
        "routes": {ROUTE: {}},
    }


def measured(running: Running, requests: int) -> list[Turn]:
    """TURNS turns of about a tenth of `requests` each."""
    time.sleep(FLUSHED_SECONDS)
    before, _ = told(running.port)
    answers = failed = 0
    rate, turns = 3000.0, []
    for _ in range(TURNS):
        plan = Plan(
            port=running.port,
            path=CHAT,
            headers=HEADERS,
            body=wire.request_body(ROUTE, 300, stream=False),
            mark=MARK,
            connections=CONNECTIONS,
            seconds=min(TURN_SECONDS, requests / TURNS / rate),
        )
        result = result_of(start(plan), plan.seconds)
        rate = max(100.0, result.answers / result.seconds)
        answers, failed = answers + result.answers, failed + sum(result.failed.values())
        time.sleep(FLUSHED_SECONDS)
        counted, dropped = told(running.port)
        turns.append(Turn(answers, failed, counted - before, dropped, result.seconds, weigh(running)))
        if answers >= requests:
            break
    return turns


def told(port: int) -> tuple[int, int]:
    """Requests counted and outcomes dropped, as /metrics says."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", "/metrics")
        text = connection.getresponse().read().decode()
    finally:
        connection.close()
    return sum(map(int, COUNTED.findall(text))), sum(map(int, DROPPED.findall(text)))


def weigh(running: Running) -> dict[str, float]:
    """PSS in MiB, by role."""
    found: dict[str, float] = {}
    for pid in running.pids():
        command = cpu.command_of(pid)
        role = next((name for name, mark in ROLES if mark in command), command[:40])
        found[role] = found.get(role, 0.0) + cpu.memory([pid]).pss
    return found


def table(turns: Sequence[Turn]) -> Table:
    """One line a turn."""
    head = ("answers so far", "counted", "failed", "dropped", "answers/s", "workers MiB", "store MiB")
    lines, last = [], 0
    for turn in turns:
        rate = (turn.answers - last) / turn.seconds
        last = turn.answers
        lines.append(
            (
                f"{turn.answers:,}",
                f"{turn.counted:,}",
                str(turn.failed),
                str(turn.dropped),
                number(rate),
                number(turn.mib.get("worker", 0.0)),
                number(turn.mib.get("embedded store", 0.0)),
            )
        )
    note = f"{WORKERS} workers, {CONNECTIONS} connections, a rollout at 10 %; PSS of all workers together."
    return Table("counted to the request, memory flat", head, lines, note)
