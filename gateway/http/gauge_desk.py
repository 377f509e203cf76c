"""What the operators' endpoints that look at traffic do: gauges, history, evidence. Knows HTTP only as `Call`."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from flags.errors import NotFound
from flags.snapshot import Snapshot
from gateway.figures import gauges
from gateway.figures.shapes import EvidenceShape, GaugesShape, HistoryShape
from gateway.http.endpoint import Call
from gateway.spec_base import RouteName

# Windows are kept for six hours.
Minutes = Annotated[int, Meta(ge=1, le=360, description="how far to look back")]


class StatusQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The span of the figures."""

    minutes: Minutes = 5


class GaugesQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The span, and one route where only that is wanted."""

    minutes: Minutes = 5
    route: RouteName | None = None


class HistoryQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Whose minutes."""

    route: RouteName
    minutes: Minutes = 180


async def seen(call: Call, minutes: int, flag: str | None = None, *, away: bool = False) -> gauges.Seeing:
    """What gauges are made from; with `flag` its evidence only. Told even without the store: the last that was known.

    `away`: the store is known not to answer.
    """
    house = call.house
    windows = await house.sight.windows(minutes, away=away)
    judgements = await house.sight.judgements(flag, away=away or windows.stale)
    away = windows.stale or judgements.stale
    board = await house.board.all(away=away)
    return gauges.seeing(windows, minutes, judgements, board.breakers)


async def gauges_of(
    call: Call, snapshot: Snapshot, minutes: int, route: str | None = None, *, away: bool = False
) -> GaugesShape:
    """The gauges of every route of `snapshot`, or of one. Raises NotFound."""
    found = await seen(call, minutes, away=away)
    return gauges.gauges_shape(snapshot, found, await gauges.gauges_of(snapshot, found, route))


async def gauge(call: Call) -> GaugesShape:
    """The last minutes of every route, or of one. Raises NotFound."""
    query: GaugesQuery = call.query
    return await gauges_of(call, call.snapshot, query.minutes, query.route)


async def history(call: Call) -> HistoryShape:
    """One route minute by minute. Raises NotFound."""
    query: HistoryQuery = call.query
    subjects = gauges.subjects_of(call.snapshot, query.route)
    windows = await call.house.sight.windows(query.minutes, subjects)
    return gauges.history_shape(call.snapshot, query.route, windows)


async def evidence(call: Call) -> EvidenceShape:
    """Every case with its verdicts."""
    return gauges.evidence_shape(call.snapshot, await call.house.sight.judgements())


async def evidence_of(call: Call) -> EvidenceShape:
    """The cases of one flag. Raises NotFound."""
    key = call.path["key"]
    if key not in call.snapshot.flags:
        raise NotFound(f'flag "{key}" does not exist')
    return gauges.evidence_shape(call.snapshot, await call.house.sight.judgements(key))
