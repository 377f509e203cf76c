"""Signs of life on silent streams: when they are written, when not, and that readers leave them out."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator, Callable
from typing import Any

import anthropic
import openai
import pytest

from gateway.exchange import Exchange
from gateway.keepalive import COMMENT, LOOK_SECONDS, KeepAlive
from gateway.patience import Patience
from gateway.spec import UpstreamSpec
from gateway.upstream.base import Answer, UpstreamRequest
from gateway.upstream.simulated import Simulated
from gateway.wires.messages import Messages
from policies.outcome import Blame, Ending
from tests.gateway.builders import MODEL, Hall, body, exchange, rollout, serving
from tests.gateway.stage import Stage
from tests.gateway.upstream.serving import served

SECONDS = 15.0
HANGING = {**MODEL, "timeout_seconds": 300}


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Slow(Hall):
    """A door whose client takes nothing until it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.takes = asyncio.Event()

    async def write(self, data: bytes) -> None:
        await self.takes.wait()
        await super().write(data)


@pytest.fixture
async def patience() -> AsyncIterator[Patience]:
    timer = Patience(asyncio.get_running_loop(), tick_seconds=0.005)
    yield timer
    timer.aclose()


def watched(clock: Clock, patience: Patience, door: Hall | None = None) -> tuple[Exchange, KeepAlive]:
    x = exchange(b"", clock=clock)
    x.door = door or Hall()
    x.alive = KeepAlive(x, SECONDS, patience, lambda _: [(b"x-request-id", b"req-1")])
    return x, x.alive


async def turn() -> None:
    """Let what was begun go as far as it can."""
    for _ in range(3):
        await asyncio.sleep(0)


# The object alone; its time is given


async def test_the_first_comment_brings_the_head_along(patience: Patience) -> None:
    clock = Clock()
    x, alive = watched(clock, patience)
    clock.now += SECONDS
    alive.expire()
    await turn()

    assert isinstance(x.door, Hall)
    assert (x.started, x.door.status, x.door.parts) == (True, 200, [COMMENT])
    assert x.door.headers[b"content-type"].startswith(b"text/event-stream")
    assert x.door.headers[b"x-request-id"] == b"req-1"


async def test_a_stream_that_spoke_lately_needs_no_comment(patience: Patience) -> None:
    clock = Clock()
    x, alive = watched(clock, patience)
    alive.since = clock.now + 10
    clock.now += SECONDS
    alive.expire()
    await turn()

    assert not x.started
    assert alive.expires_at == 100.0 + 10 + SECONDS


async def test_what_is_on_trial_holds_its_head_back(patience: Patience) -> None:
    clock = Clock()
    x, alive = watched(clock, patience)
    alive.held = True
    clock.now += SECONDS
    alive.expire()
    await turn()
    held = x.started
    alive.held = False
    clock.now += LOOK_SECONDS
    alive.expire()
    await turn()

    assert (held, x.started) == (False, True)


async def test_a_trial_that_is_decided_is_a_stream_like_any_other(patience: Patience) -> None:
    clock = Clock()
    x, alive = watched(clock, patience)
    alive.held = True
    await x.door.start(200, [])
    x.started = True
    clock.now += SECONDS
    alive.expire()
    await turn()

    assert isinstance(x.door, Hall)
    assert x.door.parts == [COMMENT]


async def test_a_client_that_takes_nothing_gets_no_pile(patience: Patience) -> None:
    clock = Clock()
    slow = Slow()
    _, alive = watched(clock, patience, slow)
    for _ in range(5):
        clock.now += SECONDS
        alive.expire()
        await turn()
    slow.takes.set()
    await turn()

    assert slow.parts == [COMMENT]


async def test_nothing_is_written_once_the_answer_is_over(patience: Patience) -> None:
    clock = Clock()
    x, alive = watched(clock, patience)
    clock.now += SECONDS
    alive.expire()
    await alive.over()
    await x.door.end()
    await turn()

    assert isinstance(x.door, Hall)
    assert x.door.parts == [COMMENT, b""]
    assert len(patience) == 0


