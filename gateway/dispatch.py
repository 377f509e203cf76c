"""Asking the upstreams: one target after the other until an answer's first content is here. Knows no client.

Up to here an answer can still be replaced by another; after the first content nothing is ever asked again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

import msgspec

from gateway.ask import Ask
from gateway.errors import (
    Retry,
    UpstreamCut,
    UpstreamError,
    UpstreamGarbled,
    UpstreamTimedOut,
    UpstreamUnavailable,
)
from gateway.exchange import Exchange
from gateway.peek import JsonPeek, peek_json
from gateway.render import body_for
from gateway.spec import ModelContent
from gateway.sse import Tap
from gateway.upstream.base import Answer, Headers, Upstream, UpstreamRequest
from gateway.version import Attempt, PreparedModel

PATH = "/chat/completions"

# A stream that shows nothing for a minute is dead for the one who waits, unless its version says otherwise.
STREAM_SECONDS = 60.0
# What a whole answer may weigh: audio parts are the largest thing that chat answers with.
ANSWER_BYTES = 64 * 1024 * 1024
# What may come of a stream before its first content: an audio or image delta is content, so only noise is more.
HELD_BYTES = 16 * 1024 * 1024
# Statuses that say "not now" rather than "not this": another attempt may be answered.
TRY_AGAIN = frozenset({408, 429, 500, 502, 503, 504, 529})


class Limits(NamedTuple):
    """How long to wait: `timeout` seconds for the next part, and until `deadline` (of `clock`) for all of them."""

    timeout: float
    deadline: float
    clock: Callable[[], float]

    def renew(self, answer: Answer) -> None:
        """Let `answer` wait for its next part."""
        next_part = self.clock() + self.timeout
        if next_part < self.deadline:
            answer.expires_at, answer.phase = next_part, "between_chunks"
        else:
            answer.expires_at, answer.phase = self.deadline, "total"


@dataclass(slots=True)
class Whole:
    """An answer that is here from head to end: a completion, or the provider's own refusal."""

    status: int
    headers: Headers
    body: bytes
    peek: JsonPeek | None = None


@dataclass(slots=True)
class Opened:
    """A stream whose first content is here. `first` is what the app may see of it so far; `ended`: there is no more."""

    answer: Answer
    tap: Tap
    first: bytes
    ended: bool
    limits: Limits


Dispatched: TypeAlias = Whole | Opened


