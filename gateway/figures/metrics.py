"""What `/metrics` tells, by CONTRACT §8: facts in, families of samples out. Pure; knows neither text nor HTTP.

Totals are the fleet's, so that any worker may be scraped. Labels hold names that operators declared, never what a
request sent, so that no caller can make series.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from flags.fleet import WorkerState
from flags.model import Flag
from gateway.breaking.shapes import BreakerRow
from gateway.figures.exemplars import Exemplars
from gateway.figures.exposition import Buckets, Family, Kind, Labels, Sample, cumulative, labels
from gateway.figures.gauges import BADNESS, worst_of
from gateway.figures.sight import Judgement
from policies.buckets import bound, merged
from policies.outcome import Ending
from policies.window import Histogram, Window

# 8 ms to 512 s: an answer's total time may be 600 s. Powers of two are exact bounds of what is stored.
SECONDS_BOUNDS = tuple(2.0**power for power in range(-7, 10))
# 15 µs to 1 s.
OVERHEAD_BOUNDS = tuple(2.0**power for power in range(-16, 1))
BOUNDS: Mapping[str, tuple[float, ...]] = MappingProxyType(
    {"seconds": SECONDS_BOUNDS, "first_content": SECONDS_BOUNDS}
)


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known when a scrape comes.

    `rollbacks` by (flag, by): None while they are still being counted. `workers` without those that are silent;
    `worker` is this one, `age_seconds` how long ago its snapshot was known to be the newest.
    """

    worker: str
    version: str
    revision: int
    age_seconds: float
    degraded: bool
    in_flight: int
    totals: Window = field(default_factory=Window)
    judgements: Sequence[Judgement] = ()
    rollbacks: Mapping[tuple[str, str], int] | None = None
    breakers: Sequence[BreakerRow] = ()
    workers: Sequence[WorkerState] = ()
    # Those with a rollout.
    flags: Sequence[Flag] = ()
    # Keys of those that this worker brakes by itself, while the store is away.
    diverted: Sequence[str] = ()
    # Routes whose decisions a provider takes: (route, provider) → whether this worker asks it; and how often this worker
    # had no answer from one.
    decided_by: Mapping[tuple[str, str], bool] = field(default_factory=dict)
    undecided: int = 0
    # What this worker answered by OFREP, and its event streams that are open.
    ofrep: Mapping[str, int] = field(default_factory=dict)
    streams: int = 0


def families(facts: Facts, exemplars: Exemplars | None = None) -> Iterator[Family]:
    """All families, one by one: those of CONTRACT §8, then what it does not name."""
    totals = facts.totals
    yield from _requests(totals, exemplars)
    yield from _versions(totals)
    yield from _judging(facts)
    yield from _fleet(facts)
    yield from _more(totals)
    yield from _this_worker(facts)


def _requests(totals: Window, exemplars: Exemplars | None) -> Iterator[Family]:
    yield _counter(
        "pointsman_requests_total",
        "Requests, each once, by how they ended and whose fault it was.",
        (
            (labels(route=route, ending=ending.value, blame=blame.value), count)
            for route, stats in totals.routes.items()
            for (ending, blame), count in stats.endings.items()
        ),
    )
    yield Family(
        "pointsman_request_seconds",
        Kind.HISTOGRAM,
        "Seconds from a request's arrival to the end of its answer.",
        _by_route(totals, "seconds", exemplars),
    )
    yield Family(
        "pointsman_first_content_seconds",
        Kind.HISTOGRAM,
        "Seconds from a request's arrival to the first content of its answer.",
        _by_route(totals, "first_content", exemplars),
    )
    overhead = Histogram(
        merged(stats.overhead.buckets for stats in totals.routes.values()),
        sum(stats.overhead.sum for stats in totals.routes.values()),
    )
    yield Family(
        "pointsman_overhead_seconds",
        Kind.HISTOGRAM,
        "Seconds in the gateway up to the response's head, without waiting for upstreams.",
        (Sample((), _buckets(overhead, OVERHEAD_BOUNDS)),) if overhead.buckets else (),
    )


