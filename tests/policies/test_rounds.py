"""A background loop goes on whatever a look raises, rests while Redis is away, and ends when it is closed."""

from __future__ import annotations

import asyncio
from itertools import count

import pytest

from flags.errors import StoreUnavailable
from policies.rounds import Rounds


class Look:
    """Notes how often somebody looked; the first looks raise what they are told to."""

    def __init__(self, *raises: Exception) -> None:
        self.taken, self.enough = 0, asyncio.Event()
        self._raises = list(raises)

    async def __call__(self) -> None:
        self.taken += 1
        if self._raises:
            raise self._raises.pop(0)
        self.enough.set()


@pytest.mark.parametrize("error", [StoreUnavailable("Redis is gone"), ValueError("a bug")])
async def test_a_look_that_fails_is_taken_again(error: Exception) -> None:
    look = Look(error, error)
    rounds = Rounds("test", look, 0.0)
    rounds.start()

    await look.enough.wait()
    await rounds.aclose()

    assert look.taken >= 3


async def test_nothing_is_looked_at_while_redis_is_away() -> None:
    asked = count()
    look = Look()
    rounds = Rounds("test", look, 0.0, away=lambda: next(asked) < 3)
    rounds.start()

    await look.enough.wait()
    await rounds.aclose()

    assert next(asked) >= 4


async def test_closed_it_ends_also_in_the_middle_of_a_look_and_may_be_closed_again() -> None:
    begun, ended = asyncio.Event(), asyncio.Event()

    async def hang() -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    rounds = Rounds("test", hang, 0.0)
    rounds.start()
    await begun.wait()

    await rounds.aclose()
    await rounds.aclose()

    assert ended.is_set()
    assert "not begun" in repr(rounds)


async def test_what_was_never_begun_is_closed_all_the_same() -> None:
    await Rounds("test", Look(), 0.0).aclose()
