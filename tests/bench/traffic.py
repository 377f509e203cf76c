"""What requests come to a simulated trial, and how they go: errors, users, outages, seconds, costs, scores.

Seeded, and endless. Knows no engine: whom a failure is charged to, and what counts, is not decided here.
"""

from __future__ import annotations

import math
from bisect import bisect
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from random import Random
from typing import NamedTuple, Protocol


class Drawn(NamedTuple):
    """One request. `value`: 1 for a failure, seconds, USD, a score; `other`: whether the other layer's coin fell
    to its candidate, None where there is none."""

    candidate: bool
    value: float
    unit: str = ""
    other: bool | None = None
    # Of a failure: whether the control, asked the same request, fails as well; and whether content had come by then.
    again: bool = False
    midstream: bool = False
    # Requests of the control before this one that went well, and of which no test of errors hears.
    idle: int = 0
    # Of a request that has everything: seconds, seconds to first content, USD.
    spent: tuple[float, float, float] | None = None


class Traffic(Protocol):
    """What requests come, and how they go."""

    def requests(self, rng: Random, share: float) -> Iterator[Drawn]:
        """Without end; the coin gives the candidate `share` of them."""
        ...


class Kind(NamedTuple):
    """Requests that are alike: their part of all, whom they go to, and how often they fail there and at the control."""

    part: float
    candidate: bool
    rate: float
    control_rate: float
    unit: str = ""


def mixed(kinds: Sequence[Kind], rng: Random, requests: float, idle: int = 0) -> Generator[Drawn, None, int]:
    """So many requests of all kinds. The control's good ones, of which no test of errors hears, are only counted: as
    many as a geometric draw says. Returns how many of them are left at the end; `idle` are those left from before."""
    ladder = [*accumulate(each.part * (1.0 if each.candidate else each.rate) for each in kinds)]
    dull = max(0.0, 1.0 - ladder[-1] / sum(each.part for each in kinds))
    number = 0.0
    while True:
        gap = int(math.log(1.0 - rng.random()) / math.log(dull)) if dull > 1e-12 else 0
        if number + gap >= requests:
            return idle + int(requests - number)
        number += gap + 1
        kind = kinds[bisect(ladder, rng.random() * ladder[-1], hi=len(ladder) - 1)]
        failed = not kind.candidate or rng.random() < kind.rate
        again = failed and kind.candidate and rng.random() < kind.control_rate
        yield Drawn(kind.candidate, float(failed), kind.unit, again=again, idle=idle + gap)
        idle = 0


@dataclass(frozen=True)
class Errors:
    """Failures at a constant rate in each arm, with or before the first content."""

    control: float
    candidate: float
    midstream: bool = False

    def requests(self, rng: Random, share: float) -> Iterator[Drawn]:
        for each in mixed(both(share, self.control, self.candidate), rng, math.inf):
            yield each._replace(midstream=True) if self.midstream else each


def both(share: float, control: float, candidate: float) -> tuple[Kind, Kind]:
    """A candidate's share, and its control's, of nobody that is named."""
    return Kind(share, True, candidate, control), Kind(1.0 - share, False, control, control)


@dataclass(frozen=True)
class Outage:
    """Both arms alike: a healthy rate, and a span of requests in which most (or all) of them fail."""

    healthy: float = 0.01
    broken: float = 0.6
    begin: int = 4_000
    length: int = 500

    def requests(self, rng: Random, share: float) -> Iterator[Drawn]:
        idle = 0
        for rate, length in (
            (self.healthy, self.begin),
            (self.broken, self.length),
            (self.healthy, math.inf),
        ):
            idle = yield from mixed(both(share, rate, rate), rng, length, idle)


@dataclass(frozen=True)
class DeadNeighbour:
    """Both arms alike; but another layer's candidate, at a tenth of the requests, fails every one."""

    healthy: float = 0.01
    part: float = 0.1

    def requests(self, rng: Random, share: float) -> Iterator[Drawn]:
        while True:
            other = rng.random() < self.part
            failed = other or rng.random() < self.healthy
            # The shield puts both layers on their controls.
            again = failed and rng.random() < self.healthy
            yield Drawn(rng.random() < share, float(failed), other=other, again=again)


