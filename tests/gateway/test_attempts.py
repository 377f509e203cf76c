"""How often and how long upstreams are asked: budgets that an app lowers, and what an upstream says of asking again."""

from __future__ import annotations

import asyncio
from math import inf
from typing import Any

import pytest

from gateway.answer import Whole
from gateway.errors import (
    OutOfTime,
    UpstreamCut,
    UpstreamError,
    UpstreamRefused,
    UpstreamTimedOut,
    UpstreamUnavailable,
)
from gateway.exchange import Exchange
from gateway.retrying import may_retry
from gateway.wires.chat import Chat
from policies.outcome import Blame
from tests.gateway.builders import MODEL
from tests.gateway.test_dispatch import WITH_SPARE, Floor


def granted(floor: Floor, *, seconds: float = inf, attempts: float = inf, **fields: Any) -> Exchange:
    """A request whose app grants so much."""
    x = floor.exchange(**fields)
    x.latest, x.most = x.began + seconds, attempts
    return x


@pytest.fixture
def floor() -> Floor:
    return Floor()


class Once(Chat):
    """A wire whose requests have lasting effects."""

    repeatable = False


# One bound on attempts


@pytest.mark.parametrize(("most", "asked"), [(1, (1, 0)), (2, (2, 0)), (3, (3, 0)), (4, (3, 1)), (9, (3, 1))])
async def test_retries_and_fallbacks_share_what_the_app_grants(most: int, asked: tuple[int, int]) -> None:
    floor = Floor({**WITH_SPARE, "retries": 2})
    floor.mock.lines = floor.spare.lines = [503]
    x, _ = await floor.ask(granted(floor, attempts=most))

    assert (floor.mock.asked, floor.spare.asked) == asked
    assert x.attempts == min(most, 4)


async def test_what_a_trial_asked_counts_for_its_control_too() -> None:
    floor = Floor({**MODEL, "retries": 5})
    floor.mock.lines = [503]
    x = granted(floor, attempts=3)
    await floor.ask(x, trial=True)
    await floor.ask(x)

    assert (x.attempts, floor.mock.asked) == (3, 3)


async def test_who_could_not_be_asked_costs_no_attempt(floor: Floor) -> None:
    floor.mock.lines = [UpstreamUnavailable("full")]
    x, answer = await floor.ask(granted(floor, attempts=1))

    assert isinstance(answer, Whole)
    assert (answer.status, x.attempts, floor.spare.asked) == (200, 1, 1)


# One deadline


async def test_an_app_lowers_the_time_of_the_whole_answer_and_never_raises_it() -> None:
    floor = Floor({**MODEL, "total_seconds": 30})
    lowered, _ = await floor.ask(granted(floor, seconds=2))
    raised, _ = await floor.ask(granted(floor, seconds=200))

    assert lowered.deadline - lowered.began == 2
    assert raised.deadline - raised.began == 30


async def test_an_apps_own_deadline_is_nobodys_failure(floor: Floor) -> None:
    floor.mock.lines = [5.0]
    x, error = await floor.fails(granted(floor, seconds=1, stream=True))

    assert isinstance(error, OutOfTime)
    assert (error.status, error.blame, x.attempts) == (504, Blame.CLIENT, 1)
    assert floor.counts() == (0, 0)
    assert floor.spare.asked == 0


@pytest.mark.parametrize(("seconds", "blame"), [(1.0, Blame.CLIENT), (inf, Blame.UPSTREAM)])
async def test_where_the_time_was_used_up_before_nobody_is_asked_in_vain(
    seconds: float, blame: Blame
) -> None:
    floor = Floor({**MODEL, "total_seconds": 5})
    x = granted(floor, seconds=seconds)
    x.deadline = min(x.began + 5, x.latest)
    floor.clock.now += 5
    x.waited = 5
    _, error = await floor.fails(x)

    assert (error.status, error.blame, floor.mock.asked) == (504, blame, 0)


