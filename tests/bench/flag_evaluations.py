"""One evaluation in process: ours, the provider's, and through the OpenFeature client. Medians in microseconds."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from openfeature import api
from openfeature.client import OpenFeatureClient
from openfeature.evaluation_context import EvaluationContext
from openfeature.hook import Hook

from flags.codec import document_of
from flags.model import Context, Json, Position
from flags.provider import SnapshotProvider
from flags.resolve import resolve
from flags.snapshot import Snapshot
from flags.telemetry import TelemetryHook
from tests.bench.flag_scene import CONTEXT, KINDS
from tests.bench.options import Options
from tests.bench.report import Table, spread
from tests.flags.making import a_flag, a_rollout, contents_of, stored

ROUNDS, QUICK_ROUNDS = 15, 5
NOW = 1_800_000_000
# What our own call may cost, and nobody promised anything for the SDK's.
TARGET_MICROSECONDS = 3.0
VALUES: Mapping[str, Json] = {"on": True, "off": False}
ATTRIBUTES: dict[str, Any] = {name: value for name, value in CONTEXT.items() if name != "targetingKey"}
USER = str(CONTEXT["targetingKey"])


@dataclass(frozen=True, slots=True)
class Case:
    """One flag, in words, and what a flag of it has."""

    key: str
    about: str
    fields: Mapping[str, Any]


def rule_of(kind: str) -> Any:
    """The targeting rule of the scene's flag of that kind."""
    return next(flag["targeting"] for name, flag in KINDS if name == kind)


CASES = (
    Case("static", "no rule (STATIC)", {}),
    Case("targeted", "a rule that matches", {"rule": rule_of("targeted")}),
    Case("fractional", "a rule: in, == and a fraction", {"rule": rule_of("fractional")}),
    Case("rollout", "a rollout at 10 %", {"rollout": a_rollout(10, "on")}),
)


def snapshot() -> Snapshot:
    """All cases' flags."""
    objects, contents = {}, dict[str, Json]()
    for case in CASES:
        flag = a_flag(case.key, VALUES, **{"serve": "off", "safe": "off", **case.fields})
        item = stored(case.key, document_of(flag))
        objects[item.key] = item
        contents |= contents_of(VALUES, case.fields.get("rule"))
    return Snapshot.build("bench", Position(1, ""), 1, objects, contents)


@dataclass(frozen=True, slots=True)
class Way:
    """One way to ask for a flag; `sync` or `asynchronous` is given."""

    about: str
    sync: Callable[[str], object] | None = None
    asynchronous: Callable[[str], Awaitable[object]] | None = None


def client_of(domain: str, served: Snapshot, hooks: Sequence[Hook] = ()) -> OpenFeatureClient:
    """An OpenFeature client over the snapshot, under a name of its own."""
    api.set_provider_and_wait(SnapshotProvider(lambda: served, hooks=hooks), domain)
    return api.get_client(domain)


def ways() -> list[Way]:
    """All of them, over one snapshot."""
    served = snapshot()
    context, asked = Context(USER, ATTRIBUTES), EvaluationContext(USER, ATTRIBUTES)
    plain, told = client_of("plain", served), client_of("told", served, [TelemetryHook()])
    provider = SnapshotProvider(lambda: served)
    return [
        Way("resolve()", lambda key: resolve(served.flags[key], context, NOW)),
        Way("provider", lambda key: provider.resolve_boolean_details(key, False, asked)),
        Way("client", lambda key: plain.get_boolean_value(key, False, asked)),
        Way("client, async", None, lambda key: plain.get_boolean_value_async(key, False, asked)),
        Way("client, telemetry hook", lambda key: told.get_boolean_value(key, False, asked)),
        Way(
            "client, async, telemetry hook",
            None,
            lambda key: told.get_boolean_value_async(key, False, asked),
        ),
    ]


def measured(way: Way, key: str, rounds: int, times: int) -> list[float]:
    """Microseconds of one evaluation: of each round the mean."""
    if way.sync is not None:
        return [clocked(way.sync, key, times) for _ in range(rounds)]
    assert way.asynchronous is not None
    return asyncio.run(awaited(way.asynchronous, key, rounds, times))


def clocked(ask: Callable[[str], object], key: str, times: int) -> float:
    began = time.perf_counter()
    for _ in range(times):
        ask(key)
    return (time.perf_counter() - began) / times * 1e6


async def awaited(ask: Callable[[str], Awaitable[object]], key: str, rounds: int, times: int) -> list[float]:
    found = []
    for _ in range(rounds):
        began = time.perf_counter()
        for _ in range(times):
            await ask(key)
        found.append((time.perf_counter() - began) / times * 1e6)
    return found


def run(options: Options) -> tuple[Table, object]:
    """The table and its samples."""
    rounds = QUICK_ROUNDS if options.quick else ROUNDS
    samples: dict[str, dict[str, list[float]]] = {}
    try:
        for way in ways():
            times = 20_000 if way.about == "resolve()" else 2_000
            samples[way.about] = {case.key: measured(way, case.key, rounds, times) for case in CASES}
    finally:
        api.shutdown()
    rows = [(about, *(spread(found[case.key]) for case in CASES)) for about, found in samples.items()]
    note = (
        f"Target: under {TARGET_MICROSECONDS:g} µs for our own call. The telemetry hook writes to OpenTelemetry's API"
        " without an SDK behind it, unless the process has one."
    )
    head = ("one evaluation, µs", *(case.about for case in CASES))
    return Table("one evaluation in process", head, rows, note), samples
