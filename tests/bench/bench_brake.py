"""The brake, end to end: four workers, 200 requests a second, a candidate at 10 % that fails every call.

Counted for each rollout: the candidate's requests until none came any more, the failures that clients saw (must be
0), and the time from the candidate's fourth failure to its withdrawal (Redis' clock, in the ledger) and to the
last answer that it was still tried for. Knows the API only: whatever pulled the brake, it was not us.
"""

from __future__ import annotations

import asyncio
import contextlib
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx

from tests.bench.admin import Operator
from tests.bench.options import Options
from tests.bench.peers import ROUTE, Place, pointsman
from tests.bench.report import Section, Table, number, spread
from tests.bench.running import CHAT, gateway
from tests.redis_server import free_port

WORKERS, RATE, PERCENT = 4, 200.0, 10.0
GOOD, BAD, MODEL = "v6", "v7", "shared.model"
# What it should take; the tables say what it took.
MOST_REQUESTS, MOST_SECONDS = 12, 1.0
# Of a candidate that is never withdrawn the benchmark must get away too.
PATIENCE_SECONDS = 20.0
# After the withdrawal: long enough to see a worker that still tries the candidate.
BEFORE_SECONDS, AFTER_SECONDS = 1.0, 1.0
BROKEN = "You are broken."


@dataclass(frozen=True, slots=True)
class Answer:
    """One request: wall-clock seconds, what it got."""

    began: float
    ended: float
    status: int
    shielded: bool
    versions: str


@dataclass(frozen=True, slots=True)
class Trial:
    """One candidate, from its rollout to its end. `withdrawn_at` is the time in the ledger, `entry` the id there."""

    answers: Sequence[Answer]
    withdrawn_at: float
    reason: str
    entry: str

    @property
    def tried(self) -> list[Answer]:
        """The requests that met the candidate, in the order of their answers."""
        met = [one for one in self.answers if one.shielded or f"prompt={BAD};" in f"{one.versions};"]
        return sorted(met, key=lambda one: one.ended)

    @property
    def failures(self) -> int:
        """Requests whose users saw an error."""
        return sum(one.status != 200 for one in self.answers)

    def seconds_after_fourth(self, moment: float) -> float:
        """From the candidate's fourth failure to `moment`."""
        fourth = self.tried[3].ended if len(self.tried) > 3 else self.tried[-1].ended
        return moment - fourth


def config(routes: Sequence[str]) -> dict[str, object]:
    """A route for each trial: automation acts on a flag once a minute."""
    prompts = {GOOD: "You are fine.", BAD: BROKEN}
    variants = {name: {"messages": [{"role": "system", "content": text}]} for name, text in prompts.items()}
    flag = {"layer": "prompt", "serve": GOOD, "safe": GOOD, "variants": variants}
    return {
        "upstreams": {
            "mock": {
                "kind": "simulated",
                "reply": {"delay_seconds": 0.02},
                "rules": [{"contains": BROKEN, "reply": {"status": 500, "delay_seconds": 0.02}}],
            }
        },
        "flags": {
            **{f"{route}.prompt": flag for route in routes},
            MODEL: {
                "layer": "model",
                "serve": "m1",
                "variants": {"m1": {"upstream": "mock", "model": "m1"}},
            },
        },
        "routes": {route: {"model": MODEL} for route in routes},
    }


def run(options: Options) -> Section:
    """Start the fleet, and let one candidate after the other die."""
    routes = [ROUTE, *(f"bot-{number}" for number in range(2 if options.quick else 11))]
    with tempfile.TemporaryDirectory() as folder:
        place = Place(Path(folder), free_port(), 0)
        launch = pointsman(place, workers=WORKERS, config=config(routes))
        with (
            gateway("pointsman", launch, place, checked=False) as running,
            contextlib.closing(Operator(running.port)) as operator,
        ):
            operator.wait_for(WORKERS)
            trials = asyncio.run(drive(operator, running.port, routes))
    return Section("brake", [table(trials)], [exported(one) for one in trials])


async def drive(operator: Operator, port: int, routes: Sequence[str]) -> list[Trial]:
    """Traffic to one route after the other, and a rollout on each."""
    limits = httpx.Limits(max_connections=200, max_keepalive_connections=200)
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", limits=limits, timeout=30) as client:
        return [await trial(operator, client, route) for route in routes]