@dataclass(frozen=True)
class Users:
    """Sticky users whose activity is heavy-tailed (Pareto); a few fail often, whichever version they are given.

    With `heavy` one of those few makes that part of all requests.
    """

    users: int = 2_000
    tail: float = 1.2
    unlucky: float = 0.05
    fails_often: float = 0.5
    fails_rarely: float = 0.01
    heavy: float = 0.0

    def requests(self, rng: Random, share: float) -> Iterator[Drawn]:
        activity = [rng.paretovariate(self.tail) for _ in range(self.users)]
        rates = [
            self.fails_often if rng.random() < self.unlucky else self.fails_rarely for _ in range(self.users)
        ]
        if self.heavy:
            rates[0] = self.fails_often
            activity[0] = self.heavy / (1.0 - self.heavy) * sum(activity[1:])
        # A user keeps its bucket, and its luck.
        kinds = [
            Kind(part, rng.random() < share, rate, rate, f"u{user}")
            for user, (part, rate) in enumerate(zip(activity, rates, strict=True))
        ]
        yield from mixed(kinds, rng, math.inf)


@dataclass(frozen=True)
class Dying:
    """Both arms healthy until request `begin`; then the candidate fails at the rate `broken`.

    The requests come from so many named users, some a hundred times as active as others (0: from nobody named); from
    one alone, it is the candidate's. With `outage` both arms fail most requests in a span before.
    """

    broken: float
    begin: int = 20_000
    users: int = 0
    outage: bool = False
    healthy: float = 0.01

    def requests(self, rng: Random, share: float) -> Iterator[Drawn]:
        draws = [self.users == 1 or rng.random() < share for _ in range(self.users)]
        idle = 0
        for control, candidate, length in self._spans():
            kinds: Sequence[Kind] = both(share, control, candidate)
            if draws:
                kinds = [
                    Kind(
                        math.exp(-5.0 * user / self.users),
                        mine,
                        candidate if mine else control,
                        control,
                        f"u{user}",
                    )
                    for user, mine in enumerate(draws)
                ]
            idle = yield from mixed(kinds, rng, length, idle)

    def _spans(self) -> Iterator[tuple[float, float, float]]:
        """The control's rate, the candidate's, and for how many requests."""
        if self.outage:
            outage, length = self.begin // 8, self.begin // 40
            yield self.healthy, self.healthy, outage
            yield 0.6, 0.6, length
            yield self.healthy, self.healthy, self.begin - outage - length
        else:
            yield self.healthy, self.healthy, self.begin
        yield self.healthy, self.broken, math.inf


@dataclass(frozen=True)
class Latency:
    """Lognormal seconds; the candidate `times` slower, in all or only in a `part` of its requests."""

    times: float
    part: float = 1.0
    sigma: float = 0.6

    def requests(self, rng: Random, share: float) -> Iterator[Drawn]:
        while True:
            candidate = rng.random() < share
            slow = candidate and rng.random() < self.part
            yield Drawn(candidate, math.exp(rng.gauss(0.0, self.sigma)) * (self.times if slow else 1.0))


@dataclass(frozen=True)
class Cost:
    """Lognormal USD of mean `both`; the candidate `times` dearer."""

    times: float
    both: float = 1.0
    sigma: float = 1.0

    def requests(self, rng: Random, share: float) -> Iterator[Drawn]:
        middle = math.log(self.both) - self.sigma**2 / 2
        while True:
            candidate = rng.random() < share
            yield Drawn(
                candidate, math.exp(rng.gauss(middle, self.sigma)) * (self.times if candidate else 1.0)
            )


@dataclass(frozen=True)
class Quality:
    """Beta scores with a mean in each arm; `spread` is the sum of Beta's two parameters."""

    control: float
    candidate: float
    spread: float = 9.0

    def requests(self, rng: Random, share: float) -> Iterator[Drawn]:
        while True:
            candidate = rng.random() < share
            mean = self.candidate if candidate else self.control
            yield Drawn(candidate, rng.betavariate(mean * self.spread, (1.0 - mean) * self.spread))


@dataclass(frozen=True)
class Everything:
    """A route as it is: errors, seconds that go with the length of the answer, and USD that go with it too."""

    control: float = 0.03
    candidate: float = 0.03
    users: int = 2_000

    def requests(self, rng: Random, share: float) -> Iterator[Drawn]:
        draws = [rng.random() < share for _ in range(self.users)]
        ladder = list(accumulate(rng.paretovariate(1.2) for _ in range(self.users)))
        while True:
            for user in rng.choices(range(self.users), cum_weights=ladder, k=1_000):
                candidate = draws[user]
                failed = rng.random() < (self.candidate if candidate else self.control)
                again = failed and candidate and rng.random() < self.control
                first, length = rng.lognormvariate(-1.0, 0.5), rng.lognormvariate(0.0, 0.8)
                spent = (first + 2.0 * length * rng.lognormvariate(0.0, 0.3), first, 0.002 + 0.01 * length)
                yield Drawn(candidate, float(failed), f"u{user}", again=again, spent=spent)
