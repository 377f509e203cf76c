"""What a provider gave in this process, noted once per user and version, as a trial's evidence counts them too.

Knows no provider and no store. A user who asks a thousand times is one observation of the coin, not a thousand.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from policies.outcome import How

# A user counts again after this, so that the share of those who are here now is known.
AGAIN_SECONDS = 60.0
# Users remembered of one flag: some 1 MB. With more than that all begin anew; each is a fair sample.
MOST_USERS = 5_000
# Below so many different users evidence counts requests (policies.tally), and so do we.
USERS_ENOUGH = 20


class Noted(NamedTuple):
    """What a flag gave on a route: a variant, and how it was chosen."""

    flag: str
    route: str
    variant: str
    how: How


class _Met:
    """The users of one flag. What changes here: who got what, since when, and whether there are many."""

    __slots__ = ("many", "until", "users")

    def __init__(self, until: float) -> None:
        self.until = until
        self.users: dict[str, str] = {}
        self.many = False


class Tally:
    """This process's notes that are not handed on yet. What changes here: all of it. `clock` counts seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._met: dict[str, _Met] = {}
        self._counts: dict[Noted, int] = {}

    def __repr__(self) -> str:
        return f"<Tally {len(self._counts)} kinds, {len(self._met)} flags>"

    def note(self, kind: Noted, unit: str) -> None:
        """One answer for `unit` ("" where nobody is named: each such request is its own)."""
        if not unit or self._is_new(kind, unit):
            self._counts[kind] = self._counts.get(kind, 0) + 1

    def _is_new(self, kind: Noted, unit: str) -> bool:
        now = self._clock()
        met = self._met.get(kind.flag)
        if met is None:
            met = self._met[kind.flag] = _Met(now + AGAIN_SECONDS)
        if now >= met.until or len(met.users) >= MOST_USERS:
            met.users, met.until = {}, now + AGAIN_SECONDS
        # Who is moved to another version is seen anew: a share that rises shows at once.
        new = met.users.get(unit) != kind.variant
        met.users[unit] = kind.variant
        met.many = met.many or len(met.users) >= USERS_ENOUGH
        return new or not met.many

    def take(self) -> dict[Noted, int]:
        """All that was noted since the last time."""
        counts, self._counts = self._counts, {}
        return counts

    def give_back(self, counts: dict[Noted, int]) -> None:
        """Notes that could not be handed on."""
        for kind, count in counts.items():
            self._counts[kind] = self._counts.get(kind, 0) + count

    def held(self, flag: str) -> dict[Noted, int]:
        """What was noted of `flag` and is not handed on yet."""
        return {kind: count for kind, count in self._counts.items() if kind.flag == flag}

    def begin_anew(self, flag: str) -> None:
        """Count every user of `flag` again: it changed, and what users get since then is told from them all."""
        met = self._met.get(flag)
        if met is not None:
            met.users, met.until = {}, self._clock() + AGAIN_SECONDS

    def forget(self, flags: frozenset[str]) -> None:
        """Let go of all flags but these."""
        self._met = {flag: met for flag, met in self._met.items() if flag in flags}
        self._counts = {kind: count for kind, count in self._counts.items() if kind.flag in flags}
