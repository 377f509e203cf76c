"""What Pointsman takes when it does nothing: start, memory, and the command line's own start. Knows no load figure."""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from tests.bench import cpu, wire
from tests.bench.load import Plan, result_of, start
from tests.bench.options import ROOT, Options
from tests.bench.peers import ROUTE, Place, command_line, declaration, pointsman
from tests.bench.report import Section, Table, number, spread
from tests.bench.running import CHAT, HEADERS, Running, gateway, upstream
from tests.redis_server import free_port

# Translating takes milliseconds: more would only queue.
CONNECTIONS, TRANSLATING_CONNECTIONS = 64, 8
# How the processes of a fleet are told apart by their command lines.
ROLES = (("worker", "gateway.worker"), ("supervisor", " serve "), ("embedded store", "valkey"))


def run(options: Options) -> Section:
    """Start it some times, load the last one, weigh it, and time the command line against it."""
    starts: list[float] = []
    with tempfile.TemporaryDirectory() as folder, upstream(options) as upstream_port:
        for number_of_start in range(1 if options.quick else 6):
            # A new folder each time: the embedded store starts empty and the config file is declared anew.
            place = Place(Path(folder) / str(number_of_start), free_port(), upstream_port)
            with gateway("pointsman", pointsman(place), place) as running:
                starts.append(running.start_seconds)
        with gateway("pointsman", pointsman(place), place) as running:
            again = running.start_seconds
            idle = weigh(running)
            load(running, 1.0 if options.quick else 12.0)
            loaded = weigh(running)
            times = command_times(place, 3 if options.quick else 12)
        place = Place(Path(folder) / "translating", free_port(), upstream_port)
        launch = pointsman(place, config=translating(place))
        with gateway("pointsman", launch, place, checked=False) as running:
            start_translating, translating_idle = running.start_seconds, weigh(running)
            load(running, 1.0 if options.quick else 6.0, connections=TRANSLATING_CONNECTIONS)
            translating_loaded = weigh(running)
    tables = [
        start_table(starts, again, start_translating),
        memory_table("memory", idle, loaded),
        memory_table("memory with an upstream of kind litellm", translating_idle, translating_loaded),
        command_table(times),
    ]
    mib = {"native": loaded, "translating": translating_loaded}
    return Section("footprint", tables, {"start_seconds": starts, "commands": times, "mib": mib})


def translating(place: Place) -> dict[str, object]:
    """The same declaration with the provider behind litellm."""
    key = {"api_key": "os.environ/HOME"}  # any name that is set: the mock provider asks for none
    mock = {"kind": "litellm", "provider": "openai", "base_url": f"{place.upstream}/v1", **key}
    return declaration(place) | {"upstreams": {"mock": mock}}


def load(running: Running, seconds: float, *, connections: int = CONNECTIONS) -> None:
    """Large bodies, streams, and then many small ones, so that every pool and bounded buffer has its size."""
    for size, stream, share in ((20_000, False, 0.15), (900, True, 0.15), (900, False, 0.7)):
        plan = Plan(
            port=running.port,
            path=CHAT,
            headers=HEADERS,
            body=wire.request_body(ROUTE, size, stream=stream),
            mark=wire.STREAM_MARK if stream else wire.JSON_MARK,
            times=wire.CONTENT_EVENTS if stream else 1,
            connections=connections,
            seconds=max(0.7, seconds * share),
        )
        result_of(start(plan), plan.seconds)


def weigh(running: Running) -> dict[str, tuple[float, float]]:
    """PSS and RSS in MiB, by role."""
    found: dict[str, tuple[float, float]] = {}
    for pid in running.pids():
        command = cpu.command_of(pid)
        role = next((name for name, mark in ROLES if mark in command), command[:40])
        held = cpu.memory([pid])
        before = found.get(role, (0.0, 0.0))
        found[role] = (before[0] + held.pss, before[1] + held.rss)
    return found


def command_times(place: Place, count: int) -> dict[str, list[float]]:
    """Wall-clock seconds of some commands against the running server; a failing one is an error."""
    verbs = {
        "pointsman --help": ("--help",),
        "pointsman status": ("status",),
        "pointsman status --json": ("status", "--json"),
        "pointsman status FLAG": ("status", f"{ROUTE}.prompt"),
    }
    environ = os.environ | {"PYTHONPATH": str(ROOT), "POINTSMAN_URL": f"http://127.0.0.1:{place.port}"}
    environ.pop("PYTHONDONTWRITEBYTECODE", None)
    return {name: [timed(arguments, environ) for _ in range(count)] for name, arguments in verbs.items()}


def timed(arguments: Sequence[str], environ: dict[str, str]) -> float:
    """Seconds of one command from its start to its end."""
    began = time.monotonic()
    subprocess.run([*command_line(), *arguments], env=environ, check=True, capture_output=True, timeout=30)
    return time.monotonic() - began


def start_table(starts: Sequence[float], again: float, start_translating: float) -> Table:
    """From the call of `serve` to the first 200."""
    rows = [
        ("new data directory", str(len(starts)), spread(starts)),
        ("same directory and file again", "1", number(again)),
        ("new data directory, an upstream of kind litellm", "1", number(start_translating)),
    ]
    note = "Wall clock from the process's start to a completion answered through it; asked every 5 ms."
    return Table("serve to the first 200", ("case", "times", "seconds"), rows, note)


def memory_table(
    title: str, idle: dict[str, tuple[float, float]], loaded: dict[str, tuple[float, float]]
) -> Table:
    """By role, before and after the load."""
    head = ("process", "PSS idle", "RSS idle", "PSS after load", "RSS after load")
    rows = [
        (role, *(number(mib) for mib in (*idle.get(role, (0.0, 0.0)), *held)))
        for role, held in loaded.items()
    ]
    note = "MiB, one worker, 20 KB requests, streams and 1 KB requests on many connections. PSS counts a shared page once."
    return Table(title, head, rows, note)


def command_table(times: dict[str, list[float]]) -> Table:
    """The command line's wall clock."""
    rows = [(name, spread([seconds * 1000 for seconds in took])) for name, took in times.items()]
    return Table("command line", ("command", "ms"), rows)
