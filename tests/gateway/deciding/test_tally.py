from __future__ import annotations

from gateway.deciding.tally import AGAIN_SECONDS, MOST_USERS, USERS_ENOUGH, Noted, Tally
from policies.outcome import How

V6 = Noted("bot.prompt", "bot", "v6", How.COIN)
V7 = Noted("bot.prompt", "bot", "v7", How.COIN)


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def many(tally: Tally) -> None:
    for number in range(USERS_ENOUGH):
        tally.note(V6, f"user-{number}")
    tally.take()


def test_a_user_of_many_is_one_observation_however_often_he_asks() -> None:
    tally = Tally(Clock())
    many(tally)

    for _ in range(1_000):
        tally.note(V7, "busy")

    assert tally.take() == {V7: 1}


def test_requests_of_nobody_count_each() -> None:
    tally = Tally(Clock())
    many(tally)

    tally.note(V7, "")
    tally.note(V7, "")

    assert tally.take() == {V7: 2}


def test_below_twenty_users_requests_count_as_evidence_counts_them() -> None:
    tally = Tally(Clock())

    for _ in range(5):
        tally.note(V7, "one")

    assert tally.take() == {V7: 5}


def test_a_user_who_is_moved_to_another_version_is_seen_anew() -> None:
    tally = Tally(Clock())
    many(tally)

    tally.note(V7, "user-1")
    tally.note(V7, "user-1")

    assert tally.take() == {V7: 1}


def test_users_count_again_after_a_while() -> None:
    clock = Clock()
    tally = Tally(clock)
    many(tally)

    clock.now = AGAIN_SECONDS
    tally.note(V6, "user-1")

    assert tally.take() == {V6: 1}


def test_a_flag_that_changed_counts_every_user_again() -> None:
    tally = Tally(Clock())
    many(tally)

    tally.begin_anew("bot.prompt")
    for _ in range(3):
        tally.note(V6, "user-1")

    assert tally.take() == {V6: 1}


def test_the_memory_of_users_is_bounded() -> None:
    tally = Tally(Clock())

    for number in range(3 * MOST_USERS):
        tally.note(V6, f"u{number}")

    assert max(len(met.users) for met in tally._met.values()) <= MOST_USERS


def test_what_could_not_be_handed_on_is_kept() -> None:
    tally = Tally(Clock())
    tally.note(V6, "")
    taken = tally.take()
    tally.note(V6, "")

    tally.give_back(taken)

    assert tally.take() == {V6: 2}


def test_flags_that_follow_nobody_any_more_are_forgotten() -> None:
    tally = Tally(Clock())
    tally.note(V6, "a")

    tally.forget(frozenset({"other"}))

    assert (tally.take(), tally._met) == ({}, {})
