"""The rows of the benchmark of judging: healthy traffic, bad releases, bounds kept and bounds broken. Runs nothing."""

from __future__ import annotations

from collections.abc import Iterator

from policies.policy import ACCURACY, COST, ERROR_RATE, LATENCY, Policy, policies_in
from tests.bench.traffic import (
    Cost,
    DeadNeighbour,
    Dying,
    Errors,
    Everything,
    Latency,
    Outage,
    Quality,
    Users,
)
from tests.bench.trial import Scene

LIMIT = (Policy("limit", ERROR_RATE, limit=0.05),)
TWICE = (Policy("twice", ERROR_RATE, times_safe=1.0),)
# The notes' table has r = 1.1 on the control's own quantiles. times_safe moves the candidate's instead, and r is 1:
# at 1.0 the same events are counted, with a little less to prove.
SLOWER = (Policy("slower", LATENCY, times_safe=1.0),)
SLOW_BY_HALF = (Policy("slow by half", LATENCY, times_safe=1.5),)
DEAR_BY_HALF = (Policy("dear by half", COST, times_safe=1.5),)
# The mean of the simulated cost is 1 USD.
DEARER = (Policy("dearer", COST, limit=1.2),)
WORSE = (Policy("worse", ACCURACY, limit=0.82),)
SHIPPED = tuple(policies_in({}, {}).values())
# Beyond so many requests of both arms a bad release has got away.
AWAY = 60_000

# Candidate requests to fire as notes/evidence.md has them: by share, control's rate, candidate's rate.
COMBINED = {1_000: {1.0: 4, 0.5: 8, 0.2: 30, 0.1: 293}, 5_000: {1.0: 9, 0.5: 19, 0.2: 69, 0.1: 279}}
RELATIVE = {
    500: {(0.01, 0.05): 146, (0.01, 0.1): 46, (0.02, 0.06): 207, (0.02, 0.5): 7, (0.01, 1.0): 3},
    5_000: {(0.01, 0.05): 325, (0.01, 0.1): 122, (0.02, 0.06): 447, (0.02, 0.5): 19, (0.01, 1.0): 9},
}
SLOWDOWNS = {
    (1.3, 1.0): 240,
    (1.5, 1.0): 75,
    (2.0, 1.0): 23,
    (3.0, 1.0): 10,
    (10.0, 0.05): 164,
    (10.0, 0.1): 66,
}
COSTS = {1.5: 281, 2.0: 41, 3.0: 13}
QUALITIES = {0.78: 100, 0.75: 34, 0.7: 17, 0.6: 9}


