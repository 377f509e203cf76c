"""An upstream's answer as far as it can still be replaced: whole, or a stream up to its first content.

Knows no target and no route, and asks nobody: `dispatch` does.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

from gateway.ask import Ask
from gateway.errors import UpstreamCut, UpstreamGarbled
from gateway.taps.peek import JsonPeek
from gateway.taps.sse import Tap
from gateway.upstream.base import Answer, Headers
from gateway.wires.base import Wire
from policies.breaker import Permit

# What a whole answer may weigh: audio parts are the largest thing that chat answers with.
ANSWER_BYTES = 64 * 1024 * 1024
# What may come of a stream before its first content: an audio or image delta is content, so only noise is more.
HELD_BYTES = 16 * 1024 * 1024


class Limits(NamedTuple):
    """How long to wait: `timeout` seconds for the next part, and until `deadline` (of `clock`) for all of them."""

    timeout: float
    deadline: float
    clock: Callable[[], float]

    def renew(self, answer: Answer) -> float:
        """Let `answer` wait for its next part; what the clock says now."""
        now = self.clock()
        next_part = now + self.timeout
        if next_part < self.deadline:
            answer.expires_at, answer.phase = next_part, "between_chunks"
        else:
            answer.expires_at, answer.phase = self.deadline, "total"
        return now


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
    # What to tell the target's breaker by; None where it is not asked.
    permit: Permit | None = None

    def cut(self) -> None:
        """Tell the breaker that the stream did not end well, by the upstream's fault. Counts once."""
        if self.permit is not None:
            self.permit.cut(self.limits.clock())


Dispatched: TypeAlias = Whole | Opened


async def open_answer(answer: Answer, ask: Ask, limits: Limits) -> Dispatched:
    """Read `answer` up to its first content, or whole. Lets go of it unless it is returned in an Opened."""
    kept = False
    try:
        if answer.status >= 400 or not ask.stream:
            return await whole(answer, ask.wire, limits)
        opened = await first_content(answer, ask, limits)
        kept = True
        return opened
    finally:
        if not kept:
            answer.close()


async def whole(answer: Answer, wire: Wire, limits: Limits) -> Whole:
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
        raise UpstreamGarbled(f"the upstream answered with status {answer.status}, which is no answer")
    return Whole(answer.status, answer.headers, body, wire.peek(body))


async def first_content(answer: Answer, ask: Ask, limits: Limits) -> Opened:
    """Read a stream until something of it may be shown. Raises UpstreamGarbled, UpstreamCut, UpstreamTimedOut."""
    tap = ask.wire.tap(ask, answer)
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