async def test_who_left_is_not_written_to(patience: Patience) -> None:
    clock = Clock()
    slow = Slow()
    _, alive = watched(clock, patience, slow)
    clock.now += SECONDS
    alive.expire()
    await turn()
    alive.close()
    await turn()
    slow.takes.set()
    await turn()

    assert slow.parts == []
    assert len(patience) == 0


# In the pipeline, with ticks of 5 ms


def silent(model: dict[str, Any], **more: Any) -> Any:
    return serving(prompts={}, models={"gpt-4.1": model}, keep_alive_seconds=0.02, **more)


def simulated(**reply: Any) -> dict[str, Any]:
    return {**HANGING, "params": {"simulate": reply}}


def said(hall: Hall) -> list[str]:
    """The events without the comments."""
    return [event for event in hall.text.split("\n\n") if event and not event.startswith(":")]


async def until(told: Callable[[], object]) -> None:
    while not told():
        await asyncio.sleep(0.002)


async def test_a_model_that_thinks_for_long_is_waited_for(patience: Patience) -> None:
    stage = Stage(silent(simulated(text="Hi there.", delay_seconds=0.1)), patience)
    x, hall = await stage.ask(stream=True)

    assert hall.parts[0] == COMMENT
    assert said(hall)[-1] == "data: [DONE]"
    assert (x.ending, x.status) == (Ending.OK, 200)
    assert float(hall.headers[b"x-pointsman-overhead-ms"]) / 1000 < x.waited
    assert hall.headers[b"x-pointsman-attempts"] == b"1"


async def test_a_stream_leaves_no_circle_behind_by_which_its_body_would_stay(patience: Patience) -> None:
    stage = Stage(silent(simulated(text="Hi there.", delay_seconds=0.05)), patience)
    gc.collect()
    gc.disable()
    try:
        x, _ = await stage.ask(stream=True)
        name = x.request_id
        del x, _
        left = [each for each in gc.get_objects() if isinstance(each, Exchange) and each.request_id == name]
    finally:
        gc.enable()

    assert left == []


async def test_a_pause_between_chunks_is_bridged_between_events(patience: Patience) -> None:
    stage = Stage(silent(simulated(text="a b c", chunks=3, chunk_delay_seconds=0.08)), patience)
    x, hall = await stage.ask(stream=True)
    comments = hall.parts.count(COMMENT)

    assert comments >= 2
    assert all(part.endswith(b"\n\n") or not part for part in hall.parts)
    assert x.ending is Ending.OK


async def test_a_failure_behind_the_head_is_an_error_event(patience: Patience) -> None:
    stage = Stage(silent(simulated(status=429, delay_seconds=0.1)), patience)
    x, hall = await stage.ask(stream=True)

    assert (hall.status, x.status) == (200, 429)
    assert (x.ending, x.blame) == (Ending.FAILED, Blame.UPSTREAM)
    assert '"error"' in said(hall)[0]
    assert said(hall)[-1] == "data: [DONE]"


async def test_a_failure_behind_the_head_is_told_in_the_callers_dialect(patience: Patience) -> None:
    stage = Stage(silent(simulated(status=529, delay_seconds=0.1)), patience)
    x = exchange(body(stream=True, max_tokens=9), clock=stage.clock, wire=Messages())
    await stage.pipeline.serve(x)
    hall = x.door
    assert isinstance(hall, Hall)

    assert (hall.status, x.status) == (200, 529)
    assert said(hall)[-1].startswith("event: error\ndata: ")
    assert "overloaded_error" in said(hall)[-1]


