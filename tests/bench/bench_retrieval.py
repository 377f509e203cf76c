"""What retrieval costs of our own CPU a request: the search's request, its answer, and the prompt; printed, never asserted.

Run: python -m tests.bench.bench_retrieval [--quick]. The aim: one hop more and under 100 µs. The store and the model answer from
memory at once, so that the time of a request is ours alone; what a socket costs is measured with the model's hop.
"""

from __future__ import annotations

import gc
import statistics
import sys
import time
from typing import Any

import msgspec
import uvloop

from gateway.decision import Serving
from gateway.dispatch import Dispatcher
from gateway.pipeline import Pipeline
from gateway.retrieval.retrieve import Retrieval
from gateway.upstream.base import Answer, Headers, UpstreamRequest
from policies.recorder import Recorder
from tests.bench.options import is_quick
from tests.gateway.builders import NOW, SIGNER, body, exchange
from tests.gateway.reading_room import QUOTING, RETRIEVER, served

ROUNDS, QUICK_ROUNDS = 15, 3
REQUESTS = 2_000
PLAIN = {"messages": [{"role": "system", "content": "You are v6."}]}
TEXT = "Send it back within thirty days of the day on which it came. " * 10
COMPLETION = msgspec.json.encode(
    {
        "id": "c1",
        "object": "chat.completion",
        "choices": [
            {"index": 0, "message": {"role": "assistant", "content": "Yes."}, "finish_reason": "stop"}
        ],
        "usage": {"prompt_tokens": 9, "completion_tokens": 1, "total_tokens": 10},
    }
)


def found(count: int) -> bytes:
    """A page of results."""
    result = {"file_id": "file-abc", "filename": "returns.md", "score": 0.87, "attributes": {"team": "ops"},
              "content": [{"type": "text", "text": TEXT}]}  # fmt: skip
    page = {"object": "vector_store.search_results.page", "search_query": ["q"], "data": [result] * count}
    return msgspec.json.encode(page)


class Ready:
    """An answer that is here already."""

    status, phase = 200, ""
    headers: Headers = ((b"content-type", b"application/json"),)

    def __init__(self, content: bytes) -> None:
        self._parts = [b"", content]
        self.expires_at = 0.0

    async def chunk(self) -> bytes:
        return self._parts.pop()

    def close(self) -> None:
        pass


class AtOnce:
    """An upstream that answers the same at once."""

    def __init__(self, content: bytes) -> None:
        self._content = content

    def speaks(self, path: str) -> bool:
        return True

    async def send(self, request: UpstreamRequest) -> Answer:
        return Ready(self._content)

    def retire(self) -> None:
        pass

    async def aclose(self) -> None:
        pass


class Line:
    """One pipeline that is asked again and again."""

    def __init__(self, what: Serving, passages: int, headers: dict[str, str] | None = None) -> None:
        upstreams: dict[str, Any] = {"mock": AtOnce(COMPLETION), "store": AtOnce(found(passages))}
        self._headers = headers
        self._recorder = Recorder()
        self._pipeline = Pipeline(
            lambda: what,
            Dispatcher(upstreams, draw=lambda: 0.5),
            self._recorder,
            signer=lambda: SIGNER,
            degraded=lambda: None,
            now=lambda: float(NOW),
            draw=lambda: 0.5,
            retrieval=Retrieval(upstreams),
        )

    async def microseconds(self) -> float:
        """CPU of one request, the mean of REQUESTS."""
        content = body()
        began = time.process_time()
        for _ in range(REQUESTS):
            await self._pipeline.serve(exchange(content, self._headers, clock=time.monotonic))
        taken = (time.process_time() - began) / REQUESTS * 1e6
        self._recorder.take()
        return taken


async def main() -> None:
    plain = Line(served({}, {}, prompts={"v6": PLAIN}), 0)
    templated = served({"r1": {**RETRIEVER, "query": "support: {{ question }}"}})
    lines = {
        "without retrieval, fixed prompt": plain,
        "without retrieval, prompt with a loop": Line(served({}, {}), 0),
        "3 passages, fixed prompt": Line(served(prompts={"v6": PLAIN}), 3),
        "3 passages, quoted in the prompt": Line(served(prompts={"v6": QUOTING}), 3),
        "10 passages, quoted in the prompt": Line(served({"r1": {**RETRIEVER, "top_k": 10}}), 10),
        "3 passages, quoted and cited": Line(served(), 3, {"x-pointsman-cite": "1"}),
        "3 passages, quoted, query by a template": Line(templated, 3),
    }
    taken: dict[str, list[float]] = {name: [] for name in lines}
    gc.freeze()
    for _ in range(QUICK_ROUNDS if is_quick(sys.argv) else ROUNDS):
        # One after the other in each round: a machine that slows down slows all of them.
        for name, line in lines.items():
            taken[name].append(await line.microseconds())
    base = statistics.median(taken["without retrieval, fixed prompt"])
    print(f"{'CPU of one chat completion':<44} {'median':>8} {'added':>8}")
    for name, each in taken.items():
        median = statistics.median(each)
        print(f"{name:<44} {median:>7.1f} µ {median - base:>+7.1f} µ")


if __name__ == "__main__":
    uvloop.run(main())