def _by_route(totals: Window, what: str, exemplars: Exemplars | None) -> Iterator[Sample]:
    for route, stats in totals.routes.items():
        histogram = stats.seconds if what == "seconds" else stats.first_content
        if histogram.buckets:
            buckets = _buckets(histogram, SECONDS_BOUNDS)
            if exemplars is not None:
                buckets = replace(buckets, exemplars=exemplars.of(route, what))
            yield Sample(labels(route=route), buckets)


def _buckets(histogram: Histogram, bounds: Sequence[float]) -> Buckets:
    observed = ((bound(index), round(count)) for index, count in histogram.buckets.items())
    return cumulative(bounds, observed, histogram.sum)


def _versions(totals: Window) -> Iterator[Family]:
    yield _counter(
        "pointsman_outcomes_total",
        "Decisions by version and by how they ended; a shielded request has two.",
        (
            (labels(flag=flag, variant=variant, ending=ending.value), count)
            for (flag, variant), stats in totals.versions.items()
            for ending in Ending
            if (count := stats.ended(ending))
        ),
    )
    yield Family(
        "pointsman_cost_usd_total",
        Kind.COUNTER,
        "USD, of the requests whose cost is known.",
        (
            Sample(labels(flag=flag, variant=variant), stats.cost.sum)
            for (flag, variant), stats in totals.versions.items()
            if stats.cost.buckets
        ),
    )
    yield _counter(
        "pointsman_tokens_total",
        "Tokens, as providers told them; cached and reasoning ones are part of input and output.",
        (
            (labels(flag=flag, variant=variant, direction=direction), count)
            for (flag, variant), stats in totals.versions.items()
            for direction, count in stats.tokens.items()
        ),
    )


def _judging(facts: Facts) -> Iterator[Family]:
    yield Family(
        "pointsman_evidence_ratio",
        Kind.GAUGE,
        "Evidence against a version, policy by policy: 1 pulls the brake.",
        (
            Sample(labels(flag=subject.flag, variant=subject.variant, policy=policy.name), verdict.ratio)
            for judged in facts.judgements
            if (subject := judged.case.subject) is not None
            for policy, verdict in judged.verdicts
        ),
    )
    yield _counter(
        "pointsman_rollbacks_total",
        "Rollbacks in the ledger, by flag and by who pulled: an operator, or policy/<name>.",
        ((labels(flag=flag, by=by), count) for (flag, by), count in (facts.rollbacks or {}).items()),
    )
    yield _gauge(
        "pointsman_breaker_state",
        "The worst of the workers' breakers: 0 closed, 1 half-open, 2 open, 3 forced open, -1 off.",
        (
            (labels(route=route, target=target), BADNESS.get(rows[0].state, 1))
            for (route, target), rows in sorted(worst_of(facts.breakers).items())
        ),
    )


def _fleet(facts: Facts) -> Iterator[Family]:
    others = [each for each in facts.workers if each.alive and each.info.id != facts.worker]
    revisions = [(facts.worker, facts.revision), *((each.info.id, each.position.revision) for each in others)]
    # A beat tells that its worker was then in contact, so its snapshot is no older than that.
    ages = [(facts.worker, facts.age_seconds), *((each.info.id, each.age_seconds) for each in others)]
    yield _gauge(
        "pointsman_revision",
        "The revision that a worker serves by.",
        ((labels(worker=worker), revision) for worker, revision in revisions),
    )
    yield _gauge(
        "pointsman_snapshot_age_seconds",
        "Seconds since a worker's snapshot was last known to be the newest.",
        ((labels(worker=worker), round(age, 3)) for worker, age in ages),
    )
    yield _gauge(
        "pointsman_degraded",
        "1 while this worker serves without its store; the totals are then the last that it knew.",
        [((), int(facts.degraded))],
    )
    yield _counter(
        "pointsman_outcomes_dropped_total",
        "Outcomes that were not counted for want of room.",
        [((), facts.totals.dropped)],
    )


