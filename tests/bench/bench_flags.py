"""Flags outside the proxy: evaluations in process, OFREP single and bulk, and how soon a change is seen. Asserts nothing.

Seen is from the moment the command is sent: by clients of the event stream when its event is there, by in-process
providers when their handler is told.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import math
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import quote

from tests.bench import cpu, flag_evaluations
from tests.bench.admin import Operator
from tests.bench.flag_scene import BAD, BODY, FLAGS, GOOD, MOVED, ROOT, Scene, serving
from tests.bench.flag_watchers import Watchers
from tests.bench.load import Plan, quantile, result_of, start
from tests.bench.options import Options
from tests.bench.report import Section, Table, number, spread
from tests.bench.wire import http_request

CLIENTS, QUICK_CLIENTS = 1_000, 200
FOLLOWERS, QUICK_FOLLOWERS = 8, 4
CHANGES, QUICK_CHANGES = 24, 6
STORMS, QUICK_STORMS = 3, 1
# So that each change is one of its own, and not told together with the one before.
APART_SECONDS = 0.25
# What the task says, for this machine.
BULK_MS, STREAM_MS, FOLLOWER_MS = 2.0, 250.0, 50.0
ASKED, QUICK_ASKED = 400, 60
READY_SECONDS = 20.0


def run(options: Options) -> Section:
    """All five parts, one after the other."""
    evaluations, samples = flag_evaluations.run(options)
    with serving(1, (options.gateway_cpu,)) as one:
        asked, asked_samples = requests(one, options)
    with serving(2) as two:
        streams, stream_samples = streaming(two, options)
        followers, follower_samples = following(two, options)
    found = {
        "evaluations": samples,
        "requests": asked_samples,
        "streams": stream_samples,
        "followers": follower_samples,
    }
    return Section("flags", [evaluations, *asked, *streams, followers], found)


# One flag, and all of them


@dataclass(frozen=True, slots=True)
class Ask:
    """One kind of request, under load and one at a time. `etag`: what is sent as If-None-Match."""

    about: str
    method: str
    path: str
    body: bytes
    mark: bytes


ASKS = (
    Ask("GET /livez, for comparison", "GET", "/livez", b"", b""),
    Ask("OFREP single: no rule", "POST", f"{ROOT}/static-0", BODY, b'"value"'),
    Ask("OFREP single: a rule with a fraction", "POST", f"{ROOT}/fractional-4", BODY, b'"value"'),
    Ask("OFREP single: a rollout", "POST", f"{ROOT}/rollout-3", BODY, b'"value"'),
    Ask(f"OFREP bulk of {FLAGS} flags", "POST", ROOT, BODY, b'"flags"'),
)


def requests(scene: Scene, options: Options) -> tuple[list[Table], object]:
    """CPU of each kind under load, and the latency of one at a time; a 304 only one at a time."""
    costs: dict[str, list[float]] = {ask.about: [] for ask in ASKS}
    for round_number in range(-1, options.rounds):
        for ask in ASKS:
            cost = cpu_us(scene, ask, options)
            if round_number >= 0:
                costs[ask.about].append(cost)
    count = QUICK_ASKED if options.quick else ASKED
    alone = {ask.about: one_by_one(scene, ask, count) for ask in ASKS[1:]}
    not_modified = one_by_one(scene, ASKS[-1], count, etag=etag_of(scene))
    rows = [(about, spread(found), *latency(alone.get(about))) for about, found in costs.items()]
    rows.append((f"{ASKS[-1].about}, 304", f"{not_modified.cpu_us:.0f} (alone)", *latency(not_modified)))
    head = ("one worker", "CPU µs a request", "alone: ms p50", "p99", "CPU µs alone")
    note = (
        f"Under load: 32 connections, the server on one core. Alone: one request after the other, {count} of them."
        f" Target: bulk under {BULK_MS:g} ms. A body of {len(BODY)} bytes: a targeting key and six attributes."
        " The gateway's own switches come on top of the flags."
    )
    table = Table(f"OFREP, {FLAGS} flags", head, rows, note)
    return [table], {"cpu_us": costs, "alone_ms": {about: found.ms for about, found in alone.items()}}


def cpu_us(scene: Scene, ask: Ask, options: Options) -> float:
    """Microseconds of the server's CPU for each right answer, saturated."""
    plan = Plan(
        port=scene.server.port,
        path=ask.path,
        headers={},
        body=ask.body,
        mark=ask.mark,
        method=ask.method,
        seconds=options.seconds,
    )
    pids = scene.server.pids()
    before = cpu.Usage.of(pids)
    with cpu.pinned_to(options.load_cpu):
        process = start(plan)
    result = result_of(process, plan.seconds)
    used = cpu.Usage.of(pids).since(before) * 1e6
    if result.failed:
        raise RuntimeError(f"{ask.about}: {result.failed}")
    return used / result.answers if result.answers else math.nan


