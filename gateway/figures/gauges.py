"""What operators see of the traffic: windows and verdicts as shapes. Pure: made from a snapshot and what was read.

Knows no store, no HTTP and no clock.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any

import msgspec

from flags.errors import NotFound
from flags.model import Flag, Kind, Layer
from flags.slices import in_slices
from flags.snapshot import Snapshot
from gateway.breaking.shapes import BreakerRow
from gateway.compiling import flag_names
from gateway.figures.shapes import (
    BarShape,
    BreakerShape,
    CaseShape,
    EvidenceShape,
    Figures,
    GaugesShape,
    HistoryShape,
    LayerGauges,
    PointShape,
    RouteGauges,
    ScoreShape,
    VerdictShape,
    VersionShape,
)
from gateway.figures.sight import Judgement, Seen
from policies.breaker import State
from policies.outcome import CostSource, Release
from policies.policy import Policy
from policies.series import route_subject, version_subject
from policies.verdict import Verdict
from policies.window import Stats, Window, joined

# Quantiles are good to 4.5 %; six digits of anything keep the document readable.
DIGITS = 6
NO_STATS = Stats()
# A breaker that an operator took out of the way guards nothing, and is no alarm either.
BADNESS: Mapping[str, int] = MappingProxyType(
    {State.OFF: -1, State.CLOSED: 0, State.HALF_OPEN: 1, State.OPEN: 2, State.FORCED_OPEN: 3}
)


@dataclass(frozen=True, slots=True)
class Span:
    """The last minutes as they were asked for: all together, the versions by flag, and how long they were."""

    minutes: int
    seconds: float
    routes: Mapping[str, Stats]
    flags: Mapping[str, Mapping[str, Stats]]


@dataclass(frozen=True, slots=True)
class Bars:
    """Evidence by (flag, variant); by route where nothing can be rolled back."""

    versions: Mapping[str, Mapping[str, list[BarShape]]]
    routes: Mapping[str, list[BarShape]]


@dataclass(frozen=True, slots=True)
class Seeing:
    """All that gauges are made from; breakers by route."""

    span: Span
    bars: Bars
    breakers: Mapping[str, list[BreakerShape]]
    degraded: bool


def seeing(
    windows: Seen[Sequence[Window]],
    minutes: int,
    judgements: Seen[Sequence[Judgement]],
    breakers: Iterable[BreakerRow],
) -> Seeing:
    """What was read, put where it is looked for."""
    stale = windows.stale or judgements.stale
    return Seeing(span_of(windows.value, minutes), bars_of(judgements.value), _by_route(breakers), stale)


def worst_of(rows: Iterable[BreakerRow]) -> dict[tuple[str, str], list[BreakerRow]]:
    """By (route, target): the workers' breakers that are in the worst state that any of them is in."""
    found: dict[tuple[str, str], list[BreakerRow]] = {}
    for row in rows:
        worst = found.setdefault((row.route, row.target), [row])
        if _badness(row) > _badness(worst[0]):
            found[row.route, row.target] = [row]
        elif row is not worst[0] and _badness(row) == _badness(worst[0]):
            worst.append(row)
    return found


def _badness(row: BreakerRow) -> int:
    # What a later version may call a state is worse than what we know to be well.
    return BADNESS.get(row.state, 1)


def _by_route(rows: Iterable[BreakerRow]) -> dict[str, list[BreakerShape]]:
    by_route: dict[str, list[BreakerShape]] = {}
    for (route, target), worst in sorted(worst_of(rows).items()):
        shape = BreakerShape(target, worst[0].state, [row.worker for row in worst])
        by_route.setdefault(route, []).append(shape)
    return by_route


def span_of(windows: Sequence[Window], minutes: int) -> Span:
    """`windows` (oldest first) as one. Minutes before the first request do not count: a rate would be too low."""
    begun = next((at for at, window in enumerate(windows) if window.routes or window.versions), len(windows))
    total = joined(windows[begun:])
    flags: dict[str, dict[str, Stats]] = {}
    for (flag, variant), stats in total.versions.items():
        flags.setdefault(flag, {})[variant] = stats
    return Span(minutes, float(total.seconds), total.routes, flags)


