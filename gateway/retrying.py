"""What a failed attempt says of the next one: may there be one, where, and when. Pure; asks nobody.

Of an upstream's headers three count (OpenAI's SDKs go by the same): `x-should-retry` overrides what its status says,
`retry-after-ms` and `retry-after` tell when.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from gateway.answer import Dispatched, Whole
from gateway.breaking.breakers import retry_after
from gateway.errors import Retry, UpstreamError, UpstreamRefused, UpstreamTimedOut, UpstreamUnavailable
from gateway.version import BACKOFF_LIMIT_SECONDS, Attempt

# Statuses that say "not now" rather than "not this": another attempt may be answered.
TRY_AGAIN = frozenset({408, 429, 500, 502, 503, 504, 529})


class Advice(NamedTuple):
    """What an attempt's failure says: whether the same target may be asked again, and not before which seconds."""

    again: bool = True
    after: float = 0.0


def may_retry(result: Dispatched | UpstreamError, *, repeatable: bool) -> bool:
    """Whether another attempt may do better. What has lasting effects is only asked again where nothing was sent."""
    if isinstance(result, UpstreamError):
        return result.retry is not Retry.NO if repeatable else nothing_sent(result)
    if not isinstance(result, Whole) or result.status < 400 or not repeatable:
        return False
    # "false" speaks of this target; an other one may take what this one refuses (a quota that is used up).
    return result.status in TRY_AGAIN or should_retry(result) is True


def nothing_sent(error: UpstreamError) -> bool:
    """Whether the upstream cannot have heard of the request."""
    if isinstance(error, UpstreamTimedOut):
        return error.phase == "connect"
    return isinstance(error, UpstreamRefused | UpstreamUnavailable)


def should_retry(answer: Whole) -> bool | None:
    """What the upstream says in `x-should-retry`; None where it says nothing."""
    told = next((value for name, value in answer.headers if name == b"x-should-retry"), b"")
    return {b"true": True, b"false": False}.get(told.strip().lower())


def advice(result: Dispatched | UpstreamError, now: float) -> Advice:
    """What a failure says of its own target; `now` is Unix time, by which a date is read.

    A target that asks for more time than a request can wait is not asked again by it.
    """
    if not isinstance(result, Whole):
        return Advice()
    after = retry_after(result.headers, now) or 0.0
    return Advice(should_retry(result) is not False and after <= BACKOFF_LIMIT_SECONDS, after)


def with_retries(attempts: Sequence[Attempt], most: float) -> Sequence[Attempt]:
    """`attempts` with at most `most` that ask a target once more; other targets and fallbacks are no retries."""
    kept: list[Attempt] = []
    for attempt in attempts:
        if attempt.fallback or all(attempt.target != each.target for each in kept):
            kept.append(attempt)
        elif most >= 1:
            kept.append(attempt)
            most -= 1
    return kept
