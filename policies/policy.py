"""What may be judged: metrics with their direction, policies with their bounds, and the strategy that ships.

Knows no count and no store; documents come as the store has them, and one that cannot be read is left out, not raised.
A metric's observations become *badness*: for every metric more is worse (see Metric.badness).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from math import isfinite
from typing import Annotated

import msgspec
from msgspec import Meta

from flags.canonical import digest
from flags.errors import Invalid
from flags.model import Document, Json, Layer

log = logging.getLogger("pointsman.policy")

# At most one false rollback per hundred candidates (DESIGN §5).
ALPHA = 0.01
# A latency policy that names no quantile bounds this one.
QUANTILE = 0.95
# Between two automatic deeds on one flag: longer than the fleet needs to see the first, short enough that a new
# candidate which a person starts soon after is not left unguarded.
COOLDOWN_SECONDS = 60.0


class MetricKind(StrEnum):
    """How a metric is observed: a failed request, seconds, USD, or a score that feedback brings; `event` is none of
    these: it happens elsewhere (policies/incidents/incident.py)."""

    ERROR = "error"
    SECONDS = "seconds"
    COST = "cost"
    SCORE = "score"
    EVENT = "event"


class Action(StrEnum):
    """What a breach does."""

    ROLLBACK = "rollback"
    PAUSE = "pause"
    ALERT = "alert"


class Method(StrEnum):
    """`evidence`: anytime-valid tests at α. `threshold`: a plain bound over a window with a minimum count."""

    EVIDENCE = "evidence"
    THRESHOLD = "threshold"


@dataclass(frozen=True, slots=True)
class Metric:
    """One thing that is measured. `low` and `high` bound a score's values; a boolean one has only these two."""

    name: str
    kind: MetricKind
    higher_is_better: bool = False
    low: float = 0.0
    high: float = 1.0
    boolean: bool = False

    def badness(self, value: float) -> float:
        """How bad a score is, in [0, 1]; seconds and USD are their own badness."""
        if self.kind is not MetricKind.SCORE:
            return value
        share = min(1.0, max(0.0, (value - self.low) / (self.high - self.low)))
        return 1.0 - share if self.higher_is_better else share


ERROR_RATE = Metric("error_rate", MetricKind.ERROR)
LATENCY = Metric("latency", MetricKind.SECONDS)
TTFT = Metric("ttft", MetricKind.SECONDS)
COST = Metric("cost", MetricKind.COST)
ACCURACY = Metric("accuracy", MetricKind.SCORE, higher_is_better=True)
HALLUCINATION = Metric("hallucination", MetricKind.SCORE)
# Someone is not content: there is no share of them, for those who say nothing are not asked (policies/incidents/complaints.py).
COMPLAINT = Metric("complaint", MetricKind.SCORE, boolean=True)
BUILT_IN = (ERROR_RATE, LATENCY, TTFT, COST, ACCURACY, HALLUCINATION, COMPLAINT)
# What happens elsewhere, and is told: a policy of these has no bound, but for the complaints' number of users.
SIGNAL, DRIFT, COMPLAINTS = "signal", "drift", "complaint"
OUTSIDE = frozenset({SIGNAL, DRIFT, COMPLAINTS})
# Three different people within an hour are no coincidence, and nobody's mood.
COMPLAINTS_LIMIT, COMPLAINTS_SECONDS = 3.0, 3600.0


@dataclass(frozen=True, slots=True)
class Policy:
    """A metric with a bound, and what a breach does. CONTRACT §5 has the fields.

    `layer` is the one that goes back when no candidate's coin tells whose fault it is; None: the one changed last.
    `routes` None: all. `limit` and `times_safe`: at least one is there.
    """

    name: str
    metric: Metric
    limit: float | None = None
    times_safe: float | None = None
    quantile: float = QUANTILE
    action: Action = Action.ROLLBACK
    layer: Layer | None = None
    routes: frozenset[str] | None = None
    # Of those not these: there a declared policy stands in for this one that ships.
    but: frozenset[str] = frozenset()
    method: Method = Method.EVIDENCE
    window_seconds: float = 60.0
    min_count: int = 20
    alpha: float = ALPHA
    cooldown_seconds: float = COOLDOWN_SECONDS
    dry_run: bool = False
    # One of the strategy that ships, not declared by anybody.
    shipped: bool = False

    # `error-brake@1f2e3d4c`: the name and what it measures by. Counts taken under another meaning never mix.
    id: str = field(init=False)

    def __post_init__(self) -> None:
        measured: Json = {
            "metric": self.metric.name,
            "range": [
                self.metric.low,
                self.metric.high,
                self.metric.higher_is_better,
                self.metric.boolean,
            ],
            "limit": self.limit,
            "times_safe": self.times_safe,
            "quantile": self.quantile,
            "method": self.method.value,
            "routes": sorted(self.routes) if self.routes is not None else None,
            "but": sorted(self.but),
        }
        object.__setattr__(self, "id", f"{self.name}@{digest(measured)[:8]}")

    def watches(self, route: str) -> bool:
        """Whether requests of `route` count for it."""
        return (self.routes is None or route in self.routes) and route not in self.but


