"""One breaker: every step of its table, what counts and what does not, and permits that come back."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.breaker import BOUNDS, TRANSITIONS, Bounds, Breaker, Event, Permit, State

T = 1000.0


def breaker(bounds: Bounds = BOUNDS, *, draw: float = 0.5) -> Breaker:
    """A new one; a draw of 0.5 is no jitter at all."""
    return Breaker(T, lambda: draw, bounds)


def ask(made: Breaker, now: float) -> Permit:
    permit = made.ask(now)
    assert permit is not None
    return permit


def fail(made: Breaker, now: float, times: int = 1, retry_after: float | None = None) -> None:
    for _ in range(times):
        ask(made, now).failed(now, retry_after)


def succeed(made: Breaker, now: float, times: int = 1, seconds: float = 0.1) -> None:
    for _ in range(times):
        ask(made, now).ok(now, seconds)


def opened(*, draw: float = 0.5) -> Breaker:
    """Open since T."""
    made = breaker(draw=draw)
    fail(made, T, 5)
    assert made.state is State.OPEN
    return made


def half_open() -> tuple[Breaker, Permit]:
    """Half open at T + 5, with its first probe under way."""
    made = opened()
    return made, ask(made, T + 5)


# Opening


def test_four_failures_running_leave_it_closed_and_the_fifth_opens_it() -> None:
    made = breaker()
    fail(made, T, 4)
    before = made.state
    fail(made, T)

    assert before is State.CLOSED
    assert made.state is State.OPEN
    assert made.ask(T + 4.99) is None


def test_a_success_between_begins_the_row_anew() -> None:
    made = breaker()
    fail(made, T, 4)
    succeed(made, T)
    fail(made, T, 4)

    assert made.state is State.CLOSED


def mixed(made: Breaker, calls: int, failures: int) -> None:
    """So many calls, the last one failed, never five failures running."""
    for number in range(failures - 1):
        fail(made, T)
        if number % 4 == 3:
            succeed(made, T)
    succeed(made, T, calls - 1 - made.calls)
    fail(made, T)


@pytest.mark.parametrize(
    ("calls", "failures", "state"),
    [(19, 10, State.CLOSED), (20, 9, State.CLOSED), (20, 10, State.OPEN)],
)
def test_half_of_twenty_calls_failing_opens_it_and_less_of_either_does_not(
    calls: int, failures: int, state: State
) -> None:
    made = breaker()
    mixed(made, calls, failures)

    assert (made.calls, made.failures) == (calls, failures)
    assert made.state is state


def test_failures_older_than_the_window_are_forgotten() -> None:
    made = breaker()
    mixed(made, 19, 10)
    held = made.counts(T + 29).failures
    succeed(made, T + 30)

    assert held == 10
    assert made.state is State.CLOSED
    assert made.counts(T + 30).failures == 0


def test_slow_calls_open_it_at_eight_of_ten() -> None:
    made = breaker()
    succeed(made, T, 4)
    succeed(made, T, 15, seconds=60.1)
    before = made.state
    succeed(made, T, 1, seconds=60.1)

    assert before is State.CLOSED
    assert made.state is State.OPEN


def test_a_call_that_takes_just_the_bound_is_not_slow() -> None:
    made = breaker()
    succeed(made, T, 40, seconds=60.0)

    assert made.state is State.CLOSED
    assert made.counts(T).slow == 0


def test_the_slow_bound_can_be_set() -> None:
    made = breaker(replace(BOUNDS, slow_seconds=2.0))
    succeed(made, T, 20, seconds=2.5)

    assert made.state is State.OPEN


# How long


@pytest.mark.parametrize(("draw", "wait"), [(0.0, 4.0), (0.5, 5.0), (1.0, 6.0)])
def test_the_first_wait_is_five_seconds_give_or_take_a_fifth(draw: float, wait: float) -> None:
    made = opened(draw=draw)

    assert made.retry_at(T) == pytest.approx(T + wait)


def test_each_failed_probe_doubles_the_wait_up_to_five_minutes() -> None:
    made, now, waits = opened(), T, []
    for _ in range(8):
        until = made.retry_at(now)
        waits.append(until - now)
        now = until
        fail(made, now)

    assert waits == pytest.approx([5, 10, 20, 40, 80, 160, 300, 300])


def test_each_healthy_minute_takes_one_doubling_back() -> None:
    made = opened()
    fail(made, T + 5)  # the second opening: 10 s
    succeed(made, T + 15, 3)
    closed_at = T + 15
    fail(made, closed_at + 60, 5)

    assert made.retry_at(closed_at + 60) == pytest.approx(closed_at + 60 + 10)


def test_less_than_a_healthy_minute_takes_none_back() -> None:
    made = opened()
    fail(made, T + 5)
    succeed(made, T + 15, 3)
    fail(made, T + 15 + 59, 5)

    assert made.retry_at(T + 15 + 59) == pytest.approx(T + 15 + 59 + 20)


def test_a_retry_after_that_is_longer_wins() -> None:
    made = breaker()
    fail(made, T, 5, retry_after=42.0)

    assert made.retry_at(T) == T + 42


def test_a_retry_after_that_is_shorter_does_not() -> None:
    made = breaker()
    fail(made, T, 5, retry_after=1.0)

    assert made.retry_at(T) == T + 5


def test_the_deadline_is_the_later_of_the_old_and_the_new() -> None:
    made = breaker()
    fail(made, T, 1, retry_after=600.0)
    fail(made, T + 1, 4, retry_after=2.0)

    assert made.retry_at(T + 1) == T + 600


def test_a_retry_after_of_a_year_is_believed_for_an_hour() -> None:
    made = breaker()
    fail(made, T, 5, retry_after=31e6)

    assert made.retry_at(T) == T + 3600


# Half open


def test_after_its_wait_three_probes_may_ask_and_the_fourth_may_not() -> None:
    made, _ = half_open()
    ask(made, T + 5)
    ask(made, T + 5)

    assert made.state is State.HALF_OPEN
    assert made.ask(T + 5) is None


def test_three_probes_answered_in_time_close_it() -> None:
    made, first = half_open()
    first.ok(T + 6, 1.0)
    succeed(made, T + 6)
    before = made.state
    succeed(made, T + 6)

    assert before is State.HALF_OPEN
    assert made.state is State.CLOSED


def test_one_failed_probe_opens_it_again() -> None:
    made, first = half_open()
    first.failed(T + 6)

    assert made.state is State.OPEN


def test_a_probe_answered_late_is_a_failed_one() -> None:
    made, first = half_open()
    first.ok(T + 66, 61.0)

    assert made.state is State.OPEN


def test_an_abandoned_probe_gives_its_permit_back_and_counts_neither_way() -> None:
    made, first = half_open()
    others = [ask(made, T + 5), ask(made, T + 5)]
    first.abandoned()
    first.abandoned()
    again = made.ask(T + 5)

    assert again is not None
    assert made.ask(T + 5) is None
    assert made.state is State.HALF_OPEN
    assert (made.calls, made.failures) == (5, 5)
    assert len(others) == 2


def test_a_forgotten_probe_gives_its_permit_back_after_its_lease() -> None:
    made, _ = half_open()
    ask(made, T + 5)
    ask(made, T + 5)

    assert made.ask(T + 64.9) is None
    assert made.retry_at(T + 64.9) == T + 65
    assert made.ask(T + 65) is not None


def test_a_probe_that_was_told_there_are_too_many_requests_counts_neither_way() -> None:
    made, first = half_open()
    first.limited(T + 5, 3.0)

    assert made.state is State.HALF_OPEN
    assert made.ask(T + 7.9) is None
    assert made.ask(T + 8) is not None


# Asked for want of another


def test_an_open_one_that_is_asked_anyway_and_answers_three_times_closes() -> None:
    made = opened()
    for _ in range(3):
        permit = made.ask_anyway(T + 1)
        assert permit is not None
        permit.ok(T + 1, 0.2)

    assert made.state is State.CLOSED
    assert made.retry_at(T + 1) == T + 1


def test_a_failure_between_begins_the_proof_anew_and_does_not_double_the_wait() -> None:
    made = opened()
    for failed in (False, False, True, False, False):
        permit = made.ask_anyway(T + 1)
        assert permit is not None
        permit.failed(T + 1) if failed else permit.ok(T + 1, 0.2)

    assert made.state is State.OPEN
    assert made.retry_at(T + 1) == T + 5
    assert made.failed_at == T + 1


# Generations


def test_a_result_of_an_older_generation_changes_nothing() -> None:
    made = breaker()
    late = [ask(made, T) for _ in range(4)]
    fail(made, T, 5)
    before = repr(made), made.calls, made.failures, made.failed_at, made.retry_at(T)
    late[0].ok(T + 1, 0.1)
    late[1].failed(T + 1, 900.0)
    late[2].limited(T + 1, 900.0)
    late[3].abandoned()
    late[0].cut(T + 2)

    assert (repr(made), made.calls, made.failures, made.failed_at, made.retry_at(T)) == before


def test_only_the_first_word_of_a_permit_counts() -> None:
    made = breaker()
    permit = ask(made, T)
    permit.ok(T, 0.1)
    permit.ok(T, 0.1)
    permit.failed(T)
    permit.limited(T, 9.0)
    permit.abandoned()

    assert (made.calls, made.failures) == (1, 0)
    assert made.ask(T) is not None


def test_an_answer_may_still_be_cut_once() -> None:
    made = breaker()
    permit = ask(made, T)
    permit.ok(T, 0.1)
    permit.cut(T + 1)
    permit.cut(T + 1)

    assert (made.calls, made.failures) == (1, 1)


def test_what_never_began_cannot_be_cut() -> None:
    made = breaker()
    permit = ask(made, T)
    permit.abandoned()
    permit.cut(T)

    assert made.failures == 0


def test_a_cut_probe_opens_it_again() -> None:
    made, first = half_open()
    first.ok(T + 5, 0.1)
    first.cut(T + 6)

    assert made.state is State.OPEN


# Too many requests


def test_too_many_requests_is_no_failure_but_nobody_is_asked_until_then() -> None:
    made = breaker()
    for _ in range(10):
        permit = made.ask(T)
        if permit is not None:
            permit.limited(T, 7.0)

    assert made.state is State.CLOSED
    assert made.failures == 0
    assert made.ask(T + 6.9) is None
    assert made.ask(T + 7) is not None
    assert made.standing(T).limited


def test_without_a_time_it_is_a_second_and_doubles_each_time_up_to_a_minute() -> None:
    made, now, waits = breaker(), T, []
    for _ in range(8):
        ask(made, now).limited(now)
        waits.append(made.limited_until - now)
        now = made.limited_until

    assert waits == pytest.approx([1, 2, 4, 8, 16, 32, 60, 60])


def test_many_at_once_are_one_period() -> None:
    made = breaker()
    permits = [ask(made, T) for _ in range(50)]
    for permit in permits:
        permit.limited(T)

    assert made.limited_until == pytest.approx(T + 1)


def test_an_answer_ends_the_doubling() -> None:
    made = breaker()
    ask(made, T).limited(T)
    ask(made, T + 1).limited(T + 1)
    succeed(made, T + 3)
    ask(made, T + 4).limited(T + 4)

    assert made.limited_until == pytest.approx(T + 5)


# Operators


def test_forced_open_asks_nobody_for_ever() -> None:
    made = breaker()
    made.force(State.FORCED_OPEN, T)

    assert made.ask(T + 1e6) is None
    assert made.ask_anyway(T + 1e6) is None
    assert made.retry_at(T) == math.inf
    assert made.standing(T).retry_in is None


def test_off_never_opens() -> None:
    made = breaker()
    made.force(State.OFF, T)
    fail(made, T, 100)
    ask(made, T).limited(T, 60.0)

    assert made.state is State.OFF
    assert made.ask(T) is not None


@pytest.mark.parametrize("forced", [State.FORCED_OPEN, State.OFF])
def test_freed_it_is_closed_with_a_clean_sheet(forced: State) -> None:
    made = opened()
    made.force(forced, T)
    made.force(None, T)

    assert made.state is State.CLOSED
    assert made.counts(T).failures == 0
    assert made.retry_at(T) == T


def test_freeing_what_was_not_forced_changes_nothing() -> None:
    made = opened()
    made.force(None, T)

    assert made.state is State.OPEN
    assert made.generation == 1


def test_forcing_it_again_begins_no_new_generation() -> None:
    made = breaker()
    made.force(State.OFF, T)
    made.force(State.OFF, T)

    assert made.generation == 1


# The fleet


def test_the_fleets_counts_open_it_where_this_process_saw_a_failure_too() -> None:
    made = breaker()
    fail(made, T)
    made.heard(T, calls=20, failures=10, workers=2)

    assert made.state is State.OPEN


@pytest.mark.parametrize(
    ("own", "calls", "failures", "workers"),
    [(0, 100, 100, 9), (1, 100, 100, 1), (1, 19, 19, 2), (1, 20, 9, 2)],
    ids=["no failure here", "one worker alone", "too few calls", "too few failures"],
)
def test_but_not_otherwise(own: int, calls: int, failures: int, workers: int) -> None:
    made = breaker()
    fail(made, T, own)
    made.heard(T, calls, failures, workers)

    assert made.state is State.CLOSED


# The machine


def test_every_state_can_be_left_and_reached() -> None:
    reached = {state for (before, _), state in TRANSITIONS.items() if before is not state}

    assert {state for state, _ in TRANSITIONS} == reached == set(State)
    assert (State.CLOSED, Event.WAITED) not in TRANSITIONS
    assert (State.FORCED_OPEN, Event.TRIPPED) not in TRANSITIONS


def test_a_clock_that_goes_back_loses_no_count() -> None:
    made = breaker()
    succeed(made, T)
    succeed(made, T - 500)
    fail(made, T - 500)

    assert (made.counts(T).calls, made.counts(T).failures) == (3, 1)


def tell(permit: Permit, word: str, now: float) -> None:
    """One word about a permit."""
    match word:
        case "ok" | "slow":
            permit.ok(now, 61.0 if word == "slow" else 0.1)
        case "failed":
            permit.failed(now)
        case "limited":
            permit.limited(now)
        case "cut":
            permit.cut(now)
        case _:
            permit.abandoned()


WORDS = st.sampled_from(
    ["ok", "slow", "failed", "limited", "abandoned", "cut", "forget", "force", "off", "free"]
)


@given(st.lists(st.tuples(WORDS, st.floats(0, 40), st.integers(0, 9)), max_size=120))
def test_whatever_happens_it_is_asked_again_in_time_and_probes_stay_three(
    steps: list[tuple[str, float, int]],
) -> None:
    """No sequence wedges it: once nothing is forced, it can be asked within the longest wait it may have."""
    made, now = breaker(), T
    under_way: list[Permit] = []
    for word, seconds, which in steps:
        now += seconds
        permit = made.ask(now)
        if permit is not None:
            under_way.append(permit)
        if word in ("force", "off", "free"):
            made.force({"force": State.FORCED_OPEN, "off": State.OFF}.get(word), now)
        elif under_way and word != "forget":
            told = under_way[which % len(under_way)]
            tell(told, word, now)
        assert len(made._leases) <= 3
        assert made.counts(now).calls >= 0
    made.force(None, now)

    longest = max(BOUNDS.longest_wait * 1.2, BOUNDS.lease)
    assert made.retry_at(now) <= now + longest
    assert made.ask(now + longest) is not None
