"""What all workers' providers gave in the last minutes, in Redis. Knows no rule of what follows from it.

All calls raise StoreUnavailable when Redis is away.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from flags.call import scripts_in
from flags.store import Store
from gateway.deciding.tally import Noted
from policies.outcome import How

MINUTE = 60
# So far back it is looked: a version that nobody got for half as long is gone.
MINUTES = 10
# What is older than a minute or two is kept by tens of seconds: less to look at, every second and for every flag.
COARSE_SECONDS = 10


class Sighting(NamedTuple):
    """`times` users (or requests of nobody) got `variant` on `route` in one second of Redis' clock."""

    second: int
    route: str
    variant: str
    how: How
    times: int


class Seen(NamedTuple):
    """Redis' clock in whole seconds, and what was given of each flag, the oldest first."""

    now: int
    flags: Mapping[str, Sequence[Sighting]]

    def of(self, flag: str) -> Sequence[Sighting]:
        """One flag's."""
        return self.flags.get(flag, ())


class Sightings:
    """One namespace's. What changes here: the minutes that are over and were read."""

    def __init__(self, store: Store) -> None:
        self._calls, self._key = store.calls, store.keys.given
        self._scripts = scripts_in("policies")
        self._past: dict[int, Mapping[str, Sequence[Sighting]]] = {}

    def __repr__(self) -> str:
        return f"<Sightings, {len(self._past)} minutes read>"

    async def add(self, counts: Mapping[Noted, int]) -> None:
        """Add a worker's notes. Where an answer is lost they may count twice, those of all versions alike."""
        args: list[str | bytes | int] = []
        for kind, count in counts.items():
            args += ["|".join((kind.flag, kind.route, kind.variant, kind.how.value)), count]
        await self._calls.script(self._scripts["given"], [self._key], args)

    async def seen(self) -> Seen:
        """The last minutes. Those that are over are read once."""
        # A minute that has just ended may still get what was under way.
        minutes = 3 if len(self._past) == MINUTES - 2 else MINUTES
        now, flat = await self._calls.script(self._scripts["seen"], [self._key], [minutes])
        read = {int(flat[i]): _minute(int(flat[i]), flat[i + 1]) for i in range(0, len(flat), 2)}
        last = now // MINUTE
        kept = {number: past for number, past in self._past.items() if last - MINUTES < number < last - 1}
        over = {number: _coarse(minute) for number, minute in read.items() if number < last - 1}
        # Where this process stood still, some minutes were not read: then all are read anew next time.
        self._past = {**kept, **over}
        whole = {**read, **self._past}
        return Seen(int(now), _joined([whole[number] for number in sorted(whole)]))


def _minute(number: int, fields: Sequence[bytes]) -> Mapping[str, Sequence[Sighting]]:
    found: dict[str, list[Sighting]] = {}
    for name, count in zip(fields[::2], fields[1::2], strict=True):
        second, flag, route, variant, how = name.decode().split("|")
        sighting = Sighting(number * MINUTE + int(second), route, variant, How(how), int(count))
        found.setdefault(flag, []).append(sighting)
    return {flag: sorted(each) for flag, each in found.items()}


def _coarse(minute: Mapping[str, Sequence[Sighting]]) -> Mapping[str, Sequence[Sighting]]:
    return {flag: _by_tens(each) for flag, each in minute.items()}


def _by_tens(sightings: Sequence[Sighting]) -> Sequence[Sighting]:
    found: dict[Sighting, int] = {}
    for each in sightings:
        alike = each._replace(second=each.second // COARSE_SECONDS * COARSE_SECONDS, times=0)
        found[alike] = found.get(alike, 0) + each.times
    return [alike._replace(times=times) for alike, times in sorted(found.items())]


def _joined(minutes: Sequence[Mapping[str, Sequence[Sighting]]]) -> Mapping[str, Sequence[Sighting]]:
    found: dict[str, list[Sighting]] = {}
    for minute in minutes:
        for flag, sightings in minute.items():
            found.setdefault(flag, []).extend(sightings)
    return found
