"""CPU of the upstream client alone: microseconds for a 1 KB request, for a 64-chunk stream, and for reading one event.

    python -m tests.bench.bench_upstream [--quick] [--requests 20000] [--streams 1000]

The provider is a bare socket server in a process of its own, so that `process_time` is the client's alone. Figures
hold for this machine only; compare them within one run.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import time
from collections.abc import Awaitable, Callable
from multiprocessing.connection import Connection

import uvloop

from gateway.patience import Patience
from gateway.spec import UpstreamSpec
from gateway.taps.sse import Tap
from gateway.upstream.base import UpstreamRequest
from gateway.upstream.native import NativeUpstream
from tests.scripted_upstream import chunked, completion, event, events, head

CONCURRENCY = 16
CHUNKS = 64
BODY = b'{"model": "m", "messages": [{"role": "user", "content": "%b"}]}' % (b"x" * 950)
STREAM_BODY = BODY.replace(b'"m"', b'"s"')

ANSWER = head(content_length=len(completion("y" * 700))) + completion("y" * 700)
STREAM_HEAD = head(200, "text/event-stream", transfer_encoding="chunked")
STREAM = [chunked(each) for each in events(*["word "] * (CHUNKS - 3))]


class Provider(asyncio.Protocol):
    """Answers whatever comes in one read; a stream goes out in one write a turn of the loop."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        if b'"s"' in data:
            self.transport.write(STREAM_HEAD)
            self.send(0)
        else:
            self.transport.write(ANSWER)

    def send(self, number: int) -> None:
        if number < len(STREAM):
            self.transport.write(STREAM[number])
            asyncio.get_running_loop().call_later(0.001, self.send, number + 1)
        else:
            self.transport.write(b"0\r\n\r\n")


def provide(pipe: Connection) -> None:
    """Run the provider in this process until it is ended."""

    async def main() -> None:
        server = await asyncio.get_running_loop().create_server(Provider, "127.0.0.1", 0)
        pipe.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    uvloop.run(main())


async def spent(count: int, one: Callable[[], Awaitable[None]]) -> float:
    """CPU microseconds of this process for each of `count` calls, CONCURRENCY at a time."""

    async def some() -> None:
        for _ in range(count // CONCURRENCY):
            await one()

    began = time.process_time()
    await asyncio.gather(*(some() for _ in range(CONCURRENCY)))
    return (time.process_time() - began) / (count // CONCURRENCY * CONCURRENCY) * 1e6


async def measure(port: int, requests: int, streams: int) -> None:
    loop = asyncio.get_running_loop()
    spec = UpstreamSpec(kind="openai", base_url=f"http://127.0.0.1:{port}/v1")
    upstream = NativeUpstream(spec, api_key="sk-bench", patience=Patience(loop), loop=loop)

    async def whole() -> None:
        answer = await upstream.send(UpstreamRequest("/chat/completions", BODY, expires_at=loop.time() + 60))
        while await answer.chunk():
            pass

    async def stream() -> None:
        answer = await upstream.send(
            UpstreamRequest("/chat/completions", STREAM_BODY, expires_at=loop.time() + 60)
        )
        while await answer.chunk():
            pass

    async def tapped() -> None:
        tap = Tap(hide_usage=True)
        answer = await upstream.send(
            UpstreamRequest("/chat/completions", STREAM_BODY, expires_at=loop.time() + 60)
        )
        while data := await answer.chunk():
            tap.feed(data)
        assert tap.ended_well

    await spent(requests // 10, whole)
    print(f"1 KB request           {await spent(requests, whole):8.1f} µs CPU")
    print(f"64-chunk stream        {await spent(streams, stream):8.1f} µs CPU")
    print(f"64-chunk stream, tap   {await spent(streams, tapped):8.1f} µs CPU")
    await upstream.aclose()


def read_events(count: int) -> None:
    """The tap alone: one event a call, after the first content."""
    tap, one = Tap(hide_usage=True), event({"content": "word "})
    tap.feed(one)
    began = time.process_time()
    for _ in range(count):
        tap.feed(one)
    print(f"one event in the tap   {(time.process_time() - began) / count * 1e6:8.2f} µs CPU")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=20_000)
    parser.add_argument("--streams", type=int, default=1_000)
    parser.add_argument("--quick", action="store_true", help="a tenth of both")
    options = parser.parse_args()
    share = 10 if options.quick else 1
    ours, theirs = multiprocessing.Pipe()
    provider = multiprocessing.get_context("spawn").Process(target=provide, args=(theirs,), daemon=True)
    provider.start()
    try:
        uvloop.run(measure(ours.recv(), options.requests // share, options.streams // share))
        read_events(100_000)
    finally:
        provider.terminate()
        provider.join()


if __name__ == "__main__":
    main()