# The strategy (DESIGN §5): what holds where nobody declared a policy of the same metric.
SHIPPED = (
    Policy("errors", ERROR_RATE, limit=0.05, times_safe=2.0, shipped=True),
    Policy("accuracy", ACCURACY, times_safe=1.5, layer=Layer.PROMPT, shipped=True),
    Policy("latency", LATENCY, times_safe=1.5, layer=Layer.MODEL, shipped=True),
    Policy("ttft", TTFT, times_safe=1.5, layer=Layer.MODEL, shipped=True),
    Policy("hallucination", HALLUCINATION, times_safe=1.5, layer=Layer.RETRIEVER, shipped=True),
    Policy("cost", COST, times_safe=1.5, layer=Layer.PIPELINE, shipped=True),
)


SHIPPED_OUTSIDE = (
    Policy(
        "complaints",
        Metric(COMPLAINTS, MetricKind.EVENT),
        limit=COMPLAINTS_LIMIT,
        window_seconds=COMPLAINTS_SECONDS,
        action=Action.ALERT,
        shipped=True,
    ),
)


class _MetricFields(msgspec.Struct, frozen=True):
    type: str
    better: str
    range: tuple[float, float] | None = None


class _PolicyFields(msgspec.Struct, frozen=True):
    """CONTRACT §5; fields that we do not know are left alone."""

    metric: str
    limit: float | None = None
    times_safe: Annotated[float, Meta(gt=0)] | None = None
    quantile: Annotated[float, Meta(gt=0, lt=1)] | None = None
    action: Action = Action.ROLLBACK
    layer: Layer | None = None
    routes: frozenset[str] | None = None
    method: Method = Method.EVIDENCE
    window_seconds: Annotated[float, Meta(gt=0)] | None = None
    min_count: Annotated[int, Meta(ge=1)] | None = None
    alpha: Annotated[float, Meta(gt=0, lt=1)] = ALPHA
    cooldown_seconds: Annotated[float, Meta(ge=0)] | None = None
    dry_run: bool = False


def metric_from(name: str, spec: Document) -> Metric:
    """The score that a declaration describes. Raises Invalid where it cannot be read."""
    try:
        found = msgspec.convert(spec, _MetricFields)
    except msgspec.ValidationError as error:
        raise Invalid("", str(error)) from None
    low, high = found.range or (0.0, 1.0)
    if not (isfinite(low) and isfinite(high) and low < high):
        raise Invalid("range", f"expected [lowest, highest], found [{low:g}, {high:g}]")
    higher, boolean = found.better == "higher", found.type == "boolean"
    return Metric(name, MetricKind.SCORE, higher, *((0.0, 1.0) if boolean else (low, high)), boolean)


def policy_from(name: str, spec: Document, metrics: Mapping[str, Metric]) -> Policy:
    """The policy that a declaration describes. Raises Invalid where it cannot be read, or not be judged."""
    named = _named_metric(spec)
    metric = metrics.get(named)
    if metric is None and named:
        listed = ", ".join(sorted(metrics))
        raise Invalid("metric", f"metric {named!r} is not defined (metrics: {listed})")
    found = _policy(name, spec, metric or ERROR_RATE)
    if found.limit is None and found.times_safe is None:
        raise Invalid("", "there is no bound", mend="add limit, times_safe, or both")
    if found.limit is not None:
        check_limit(found.metric, found.limit)
    return found


def _policy(name: str, spec: Document, metric: Metric) -> Policy:
    """The policy that a document describes, of a metric that is known. Raises Invalid for a field that is none."""
    try:
        found = msgspec.convert(spec, _PolicyFields)
    except msgspec.ValidationError as error:
        raise Invalid("", str(error)) from None
    told = {field: getattr(found, field) for field in _PolicyFields.__struct_fields__ if field != "metric"}
    return Policy(name, metric, **{field: value for field, value in told.items() if value is not None})


