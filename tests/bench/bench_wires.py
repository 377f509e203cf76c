"""What each wire costs, natively and through litellm: CPU of the gateway for a request, and for a chunk of a stream.

One gateway process tree with two routes, one to a provider that speaks OpenAI's wires and one to one that speaks
Anthropic's; both are the mock provider over HTTP. What a route's upstream does not speak is translated. A chunk's cost is
a stream's less a whole answer's, by the stream's content events. Asserts nothing.
"""

from __future__ import annotations

import json
import math
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.bench import cpu, wire
from tests.bench.bench_requests import by_load
from tests.bench.load import Plan
from tests.bench.options import Options
from tests.bench.peers import MODEL, ROUTE, Place, pointsman, prompt
from tests.bench.report import Section, Table, median, number, spread
from tests.bench.running import HEADERS, Running, gateway, upstream
from tests.redis_server import free_port

CLAUDE = "claude"
# Translating takes milliseconds: more would only queue.
CONNECTIONS, TRANSLATED_CONNECTIONS = 32, 4
# A stream lasts 0.7 s: it needs longer for as many answers.
LONGER = 2.0
EVERY_WHOLE = b"lorem ipsum dolor"


@dataclass(frozen=True, slots=True)
class Way:
    """A wire to one route; `translated` where the route's upstream speaks the other family's."""

    wire: str
    path: str
    route: str
    body: dict[str, object]
    translated: bool = False
    streams: bool = True
    mark: bytes = EVERY_WHOLE


def text_of_one_kilobyte() -> str:
    """What makes the request about as long as chat's."""
    return wire.TEXT[:700]


def ways() -> tuple[Way, ...]:
    """Every wire on its own family's upstream, then what is translated, both ways."""
    said = [{"role": "user", "content": text_of_one_kilobyte()}]
    asked: dict[str, object] = {"messages": said, "max_tokens": 256}
    inputs: dict[str, object] = {"input": text_of_one_kilobyte()}
    chat, messages, responses = "/v1/chat/completions", "/v1/messages", "/v1/responses"
    return (
        Way("chat", chat, ROUTE, asked),
        Way("completions", "/v1/completions", ROUTE, {"prompt": text_of_one_kilobyte(), "max_tokens": 256}),
        Way("embeddings", "/v1/embeddings", ROUTE, inputs, streams=False, mark=b'"embedding"'),
        Way("responses", responses, ROUTE, inputs),
        Way("messages", messages, CLAUDE, asked),
        Way("messages → chat", messages, ROUTE, asked, translated=True),
        Way("chat → messages", chat, CLAUDE, asked, translated=True),
        Way("responses → messages", responses, CLAUDE, inputs, translated=True),
    )


@dataclass(slots=True)
class Cost:
    """CPU in microseconds, a sample a round; `failed` counts answers that were none."""

    request: list[float]
    stream: list[float]
    failed: int = 0

    @property
    def chunk(self) -> list[float]:
        """Of one content event, by round."""
        return [
            (many - one) / wire.CONTENT_EVENTS for one, many in zip(self.request, self.stream, strict=False)
        ]


def run(options: Options) -> Section:
    """All wires in turn, round by round; the first round warms up."""
    costs = {way.wire: Cost([], []) for way in ways()}
    with tempfile.TemporaryDirectory() as folder, upstream(options) as upstream_port:
        place = Place(Path(folder), free_port(), upstream_port)
        launch = pointsman(place, config=config(place))
        with gateway("pointsman", launch, place, (options.gateway_cpu,), checked=False) as one:
            for number_of_round in range(-1, options.rounds):
                for way in ways():
                    once(one, way, options, costs[way.wire], counts=number_of_round >= 0)
    samples = {name: {"request": cost.request, "chunk": cost.chunk} for name, cost in costs.items()}
    return Section("wires", [table(ways(), costs)], samples)


def once(one: Running, way: Way, options: Options, cost: Cost, *, counts: bool) -> None:
    """A load of whole answers, and one of streams."""
    for stream in (False, True) if way.streams else (False,):
        body = {"model": way.route, **way.body, **({"stream": True} if stream else {})}
        plan = Plan(
            port=one.port,
            path=way.path,
            headers=HEADERS,
            body=json.dumps(body).encode(),
            mark=wire.STREAM_MARK if stream else way.mark,
            times=wire.CONTENT_EVENTS if stream else 1,
            connections=TRANSLATED_CONNECTIONS if way.translated else CONNECTIONS,
            seconds=options.seconds * (LONGER if stream else 1.0),
        )
        pids = one.pids()
        before = cpu.Usage.of(pids)
        result = by_load(plan, options)
        used = cpu.Usage.of(pids).since(before) * 1e6
        if counts:
            found = used / result.answers if result.answers else math.nan
            (cost.stream if stream else cost.request).append(found)
            cost.failed += sum(result.failed.values())


def config(place: Place) -> dict[str, object]:
    """Two routes with a fixed prompt and a model each, one for each family's provider."""
    key = {"api_key": "os.environ/HOME"}  # any name that is set: the mock provider asks for none
    families = {ROUTE: {"kind": "openai", "base_url": f"{place.upstream}/v1", **key},
                CLAUDE: {"kind": "anthropic", "base_url": place.upstream, **key}}  # fmt: skip
    flags: dict[str, object] = {}
    for route in families:
        flags[f"{route}.prompt"] = {"layer": "prompt", "serve": "v1", "variants": {"v1": prompt("Be brief.")}}
        model = {"upstream": route, "model": MODEL}
        flags[f"{route}.model"] = {"layer": "model", "serve": "m1", "variants": {"m1": model}}
    return {"upstreams": families, "flags": flags, "routes": {route: {} for route in families}}


def table(listed: Sequence[Way], costs: dict[str, Cost]) -> Table:
    """A row for each wire."""
    base = median(costs["chat"].request)
    rows = []
    for way in listed:
        cost = costs[way.wire]
        rows.append(
            (
                way.wire,
                "litellm" if way.translated else "native",
                spread(cost.request),
                number(median(cost.request) / base),
                spread(cost.chunk),
                str(cost.failed),
            )
        )
    head = ("wire", "way", "CPU µs/request", "x chat", "CPU µs/chunk", "failed")
    note = (
        "1 KB requests; whole process tree, store included; `a → b`: asked on a, of a provider that speaks b."
    )
    return Table("overhead of each wire", head, rows, note)
