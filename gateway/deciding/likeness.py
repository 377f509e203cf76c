"""What our flag must be so that it stands as a provider decides: from what was given lately to the flag's next state.

Pure. It makes a *likeness*, by which docket, policies, shield and views work as for a rollout of ours; nobody is served
by it where the provider answers. Four things hold after every step: `safe` is as it was, nothing that is withdrawn or
quarantined serves or is tried, no generation fell, and the candidate's percentage is an upper bound of its share among
those whom the provider's coin gave it or its control.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from math import ceil
from typing import NamedTuple

from flags.model import Flag, Rollout
from gateway.deciding.shares import GRID, above, exceeds_lately, percent, strongest, upper
from gateway.deciding.sightings import Sighting
from policies import verbs
from policies.outcome import How

# A version that is new is looked at for so long before anything is written: a flip of all users is no rollout.
SETTLE_SECONDS = 3
# A version is gone when, for so long, it was not among answers of which it should have had ten (a chance of 5 in
# 100,000), or when nobody got it for five minutes.
SILENT_SECONDS, SILENT_ANSWERS, GONE_SECONDS = 3, 10.0, 300
SHORT_SECONDS = 10
# A percentage begins no lower than this; from above it is lowered as soon as the answers allow: there a trial tells little.
START_PERCENT = 50.0
# By fewer answers than this nobody gets a version "no more".
ANSWERS_ENOUGH = 5
# The chance that a bound is passed though the share did not rise: such a candidate begins anew, and loses its evidence.
# The bound itself is above the true share but for one stage in a thousand.
RISEN_DOUBT, BOUND_DOUBT = 1e-4, 1e-3
# Further down it goes when it may be halved, after a minute and with so many answers: each percentage is a stage.
LOWER_SECONDS, LOWER_ANSWERS, LOWER_TIMES = 60, 400, 0.5
# What was given longer ago says nothing of the share now.
LATELY_SECONDS = 600
# Of two versions that are served by default, the one that is served gives way to one with so many times its answers.
OUTWEIGHS = 4
# A route's own share is told from so many of its answers on.
ROUTE_ANSWERS = 100


class Step(NamedTuple):
    """The flag's next state, and why."""

    flag: Flag
    why: str


class _There(NamedTuple):
    """A version that users get now: how many did, by the coin, by default, in all."""

    coin: int
    plain: int
    all: int


def next_likeness(
    flag: Flag, seen: Sequence[Sighting], now: int, *, doubt: float = RISEN_DOUBT
) -> Step | None:
    """The step by which `flag` stands as the provider decides; None where it does, or nothing can be told yet.

    `seen` is in the order of time, `now` in seconds of the same clock. Raises Refused where a rule forbids the step.
    """
    if not flag.enabled or flag.served is None:
        return None
    given = [
        each._replace(variant=lands(flag, each.variant)) for each in seen if each.variant in flag.variants
    ]
    there = _there(flag, given, now)
    if not there or (flag.served not in there and sum(each.all for each in there.values()) < ANSWERS_ENOUGH):
        return None
    base, candidate = _pair(flag, there)
    if candidate is None:
        return _serves(flag, base)
    rollout = flag.rollout
    if flag.served != base or rollout is None or rollout.variant != candidate or _is_operated(rollout):
        return _begins(flag, base, candidate, given, now)
    return _bounded(flag, base, rollout, given, now, doubt)


def has_risen(flag: Flag, seen: Sequence[Sighting], doubt: float) -> bool:
    """Whether more users than `flag`'s percentage allows got the candidate, in this stage: its evidence says too much."""
    rollout = flag.rollout
    if rollout is None or flag.served is None or rollout.percent >= GRID[-1]:
        return False
    given = [
        each._replace(variant=lands(flag, each.variant)) for each in seen if each.variant in flag.variants
    ]
    coin = _coin(given, flag.served, rollout.variant, began(flag))
    return any(
        exceeds_lately(_runs(part, rollout.variant), rollout.percent / 100, doubt) for part in _parts(coin)
    )


def lands(flag: Flag, variant: str) -> str:
    """What users get where the provider gives `variant`."""
    return flag.safe if variant in flag.withdrawn and flag.safe is not None else variant


