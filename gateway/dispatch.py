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
from gateway.balance import Paces, order
from gateway.breaking.breakers import Breakers, retry_after
from gateway.errors import OutOfTime, UpstreamBusy, UpstreamError, UpstreamTimedOut, UpstreamUnavailable
from gateway.exchange import Exchange
from gateway.retrying import TRY_AGAIN, advice, may_retry, with_retries
from gateway.spec import ModelContent
from gateway.upstream.base import Headers, Upstream, UpstreamRequest
from gateway.version import BACKOFF_LIMIT_SECONDS, THE_APPS, Attempt, PreparedModel
from policies.breaker import Permit
from policies.outcome import Part

__all__ = ["Dispatched", "Dispatcher", "Opened", "Whole"]

# A stream that shows nothing for a minute is dead for the one who waits, unless its version says otherwise.
STREAM_SECONDS = 60.0
# A timer may fire this much before its time: what it cuts short had its time all the same.
TIMER_SECONDS = 0.05


class Question(NamedTuple):
    """What is asked of each target, by when its first content must be here, and when the whole answer."""

    content: ModelContent
    ask: Ask
    fields: dict[str, msgspec.Raw]
    x: Exchange
    until: float
    deadline: float


class Failed(NamedTuple):
    """The last attempt, and what it says of the next: targets not to be asked again, and the earliest time for the
    same one."""

    target: str
    result: Dispatched | UpstreamError
    shunned: tuple[str, ...]
    not_before: float


