"""What operators see of the traffic, as JSON: gauges, history, evidence. Shapes only, no behaviour.

Rates are shares (0 to 1), times seconds, money USD. null: nothing was seen that would tell.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from policies.verdict import Standing


class ScoreShape(msgspec.Struct, frozen=True):
    """What feedback said of one metric: the mean of `count` scores."""

    mean: float
    count: int


class BarShape(msgspec.Struct, frozen=True):
    """One policy's evidence against one version, as a bar towards the brake: `ratio` 1 pulls it."""

    policy: str
    standing: Standing
    ratio: float
    reason: str
    # It only says what it would have done.
    dry_run: bool = False


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """What requests came to in a span of time.

    `error_rate` is the share of failed ones among those that the upstream or the version decided; `cost_per_request`
    the mean of those whose cost is known, `cost_unknown` counts good answers of which it is not: that is not zero.
    """

    requests: int
    per_second: float
    endings: dict[str, int]
    error_rate: float | None
    latency_p50: float | None
    latency_p95: float | None
    ttft_p50: float | None
    ttft_p95: float | None
    cost_usd: float
    cost_per_request: float | None
    cost_unknown: int
    # By direction: input, output, and of these cached and reasoning.
    tokens: dict[str, int]
    shielded: int
    scores: dict[str, ScoreShape]


class VersionShape(Figures, frozen=True, kw_only=True):
    """One version of a layer. `share` is its part of the layer's requests in the span, on every route of its flag."""

    variant: str
    # candidate, served, safe, withdrawn, or "" for one that is none of these any more (or not yet).
    role: str
    share: float
    evidence: list[BarShape]


class LayerGauges(msgspec.Struct, frozen=True):
    """One layer of a route: its flag and the versions that answered or are in service."""

    flag: str
    versions: list[VersionShape]


class BreakerShape(msgspec.Struct, frozen=True):
    """One upstream target's breakers: the worst state that a worker's is in, and which workers' are."""

    target: str
    state: str
    workers: list[str]


class RouteGauges(Figures, frozen=True, kw_only=True):
    """One route in the span. `evidence` is of what no layer is judged for (nothing to roll back)."""

    overhead_p50: float | None
    overhead_p95: float | None
    layers: dict[str, LayerGauges]
    evidence: list[BarShape]
    breakers: list[BreakerShape]


class GaugesShape(msgspec.Struct, frozen=True):
    """The last minutes of every route. `degraded`: the store is away, these are the last figures known."""

    revision: int
    degraded: bool
    # The span asked for, and its length in seconds so far: the current minute is not over.
    minutes: int
    seconds: float
    routes: dict[str, RouteGauges]


class PointShape(Figures, frozen=True, kw_only=True):
    """One minute of a route, and of the versions of its layers, by layer and version."""

    # When the minute began.
    time: str
    layers: dict[str, dict[str, Figures]]


class HistoryShape(msgspec.Struct, frozen=True):
    """One route, minute by minute, oldest first; minutes without a request are there too."""

    route: str
    degraded: bool
    points: list[PointShape]


class VerdictShape(msgspec.Struct, frozen=True):
    """One policy's view of one case: its bound, what was counted, what follows. `share` is its part of α."""

    policy: str
    metric: str
    action: str
    method: str
    dry_run: bool
    limit: float | None
    times_safe: float | None
    alpha: float
    share: float
    standing: Standing
    ratio: float
    objects: bool
    reason: str
    # Observations of the judged side, and bad ones among them.
    n: int
    bad: float


class CaseShape(msgspec.Struct, frozen=True):
    """A release on trial (with a `control`) or watched (without).

    `candidate` and `control_requests` count what the coin decided at this percentage; `units` the different users
    that the candidate has met, counted up to 20. `flag` null: the route has nothing to go back to.
    """

    case: str
    kind: Literal["trial", "watch"]
    flag: str | None
    variant: str | None
    generation: int | None
    control: str | None
    percent: float
    routes: list[str]
    since: str | None
    candidate: int
    control_requests: int
    judged: int
    units: int
    policies: list[VerdictShape]


class EvidenceShape(msgspec.Struct, frozen=True):
    """All cases as of one revision, judged when asked."""

    revision: int
    degraded: bool
    cases: list[CaseShape]