def began(flag: Flag) -> int:
    """The first whole second of the flag's present stage; 0 where that is not known."""
    try:
        return ceil(datetime.fromisoformat(flag.changed_at).timestamp())
    except ValueError:
        return 0


def _there(flag: Flag, given: Sequence[Sighting], now: int) -> Mapping[str, _There]:
    """The versions that users get, without those that are gone, too new, or in quarantine."""
    by_name: dict[str, list[Sighting]] = {}
    for each in given:
        by_name.setdefault(each.variant, []).append(each)
    known = {flag.served, flag.rollout.variant if flag.rollout else None}
    found = {}
    for name, own in by_name.items():
        new = name not in known and now - own[0].second < SETTLE_SECONDS
        if new or flag.variants[name].hash in flag.quarantined or _is_gone(name, own, given, now):
            continue
        lately = [each for each in own if each.second > now - LOWER_SECONDS] or own
        found[name] = _There(
            sum(each.times for each in lately if each.how is How.COIN),
            sum(each.times for each in lately if each.how is How.PLAIN),
            sum(each.times for each in lately),
        )
    return found


def _is_gone(name: str, own: Sequence[Sighting], given: Sequence[Sighting], now: int) -> bool:
    last = own[-1].second
    since = sum(each.times for each in given if each.second > last)
    if not since or now - last < SILENT_SECONDS:
        return False
    # Of a share that fell the last seconds tell, of one in a hundred the minute does.
    share = min(_share(name, given, last - back, last) for back in (SHORT_SECONDS, LOWER_SECONDS))
    return since * share >= SILENT_ANSWERS or now - last >= GONE_SECONDS


def _share(name: str, given: Sequence[Sighting], after: int, until: int) -> float:
    span = [each for each in given if after < each.second <= until]
    return sum(each.times for each in span if each.variant == name) / sum(each.times for each in span)


def _pair(flag: Flag, there: Mapping[str, _There]) -> tuple[str, str | None]:
    """What serves, and what is tried beside it (None: nothing).

    Where a coin gives several, `safe` is what the others are compared with. Where none does, what is given by default
    serves, and is watched; `safe` beside it needs no judge.
    """
    tossed = {name: each.coin for name, each in there.items() if each.coin}
    if len(tossed) > 1:
        base = next((name for name in (flag.safe, flag.served) if name in tossed), None) or _most(tossed)
        return base, _candidate(flag, {name: n for name, n in tossed.items() if name != base})
    plain = {name: each.plain for name, each in there.items() if each.plain}
    everything = {name: each.all for name, each in there.items()}
    if plain:
        most, held = _most(plain), flag.served
        base = held if held in plain and plain[held] * OUTWEIGHS >= plain[most] else most
    else:
        base = next((name for name in (flag.safe, flag.served) if name in there), None) or _most(everything)
    others = {name: n for name, n in everything.items() if name not in (base, flag.safe)}
    return base, _candidate(flag, others)


def _candidate(flag: Flag, others: Mapping[str, int]) -> str | None:
    if flag.rollout is not None and flag.rollout.variant in others:
        return flag.rollout.variant
    return _most(others) if others else None


def _most(counts: Mapping[str, int]) -> str:
    return max(counts, key=lambda name: (counts[name], name))


def _is_operated(rollout: Rollout) -> bool:
    """Whether it is no likeness: a rollout from before, which automation would move on, or that everybody gets."""
    return bool(rollout.steps) or rollout.percent > GRID[-1]


def _serves(flag: Flag, base: str) -> Step | None:
    """`base` and nothing else."""
    rollout = flag.rollout
    if flag.served == base:
        return (
            None if rollout is None else Step(verbs.abort(flag).flag, f"{rollout.variant} is given no more")
        )
    step = (
        verbs.promote(flag) if rollout is not None and rollout.variant == base else verbs.switch(flag, base)
    )
    # A likeness says what users get, never where a rollback lands.
    return Step(replace(step.flag, safe=flag.safe), f"{base} is what all are given")


