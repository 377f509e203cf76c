"""One track as scores: which releases it judges, and on which routes. Pure: no store, no clock, no log.

A track without a decision's token or a request's id speaks of what its user last got: of a version of each of some
layer flags. Each of these versions is judged once, whichever routes share its flag.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import TypeAlias

import msgspec

from flags.compiled import CompiledFlag
from flags.model import Resolution
from flags.tracking import Got, Track
from gateway.route import how_of
from gateway.token import VALID_SECONDS
from policies.outcome import Release, Score
from policies.policy import Metric

# Which routes use a flag, by its key (policies.case.Docket.users).
Users: TypeAlias = Mapping[str, Mapping[str, str]]
Flags: TypeAlias = Mapping[str, CompiledFlag]

NOBODY: Mapping[str, str] = MappingProxyType({})


def scores_of(
    track: Track, metric: Metric, value: float, *, flags: Flags, users: Users, now: float
) -> list[Score]:
    """What `track` says of each route whose versions its user got, one score a route; none where there is nothing.

    `now` in Unix seconds of Redis' clock. What is older than a decision's token may be, and what no flag of ours can
    have given, is left out.
    """
    known = [_by_now(got, now) for got in track.got if is_known(got, flags) and not is_late(got, now)]
    return [
        _score(track, metric, value, route, together)
        for route, together in by_route(known, users, track.route)
    ]


def is_known(got: Got, flags: Flags) -> bool:
    """Whether there is such a version, in this life or in one before."""
    compiled = flags.get(got.flag)
    variant = None if compiled is None else compiled.flag.variants.get(got.variant)
    return variant is not None and 1 <= got.generation <= variant.generation


def is_late(got: Got, now: float) -> bool:
    """Whether it is older than feedback may be (CONTRACT §2)."""
    return now - got.at > VALID_SECONDS


def _by_now(got: Got, now: float) -> Got:
    # A clock that is ahead must not make it evidence on what is yet to come.
    return got if got.at <= now else msgspec.structs.replace(got, at=int(now))


def by_route(known: Sequence[Got], users: Users, route: str = "") -> Iterator[tuple[str, list[Got]]]:
    """The versions by the route that they are counted for, each once: those of `route` where that is given.

    Else the flags with the fewest routes choose first: whoever got `support-bot.prompt` and a shared `kb.index` used
    both on `support-bot`. Of several routes the first by name. What no route uses is left out.
    """
    if route:
        together = [got for got in known if route in _users_of(got, users)]
        if together:
            yield route, together
        return
    left = sorted(known, key=lambda got: (len(_users_of(got, users)), got.flag))
    while left:
        routes = _users_of(left[0], users)
        if not routes:
            left = left[1:]
            continue
        chosen = min(routes)
        yield chosen, [got for got in left if chosen in _users_of(got, users)]
        left = [got for got in left if chosen not in _users_of(got, users)]


def _users_of(got: Got, users: Users) -> Mapping[str, str]:
    return users.get(got.flag, NOBODY)


def _score(track: Track, metric: Metric, value: float, route: str, together: Sequence[Got]) -> Score:
    return Score(
        # The track's own id: sent twice it counts once, and a user may say something again and again.
        key=f"{track.id}/{route}/{metric.name}",
        route=route,
        releases=tuple(Release(got.flag, got.variant, got.generation) for got in together),
        how="".join(_how(got) for got in together),
        unit=track.unit,
        metric=metric.name,
        value=value,
        # Of the oldest: rather no evidence than evidence on what came later.
        decided_at=min(got.at for got in together),
    )


def _how(got: Got) -> str:
    return how_of(Resolution(got.flag, got.variant, None, got.reason, got.generation)).value
