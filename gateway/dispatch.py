"""Asking the upstreams: one target after the other until an answer's first content is here. Knows no client.

Up to here an answer can still be replaced by another; after the first content nothing is ever asked again.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import NamedTuple

import msgspec

from gateway.answer import Dispatched, Limits, Opened, Whole, open_answer
from gateway.ask import Ask
from gateway.breakers import Breakers, retry_after
from gateway.errors import Retry, UpstreamBusy, UpstreamError, UpstreamTimedOut, UpstreamUnavailable
from gateway.exchange import Exchange
from gateway.render import body_for
from gateway.spec import ModelContent
from gateway.upstream.base import Headers, Upstream, UpstreamRequest
from gateway.version import BACKOFF_LIMIT_SECONDS, Attempt, PreparedModel
from policies.breaker import Permit

__all__ = ["Dispatched", "Dispatcher", "Opened", "Whole"]

PATH = "/chat/completions"

# A stream that shows nothing for a minute is dead for the one who waits, unless its version says otherwise.
STREAM_SECONDS = 60.0
# A timer may fire this much before its time: what it cuts short had its time all the same.
TIMER_SECONDS = 0.05
# Statuses that say "not now" rather than "not this": another attempt may be answered.
TRY_AGAIN = frozenset({408, 429, 500, 502, 503, 504, 529})


class Question(NamedTuple):
    """What is asked of each target, by when its first content must be here, and when the whole answer."""

    content: ModelContent
    ask: Ask
    fields: dict[str, msgspec.Raw]
    x: Exchange
    until: float
    deadline: float


class Dispatcher:
    """Asks upstreams. It owns none of them: `upstreams` is the process's table of pools, by name.

    `draw` is uniform in [0, 1); `now` gives Unix time, by which a `Retry-After` date is read.
    """

    def __init__(
        self,
        upstreams: Mapping[str, Upstream],
        *,
        draw: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        now: Callable[[], float] = time.time,
        breakers: Breakers | None = None,
    ) -> None:
        self._upstreams, self._draw, self._sleep, self._now = upstreams, draw, sleep, now
        self._breakers = breakers or Breakers(clock=time.monotonic, draw=draw)

    async def dispatch(
        self,
        model: PreparedModel,
        ask: Ask,
        fields: dict[str, msgspec.Raw],
        x: Exchange,
        *,
        trial: bool = False,
    ) -> Dispatched:
        """The first target's answer that may be shown, or the last one's refusal. Raises UpstreamError.

        With `trial` (its control stands ready) only the first target is asked, once; its first content must come
        within half of the time that is left, and breakers hear nothing of it. `x.stumbled`: another than
        the first attempt was made, because that failed or its breaker was open: neither retries nor breakers must
        make a control look better than a candidate, which has none.
        """
        if x.deadline == math.inf:
            x.deadline = x.clock() + model.content.total_seconds
        x.answered = None
        if trial:
            now = x.clock()
            half = now + (x.deadline - now) / 2
            tried = Question(model.content, ask, fields, x, half, x.deadline)
            result = await self._try(model.attempts[0], tried)
        else:
            question = Question(model.content, ask, fields, x, x.deadline, x.deadline)
            result = await self._first_answer(model.attempts, question)
        if isinstance(result, UpstreamError):
            raise result
        return result

    async def _try(self, attempt: Attempt, question: Question) -> Dispatched | UpstreamError:
        """Ask a candidate's target: its failures are the brake's business, not the breaker's."""
        if self._breakers.forced_open(question.x.route or "", attempt.target):
            return UpstreamBusy("forced open by an operator").of(attempt.upstream)
        return await self._ask(attempt, question)

    async def _first_answer(
        self, attempts: Sequence[Attempt], question: Question
    ) -> Dispatched | UpstreamError:
        """Ask one target after the other, but not those whose breakers are open."""
        x, last = question.x, None
        for attempt in attempts:
            permit = self._breakers.permit(x.route or "", attempt.target, x.clock())
            if permit is None and last is not None and attempt.target == attempts[-1].target:
                permit = await self._rested(attempt, question)
            if permit is None:
                continue
            asked = await self._ask_with(permit, attempt, question, pause=last is not None)
            if asked is None:
                break
            x.stumbled = x.stumbled or attempt is not attempts[0]
            last = asked
            if not may_retry(last):
                break
        return last if last is not None else await self._ask_anyway(attempts, question)

    async def _rested(self, attempt: Attempt, question: Question) -> Permit | None:
        """The leave to ask a target again that asked for a short rest (429), after that; there is no other."""
        x = question.x
        route, target = x.route or "", attempt.target
        rest = self._breakers.retry_after(route, [target], x.clock())
        if rest is None or rest > BACKOFF_LIMIT_SECONDS or x.clock() + rest >= question.deadline:
            return None
        await self._sleep(rest)
        x.waited += rest
        return self._breakers.permit(route, target, x.clock())

    async def _ask_anyway(
        self, attempts: Sequence[Attempt], question: Question
    ) -> Dispatched | UpstreamError:
        """No breaker lets anybody through: ask the target that failed longest ago, or say when to come again."""
        x, targets = question.x, [attempt.target for attempt in attempts]
        route, now = x.route or "", x.clock()
        found = self._breakers.ask_anyway(route, targets, now)
        if found is None:
            return UpstreamUnavailable(
                f"no target may be asked now: {', '.join(dict.fromkeys(targets))} have had too many requests, "
                "or an operator forced them open",
                retry_after_seconds=self._breakers.retry_after(route, targets, now),
            )
        target, permit = found
        attempt = attempts[targets.index(target)]
        x.stumbled = x.stumbled or attempt is not attempts[0]
        asked = await self._ask_with(permit, attempt, question, pause=False)
        assert asked is not None, "only a pause can take too long"
        return asked

    async def _ask_with(
        self, permit: Permit, attempt: Attempt, question: Question, *, pause: bool
    ) -> Dispatched | UpstreamError | None:
        """Ask, and tell the breaker how it went; None when the deadline leaves no time for another attempt."""
        x = question.x
        try:
            if pause and not await self._pause(attempt, x, question.deadline):
                return None
            began = x.clock()
            result = await self._ask(attempt, question)
            self._tell(permit, result, question, began)
            return result
        finally:
            permit.abandoned()  # what was told stands; who left, or gave up, leaves nothing behind

    def _tell(
        self, permit: Permit, result: Dispatched | UpstreamError, question: Question, began: float
    ) -> None:
        """What a result says of its target. A client's own 4xx, a wrong key or model, and a full pool say nothing."""
        now = question.x.clock()
        if isinstance(result, Opened):
            permit.ok(now, now - began)
            result.permit = permit
        elif isinstance(result, Whole):
            if result.status < 400:
                # A whole answer takes as long as it is long: only streams tell how slow a target is.
                permit.ok(now)
            elif result.status == 429:
                permit.limited(now, retry_after(result.headers, self._now()))
            elif result.status >= 500 or result.status == 408:
                permit.failed(now, retry_after(result.headers, self._now()))
        elif not isinstance(result, UpstreamUnavailable) and not self._hurried(result, question, now - began):
            permit.failed(now)

    def _hurried(self, error: UpstreamError, question: Question, seconds: float) -> bool:
        """Whether the target had less time than any answer may take, because attempts before it had used it up."""
        if not isinstance(error, UpstreamTimedOut) or error.phase == "connect":
            return False
        usual = min(
            patience(question.content, stream=question.ask.stream),
            question.content.total_seconds,
            self._breakers.bounds.slow_seconds,
        )
        # The timer's own grain: it may fire a little early.
        return seconds < usual - TIMER_SECONDS

    async def _pause(self, attempt: Attempt, x: Exchange, deadline: float) -> bool:
        """Wait before another attempt; False when the deadline leaves no time for it."""
        wait = attempt.pause * self._draw()
        if x.clock() + wait >= deadline:
            return False
        if wait:
            await self._sleep(wait)
            x.waited += wait
        return True

    async def _ask(self, attempt: Attempt, question: Question) -> Dispatched | UpstreamError:
        result = await self._answer_of(attempt, question)
        if question.x.trace is not None:
            question.x.trace.answered(result)
        return result

    async def _answer_of(self, attempt: Attempt, question: Question) -> Dispatched | UpstreamError:
        content, ask, fields, x, until, deadline = question
        x.attempts += 1
        began = x.clock()
        timeout = patience(content, stream=ask.stream)
        try:
            upstream = self._upstream(attempt.upstream)
            request = UpstreamRequest(
                PATH,
                body_for(fields, attempt.model),
                forwarded(x, attempt, stream=ask.stream),
                expires_at=min(began + timeout, until),
            )
            answer = await upstream.send(request)
            opened = await open_answer(answer, ask, Limits(timeout, until, x.clock))
        except UpstreamUnavailable as error:
            x.attempts -= 1  # nobody was asked
            return error.of(attempt.upstream)
        except UpstreamTimedOut as error:
            return in_all(error, x.clock(), deadline).of(attempt.upstream)
        except UpstreamError as error:
            return error.of(attempt.upstream)
        finally:
            x.waited += x.clock() - began
        if until < deadline and isinstance(opened, Opened):
            opened.limits = Limits(timeout, deadline, x.clock)
        x.fallback = attempt.upstream if attempt.fallback else None
        x.answered = attempt
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


def forwarded(x: Exchange, attempt: Attempt, *, stream: bool) -> Headers:
    """The app's headers that go on to the upstream; a traced request names this call as their parent."""
    headers = [(name, x.headers[name]) for name in FORWARDED if name in x.headers]
    return (
        headers if x.trace is None else x.trace.ask(attempt.upstream, attempt.model, headers, stream=stream)
    )