def bars_of(judgements: Iterable[Judgement]) -> Bars:
    """Each case's evidence, policy by policy."""
    versions: dict[str, dict[str, list[BarShape]]] = {}
    routes: dict[str, list[BarShape]] = {}
    for judged in judgements:
        bars = [_bar(policy, verdict) for policy, verdict in judged.verdicts]
        subject = judged.case.subject
        if subject is not None:
            versions.setdefault(subject.flag, {})[subject.variant] = bars
        else:
            routes |= dict.fromkeys(judged.case.routes, bars)
    return Bars(versions, routes)


async def gauges_of(snapshot: Snapshot, seen: Seeing, route: str | None = None) -> dict[str, RouteGauges]:
    """Every route, or one; requests are served between them. Raises NotFound with those that exist."""
    names = sorted(snapshot.of_kind(Kind.ROUTE)) if route is None else [_known(snapshot, route)]
    return {name: _route(snapshot, name, seen) async for name in in_slices(names)}


def gauges_shape(snapshot: Snapshot, seen: Seeing, routes: dict[str, RouteGauges]) -> GaugesShape:
    """The gauges of `routes`, with what they are of."""
    span = seen.span
    return GaugesShape(snapshot.revision, seen.degraded, span.minutes, round(span.seconds, 3), routes)


def versions_of(flag: Flag, seen: Seeing) -> list[VersionShape]:
    """A flag's versions that are in service, were asked, or have evidence against them; those in service first."""
    asked = seen.span.flags.get(flag.key, {})
    judged = seen.bars.versions.get(flag.key, {})
    whole = sum(stats.requests for name, stats in asked.items() if name != _shadowed(flag))
    serving = _in_service(flag)
    return [
        VersionShape(
            **_fields(figures(asked.get(name, NO_STATS), seen.span.seconds)),
            variant=name,
            role=_role(flag, name),
            share=_round(asked.get(name, NO_STATS).requests / whole)
            if whole and name != _shadowed(flag)
            else 0.0,
            evidence=judged.get(name, []),
        )
        for name in (*serving, *sorted((asked.keys() | judged.keys()) - {*serving}))
    ]


def figures(stats: Stats, seconds: float) -> Figures:
    """The numbers of a route or a version over so many seconds."""
    endings: dict[str, int] = {}
    for (ending, _), count in stats.endings.items():
        endings[ending.value] = endings.get(ending.value, 0) + round(count)
    return Figures(
        requests=round(stats.requests),
        per_second=_round(stats.requests / seconds) if seconds else 0.0,
        endings=endings,
        error_rate=_maybe(stats.error_rate),
        latency_p50=_maybe(stats.seconds.quantile(0.5)),
        latency_p95=_maybe(stats.seconds.quantile(0.95)),
        ttft_p50=_maybe(stats.first_content.quantile(0.5)),
        ttft_p95=_maybe(stats.first_content.quantile(0.95)),
        cost_usd=stats.cost.sum,
        cost_per_request=_maybe(stats.cost_per_request),
        cost_unknown=round(stats.costs.get(CostSource.UNKNOWN, 0)),
        tokens={direction: round(count) for direction, count in stats.tokens.items()},
        shielded=round(stats.shielded),
        scores={
            metric: ScoreShape(_round(score.mean), round(score.count))
            for metric, score in stats.scores.items()
            if score.mean is not None
        },
    )


def subjects_of(snapshot: Snapshot, route: str) -> list[str]:
    """The series that the history of a route is made from. Raises NotFound."""
    flags = _layers(snapshot, _known(snapshot, route)).values()
    versions = (
        Release(flag.key, name, each.generation) for flag in flags for name, each in flag.variants.items()
    )
    return [route_subject(route), *map(version_subject, versions)]


def history_shape(snapshot: Snapshot, route: str, seen: Seen[Sequence[Window]]) -> HistoryShape:
    """One route minute by minute. Raises NotFound."""
    layers = _layers(snapshot, _known(snapshot, route))
    return HistoryShape(route, seen.stale, [_point(window, route, layers) for window in seen.value])


def evidence_shape(snapshot: Snapshot, seen: Seen[Sequence[Judgement]]) -> EvidenceShape:
    """Every case with its verdicts."""
    return EvidenceShape(snapshot.revision, seen.stale, [_case(each) for each in seen.value])


def _known(snapshot: Snapshot, route: str) -> str:
    known = snapshot.of_kind(Kind.ROUTE)
    if route not in known:
        raise NotFound(f'route "{route}" does not exist (known: {", ".join(sorted(known)[:20]) or "none"})')
    return route