class Dispatcher:
    """Asks upstreams. It owns none of them: `upstreams` is the process's table of pools, by name.

    `draw` is uniform in [0, 1); `now` gives Unix time, by which a `Retry-After` date is read. What changes here: how
    fast the targets of balanced versions were.
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
        self._paces = Paces()

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
        make a control look better than a candidate, which has none. All attempts of a request share its deadline and
        its bound on attempts, which an app may have lowered.
        """
        if x.deadline == math.inf:
            x.deadline = min(x.clock() + model.content.total_seconds, x.latest)
        if x.waited and x.clock() >= x.deadline:
            raise too_late(x)  # retrieval, or the candidate, has used it up: nobody need be asked in vain
        x.answered = None
        attempts = model.attempts if model.balance is None else self._ordered(model, ask, x, trial=trial)
        if x.stand.retries is not None:
            attempts = with_retries(attempts, x.stand.retries)
        if trial:
            now = x.clock()
            half = now + (x.deadline - now) / 2
            tried = Question(model.content, ask, fields, x, half, x.deadline)
            result = await self._try(attempts[0], tried)
        else:
            question = Question(model.content, ask, fields, x, x.deadline, x.deadline)
            result = await self._first_answer(attempts, question)
        if isinstance(result, UpstreamError):
            raise result
        return result

    def _ordered(self, model: PreparedModel, ask: Ask, x: Exchange, *, trial: bool) -> Sequence[Attempt]:
        """The attempts of a balanced version as this request makes them: see ModelContent."""
        assert model.balance is not None
        if x.lot is None:
            x.lot = self._draw()
        now, route = x.clock(), x.route or ""
        places = order(model.balance, x.lot, self._paces, now, stream=ask.stream, explores=not trial)
        equals = [model.equals[place] for place in places]
        if trial:
            # It has one attempt, and a target that is known to be down is no test of a version.
            ready = (each for each in equals if self._breakers.retry_after(route, [each.target], now) == 0)
            return [next(ready, equals[0])]
        others = [each for each in model.attempts if each.pause or each.fallback]
        return equals + [
            each if each.fallback else equals[n % len(equals)]._replace(pause=each.pause)
            for n, each in enumerate(others)
        ]

    async def _try(self, attempt: Attempt, question: Question) -> Dispatched | UpstreamError:
        """Ask a candidate's target: its failures are the brake's business, not the breaker's."""
        if self._breakers.forced_open(question.x.route or "", attempt.target):
            return UpstreamBusy("forced open by an operator").of(attempt.upstream)
        return await self._ask(attempt, question, None)

    async def _first_answer(
        self, attempts: Sequence[Attempt], question: Question
    ) -> Dispatched | UpstreamError:
        """Ask one target after the other, but not those whose breakers are open."""
        x, last = question.x, None
        route, wire = x.route or "", question.ask.wire
        for attempt in attempts:
            if last is not None and (x.attempts >= x.most or attempt.target in last.shunned):
                continue
            permit = self._breakers.permit(route, attempt.target, x.clock())
            if permit is None and last is not None and attempt.target == attempts[-1].target:
                permit = await self._rested(attempt, question)
            if permit is None:
                continue
            if last is not None and not await self._paused(attempt, last, question, permit):
                break
            x.stumbled = x.stumbled or attempt is not attempts[0]
            result = await self._ask(attempt, question, permit)
            if not failed(result) or not may_retry(result, repeatable=wire.repeats(question.ask)):
                return result
            last = self._failed(attempt, result, last, x.clock())
        return last.result if last is not None else await self._ask_anyway(attempts, question)

    def _failed(
        self, attempt: Attempt, result: Dispatched | UpstreamError, before: Failed | None, now: float
    ) -> Failed:
        told = advice(result, self._now())
        shunned = before.shunned if before is not None else ()
        return Failed(
            attempt.target, result, shunned if told.again else (*shunned, attempt.target), now + told.after
        )

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

    async def _paused(self, attempt: Attempt, last: Failed, question: Question, permit: Permit) -> bool:
        """Wait before another attempt; False, and the permit is given back, when the deadline leaves no time for it."""
        x, paused = question.x, False
        now = x.clock()
        wait = attempt.pause * self._draw()
        if attempt.target == last.target:
            wait = max(wait, last.not_before - now)
        try:
            if now + wait >= question.deadline:
                return False
            if wait > 0:
                await self._sleep(wait)
                x.waited += wait
            paused = True
            return True
        finally:
            if not paused:
                permit.abandoned()

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
        return await self._ask(attempt, question, permit)

    async def _ask(
        self, attempt: Attempt, question: Question, permit: Permit | None
    ) -> Dispatched | UpstreamError:
        """Make one attempt, and tell the target's breaker and the telemetry how it went."""
        content, ask, fields, x, until, deadline = question
        x.attempts += 1
        began = x.clock()
        timeout = patience(content, stream=ask.stream)
        result: Dispatched | UpstreamError | None = None
        try:
            upstream = self._upstream(attempt.upstream)
            request = UpstreamRequest(
                ask.wire.path,
                ask.wire.body(ask, fields, named(attempt.model, ask)),
                forwarded(x, attempt, stream=ask.stream),
                expires_at=min(began + timeout, until),
                method=ask.wire.method,
                content_type=ask.wire.content_type,
            )
            answer = await upstream.send(request)
            result = await open_answer(answer, ask, Limits(timeout, until, x.clock))
        except UpstreamUnavailable as error:
            x.attempts -= 1  # nobody was asked
            result = error.of(attempt.upstream)
        except UpstreamTimedOut as error:
            result = late(error, x, until=until, patient_until=began + timeout).of(attempt.upstream)
        except UpstreamError as error:
            result = error.of(attempt.upstream)
        finally:
            # Also where the client leaves, or we give up: what was told stands, all else leaves nothing behind.
            now = x.clock()
            x.waited += now - began
            if permit is not None:
                # What an evaluation asks is no user's traffic: it neither opens a breaker nor closes one.
                if result is not None and x.part is not Part.EVAL:
                    self._tell(permit, result, question, began, now)
                permit.abandoned()
        if x.trace is not None:
            x.trace.answered(result)
        if content.targets and content.balance == "latency":
            self._note_pace(attempt.target, result, now - began, now, stream=ask.stream)
        if isinstance(result, UpstreamError):
            return result
        if until < deadline and isinstance(result, Opened):
            result.limits = Limits(timeout, deadline, x.clock)
        x.fallback = attempt.upstream if attempt.fallback else None
        x.answered = attempt.asked(ask.route)
        return result

    def _tell(
        self, permit: Permit, result: Dispatched | UpstreamError, question: Question, began: float, now: float
    ) -> None:
        """What a result says of its target. A client's own 4xx, a wrong key or model, and a full pool say nothing."""
        if isinstance(result, Whole):
            if result.status < 400:
                # A whole answer takes as long as it is long: only streams tell how slow a target is.
                permit.ok(now)
            elif result.status == 429:
                permit.limited(now, retry_after(result.headers, self._now()))
            elif result.status >= 500 or result.status == 408:
                permit.failed(now, retry_after(result.headers, self._now()))
        elif isinstance(result, Opened):
            permit.ok(now, now - began)
            result.permit = permit
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

    def _note_pace(  # what is known of an answer
        self, target: str, result: Dispatched | UpstreamError, seconds: float, now: float, *, stream: bool
    ) -> None:
        """How fast the target was; a request that was wrong itself, or found nobody to ask, says nothing."""
        if isinstance(result, UpstreamUnavailable):
            return
        if isinstance(result, Whole) and result.status >= 400 and result.status not in TRY_AGAIN:
            return
        self._paces.note(target, seconds, now, stream=stream, failed=failed(result))

    def _upstream(self, name: str) -> Upstream:
        found = self._upstreams.get(name)
        if found is None:
            raise UpstreamUnavailable("not defined")
        return found


