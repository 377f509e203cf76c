"""Two hundred flags as services have them, a server that serves them, and who asks. Measures nothing."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.bench.peers import ROUTE, Place, pointsman
from tests.bench.running import Running, gateway
from tests.redis_server import RedisServer, binaries, free_port

FLAGS = 200
ROOT = "/ofrep/v1/evaluate/flags"
# The flag that is switched back and forth.
MOVED, GOOD, BAD = "moved", "off", "on"
# Who asks: as much as a web shop knows of a visitor.
CONTEXT = {
    "targetingKey": "user-4711",
    "plan": "pro",
    "region": "eu",
    "email": "ada@example.com",
    "app": "2.3.1",
    "beta": False,
    "orders": 17,
}
BODY = json.dumps({"context": CONTEXT}).encode()

SWITCH: dict[str, object] = {"variants": {"on": True, "off": False}, "serve": "off"}
# One of each kind, in turn: half of a team's flags are plain switches.
KINDS: tuple[tuple[str, dict[str, object]], ...] = (
    ("static", SWITCH),
    ("static", {"variants": {"a": "Hello", "b": "Welcome back"}, "serve": "a"}),
    ("targeted", {**SWITCH, "targeting": {"if": [{"in": [{"var": "plan"}, ["pro", "team"]]}, "on", None]}}),
    ("rollout", {**SWITCH, "rollout": {"variant": "on", "percent": 10}}),
    (
        "fractional",
        {
            **SWITCH,
            "targeting": {
                "if": [
                    {"and": [{"in": [{"var": "plan"}, ["pro", "team"]]}, {"==": [{"var": "region"}, "eu"]}]},
                    {"fractional": [["off", 90], ["on", 10]]},
                    None,
                ]
            },
        },
    ),
    ("static", {"variants": {"s": {"rpm": 10, "burst": 20}, "l": {"rpm": 100, "burst": 200}}, "serve": "s"}),
)


def declared(flags: int = FLAGS) -> dict[str, object]:
    """A config file of so many flags without a layer, and a route to know by that the server answers."""
    made = {f"{KINDS[n % len(KINDS)][0]}-{n}": KINDS[n % len(KINDS)][1] for n in range(flags - 2)}
    model = {"layer": "model", "serve": "m", "variants": {"m": {"upstream": "mock", "model": "m"}}}
    return {
        "upstreams": {"mock": {"kind": "simulated"}},
        "flags": {MOVED: SWITCH, f"{ROUTE}.model": model, **made},
        "routes": {ROUTE: {}},
    }


@dataclass(frozen=True, slots=True)
class Scene:
    """A server that answers, and its Redis' URL."""

    server: Running
    redis: str


@contextmanager
def serving(workers: int, cpus: tuple[int, ...] = ()) -> Iterator[Scene]:
    """A server of so many workers with a Redis of its own, on the cores named (none: on all)."""
    found = binaries()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory()))
        redis = stack.enter_context(RedisServer(folder / "redis", found.get("redis") or found["valkey"]))
        place = Place(folder / "pointsman", free_port(), 0)
        launch = pointsman(place, "--redis", redis.url, workers=workers, config=declared())
        yield Scene(stack.enter_context(gateway("pointsman", launch, place, cpus, checked=False)), redis.url)