async def test_a_timeout_behind_the_head_is_an_error_event(patience: Patience) -> None:
    stage = Stage(silent({**simulated(fault="hang"), "timeout_seconds": 0.1}), patience)
    x, hall = await stage.ask(stream=True)

    assert (hall.status, x.status) == (200, 504)
    assert "upstream_timeout" in said(hall)[0]


async def test_a_candidate_on_trial_can_still_be_replaced(patience: Patience) -> None:
    models = {"gpt-4.1": MODEL, "gpt-4o": {**simulated(fault="hang"), "timeout_seconds": 0.1}}
    route = serving(prompts={}, models=models, model_state=rollout("gpt-4o", 99.99), keep_alive_seconds=0.02)
    stage = Stage(route, patience)
    _, hall = await stage.ask(stream=True)

    assert COMMENT not in hall.parts
    assert hall.headers[b"x-pointsman-shielded"] == b"1"


@pytest.mark.parametrize("seconds", [0, 15])
async def test_a_stream_that_is_not_silent_that_long_is_left_alone(patience: Patience, seconds: int) -> None:
    route = serving(prompts={}, models={"m": simulated(delay_seconds=0.05)}, keep_alive_seconds=seconds)
    _, hall = await Stage(route, patience).ask(stream=True)

    assert COMMENT not in hall.parts


async def test_a_whole_answer_has_no_room_for_comments(patience: Patience) -> None:
    _, hall = await Stage(silent(simulated(delay_seconds=0.1)), patience).ask()

    assert COMMENT not in hall.parts


async def test_a_client_that_leaves_meanwhile_is_written_to_no_more(patience: Patience) -> None:
    stage = Stage(silent(simulated(fault="hang")), patience)
    x = exchange(body(stream=True), clock=stage.clock)
    task = asyncio.create_task(stage.pipeline.serve(x))
    hall = x.door
    assert isinstance(hall, Hall)
    await until(lambda: hall.parts)
    x.left = True
    task.cancel()
    await task
    written = len(hall.parts)
    await asyncio.sleep(0.05)

    assert len(hall.parts) == written
    assert stage.outcome().ending is Ending.ABANDONED
    assert len(patience) == 0


# The official SDKs are the judges


class Talkative:
    """An answer whose every chunk comes behind a comment."""

    def __init__(self, inner: Answer) -> None:
        self._inner, self._speaks = inner, True
        self.status, self.headers = inner.status, inner.headers
        self.expires_at, self.phase = inner.expires_at, inner.phase

    async def chunk(self) -> bytes:
        self._speaks = not self._speaks
        return await self._inner.chunk() if self._speaks else COMMENT

    def close(self) -> None:
        self._inner.close()


class Commented(Simulated):
    """A simulated upstream whose streams are full of comments."""

    async def send(self, request: UpstreamRequest) -> Answer:
        return Talkative(await super().send(request))


@pytest.fixture
async def address(patience: Patience) -> AsyncIterator[str]:
    spec = UpstreamSpec(kind="simulated")
    commented = Commented(spec, patience=patience, loop=asyncio.get_running_loop())
    async with served(commented) as found:
        yield found


async def test_openais_sdk_reads_over_comments(address: str) -> None:
    async with openai.AsyncOpenAI(base_url=f"{address}/v1", api_key="k", max_retries=0) as sdk:
        stream = await sdk.chat.completions.create(
            model="m", messages=[{"role": "user", "content": "Hello?"}], stream=True
        )
        chunks = [chunk async for chunk in stream]

    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == "This is m. You asked: Hello?"


async def test_anthropics_sdk_reads_over_comments(address: str) -> None:
    async with anthropic.AsyncAnthropic(base_url=address, api_key="k", max_retries=0) as sdk:
        asked = [{"role": "user", "content": "Hello?"}]
        async with sdk.messages.stream(model="m", max_tokens=50, messages=asked) as stream:  # type: ignore[arg-type]  # plain JSON
            text = await stream.get_final_text()

    assert text == "This is m. You asked: Hello?"