def late(error: UpstreamTimedOut, x: Exchange, *, until: float, patient_until: float) -> UpstreamError:
    """`error`, or one that says whose time it was that was used up: the app's own, or the version's whole time."""
    now = x.clock()
    # A candidate that did not answer in its half of the app's time is compared with its control, which has the other.
    ours = x.hurried and until == x.deadline < patient_until and now >= until - TIMER_SECONDS
    return too_late(x) if ours or now >= x.deadline else error


def too_late(x: Exchange) -> UpstreamError:
    """That the time for the whole answer is used up, by whose bound it was."""
    if x.hurried:
        return OutOfTime()
    return UpstreamTimedOut("the time for the whole answer is used up (total)", phase="total")


def patience(content: ModelContent, *, stream: bool) -> float:
    """Seconds to the first content and between chunks."""
    return content.timeout_seconds or (STREAM_SECONDS if stream else content.total_seconds)


def failed(result: Dispatched | UpstreamError) -> bool:
    """Whether there is no answer that an app could use."""
    return isinstance(result, UpstreamError) or (isinstance(result, Whole) and result.status >= 400)


def named(model: bytes, ask: Ask) -> bytes:
    """The JSON of the model's name: a version's own, or the one that the app has sent."""
    return msgspec.json.encode(ask.route) if model == THE_APPS else model


# What of an app's headers a provider may need; everything else stays here.
FORWARDED = (
    b"traceparent", b"tracestate", b"openai-beta", b"idempotency-key", b"x-client-request-id", b"anthropic-version",
    b"anthropic-beta",
)  # fmt: skip
FORWARDED_NAMES = frozenset(FORWARDED)


def forwarded(x: Exchange, attempt: Attempt, *, stream: bool) -> Headers:
    """The app's headers that go on to the upstream; a traced request names this call as their parent."""
    sent = x.headers
    # One look for all of them: most requests have none.
    named = () if FORWARDED_NAMES.isdisjoint(sent) else FORWARDED
    headers = [(name, sent[name]) for name in named if name in sent]
    return (
        headers if x.trace is None else x.trace.ask(attempt.upstream, attempt.model, headers, stream=stream)
    )