@dataclass(frozen=True, slots=True)
class Alone:
    """Requests one after the other: milliseconds of each, and the server's CPU for one."""

    ms: Sequence[float]
    cpu_us: float


def one_by_one(scene: Scene, ask: Ask, count: int, *, etag: str | None = None) -> Alone:
    """As many requests on one connection; with an `etag` each must be a 304."""
    headers = {"Content-Type": "application/json", **({"If-None-Match": etag} if etag else {})}
    connection = http.client.HTTPConnection("127.0.0.1", scene.server.port, timeout=10)
    found: list[float] = []
    pids = scene.server.pids()
    before = cpu.Usage.of(pids)
    with contextlib.closing(connection):
        for _ in range(count):
            began = time.perf_counter()
            connection.request(ask.method, ask.path, ask.body, headers)
            answer = connection.getresponse()
            answer.read()
            found.append((time.perf_counter() - began) * 1000)
            if answer.status != (304 if etag else 200):
                raise RuntimeError(f"{ask.about}: {answer.status}")
    return Alone(found, cpu.Usage.of(pids).since(before) / count * 1e6)


def bulk(scene: Scene) -> tuple[str, dict[str, object]]:
    """A bulk answer's tag and its document."""
    connection = http.client.HTTPConnection("127.0.0.1", scene.server.port, timeout=10)
    with contextlib.closing(connection):
        connection.request("POST", ROOT, BODY, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        return answer.headers["ETag"], json.loads(answer.read())


def etag_of(scene: Scene) -> str:
    """The tag of the bulk answer for the scene's context."""
    return bulk(scene)[0]


def latency(found: Alone | None) -> tuple[str, str, str]:
    """The columns of requests that came one at a time."""
    if found is None:
        return "–", "–", "–"
    ordered = sorted(found.ms)
    return number(quantile(ordered, 0.5)), number(quantile(ordered, 0.99)), number(found.cpu_us)


# A change, and who sees it


def streaming(scene: Scene, options: Options) -> tuple[list[Table], object]:
    """Many clients of the event stream: what one holds, how soon all see a change, and what it is if all come back."""
    clients = QUICK_CLIENTS if options.quick else CLIENTS
    with (
        contextlib.closing(Operator(scene.server.port)) as operator,
        Watchers(scene.server.port, stream_path(scene), clients) as watchers,
    ):
        operator.wait_for(2)
        before = cpu.memory(scene.server.pids()).pss
        connected = watchers.connect()
        settle()
        held = (cpu.memory(scene.server.pids()).pss - before) * 1024 / clients
        idle = idle_cpu(scene)
        count = QUICK_CHANGES if options.quick else CHANGES
        waits = [changed(operator, watchers, number) for number in range(count)]
        storms = []
        for _ in range(QUICK_STORMS if options.quick else STORMS):
            watchers.drop()
            storms.append(watchers.connect())
        after_storm = changed(operator, watchers, count)
        watchers.refetch(lambda etag: refetching(scene, etag))
        fetched = [changed(operator, watchers, number) for number in range(count + 1, count * 2 + 1)]
    rows = [
        ("change → event", *milliseconds([each for one in waits for each in one]), number(STREAM_MS)),
        ("change → event, after the storms", *milliseconds(after_storm), number(STREAM_MS)),
        ("all connect: until the head", *milliseconds(connected), "–"),
        (
            f"change → all {FLAGS} flags fetched again, by all",
            *milliseconds([each for one in fetched for each in one]),
            "–",
        ),
        (
            "all drop and come back: until the head",
            *milliseconds([each for one in storms for each in one]),
            "–",
        ),
    ]
    note = (
        f"{count} changes, 2 workers, all on this machine. An idle client holds {held:.1f} KiB of the server's memory (PSS);"
        f" {clients} idle ones take {idle:.1%} of one core."
    )
    head = ("ms", "p50", "p99", "max", "never", "target p99")
    samples = {"waits": waits, "fetched": fetched, "storms": storms, "kib_a_client": held, "idle_cores": idle}
    return [Table(f"{clients} clients of the event stream", head, rows, note)], samples


def refetching(scene: Scene, etag: str) -> bytes:
    """What a web client sends at an event: all flags, from a worker that has come as far as the event's tag."""
    return http_request(scene.server.port, f"{ROOT}?flagConfigEtag={quote(etag)}", {}, BODY)


def stream_path(scene: Scene) -> str:
    """Where the bulk answer says that changes are told."""
    _, document = bulk(scene)
    streams = document["eventStreams"]
    assert isinstance(streams, list)
    return str(streams[0]["endpoint"]["requestUri"])


def settle() -> None:
    """Let what a client is told first be sent, so that what is measured is idle."""
    time.sleep(2.0)


def idle_cpu(scene: Scene) -> float:
    """The share of one core that the server takes while nothing happens."""
    pids, seconds = scene.server.pids(), 3.0
    before = cpu.Usage.of(pids)
    time.sleep(seconds)
    return cpu.Usage.of(pids).since(before) / seconds


def changed(operator: Operator, watchers: Watchers, number_of_change: int) -> Sequence[float]:
    """Switch the flag; seconds until each client had its event."""
    began = time.monotonic()
    done = operator.verb(MOVED, "switch", variant=BAD if number_of_change % 2 == 0 else GOOD)
    waits = watchers.waits(int(str(done["revision"])), began)
    time.sleep(APART_SECONDS)
    return waits


def following(scene: Scene, options: Options) -> tuple[Table, object]:
    """Services with the provider in process, each a process of its own: how soon they serve by a change."""
    count = QUICK_CHANGES if options.quick else CHANGES
    with contextlib.closing(Operator(scene.server.port)) as operator:
        # Twice the same is no change: what the streams left is not known here.
        operator.verb(MOVED, "switch", variant=GOOD)
        with followers(scene, QUICK_FOLLOWERS if options.quick else FOLLOWERS) as processes:
            commands = []
            for change in range(count):
                began = time.monotonic()
                done = operator.verb(MOVED, "switch", variant=GOOD if change % 2 else BAD)
                commands.append((began, int(str(done["revision"]))))
                time.sleep(APART_SECONDS)
            seen = [told(process) for process in processes]
    waits = [first_after(each, revision) - began for each in seen for began, revision in commands]
    rows = [("change → handler", *milliseconds(waits), number(FOLLOWER_MS))]
    head = ("ms", "p50", "p99", "max", "never", "target p99")
    title = f"{len(seen)} processes with the provider"
    return Table(title, head, rows, f"{count} changes, 2 workers, one Redis."), {"waits": waits}


@contextlib.contextmanager
def followers(scene: Scene, count: int) -> Iterator[list[subprocess.Popen[str]]]:
    """So many services that follow."""
    command = [sys.executable, "-m", "tests.bench.flag_follower", scene.redis]
    with contextlib.ExitStack() as stack:
        processes = []
        for _ in range(count):
            process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            stack.callback(ended, process)
            processes.append(process)
        for process in processes:
            assert process.stdout is not None
            if process.stdout.readline() != "ready\n":
                raise RuntimeError("a provider did not become ready")
        yield processes


def ended(process: subprocess.Popen[str]) -> None:
    """End it, whatever it does."""
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.communicate(timeout=5)
    process.kill()
    process.wait()


def told(process: subprocess.Popen[str]) -> Mapping[int, float]:
    """What a service saw, and when; it ends."""
    output, _ = process.communicate(timeout=READY_SECONDS)
    process.stdin = None
    return {int(revision): at for revision, at in json.loads(output)}


def first_after(seen: Mapping[int, float], revision: int) -> float:
    """When the revision, or a later one, was seen; never: infinite."""
    return min((at for number, at in seen.items() if number >= revision), default=math.inf)


def milliseconds(seconds: Sequence[float]) -> tuple[str, str, str, str]:
    """Median, p99, the longest, and how many never."""
    known = sorted(1000 * each for each in seconds if each < math.inf)
    if not known:
        return "–", "–", "–", str(len(seconds))
    middle = statistics.median(known)
    return number(middle), number(quantile(known, 0.99)), number(known[-1]), str(len(seconds) - len(known))