class Dispatcher:
    """Asks upstreams. It owns none of them: `upstreams` is the process's table of pools, by name."""

    def __init__(
        self,
        upstreams: Mapping[str, Upstream],
        *,
        draw: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._upstreams, self._draw, self._sleep = upstreams, draw, sleep

    async def dispatch(
        self, model: PreparedModel, ask: Ask, fields: dict[str, msgspec.Raw], x: Exchange
    ) -> Dispatched:
        """The first target's answer that may be shown, or the last one's refusal. Raises UpstreamError."""
        deadline = x.deadline = x.clock() + model.content.total_seconds
        last: Dispatched | UpstreamError | None = None
        for attempt in model.attempts:
            if last is not None and not await self._pause(attempt, x, deadline):
                break
            last = await self._attempt(attempt, model.content, ask, fields, x, deadline)
            if not may_retry(last):
                break
        assert last is not None, "a version has one target at least"
        if isinstance(last, UpstreamError):
            raise last
        return last

    async def _pause(self, attempt: Attempt, x: Exchange, deadline: float) -> bool:
        """Wait before another attempt; False when the deadline leaves no time for it."""
        wait = attempt.pause * self._draw()
        if x.clock() + wait >= deadline:
            return False
        if wait:
            await self._sleep(wait)
            x.waited += wait
        return True

    async def _attempt(
        self,
        attempt: Attempt,
        content: ModelContent,
        ask: Ask,
        fields: dict[str, msgspec.Raw],
        x: Exchange,
        deadline: float,
    ) -> Dispatched | UpstreamError:
        x.attempts += 1
        began = x.clock()
        timeout = patience(content, stream=ask.stream)
        try:
            upstream = self._upstream(attempt.upstream)
            request = UpstreamRequest(
                PATH, body_for(fields, attempt.model), forwarded(x), expires_at=min(began + timeout, deadline)
            )
            answer = await upstream.send(request)
            opened = await open_answer(answer, ask, Limits(timeout, deadline, x.clock))
        except UpstreamUnavailable as error:
            x.attempts -= 1  # nobody was asked
            return error.of(attempt.upstream)
        except UpstreamTimedOut as error:
            return in_all(error, x.clock(), deadline).of(attempt.upstream)
        except UpstreamError as error:
            return error.of(attempt.upstream)
        finally:
            x.waited += x.clock() - began
        x.fallback = attempt.upstream if attempt.fallback else None
        return opened

    def _upstream(self, name: str) -> Upstream:
        found = self._upstreams.get(name)
        if found is None:
            raise UpstreamUnavailable("not defined")
        return found


def in_all(error: UpstreamTimedOut, now: float, deadline: float) -> UpstreamTimedOut:
    """`error`, or where it is the whole time that was used up, one that says so."""
    return (
        UpstreamTimedOut("the time for the whole answer is used up (total)", phase="total")
        if now >= deadline
        else error
    )


def patience(content: ModelContent, *, stream: bool) -> float:
    """Seconds to the first content and between chunks."""
    return content.timeout_seconds or (STREAM_SECONDS if stream else content.total_seconds)


def may_retry(result: Dispatched | UpstreamError) -> bool:
    """Whether another target may do better."""
    if isinstance(result, UpstreamError):
        return result.retry is not Retry.NO
    return isinstance(result, Whole) and result.status in TRY_AGAIN


# What of an app's headers a provider may need; everything else stays here.
FORWARDED = (b"traceparent", b"tracestate", b"openai-beta", b"idempotency-key", b"x-client-request-id")


def forwarded(x: Exchange) -> Headers:
    """The app's headers that go on to the upstream."""
    return [(name, x.headers[name]) for name in FORWARDED if name in x.headers]


async def open_answer(answer: Answer, ask: Ask, limits: Limits) -> Dispatched:
    """Read `answer` up to its first content, or whole. Lets go of it unless it is returned in an Opened."""
    kept = False
    try:
        if answer.status >= 400 or not ask.stream:
            return await whole(answer, limits)
        opened = await first_content(answer, ask, limits)
        kept = True
        return opened
    finally:
        if not kept:
            answer.close()


async def whole(answer: Answer, limits: Limits) -> Whole:
    """The whole answer. Raises UpstreamGarbled for a 2xx that is no answer (no JSON, empty, an error inside)."""
    parts, size = [], 0
    while True:
        limits.renew(answer)
        part = await answer.chunk()
        if not part:
            break
        parts.append(part)
        size += len(part)
        if size > ANSWER_BYTES:
            raise UpstreamGarbled(f"the answer is longer than {ANSWER_BYTES:,} bytes, the most that is taken")
    body = parts[0] if len(parts) == 1 else b"".join(parts)
    if answer.status >= 400:
        return Whole(answer.status, answer.headers, body)
    if not 200 <= answer.status < 300:
        raise UpstreamGarbled(
            f"the upstream answered with status {answer.status}, which is no answer to a completion"
        )
    return Whole(answer.status, answer.headers, body, peek_json(body))


async def first_content(answer: Answer, ask: Ask, limits: Limits) -> Opened:
    """Read a stream until something of it may be shown. Raises UpstreamGarbled, UpstreamCut, UpstreamTimedOut."""
    expect_event_stream(answer)
    tap = Tap(hide_usage=not ask.wants_usage)
    held: list[bytes] = []
    ended, size = False, 0
    while not (tap.first_content or tap.done or ended):
        data = await answer.chunk()
        ended = not data
        size += len(data)
        if size > HELD_BYTES:
            raise UpstreamGarbled(f"the upstream sent {HELD_BYTES:,} bytes of stream without any content")
        held.append(tap.feed(data) if data else tap.flush())
        if tap.error is not None:
            raise UpstreamGarbled(f"the upstream's stream began with an error: {tap.error}")
    if ended and not tap.ended_well:
        raise UpstreamCut("the upstream closed its stream before any content")
    return Opened(answer, tap, b"".join(held), ended, limits)


def expect_event_stream(answer: Answer) -> None:
    """Raises UpstreamGarbled when a stream was asked for and something else came."""
    content_type = dict(answer.headers).get(b"content-type", b"")
    if not 200 <= answer.status < 300 or not content_type.lower().startswith(b"text/event-stream"):
        kind = content_type.decode("latin-1")[:100] or "no content type"
        raise UpstreamGarbled(f"a stream was asked for; the upstream answered {answer.status} with {kind}")