def metrics_in(specs: Mapping[str, Document]) -> dict[str, Metric]:
    """All metrics by name: those that are built in, and the scores declared, which may describe a built-in one anew."""
    found = {metric.name: metric for metric in BUILT_IN}
    for name, spec in specs.items():
        if name in found and found[name].kind is not MetricKind.SCORE:
            log.warning("metric %s is left out: the gateway measures it itself", name)
            continue
        try:
            found[name] = metric_from(name, spec)
        except Invalid as error:
            log.warning("metric %s is left out: %s", name, error)
    return found


def policies_in(declared: Mapping[str, Document], metrics: Mapping[str, Document]) -> dict[str, Policy]:
    """All policies in force by name, from the specs of those declared and of the metrics declared.

    A shipped policy holds for the routes that no declared policy of its metric is about; where one is about all
    routes it is gone. A declaration that cannot be read or judged is left out, is logged, and replaces nothing.
    """
    known = metrics_in(metrics)
    judged = {name: spec for name, spec in declared.items() if not _is_outside(spec)}
    found = _readable(judged, lambda name, spec: policy_from(name, spec, known))
    return found | _shipped(SHIPPED, found, declared.keys(), known)


def outside_policies(declared: Mapping[str, Document]) -> dict[str, Policy]:
    """The policies about what happens elsewhere, by name; otherwise as `policies_in`, of which none of them is one."""
    told = {name: spec for name, spec in declared.items() if _is_outside(spec)}
    found = _readable(told, _outside_from)
    return found | _shipped(SHIPPED_OUTSIDE, found, declared.keys(), {})


def _is_outside(spec: Document) -> bool:
    return _named_metric(spec) in OUTSIDE


def _named_metric(spec: Json) -> str:
    """The metric that a stored document names; "" where it names none."""
    found = spec.get("metric") if isinstance(spec, Mapping) else None
    return found if isinstance(found, str) else ""


def _outside_from(name: str, spec: Document) -> Policy:
    metric = Metric(str(spec["metric"]), MetricKind.EVENT)
    usual: dict[str, Json] = {}
    if metric.name == COMPLAINTS:
        usual = {"limit": COMPLAINTS_LIMIT, "window_seconds": COMPLAINTS_SECONDS}
    # Nobody asks for a bound where there is nothing to count.
    return _policy(name, {**usual, **spec}, metric)


def _readable(declared: Mapping[str, Document], read: Callable[[str, Document], Policy]) -> dict[str, Policy]:
    found: dict[str, Policy] = {}
    for name, spec in declared.items():
        try:
            found[name] = read(name, spec)
        except Invalid as error:
            log.warning("policy %s is left out: %s", name, error)
    return found


def _shipped(
    strategy: tuple[Policy, ...],
    declared: Mapping[str, Policy],
    taken_names: Collection[str],
    metrics: Mapping[str, Metric],
) -> dict[str, Policy]:
    """What holds of a strategy where nobody declared a policy of the same metric."""
    found: dict[str, Policy] = {}
    for shipped in strategy:
        rivals = [policy.routes for policy in declared.values() if policy.metric.name == shipped.metric.name]
        if None not in rivals:
            name = _free(shipped.name, found.keys() | set(taken_names))
            taken = frozenset(route for routes in rivals for route in routes or ())
            metric = metrics.get(shipped.metric.name, shipped.metric)
            found[name] = replace(shipped, name=name, metric=metric, but=taken)
    return found


def _free(name: str, taken: Collection[str]) -> str:
    """`name`, or where a declared policy has it for another metric or route, one like it."""
    while name in taken:
        name = f"{name}.shipped"
    return name


def check_limit(metric: Metric, limit: float) -> None:
    """Raises Invalid for a limit that the metric's values cannot be held to."""
    mend: str | None = None
    match metric.kind:
        case MetricKind.ERROR if not 0 < limit < 1:
            expected, mend = "a share between 0 and 1", "5 % is 0.05"
        case MetricKind.SECONDS | MetricKind.COST if not (isfinite(limit) and limit > 0):
            expected = "more than 0"
        case MetricKind.SCORE if not metric.low <= limit <= metric.high:
            expected = f"{metric.low:g} to {metric.high:g}, as the scores are"
            mend = "give the worst mean that is still good"
        case _:
            return
    raise Invalid("limit", f"expected {expected}, found {limit:g}", mend=mend)
