"""What one flag evaluation and one swap of a large snapshot cost; printed, never asserted.

Run: python -m tests.bench.bench_evaluation. The aim: under 3 µs for a targeting rule with a fraction, under 1
ms for a change to a snapshot of 10,000 flags.
"""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable
from typing import Any

from flags.codec import document_of
from flags.model import Context, Json, ObjectKey, Position, StoredObject
from flags.resolve import resolve
from flags.snapshot import Builder, Snapshot
from tests.flags.making import a_flag, a_rollout, compiled, contents_of, stored

ROUNDS = 15
NOW = 1_800_000_000
FLAGS = 10_000

RULE: dict[str, Any] = {
    "if": [
        {"and": [{"in": [{"var": "plan"}, ["pro", "team"]]}, {"==": [{"var": "region"}, "eu"]}]},
        {"fractional": [["v6", 90], ["v7", 10]]},
        None,
    ]
}
EMAIL: dict[str, Any] = {
    "fractional": [{"cat": [{"var": "$flagd.flagKey"}, {"var": "email"}]}, ["v6", 90], ["v7", 10]]
}
VERSION: dict[str, Any] = {"if": [{"sem_ver": [{"var": "app"}, ">=", "2.1.0"]}, "v7", "v6"]}

HIT = Context("user-4711", {"plan": "pro", "region": "eu", "email": "ada@example.com", "app": "2.3.1"})
MISS = Context("user-4711", {"plan": "free", "region": "eu"})


def spread(name: str, work: Callable[[], object], *, times: int, unit: float = 1e6, sign: str = "µs") -> None:
    """Print best, median and worst of ROUNDS rounds, each the mean of `times` runs."""
    rounds = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        for _ in range(times):
            work()
        rounds.append((time.perf_counter() - began) / times * unit)
    numbers = f"{min(rounds):8.3f} {statistics.median(rounds):8.3f} {max(rounds):8.3f}"
    print(f"{name:<44} {numbers} {sign}")


def evaluations() -> None:
    print(f"{'one evaluation':<44} {'best':>8} {'median':>8} {'worst':>8}")
    cases = [
        ("no rule (STATIC)", compiled(), HIT),
        ("rollout", compiled(rollout=a_rollout(10)), HIT),
        ("rule: in, == and a fraction; matches", compiled(rule=RULE), HIT),
        ("the same; does not match", compiled(rule=RULE), MISS),
        ("the same; does not match, then a rollout", compiled(rule=RULE, rollout=a_rollout(10)), MISS),
        ("fraction over a computed key", compiled(rule=EMAIL), HIT),
        ("sem_ver", compiled(rule=VERSION), HIT),
    ]
    for name, flag, context in cases:
        spread(name, lambda flag=flag, context=context: resolve(flag, context, NOW), times=50_000)  # type: ignore[misc]


def many_objects() -> tuple[dict[ObjectKey, StoredObject], dict[str, Json]]:
    items = [stored(f"f{n}", document_of(a_flag(f"f{n}", rule=RULE))) for n in range(FLAGS)]
    return {item.key: item for item in items}, contents_of(rule=RULE)


def snapshots() -> None:
    objects, contents = many_objects()
    began = time.perf_counter()
    snapshot = Snapshot.build("bench", Position(1, ""), 1, objects, contents)
    print(f"\nbuild of {FLAGS:,} flags: {time.perf_counter() - began:.2f} s")
    # As a worker does once it is ready: what lives long is no longer walked by the collector.
    gc.freeze()
    changed = stored("f7", document_of(a_flag("f7", rule=RULE, rollout=a_rollout(10))), 2)
    spread(
        f"one change to {FLAGS:,} flags",
        lambda: snapshot.changed(Position(2, ""), 2, {changed.key: changed}, {}),
        times=10,
        unit=1e3,
        sign="ms",
    )
    print(f"longest step of a build in slices: {longest_step(objects, contents):.3f} ms")


def longest_step(objects: dict[ObjectKey, StoredObject], contents: dict[str, Json]) -> float:
    steps = iter(Builder("bench", Position(1, ""), 1, objects, contents))
    longest, last = 0.0, time.perf_counter()
    for _ in steps:
        now = time.perf_counter()
        longest, last = max(longest, now - last), now
    return longest * 1e3


if __name__ == "__main__":
    evaluations()
    snapshots()