def _more(totals: Window) -> Iterator[Family]:
    """What CONTRACT §8 does not name, of the whole fleet."""
    yield _counter(
        "pointsman_shielded_total",
        "Requests that a candidate failed and its control answered.",
        ((labels(route=route), stats.shielded) for route, stats in totals.routes.items()),
    )
    yield _counter(
        "pointsman_costs_total",
        "Requests by where their cost is known from; unknown: of good answers alone.",
        (
            (labels(flag=flag, variant=variant, source=source.value), count)
            for (flag, variant), stats in totals.versions.items()
            for source, count in stats.costs.items()
        ),
    )
    scores = [
        (labels(flag=flag, variant=variant, metric=metric), score)
        for (flag, variant), stats in totals.versions.items()
        for metric, score in stats.scores.items()
    ]
    yield _counter(
        "pointsman_scores_total",
        "Scores that feedback brought.",
        ((given, score.count) for given, score in scores),
    )
    yield _gauge(
        "pointsman_scores_value",
        "What these scores add up to, as sent.",
        ((given, score.sum) for given, score in scores),
    )
    yield _counter(
        "pointsman_feedback_total",
        "Scores sent in, by what became of them.",
        ((labels(result=word), count) for word, count in totals.feedback.items()),
    )


def _this_worker(facts: Facts) -> Iterator[Family]:
    """What CONTRACT §8 does not name, of the worker that is asked and of its snapshot."""
    yield _gauge(
        "pointsman_rollout_percent",
        "A candidate's share of the users.",
        (
            (labels(flag=flag.key, variant=flag.rollout.variant), flag.rollout.percent)
            for flag in facts.flags
            if flag.rollout is not None
        ),
    )
    yield _gauge(
        "pointsman_requests_in_flight",
        "Requests that this worker is serving.",
        [(labels(worker=facts.worker), facts.in_flight)],
    )
    yield _gauge(
        "pointsman_local_brake",
        "Flags that this worker has rolled back for itself while the store is away.",
        ((labels(worker=facts.worker, flag=flag), 1) for flag in facts.diverted),
    )
    yield from _flags_for_others(facts)
    yield _gauge(
        "pointsman_build_info", "This worker's version, as a label.", [(labels(version=facts.version), 1)]
    )


def _flags_for_others(facts: Facts) -> Iterator[Family]:
    """OpenFeature, in and out, at this worker."""
    yield _gauge(
        "pointsman_decided_by",
        "1 while this worker asks the provider that a route takes its decisions from, 0 while the store decides.",
        (
            (labels(worker=facts.worker, route=route, provider=provider), int(asked))
            for (route, provider), asked in sorted(facts.decided_by.items())
        ),
    )
    yield _counter(
        "pointsman_undecided_total",
        "Decisions on a flag that a provider was to take and did not, so that the store's served.",
        [(labels(worker=facts.worker), facts.undecided)],
    )
    yield _counter(
        "pointsman_ofrep_answers_total",
        "Answers to evaluations by OFREP: of one flag, of all, unchanged (304), failed.",
        ((labels(worker=facts.worker, answer=answer), count) for answer, count in facts.ofrep.items()),
    )
    yield _gauge(
        "pointsman_ofrep_streams",
        "Event streams by OFREP that are open.",
        [(labels(worker=facts.worker), facts.streams)],
    )


def _counter(name: str, told: str, counts: Iterable[tuple[Labels, float]]) -> Family:
    """Counts are whole: Redis may hand them back as floats."""
    return Family(name, Kind.COUNTER, told, (Sample(given, round(count)) for given, count in counts))


def _gauge(name: str, told: str, values: Iterable[tuple[Labels, float]]) -> Family:
    return Family(name, Kind.GAUGE, told, (Sample(given, value) for given, value in values))