def healthy(most: int) -> Iterator[Scene]:
    """Every rollback is false. `most` requests at a tenth of the traffic; at half, as many more go to the candidate."""
    for weight, length in ((1_000, most), (5_000, most * 2 // 5)):
        begin = length // 4
        yield Scene("both arms at 3 %", LIMIT, Errors(0.03, 0.03), weight, length)
        yield Scene("both arms at the limit, 5 %", LIMIT, Errors(0.05, 0.05), weight, length)
        yield Scene("the same, in mid-stream", LIMIT, Errors(0.05, 0.05, midstream=True), weight, length)
        yield Scene("sticky heavy-tailed users", LIMIT, Users(), weight, length)
        yield Scene("the same, times_safe 1", TWICE, Users(), weight, length)
        yield Scene("one user 56 % of all, failing often", LIMIT, Users(heavy=0.56), weight, length)
        yield Scene("the same, times_safe 1 ", TWICE, Users(heavy=0.56), weight, length)
        yield Scene("an outage of both arms, 60 %", LIMIT, Outage(begin=begin), weight, length)
        outage = Outage(broken=1.0, begin=begin, length=length // 4)
        yield Scene("an outage of both arms, all fail", LIMIT, outage, weight, length)
        yield Scene("another layer's candidate dead", LIMIT, DeadNeighbour(), weight, length)
    yield Scene("latency alike, times_safe 1", SLOWER, Latency(1.0), 1_000, most // 8)
    yield Scene("cost alike", DEARER, Cost(1.0), 1_000, most // 8)
    yield Scene("both arms cost twice the limit", DEARER, Cost(1.0, both=2.4), 1_000, most // 8)
    yield Scene("scores of both arms at the limit", WORSE, Quality(0.82, 0.82), 1_000, most // 8)
    yield Scene("scores of both arms far below it", WORSE, Quality(0.6, 0.6), 1_000, most // 8)


def in_bounds(most: int) -> Iterator[Scene]:
    """A candidate that is worse, but not more than `times_safe` 1.5 allows."""
    for times, word in ((1.5, "at its bound"), (1.4, "near it")):
        for sigma in (0.6, 0.02):
            name = f"latency × {times:g}, {word}, σ {sigma:g}"
            yield Scene(name, SLOW_BY_HALF, Latency(times, sigma=sigma), 1_000, most // 8)
        for sigma in (1.0, 0.02):
            name = f"cost × {times:g}, {word}, σ {sigma:g}"
            yield Scene(name, DEAR_BY_HALF, Cost(times, sigma=sigma), 1_000, most // 8)


def out_of_bounds() -> Iterator[Scene]:
    """A candidate that is worse than `times_safe` 1.5 allows; the notes have no table of it."""
    for times in (2.0, 3.0):
        for sigma in (0.6, 0.02):
            name = f"latency × {times:g}, σ {sigma:g}"
            yield Scene(name, SLOW_BY_HALF, Latency(times, sigma=sigma), 1_000, AWAY)
        for sigma in (1.0, 0.02):
            name = f"cost × {times:g}, σ {sigma:g}"
            yield Scene(name, DEAR_BY_HALF, Cost(times, sigma=sigma), 1_000, AWAY)


def bad() -> Iterator[Scene]:
    """Releases that are worse, and how soon the notes say that it shows."""
    for weight, rates in COMBINED.items():
        for rate, expected in rates.items():
            name = f"errors {rate:.0%}, control 1 %, limit 5 %"
            yield Scene(name, LIMIT, Errors(0.01, rate), weight, AWAY, expected)
        yield Scene(
            "errors 50%, the same, in mid-stream",
            LIMIT,
            Errors(0.01, 0.5, midstream=True),
            weight,
            AWAY,
            rates[0.5],
        )
    for weight, pairs in RELATIVE.items():
        for (control, candidate), expected in pairs.items():
            name = f"errors {control:.0%} → {candidate:.0%}, times_safe 1"
            yield Scene(name, TWICE, Errors(control, candidate), weight, AWAY, expected)
    for (times, part), expected in SLOWDOWNS.items():
        name = f"latency × {times:g}" + (f" in {part:.0%} of requests" if part < 1 else "")
        yield Scene(f"{name}, times_safe 1", SLOWER, Latency(times, part), 1_000, AWAY, expected)
    for times, expected in COSTS.items():
        yield Scene(f"cost × {times:g}, limit 1.2 × baseline", DEARER, Cost(times), 1_000, AWAY, expected)
    for mean, expected in QUALITIES.items():
        name = f"scores {mean:g}, baseline .85, limit .82"
        yield Scene(name, WORSE, Quality(0.85, mean), 1_000, AWAY, expected)


def dying(begin: int) -> Iterator[Scene]:
    """After `begin` good requests (1 % errors in both arms) the candidate breaks. Counted from then on."""
    for users, whose in ((300, "300 users"), (0, "nobody named")):
        for weight in (1_000, 5_000):
            for broken in (1.0, 0.5, 0.2):
                traffic = Dying(broken, begin, users)
                name = f"{whose}, then {broken:.0%} fail"
                yield Scene(name, LIMIT, traffic, weight, begin + AWAY, since=begin)
            for broken in (1.0, 0.5):
                traffic = Dying(broken, begin, users, outage=True)
                name = f"{whose}, an outage of both, then {broken:.0%} fail"
                yield Scene(name, LIMIT, traffic, weight, begin + AWAY, since=begin)
    for since, past in ((0, "from the start"), (begin, "after all that")):
        for broken in (1.0, 0.5):
            traffic = Dying(broken, since, users=1)
            name = f"one constant user, {broken:.0%} {past}"
            yield Scene(name, LIMIT, traffic, 1_000, since + AWAY, since=since)


def shipped_healthy(most: int) -> Iterator[Scene]:
    """The strategy that ships, all its policies at once, over users and requests as they are."""
    for weight, length in ((1_000, most), (5_000, most * 2 // 5)):
        yield Scene("shipped, both arms at 3 %", SHIPPED, Everything(), weight, length)


def shipped_bad() -> Iterator[Scene]:
    """The same with a candidate that is dead, or half dead."""
    for weight in (1_000, 5_000):
        for rate in (1.0, 0.5):
            traffic = Everything(0.03, rate)
            yield Scene(f"shipped, errors 3% → {rate:.0%}", SHIPPED, traffic, weight, AWAY)
