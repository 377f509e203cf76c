"""Rollback under load: four workers, a version that must go, and a command that takes it away. Knows no CPU.

Counted: answers of the old version to requests that began after the command had returned, and failed requests
(both must be 0). Measured: from the API's receipt of the command to the last acknowledgement, as the answer
tells it.
"""

from __future__ import annotations

import contextlib
import math
import signal
import tempfile
import time
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.bench import wire
from tests.bench.admin import Operator
from tests.bench.load import Plan, Result, quantile, result_of, start
from tests.bench.options import Options
from tests.bench.peers import ROUTE, Place, pointsman
from tests.bench.report import Section, Table, number
from tests.bench.running import CHAT, HEADERS, gateway, upstream
from tests.redis_server import free_port

WORKERS = 4
FLAG, GOOD, BAD = f"{ROUTE}.prompt", "v1", "v2"
CONNECTIONS = 64
# How long the bad version is served before it goes, so that every worker has answered with it.
SERVED_SECONDS = 0.1
# A load must end by itself, whatever becomes of us; it is told to end when the last command is done.
LONGEST_SECONDS = 240.0


@dataclass(frozen=True, slots=True)
class Pressure:
    """One load: requests a second, None for as many as the machine carries."""

    about: str
    rate: float | None


PRESSURES = (Pressure("1,000 requests/s", 1000.0), Pressure("saturated", None))


@dataclass(frozen=True, slots=True)
class Command:
    """One rollback: when it was sent, had returned, and began to be undone (CLOCK_MONOTONIC); what it answered."""

    sent: float
    returned: float
    undone: float
    milliseconds: float
    acknowledged: int
    workers: int


@dataclass(frozen=True, slots=True)
class Answers:
    """Every answer of a load: when its request began, when it ended, and which prompt version it told."""

    began: Sequence[float]
    ended: Sequence[float]
    version: Sequence[str]

    @classmethod
    def read(cls, file: Path, versions: Sequence[str]) -> Answers:
        """What tests.bench.load wrote down."""
        flat = array("d", file.read_bytes())
        prompts = [prompt_of(told) for told in versions]
        return cls(flat[0::3], flat[1::3], [prompts[int(index)] for index in flat[2::3]])

    def __iter__(self) -> Iterator[tuple[float, float, str]]:
        return zip(self.began, self.ended, self.version, strict=True)


@dataclass(frozen=True, slots=True)
class Drill:
    """All rollbacks under one load."""

    pressure: Pressure
    commands: Sequence[Command]
    answers: Answers
    result: Result


def prompt_of(versions: str) -> str:
    """The prompt version in `prompt=v7;model=gpt-4.1`."""
    return dict(part.split("=", 1) for part in versions.split(";") if "=" in part).get("prompt", "")


def run(options: Options) -> Section:
    """Drill under each load."""
    count = 5 if options.quick else 60
    with tempfile.TemporaryDirectory() as folder, upstream(options) as upstream_port:
        place = Place(Path(folder), free_port(), upstream_port)
        with (
            gateway("pointsman", pointsman(place, workers=WORKERS), place) as running,
            contextlib.closing(Operator(running.port)) as operator,
        ):
            operator.wait_for(WORKERS)
            drills = [drill(pressure, operator, place, count) for pressure in PRESSURES]
    return Section("rollback", [table(drills)], [exported(one) for one in drills])


def drill(pressure: Pressure, operator: Operator, place: Place, count: int) -> Drill:
    """`count` rollbacks while the load runs; between them the bad version is switched on again."""
    records = place.folder / "records"
    plan = Plan(
        port=place.port,
        path=CHAT,
        headers=HEADERS,
        body=wire.request_body(ROUTE, 900, stream=False),
        mark=wire.JSON_MARK,
        connections=CONNECTIONS,
        seconds=LONGEST_SECONDS,
        rate=pressure.rate,
        records=str(records),
    )
    process = start(plan)
    try:
        time.sleep(1.0)
        commands = [command(operator) for _ in range(count)]
    finally:
        process.send_signal(signal.SIGTERM)
        result = result_of(process, 5)
    return Drill(pressure, commands, Answers.read(records, result.versions), result)


def command(operator: Operator) -> Command:
    """Serve the bad version, roll it back, let the good one serve, and make ready for the next time."""
    operator.verb(FLAG, "switch", variant=BAD)
    time.sleep(SERVED_SECONDS)
    sent = time.monotonic()
    done = operator.verb(FLAG, "rollback")
    returned = time.monotonic()
    time.sleep(SERVED_SECONDS)
    # A restored variant is what its flag says to serve: from here on the bad version may be seen again.
    undone = time.monotonic()
    operator.verb(FLAG, "restore", variant=BAD)
    told = (float(done["milliseconds"]), int(done["acknowledged"]), int(done["workers"]))
    return Command(sent, returned, undone, *told)


def late(one: Drill) -> int:
    """Answers of the bad version to requests that began while it was rolled back."""
    spans = [(command.returned, command.undone) for command in one.commands]
    bad = [began for began, _, version in one.answers if version == BAD]
    return sum(any(since < began < until for since, until in spans) for began in bad)


def first_good(one: Drill) -> list[float]:
    """Milliseconds from each command's sending to the first whole answer of the good version to a later request."""
    good = sorted((ended, began) for began, ended, version in one.answers if version == GOOD)
    found = []
    for command in one.commands:
        after = (ended for ended, began in good if began > command.sent)
        found.append((next(after, math.nan) - command.sent) * 1000)
    return found


def table(drills: Sequence[Drill]) -> Table:
    """One line a load."""
    head = (
        *(
            "load",
            "rollbacks",
            "answers/s",
            "bad answers before",
            "old answers after return",
            "failed requests",
        ),
        *(
            "ms to last ack p50",
            "p99",
            "longest",
            "round trip ms p50",
            "first good answer ms p50",
            "all acked",
        ),
    )
    note = f"{WORKERS} workers, {CONNECTIONS} connections, nothing pinned: gateway, load and upstream share the cores."
    return Table("rollback under load", head, [line(one) for one in drills], note)


def line(one: Drill) -> tuple[str, ...]:
    """One load's figures."""
    ms = sorted(command.milliseconds for command in one.commands)
    trips = sorted((command.returned - command.sent) * 1000 for command in one.commands)
    complete = sum(command.acknowledged == command.workers == WORKERS for command in one.commands)
    return (
        one.pressure.about,
        str(len(ms)),
        number(one.result.answers / one.result.seconds),
        f"{sum(version == BAD for version in one.answers.version):,}",
        str(late(one)),
        str(sum(one.result.failed.values())),
        number(quantile(ms, 0.5)),
        number(quantile(ms, 0.99)),
        number(quantile(ms, 1.0)),
        number(quantile(trips, 0.5)),
        number(quantile(sorted(first_good(one)), 0.5)),
        f"{complete} of {len(ms)}",
    )


def exported(one: Drill) -> object:
    """The samples of one load, as JSON has them."""
    return {
        "load": one.pressure.about,
        "milliseconds": [command.milliseconds for command in one.commands],
        "acknowledged": [command.acknowledged for command in one.commands],
        "first_good_milliseconds": first_good(one),
        "old_answers_after_return": late(one),
        "answers": one.result.answers,
        "failed": one.result.failed,
    }