async def test_a_deadline_in_the_middle_of_a_pause_ends_with_the_failure_that_led_to_it() -> None:
    floor = Floor({**MODEL, "retries": 3})
    floor.mock.lines = [(503, [(b"retry-after-ms", b"400")])]
    x, answer = await floor.ask(granted(floor, seconds=0.6))

    assert isinstance(answer, Whole)
    assert (answer.status, x.attempts) == (503, 2)
    assert floor.slept == [pytest.approx(0.4)]
    assert floor.counts() == (2, 2)


async def test_a_client_that_leaves_in_a_pause_leaves_no_permit_behind() -> None:
    floor = Floor({**MODEL, "retries": 1})
    floor.mock.lines = [UpstreamCut("gone")]
    for _ in range(4):
        floor.mock.lines = [UpstreamCut("gone"), 200]
        floor.dispatcher._sleep = leaving
        with pytest.raises(asyncio.CancelledError):
            await floor.ask()

    assert floor.counts() == (4, 4)


async def leaving(_seconds: float) -> None:
    raise asyncio.CancelledError


# What an upstream says of asking again


async def test_a_retry_waits_as_many_milliseconds_as_it_is_told() -> None:
    floor = Floor({**MODEL, "retries": 1})
    floor.mock.lines = [(503, [(b"retry-after-ms", b"700"), (b"retry-after", b"9")]), 200]
    _, answer = await floor.ask()

    assert isinstance(answer, Whole)
    assert (answer.status, floor.slept) == (200, [pytest.approx(0.7)])


async def test_a_429_is_waited_for_once() -> None:
    floor = Floor({**MODEL, "retries": 1})
    floor.mock.lines = [(429, [(b"retry-after-ms", b"300")]), 200]
    _, answer = await floor.ask()

    assert isinstance(answer, Whole)
    assert (answer.status, floor.slept) == (200, [pytest.approx(0.3), 0.05])


async def test_who_asks_for_more_time_than_a_request_has_is_left_for_another() -> None:
    floor = Floor({**WITH_SPARE, "retries": 3})
    floor.mock.lines = [(503, [(b"retry-after", b"30")])]
    x, _ = await floor.ask()

    assert (floor.mock.asked, floor.slept, x.fallback) == (1, [], "spare")


async def test_should_retry_false_spares_the_target_but_not_the_fallback() -> None:
    floor = Floor({**WITH_SPARE, "retries": 3})
    floor.mock.lines = [(429, [(b"x-should-retry", b"false")])]
    x, _ = await floor.ask()

    assert (floor.mock.asked, x.fallback) == (1, "spare")


@pytest.mark.parametrize(("told", "asked"), [(b"true", 2), (b"false", 1), (b"perhaps", 1)])
async def test_should_retry_overrides_a_status_that_says_nothing_of_it(told: bytes, asked: int) -> None:
    floor = Floor({**MODEL, "retries": 1})
    floor.mock.lines = [(409, [(b"x-should-retry", told)]), 200]
    await floor.ask()

    assert floor.mock.asked == asked


async def test_an_answer_is_never_asked_again_whatever_its_headers_say(floor: Floor) -> None:
    floor.mock.lines = [(200, [(b"x-should-retry", b"true")])]
    x, _ = await floor.ask()

    assert (x.attempts, floor.spare.asked) == (1, 0)


# What has lasting effects


@pytest.mark.parametrize(
    ("error", "again"),
    [
        (UpstreamRefused("nobody there"), True),
        (UpstreamUnavailable("full"), True),
        (UpstreamTimedOut("no connection", phase="connect"), True),
        (UpstreamTimedOut("silent", phase="first_content"), False),
        (UpstreamCut("closed"), False),
    ],
)
def test_what_has_lasting_effects_is_asked_again_only_where_nothing_was_sent(
    error: UpstreamError, again: bool
) -> None:
    assert may_retry(error, repeatable=False) is again
    assert may_retry(error, repeatable=True)


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_status_means_that_it_was_heard(status: int) -> None:
    refusal = Whole(status, [(b"x-should-retry", b"true")], b"{}")

    assert not may_retry(refusal, repeatable=False)
    assert may_retry(refusal, repeatable=True)