async def ask_steadily(client: httpx.AsyncClient, route: str, answers: list[Answer]) -> None:
    """RATE requests a second, each from another user, begun when they are due."""
    began, number_of_request = time.monotonic(), 0
    async with asyncio.TaskGroup() as group:
        while True:
            number_of_request += 1
            group.create_task(ask(client, route, f"user-{number_of_request}", answers))
            await asyncio.sleep(max(0.0, began + number_of_request / RATE - time.monotonic()))


async def ask(client: httpx.AsyncClient, route: str, user: str, answers: list[Answer]) -> None:
    """One request, written down."""
    body = {"model": route, "user": user, "messages": [{"role": "user", "content": "Hello?"}]}
    began = time.time()
    try:
        answer = await client.post(CHAT, json=body)
    except httpx.HTTPError:
        answers.append(Answer(began, time.time(), 0, shielded=False, versions=""))
        return
    shielded = "x-pointsman-shielded" in answer.headers
    told = answer.headers.get("x-pointsman-versions", "")
    answers.append(Answer(began, time.time(), answer.status_code, shielded, told))


async def trial(operator: Operator, client: httpx.AsyncClient, route: str) -> Trial:
    """Under traffic roll the bad version out, and wait until it is gone."""
    answers: list[Answer] = []
    traffic = asyncio.create_task(ask_steadily(client, route, answers))
    try:
        await asyncio.sleep(BEFORE_SECONDS)
        done = await asyncio.to_thread(
            operator.verb, f"{route}.prompt", "rollout", variant=BAD, percent=PERCENT
        )
        entry = await withdrawal(operator, int(str(done["revision"])))
        await asyncio.sleep(AFTER_SECONDS)
    finally:
        traffic.cancel()
        await asyncio.gather(traffic, return_exceptions=True)
    when = datetime.fromisoformat(str(entry["time"])).timestamp()
    return Trial(answers, when, str(entry["reason"]), str(entry["id"]))


async def withdrawal(operator: Operator, revision: int) -> dict[str, Any]:
    """The ledger's entry that took the candidate out. Raises TimeoutError for one that stays."""
    until = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < until:
        page: Any = await asyncio.to_thread(operator.call, "GET", f"/log?after={revision}")
        for entry in page["entries"]:
            if entry["action"] == "rollback":
                return dict(entry)
        await asyncio.sleep(0.1)
    raise TimeoutError(f"the candidate was not withdrawn within {PATIENCE_SECONDS:.0f} s")


def table(trials: Sequence[Trial]) -> Table:
    """One line for all trials."""
    head = (
        "trials", "candidate requests", f"≤ {MOST_REQUESTS}", "s from 4th failure to withdrawal",
        "s to the last try", f"≤ {MOST_SECONDS:g} s", "failures seen", "requests",
    )  # fmt: skip
    tried = [len(one.tried) for one in trials]
    took = [one.seconds_after_fourth(one.withdrawn_at) for one in trials]
    last = [one.seconds_after_fourth(one.tried[-1].began) for one in trials]
    line = (
        str(len(trials)),
        f"{statistics.median(tried):.0f} ({min(tried)}–{max(tried)})",
        f"{sum(one <= MOST_REQUESTS for one in tried)} of {len(trials)}",
        spread(took),
        spread(last),
        f"{sum(one <= MOST_SECONDS for one in took)} of {len(trials)}",
        str(sum(one.failures for one in trials)),
        number(sum(len(one.answers) for one in trials)),
    )
    note = f"{WORKERS} workers, {RATE:.0f} requests/s, candidate at {PERCENT:g} %, all its calls fail; shipped policies."
    return Table("a dead candidate", head, [line], f"{note}\nFirst reason: {trials[0].reason}")


def exported(one: Trial) -> object:
    """One trial as JSON has it."""
    return {
        "candidate_requests": len(one.tried),
        "seconds_from_fourth_failure": one.seconds_after_fourth(one.withdrawn_at),
        "failures_seen": one.failures,
        "requests": len(one.answers),
        "reason": one.reason,
    }
