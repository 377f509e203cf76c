"""What translating costs: CPU of one call and of one chunk of a stream through litellm; printed, never asserted.

Run: python -m tests.bench.bench_translation [--quick]. The provider is a real server in a thread of its own, whose CPU is not
counted. To compare: a native upstream's call costs some 20 µs of this process.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass

from gateway.patience import Patience
from gateway.spec import UpstreamSpec
from gateway.upstream.base import Upstream, UpstreamRequest
from gateway.upstream.litellm_library import Library
from gateway.upstream.translated import Translated
from tests.bench.options import is_quick
from tests.scripted_upstream import Received, ScriptedUpstream, scripted_upstream_in_thread
from tests.scripted_wires import events, good_answer
from tests.scripts import Script, stream_answer

ROUNDS, QUICK_ROUNDS = 5, 1
CALLS = 30
CHUNKS = 300

# A caller's wire, the kind of upstream that is asked.
WAYS = (("/chat/completions", "openai"), ("/messages", "openai"), ("/chat/completions", "anthropic"))


@dataclass(frozen=True, slots=True)
class Cost:
    """CPU of this thread, in microseconds."""

    call: float
    chunk: float | None


def choose(received: Received) -> Script:
    """Long streams on OpenAI's chat wire, the usual answers elsewhere."""
    if received.path.endswith("/chat/completions") and b'"stream":true' in received.body.replace(b" ", b""):
        return stream_answer(b"".join(events(*[f" word{number}" for number in range(CHUNKS)])))
    return good_answer(received.path, received.body)


async def cpu_of(upstream: Upstream, path: str, calls: int, *, stream: bool) -> float:
    """CPU of this thread for one call to its answer's end, in microseconds: the mean of `calls`."""
    fields = {
        "model": "m",
        "messages": [{"role": "user", "content": "hello"}],
        "max_tokens": 9,
        "stream": stream,
    }
    body = json.dumps(fields).encode()
    until = asyncio.get_running_loop().time() + 60
    began = time.thread_time()
    for _ in range(calls):
        answer = await upstream.send(UpstreamRequest(path, body, expires_at=until))
        while await answer.chunk():
            pass
        answer.close()
    return (time.thread_time() - began) / calls * 1e6


async def cost_of(upstream: Upstream, path: str, *, streams: bool) -> Cost:
    """The median of some rounds, after one that warms up."""
    whole, long = [], []
    for number in range((QUICK_ROUNDS if is_quick(sys.argv) else ROUNDS) + 1):
        gc.collect()
        one = await cpu_of(upstream, path, CALLS, stream=False)
        many = await cpu_of(upstream, path, 3, stream=True) if streams else 0.0
        if number:
            whole.append(one)
            long.append((many - one) / CHUNKS)
    return Cost(statistics.median(whole), statistics.median(long) if streams else None)


async def measured(server: ScriptedUpstream) -> Sequence[tuple[str, str, Cost]]:
    """Every way's cost."""
    loop = asyncio.get_running_loop()
    patience, library = Patience(loop), Library()
    found = []
    for path, kind in WAYS:
        base_url = server.base_url.removesuffix("/v1") if kind == "anthropic" else server.base_url
        spec = UpstreamSpec(kind=kind, base_url=base_url, api_key="os.environ/KEY")
        upstream = Translated(
            spec, library, environ={**os.environ, "KEY": "none"}, patience=patience, loop=loop
        )
        found.append((path, kind, await cost_of(upstream, path, streams=kind == "openai")))
        await upstream.aclose()
    await library.aclose()
    patience.aclose()
    return found


def main() -> None:
    """Print them."""
    with scripted_upstream_in_thread(choose) as server:
        found = asyncio.run(measured(server))
    for path, kind, cost in found:
        chunk = "" if cost.chunk is None else f", {cost.chunk:5.0f} µs a chunk"
        print(f"{path:<18} through litellm to {kind:<10} {cost.call / 1000:5.2f} ms a call{chunk}")


if __name__ == "__main__":
    main()
