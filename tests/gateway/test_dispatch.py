"""Asking upstreams: which target is asked, what its breaker hears of it, and what a trial may and may not do."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import msgspec
import pytest

from flags.model import Context
from gateway.answer import Dispatched, Opened, Whole
from gateway.breaking.breakers import Breakers
from gateway.decision import Asked
from gateway.dispatch import Dispatcher
from gateway.errors import UpstreamError, UpstreamTimedOut, UpstreamUnavailable
from gateway.exchange import Exchange
from gateway.render import render
from gateway.route import decide
from gateway.upstream.base import Headers, UpstreamRequest
from gateway.wires.chat import Chat
from policies.breaker import State
from tests.gateway.breaking.test_breakers import forced, standings
from tests.gateway.builders import MODEL, body, exchange, serving

COMPLETION = {"id": "c", "choices": [{"message": {"role": "assistant", "content": "Hi."}}], "usage": None}
CHUNK = b'data: {"choices":[{"index":0,"delta":{"content":"Hi"}}]}\n\n'
DONE = b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'
WITH_SPARE = {**MODEL, "fallbacks": [{"upstream": "spare", "model": "small"}]}


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Scripted:
    """An answer that gives what it was made of; a number is seconds that pass before the next part."""

    def __init__(self, clock: Clock, status: int, headers: Headers, parts: list[bytes | float]) -> None:
        self.status, self.headers = status, headers
        self.expires_at, self.phase = float("inf"), "first_content"
        self._clock, self._parts = clock, parts

    async def chunk(self) -> bytes:
        while self._parts and isinstance(self._parts[0], float):
            self._clock.now += self._parts.pop(0)  # type: ignore[operator]  # just looked
            if self._clock.now > self.expires_at:
                self._clock.now = self.expires_at
                raise UpstreamTimedOut("nothing came", phase=self.phase)
        return self._parts.pop(0) if self._parts else b""  # type: ignore[return-value]  # no number is left

    def close(self) -> None:
        self._parts = []


class Actor:
    """An upstream that answers each call with the next of its lines; the last one is said again."""

    def __init__(self, clock: Clock) -> None:
        self.lines: list[Any] = [200]
        self.asked = 0
        # Where it is set, each call waits for it.
        self.hangs: asyncio.Event | None = None
        self._clock = clock

    async def send(self, request: UpstreamRequest) -> Scripted:
        self.asked += 1
        if self.hangs is not None:
            await self.hangs.wait()
        line = self.lines.pop(0) if len(self.lines) > 1 else self.lines[0]
        if isinstance(line, UpstreamError):
            raise line
        status, headers = line if isinstance(line, tuple) else (line, [])
        streams = b'"stream":true' in request.body.replace(b" ", b"")
        kind = b"text/event-stream" if streams and isinstance(status, (list, float)) else b"application/json"
        parts: list[bytes | float] = [msgspec.json.encode(COMPLETION)]
        if isinstance(status, float):
            parts, status = ([status, CHUNK, DONE] if streams else [status, *parts]), 200
        elif isinstance(status, list):
            parts, status = [*status], 200
        elif status >= 400:
            parts = [b'{"error":{}}']
        answer = Scripted(self._clock, status, [(b"content-type", kind), *headers], parts)
        answer.expires_at = request.expires_at
        return answer

    def retire(self) -> None: ...

    async def aclose(self) -> None: ...


class Floor:
    """A dispatcher over two actors, `mock` and `spare`, and the breakers of route support-bot."""

    def __init__(self, content: Mapping[str, Any] = WITH_SPARE) -> None:
        self.clock = Clock()
        self.mock, self.spare = Actor(self.clock), Actor(self.clock)
        self.breakers = Breakers(clock=self.clock, draw=lambda: 0.5)
        self.slept: list[float] = []
        self.dispatcher = Dispatcher(
            {"mock": self.mock, "spare": self.spare},
            draw=lambda: 0.5,
            sleep=self.sleep,
            now=lambda: 1_800_000_000.0,
            breakers=self.breakers,
        )
        self.serving = serving(prompts={}, models={"gpt-4.1": content})

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.clock.now += seconds

    def exchange(self, **fields: Any) -> Exchange:
        x = exchange(body(**fields), clock=self.clock)
        x.route = "support-bot"
        return x

    async def ask(self, x: Exchange | None = None, **options: bool) -> tuple[Exchange, Dispatched]:
        x = x or self.exchange()
        ask = Chat().read(x.body)
        route = self.serving.routes["support-bot"]
        decision = decide(self.serving, route, Asked(Context("u"), {}, 0))
        return x, await self.dispatcher.dispatch(decision.model, ask, render(decision, ask), x, **options)

    async def fails(self, x: Exchange | None = None, **options: bool) -> tuple[Exchange, UpstreamError]:
        x = x or self.exchange()
        with pytest.raises(UpstreamError) as caught:
            await self.ask(x, **options)
        return x, caught.value

    def states(self) -> dict[str, State]:
        return {guarded.target: standing.state for guarded, standing in standings(self.breakers)}

    def counts(self, target: str = "mock/gpt-4.1") -> tuple[int, int]:
        found = {guarded.target: standing for guarded, standing in standings(self.breakers)}
        return found[target].calls, found[target].failures


@pytest.fixture
def floor() -> Floor:
    return Floor()


async def test_the_answer_names_the_attempt_that_gave_it(floor: Floor) -> None:
    x, answer = await floor.ask()

    assert isinstance(answer, Whole)
    assert x.answered is not None
    assert (x.answered.target, x.attempts, x.stumbled, x.fallback) == ("mock/gpt-4.1", 1, False, None)
    assert floor.counts() == (1, 0)


async def test_a_first_attempt_that_failed_and_was_followed_by_another_is_a_stumble(floor: Floor) -> None:
    floor.mock.lines = [500]
    x, _ = await floor.ask()

    assert x.stumbled
    assert x.answered is not None
    assert (x.answered.target, x.attempts, x.fallback) == ("spare/small", 2, "spare")
    assert floor.counts() == (1, 1)
    assert floor.counts("spare/small") == (1, 0)


async def test_a_refusal_that_no_other_target_would_answer_is_no_stumble(floor: Floor) -> None:
    floor.mock.lines = [400]
    x, answer = await floor.ask()

    assert isinstance(answer, Whole)
    assert (answer.status, x.stumbled, floor.spare.asked) == (400, False, 0)


# What a breaker hears


@pytest.mark.parametrize("status", [400, 401, 403, 404, 422])
async def test_a_providers_4xx_counts_neither_way(floor: Floor, status: int) -> None:
    floor.mock.lines = [status]
    for _ in range(10):
        await floor.ask()

    assert floor.counts() == (0, 0)


@pytest.mark.parametrize("status", [408, 500, 502, 503, 504, 529])
async def test_a_providers_5xx_counts_and_five_running_open_it(floor: Floor, status: int) -> None:
    floor.mock.lines = [status]
    for _ in range(8):
        await floor.ask()

    assert floor.states()["mock/gpt-4.1"] is State.OPEN
    assert floor.mock.asked == 5
    assert floor.spare.asked == 8


async def test_an_open_target_is_passed_over_and_that_is_a_stumble(floor: Floor) -> None:
    """Else an outage would count against a candidate only: its control would be saved by its breaker."""
    floor.mock.lines = [500]
    for _ in range(5):
        await floor.ask()
    x, _ = await floor.ask()

    assert (x.attempts, x.stumbled, x.fallback) == (1, True, "spare")


async def test_no_time_is_slept_for_a_retry_of_what_has_just_opened() -> None:
    floor = Floor({**WITH_SPARE, "retries": 5})
    floor.mock.lines = [503]
    x, _ = await floor.ask()

    assert floor.mock.asked == 5
    assert len(floor.slept) == 4
    assert x.fallback == "spare"


async def test_a_429_is_no_failure_but_the_target_rests_for_as_long_as_it_asks(floor: Floor) -> None:
    floor.mock.lines = [(429, [(b"retry-after", b"7")]), 200]
    await floor.ask()
    floor.clock.now += 6.9
    await floor.ask()
    during = floor.mock.asked
    floor.clock.now += 0.1
    await floor.ask()

    assert (during, floor.mock.asked) == (1, 2)
    assert floor.counts() == (1, 0)


async def test_a_retry_waits_for_a_short_rest_where_there_is_no_other_target() -> None:
    floor = Floor({**MODEL, "retries": 1})
    floor.mock.lines = [429, 200]
    x, answer = await floor.ask()

    assert isinstance(answer, Whole)
    assert (answer.status, x.attempts) == (200, 2)
    assert floor.slept == [pytest.approx(1.0), 0.05]


@pytest.mark.parametrize(
    ("content", "rest"),
    [({**MODEL, "retries": 3}, b"3"), ({**WITH_SPARE, "retries": 3}, b"1")],
    ids=["a long rest", "another target"],
)
async def test_but_not_otherwise(content: Mapping[str, Any], rest: bytes) -> None:
    floor = Floor(content)
    floor.mock.lines = [(429, [(b"retry-after", rest)])]
    await floor.ask()

    assert (floor.mock.asked, floor.slept) == (1, [])


async def test_where_all_have_had_too_many_requests_the_answer_says_when_to_come_again(floor: Floor) -> None:
    floor.mock.lines = [(429, [(b"retry-after", b"30")])]
    floor.spare.lines = [(429, [(b"retry-after", b"12")])]
    _, refusal = await floor.ask()
    floor.clock.now += 2
    x, error = await floor.fails()

    assert isinstance(refusal, Whole)
    assert refusal.status == 429
    assert isinstance(error, UpstreamUnavailable)
    assert error.retry_after_seconds == pytest.approx(10)
    assert "mock/gpt-4.1, spare/small" in error.message
    assert x.attempts == 0


async def test_where_all_are_open_the_one_that_failed_longest_ago_is_asked(floor: Floor) -> None:
    floor.mock.lines, floor.spare.lines = [500], [500]
    for _ in range(5):
        floor.clock.now += 0.1
        await floor.ask()
    asked = floor.mock.asked, floor.spare.asked
    for _ in range(4):
        floor.clock.now += 0.1
        await floor.ask()

    assert set(floor.states().values()) == {State.OPEN}
    assert asked == (5, 5)
    assert (floor.mock.asked, floor.spare.asked) == (7, 7)
    assert floor.breakers.asked_anyway == 4


async def test_a_timeout_that_the_attempts_before_it_caused_says_nothing_of_a_target() -> None:
    floor = Floor({**WITH_SPARE, "total_seconds": 20.0, "timeout_seconds": 18.0})
    floor.mock.lines, floor.spare.lines = [50.0], [50.0]
    await floor.fails()

    assert floor.counts() == (1, 1)
    assert floor.counts("spare/small") == (0, 0)


async def test_an_upstream_that_is_not_configured_counts_neither_way() -> None:
    floor = Floor({**WITH_SPARE, "upstream": "gone"})
    x, _ = await floor.ask()

    assert floor.counts("gone/gpt-4.1") == (0, 0)
    assert (x.attempts, x.stumbled) == (1, True)


async def test_a_stream_is_slow_by_its_first_content_and_a_whole_answer_never(floor: Floor) -> None:
    floor.mock.lines = [61.0]
    whole, stream = floor.exchange(), floor.exchange(stream=True)
    floor.serving = serving(prompts={}, models={"gpt-4.1": {**WITH_SPARE, "timeout_seconds": 100.0}})
    await floor.ask(whole)
    before = standings(floor.breakers)[0][1].slow
    await floor.ask(stream)

    assert before == 0
    assert standings(floor.breakers)[0][1].slow == 1


async def test_a_stream_that_is_cut_after_its_first_content_is_a_failure_told_once(floor: Floor) -> None:
    floor.mock.lines = [0.1]
    _, opened = await floor.ask(floor.exchange(stream=True))
    assert isinstance(opened, Opened)
    before = floor.counts()
    opened.cut()
    opened.cut()

    assert before == (1, 0)
    assert floor.counts() == (1, 1)


async def test_who_leaves_while_a_probe_waits_gives_its_permit_back(floor: Floor) -> None:
    floor.mock.lines = [500]
    for _ in range(5):
        await floor.ask()
    floor.clock.now += 5
    floor.mock.hangs = asyncio.Event()
    probes = [asyncio.create_task(floor.ask()) for _ in range(3)]
    await asyncio.sleep(0)
    floor.mock.hangs = None
    for probe in probes:
        probe.cancel()
    await asyncio.gather(*probes, return_exceptions=True)
    floor.mock.lines = [200]
    for _ in range(3):
        await floor.ask()

    assert floor.states()["mock/gpt-4.1"] is State.CLOSED
    assert floor.counts() == (0, 0)


# Trials


async def test_a_trial_asks_its_first_target_once_and_tells_no_breaker(floor: Floor) -> None:
    floor.mock.lines = [500]
    for _ in range(10):
        x, answer = await floor.ask(trial=True)

    assert isinstance(answer, Whole)
    assert (answer.status, x.attempts, x.stumbled, floor.spare.asked) == (500, 1, False, 0)
    assert standings(floor.breakers) == []


async def test_a_trial_asks_a_target_whose_breaker_is_open(floor: Floor) -> None:
    floor.mock.lines = [500]
    for _ in range(5):
        await floor.ask()
    floor.mock.lines = [200]
    x, answer = await floor.ask(trial=True)

    assert isinstance(answer, Whole)
    assert answer.status == 200
    assert x.answered is not None
    assert x.answered.target == "mock/gpt-4.1"
    assert floor.states()["mock/gpt-4.1"] is State.OPEN


async def test_but_not_one_that_an_operator_forced_open(floor: Floor) -> None:
    floor.breakers.follow(forced(floor.serving, {"mock/gpt-4.1": "open"}))
    x, error = await floor.fails(trial=True)

    assert isinstance(error, UpstreamUnavailable)
    assert (x.attempts, floor.mock.asked) == (0, 0)


@pytest.mark.parametrize("stream", [False, True])
async def test_a_trials_first_content_must_come_within_half_of_the_time(stream: bool) -> None:
    floor = Floor({**MODEL, "total_seconds": 40.0, "timeout_seconds": 30.0})
    floor.mock.lines = [20.1]
    x = floor.exchange(stream=stream)
    began = floor.clock.now
    _, error = await floor.fails(x, trial=True)

    assert isinstance(error, UpstreamTimedOut)
    assert floor.clock.now == began + 20
    assert x.deadline == began + 40


async def test_after_its_first_content_a_trial_has_the_whole_time() -> None:
    floor = Floor({**MODEL, "total_seconds": 40.0})
    floor.mock.lines = [19.0]
    x, opened = await floor.ask(floor.exchange(stream=True), trial=True)

    assert isinstance(opened, Opened)
    assert opened.limits.deadline == x.deadline
    assert opened.permit is None


async def test_the_shields_deadline_is_that_of_the_request(floor: Floor) -> None:
    floor.mock.lines = [500]
    x, _ = await floor.ask(trial=True)
    deadline = x.deadline
    floor.clock.now += 100
    await floor.ask(x)

    assert x.deadline == deadline
    assert x.attempts == 3


def test_an_error_that_was_named_lets_go_of_what_was_read() -> None:
    try:
        raise UpstreamError("scripted") from ValueError("a body of 64 MiB stands in its frames")
    except UpstreamError as error:
        named = error.of("mock")

    assert (named.message, named.__traceback__, named.__cause__) == ("upstream mock: scripted", None, None)