def _layers(snapshot: Snapshot, route: str) -> dict[Layer, Flag]:
    document = snapshot.of_kind(Kind.ROUTE)[route].document
    names = zip(Layer, flag_names(route, document), strict=True)
    return {layer: snapshot.flags[key].flag for layer, key in names if key in snapshot.flags}


def _route(snapshot: Snapshot, name: str, seen: Seeing) -> RouteGauges:
    stats = seen.span.routes.get(name, NO_STATS)
    return RouteGauges(
        **_fields(figures(stats, seen.span.seconds)),
        overhead_p50=_maybe(stats.overhead.quantile(0.5)),
        overhead_p95=_maybe(stats.overhead.quantile(0.95)),
        layers={
            layer.value: LayerGauges(flag.key, versions_of(flag, seen))
            for layer, flag in _layers(snapshot, name).items()
        },
        evidence=seen.bars.routes.get(name, []),
        breakers=seen.breakers.get(name, []),
    )


def _point(window: Window, route: str, layers: Mapping[Layer, Flag]) -> PointShape:
    seconds = float(window.seconds)
    return PointShape(
        **_fields(figures(window.route(route), seconds)),
        time=_time(window.start),
        layers={
            layer.value: {
                name: figures(window.version(flag.key, name), seconds)
                for name in flag.variants
                if (flag.key, name) in window.versions
            }
            for layer, flag in layers.items()
        },
    )


def _case(judged: Judgement) -> CaseShape:
    case, counts = judged.case, judged.counts
    subject = case.subject
    return CaseShape(
        case=case.key,
        kind="watch" if case.control is None else "trial",
        flag=None if subject is None else subject.flag,
        variant=None if subject is None else subject.variant,
        generation=None if subject is None else subject.generation,
        control=None if case.control is None else case.control.variant,
        percent=case.weight / 100,
        routes=[*case.routes],
        since=_time(counts.since_ms / 1000) if counts.since_ms else None,
        candidate=counts.candidate,
        control_requests=counts.control,
        judged=counts.judged,
        units=counts.units,
        policies=[_verdict(judged, policy, verdict) for policy, verdict in judged.verdicts],
    )


def _verdict(judged: Judgement, policy: Policy, verdict: Verdict) -> VerdictShape:
    counted = judged.counts.policies.get(policy.id)
    return VerdictShape(
        policy=policy.name,
        metric=policy.metric.name,
        action=policy.action.value,
        method=policy.method.value,
        dry_run=policy.dry_run,
        limit=policy.limit,
        times_safe=policy.times_safe,
        alpha=policy.alpha,
        share=judged.case.share(policy),
        standing=verdict.standing,
        ratio=_round(verdict.ratio),
        objects=verdict.objects,
        reason=verdict.reason,
        n=counted.n if counted else 0,
        bad=_round(counted.bad) if counted else 0.0,
    )


def _bar(policy: Policy, verdict: Verdict) -> BarShape:
    return BarShape(policy.name, verdict.standing, _round(verdict.ratio), verdict.reason, policy.dry_run)


def _in_service(flag: Flag) -> list[str]:
    candidate = flag.rollout.variant if flag.rollout else None
    named = (flag.served, candidate, flag.safe, _shadowed(flag))
    return [name for name in dict.fromkeys(named) if name is not None]


def _shadowed(flag: Flag) -> str | None:
    """The version of which users see nothing: copies of their requests are its own, and no share of theirs."""
    name = flag.shadow.variant if flag.shadow else None
    seen = (flag.served, flag.safe, flag.rollout.variant if flag.rollout else None)
    return None if name in seen else name


def _role(flag: Flag, name: str) -> str:
    if name in flag.withdrawn:
        return "withdrawn"
    if flag.rollout is not None and name == flag.rollout.variant:
        return "candidate"
    if name == _shadowed(flag):
        return "shadow"
    return "served" if name == flag.served else "safe" if name == flag.safe else ""


def _fields(made: Figures) -> dict[str, Any]:
    """To be taken over by a shape that has the same and more; typed there."""
    return msgspec.structs.asdict(made)


def _maybe(value: float | None) -> float | None:
    return None if value is None else _round(value)


def _round(value: float) -> float:
    return float(f"{value:.{DIGITS}g}")


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, tz=UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