def _begins(flag: Flag, base: str, candidate: str, given: Sequence[Sighting], now: int) -> Step:
    """A trial of `candidate` beside `base`."""
    before = flag if flag.served == base else replace(verbs.switch(flag, base).flag, safe=flag.safe)
    if before.rollout is not None and before.rollout.variant == candidate:
        # Against another control it is another trial.
        before = verbs.abort(before).flag
    lately = [each for each in given if each.second > now - LOWER_SECONDS]
    # What was given before anybody got the candidate says nothing of its share.
    first = next((each.second for each in lately if each.variant == candidate), 0)
    share = max(START_PERCENT, _bound(_coin(lately, base, candidate, first), candidate))
    started = verbs.start(before, candidate, share).flag
    return Step(started, f"{candidate} is given beside {base}; judged as at most {share:g} %")


def _bounded(  # all that a bound rests on
    flag: Flag, base: str, rollout: Rollout, given: Sequence[Sighting], now: int, doubt: float
) -> Step | None:
    """The trial with another bound, where the present one is passed, or far too large."""
    candidate = rollout.variant
    if has_risen(flag, given, doubt):
        stage = _coin(given, base, candidate, began(flag))
        share = max(START_PERCENT, *(_risen(part, rollout) for part in _parts(stage)))
        # What was counted took the share for smaller than it was: the candidate begins a new life.
        after = verbs.reborn(verbs.start(flag, candidate, share).flag, candidate)
        why = f"more than {rollout.percent:g} % are given {candidate}; judged anew, as at most {share:g} %"
        return Step(after, why)
    coin = _coin(given, base, candidate, max(began(flag), now - LATELY_SECONDS))
    share = _bound(coin, candidate)
    if rollout.percent > START_PERCENT:
        share = max(START_PERCENT, share)
        lower = bool(coin) and share < rollout.percent
    else:
        old, many = now - began(flag) >= LOWER_SECONDS, sum(each.times for each in coin) >= LOWER_ANSWERS
        lower = old and many and share <= rollout.percent * LOWER_TIMES
    if not lower:
        return None
    after = verbs.start(flag, candidate, share).flag
    return Step(after, f"{candidate} is given to fewer; judged as at most {share:g} %")


def _risen(part: Sequence[Sighting], rollout: Rollout) -> float:
    """The percentage that the answers allow since the share rose; 0.0 where it did not."""
    hits, of = strongest(_runs(part, rollout.variant), rollout.percent / 100)
    larger = next((each for each in GRID if each > rollout.percent), GRID[-1])
    return max(larger, percent(upper(hits, of, BOUND_DOUBT))) if of else 0.0


def _coin(given: Sequence[Sighting], base: str, candidate: str, since: int) -> list[Sighting]:
    """What the coin gave of the two: other evidence of a trial is not compared."""
    return [
        each
        for each in given
        if each.second >= since and each.how is How.COIN and each.variant in (base, candidate)
    ]


def _bound(coin: Sequence[Sighting], candidate: str) -> float:
    """The percentage that is above the candidate's share: on the whole, in the latest part of it, however short, and on
    each route with answers enough.

    Routes may differ in how often they fail: there the largest share is what a failure speaks of.
    """
    if not coin:
        return START_PERCENT
    whole, *routes = _parts(coin)
    enough = (part for part in routes if sum(each.times for each in part) >= ROUTE_ANSWERS)
    return max(above([*_runs(part, candidate)], BOUND_DOUBT) for part in (whole, *enough))


def _parts(coin: Sequence[Sighting]) -> Iterator[Sequence[Sighting]]:
    """All of it, then each route's, where there are several."""
    yield coin
    routes = {each.route for each in coin}
    for route in sorted(routes) if len(routes) > 1 else ():
        yield [each for each in coin if each.route == route]


def _runs(part: Sequence[Sighting], candidate: str) -> Iterator[tuple[int, int]]:
    """(candidate's, all) of each second, the newest first."""
    seconds: dict[int, tuple[int, int]] = {}
    for each in part:
        hits, of = seconds.get(each.second, (0, 0))
        seconds[each.second] = hits + each.times * (each.variant == candidate), of + each.times
    return (seconds[second] for second in sorted(seconds, reverse=True))
