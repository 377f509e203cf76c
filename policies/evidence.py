"""How strongly counts speak against a bound: the formulas, in log space, with the standard library's math alone.

Pure numbers: nothing here knows a case, a verdict, a clock or Redis. Every E below is an *e-process*: as long as
its null hypothesis holds its expected value never exceeds 1 at any stopping time, so by Ville's inequality the
chance that it *ever* reaches 1/α is at most α, however often one looks (Robbins' mixtures; notes/evidence.md §3.3).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from enum import StrEnum

from policies.counts import Event, Second, Segment
from policies.policy import Method, MetricKind, Policy

# T1's alternatives: multiples of the bound, then rates that an outright broken release shows whatever the bound.
_MULTIPLES = (1.5, 2.0, 3.0, 5.0, 8.0)
_RATES = (0.25, 0.5, 0.9)
_LEAST_MULTIPLE, _MOST_RATE = 1.2, 0.98
# T2's alternatives: how many times worse than r times the control.
_WORSE = (1.25, 1.5, 2.0, 3.0, 5.0, 10.0, 30.0)
# T3's bets, as parts of the largest stake that cannot lose everything (1/m0).
_STAKES = (0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 0.95)
# A bound of zero is judged as one in a million: a likelihood ratio against an impossible event has no value.
LEAST_BOUND = 1e-6
# Cost is judged up to ten times its limit; a dearer request counts as this one (clipping only makes it slower).
CAP_TIMES_LIMIT = 10.0
# T4's bets, as parts of the largest stake, and where it cuts x, in times the bound (both found by simulation).
_RELATIVE_STAKES = (0.1, 0.4, 0.9)
_CUT = 3.0
# The mixture over restarts: what the whole history weighs. The rest is shared by all later beginnings, so that after
# a long good past (or an outage of both arms) a fresh start is at most ln(34·j²) of evidence behind. With the pairs'
# part it costs a bad release 2 % of the evidence that it needs.
_FIRST_WEIGHT = 0.97
# Candidate observations (control's bad events) that a segment has at least: shorter ones would be many and say little.
SEGMENT_OBSERVATIONS, SEGMENT_CONTROL_EVENTS = 200, 50
# At least a quarter of all so far: segments grow in number with the logarithm of the traffic.
SEGMENT_PART = 0.25
# Only hundreds of changes of the percentage make more. The eldest are left out then, with their terms of the mixture:
# that leaves less evidence, never more (to add up two of different weights would make T2 untrue).
SEGMENTS_KEPT = 60
# What T2 weighs beside the pairs: these see less, and later, and only what is broken outright.
_MAIN_PART = 0.95
# A false alarm a year at most, in seconds with traffic; and never sooner than after a million of them.
LEAST_ALARM, YEAR_SECONDS = 1e6, 31_536_000.0
# Where a float's exponential ends (e^709); a statistic this large has long been an alarm.
_MOST_LOG = 690.0
# Counts beyond are damage, not traffic; sums of their products stay finite.
_MOST_COUNT = 1e15


class EventKind(StrEnum):
    """What counts as a bad event in the relative test.

    `mass`: a badness between 0 and 1 is that part of an event. `paired`: the candidate failed, and the control
    answered the very same request (the shield asked it); on the control's side, that it failed as well. `over_50` and
    its like: the control's value lies above this percentile of its own, the candidate's above `times_safe` times
    that; so they test that each quantile is at most so many times the control's. `bet_low` and its like are no events
    but T4's bets: the mass of every observation, of both arms, is its `relative_bets` (which may be below zero).
    """

    BAD = "bad"
    PAIRED = "paired"
    MASS = "mass"
    OVER_LIMIT = "over_limit"
    OVER_50 = "over_50"
    OVER_90 = "over_90"
    OVER_99 = "over_99"
    BET_LOW = "bet_low"
    BET_MIDDLE = "bet_middle"
    BET_HIGH = "bet_high"


# The control's quantiles that PolicyCounts.thresholds holds, in the order of OVER_QUANTILES.
QUANTILES = (0.5, 0.9, 0.99)
OVER_QUANTILES = (EventKind.OVER_50, EventKind.OVER_90, EventKind.OVER_99)
RELATIVE_BETS = (EventKind.BET_LOW, EventKind.BET_MIDDLE, EventKind.BET_HIGH)


def events_of(policy: Policy) -> tuple[EventKind, ...]:
    """The kinds of bad events that a policy counts in a trial, in the order of Segment.events.

    Those for its `limit` come first, then those for its `times_safe`; a failure or a boolean score is the same for both.
    """
    if policy.method is Method.THRESHOLD:
        return ()
    kind = policy.metric.kind
    if kind is MetricKind.ERROR:
        return (EventKind.BAD, EventKind.PAIRED)
    if policy.metric.boolean:
        return (EventKind.BAD,)
    for_limit = (EventKind.OVER_LIMIT,) if kind is MetricKind.SECONDS else RELATIVE_BETS
    for_times = (EventKind.MASS,) if kind is MetricKind.SCORE else OVER_QUANTILES
    return (for_limit if policy.limit is not None else ()) + (
        for_times if policy.times_safe is not None else ()
    )


def quantiles_of(policy: Policy) -> tuple[float, ...]:
    """The control's quantiles that must be known before a trial can be judged relatively; none for most metrics."""
    seconds = policy.metric.kind is MetricKind.SECONDS
    if policy.method is Method.THRESHOLD:
        relative = seconds and policy.times_safe is not None and policy.limit is None
        return (policy.quantile,) if relative else ()
    return QUANTILES if EventKind.OVER_50 in events_of(policy) else ()


def cap(policy: Policy) -> float:
    """B in USD: the cost that counts as 1 (10 × limit); 0.0 for a policy without a limit, which makes no bets."""
    return CAP_TIMES_LIMIT * max(policy.limit, 1e-12) if policy.limit is not None else 0.0


def by_mean(policy: Policy) -> bool:
    """Whether its limit bounds a mean (T3, bets) and not the share of bad observations (T1, odds)."""
    kind = policy.metric.kind
    return kind is MetricKind.COST or (kind is MetricKind.SCORE and not policy.metric.boolean)


def bound(policy: Policy) -> float:
    """p0 or m0: what the limit allows, as a rate or mean of badness in [0, 1]. The policy has a limit."""
    match policy.metric.kind:
        case MetricKind.SECONDS:
            return 1.0 - policy.quantile
        case MetricKind.COST:
            return 1.0 / CAP_TIMES_LIMIT
        case _:
            return policy.metric.badness(policy.limit or 0.0)


def grid(p0: float) -> tuple[float, ...]:
    """T1's alternative rates q_k > p0, the same number for every bound; some may coincide."""
    p0 = _bound(p0)
    least = min(_LEAST_MULTIPLE * p0, (1.0 + p0) / 2)
    most = max(_MOST_RATE, least)
    return tuple(min(max(q, least), most) for q in (*(p0 * times for times in _MULTIPLES), *_RATES))


def odds(p0: float) -> list[float]:
    """T1's log likelihood ratios, a1, b1, a2, b2…: of a bad and of a good observation, for each point of the grid."""
    p0 = _bound(p0)
    return [each for q in grid(p0) for each in (math.log(q / p0), math.log((1.0 - q) / (1.0 - p0)))]


def bets(x: float, m0: float) -> tuple[float, ...]:
    """T3's log factors of one observation x in [0, 1]: ln(1 + λ_k (x − m0)), λ_k a fixed part of 1/m0.

    Betting as in Waudby-Smith & Ramdas: fixed stakes keep the sums additive, over any workers and in any order.
    """
    m0 = _bound(m0)
    x = min(1.0, max(0.0, x))
    return tuple(math.log1p(stake * (x / m0 - 1.0)) for stake in _STAKES)


def relative_bets(x: float, m0: float, weight: int, *, control: bool) -> tuple[float, ...]:
    """T4's log factors of one observation x in [0, 1] of either arm, under the candidate's `weight` of 10,000.

    The coin gives z = (x − m0)·(1/π for the candidate, −1/(1−π) for the control) the expectation
    (candidate's mean − control's mean), whatever both suffer together; so ∏(1 + λz) tests that the first is no larger.
    T2 on masses is this without the centre m0, and eight times slower where both means are far from zero. x is
    cut at 3·m0, in both arms alike, or one dear request of the control would forbid any larger stake.
    """
    pi, m0 = weight / 10_000, _bound(m0)
    if not 0.0 < pi < 1.0:
        return (0.0,) * len(_RELATIVE_STAKES)
    most = min(1.0, _CUT * m0)
    against = -pi / (1.0 - pi)
    # The largest stake that neither a candidate's 0 nor a control's `most` can lose.
    stake = min(1.0 / m0, -1.0 / (against * (most - m0)))
    z = (min(most, max(0.0, x)) - m0) * (against if control else 1.0)
    return tuple(math.log1p(part * stake * z) for part in _RELATIVE_STAKES)


def log_t1(segments: Sequence[Segment], p0: float, *, first: int = 1) -> float:
    """ln E against H0: P(bad | past) ≤ p0 for every candidate observation.

    E = mean_k exp(s·ln(q_k/p0) + (n−s)·ln((1−q_k)/(1−p0))), restarts mixed in. `first`: see `mixed`.
    """
    points = odds(p0)
    pairs = tuple(zip(points[::2], points[1::2], strict=True))
    return mixed([_t1_row(segment, pairs) for segment in segments], first)


def _t1_row(segment: Segment, pairs: Sequence[tuple[float, float]]) -> list[float]:
    n = count(segment.n)
    s = min(count(segment.bad), n)
    return [s * a + (n - s) * b for a, b in pairs]


def log_t2(segments: Sequence[Segment], event: int, r: float, *, units: bool, first: int = 1) -> float:
    """ln E against H0: the candidate's rate of this event is at most r times the control's.

    Of the bad events under weight π a part t0 = πr/(πr+1−π) at most is then the candidate's, whatever both arms
    suffer together. E = mean_k exp Σ(kc·ln(θ_k/t0) + kb·ln((1−θ_k)/(1−t0))). Masses may be fractional: a^x ≤ 1+x(a−1).
    `units`: of each unit the first event counts, not every request.
    """
    return mixed([_t2_row(segment, event, r, units) for segment in segments], first)


def _t2_row(segment: Segment, event: int, r: float, units: bool) -> list[float]:  # noqa: FBT001  # as its caller has it
    found = segment.events[event] if event < len(segment.events) else Event()
    kc, kb = sides(found, units=units)
    pi = segment.weight / 10_000
    if not 0.0 < pi < 1.0:
        return [0.0] * len(_WORSE)
    r = max(r, LEAST_BOUND)
    fair = pi * r / (1.0 - pi)
    # ln(θ/t0) = ln ρ + ln((1+fair)/(1+ρ·fair)), and the control's part is the last term alone.
    rows = ((math.log(worse), math.log1p(fair) - math.log1p(worse * fair)) for worse in _WORSE)
    return [kc * (gain + less) + kb * less for gain, less in rows]


def log_paired(
    segments: Sequence[Segment], event: int, r: float, *, least: float = 0.0, first: int = 1
) -> float:
    """ln E against H0: on no request is the candidate more than r times as likely to fail as its control.

    Then "failed, and the control answered the same request" has a probability of at most min(1, r·p)·(1−p), whatever
    p is: at most r/4, or 1 − 1/r above r = 2. T1 on that bound needs no users, no coin and no other request, so that
    neither one constant user nor users that have all been counted blind it. It sees only what is broken outright.
    What both failed is excused and in no n, but it is counted here: without it pairs would be up to a half, not a
    quarter, of two versions that fail alike. That holds for attempts that fail independently; where a second one goes
    to another, healthy backend, all of the first ones' failures are pairs. `least` is a bound that has room for that.
    """
    r = max(r, LEAST_BOUND)
    bound = r / 4 if r <= 2.0 else 1.0 - 1.0 / r  # r·p reaches 1 at p = 1/2 where r is 2
    points = odds(max(least, bound))
    pairs = tuple(zip(points[::2], points[1::2], strict=True))
    rows = []
    for segment in segments:
        found = segment.events[event] if event < len(segment.events) else Event()
        n = count(segment.n) + count(found.control)
        s = min(count(found.candidate), n)
        rows.append([s * a + (n - s) * b for a, b in pairs])
    return mixed(rows, first)


def weighted(log_main: float, log_other: float) -> float:
    """ln of nineteen parts of one e-process and one part of another: a mean, so an e-process too."""
    return log_sum((math.log(_MAIN_PART) + log_main, math.log1p(-_MAIN_PART) + log_other))


def sides(event: Event, *, units: bool) -> tuple[float, float]:
    """The candidate's and the control's mass of one kind of bad event."""
    if units:
        return count(event.candidate_units), count(event.control_units)
    return count(event.candidate), count(event.control)


def log_t3(segments: Sequence[Segment], *, first: int = 1) -> float:
    """ln E against H0: E[x | past] ≤ m0. E = mean_k exp(sum of the k-th bet's log factors), restarts mixed in."""
    return mixed([_t3_row(segment.bets) for segment in segments], first)


def _t3_row(sums: Sequence[float]) -> list[float]:
    row = [signed(each) for each in sums[: len(_STAKES)]]
    return row + [0.0] * (len(_STAKES) - len(row))


def log_t4(segments: Sequence[Segment], events: Sequence[int], *, units: bool, first: int = 1) -> float:
    """ln E against H0: the candidate's mean is at most the control's; `events` are those of its `relative_bets`."""
    return mixed([[_both(segment, event, units=units) for event in events] for segment in segments], first)


def _both(segment: Segment, event: int, *, units: bool) -> float:
    if event >= len(segment.events):
        return 0.0
    found = segment.events[event]
    parts = (found.candidate_units, found.control_units) if units else (found.candidate, found.control)
    return sum(map(signed, parts))


def mixed(rows: Sequence[Sequence[float]], first: int = 1) -> float:
    """ln Σ_j w_j · mean_k exp(Σ_{i≥j} rows[i][k]): a test begun anew with each segment, all of them mixed.

    Each term begins at a time that the past decides, so it is an e-process, and so is the mixture (w sums to 1).
    `first` is the number of the first row's segment: older ones that are not at hand are left out, and their terms.
    """
    if not rows:
        return 0.0
    sums = [0.0] * len(rows[0])
    terms = []
    for number, row in zip(range(first + len(rows) - 1, first - 1, -1), reversed(rows), strict=True):
        sums = [total + each for total, each in zip(sums, row, strict=True)]
        terms.append(math.log(restart_weight(number)) + log_mean(sums))
    return log_sum(terms)


def restart_weight(number: int) -> float:
    """w_j of the test that begins with segment j ≥ 1; all of them sum to 1."""
    return _FIRST_WEIGHT if number <= 1 else (1.0 - _FIRST_WEIGHT) / ((number - 1) * number)


def closes(n_in_segment: int, n_total: int, control_mass: float, control_total: float) -> bool:
    """Whether a segment is long enough, so that the next gain opens a new one.

    `n` are candidate observations, masses those of one kind of bad event on the control's side; totals include it.
    """
    return n_in_segment >= max(SEGMENT_OBSERVATIONS, SEGMENT_PART * n_total) or control_mass >= max(
        SEGMENT_CONTROL_EVENTS, SEGMENT_PART * control_total
    )


def advance(statistic: Sequence[float], second: Second, odds: Sequence[float]) -> tuple[float, ...]:
    """Shiryaev–Roberts after one more second: R_k = (R_k + 1)·L_k; an empty `statistic` is the start.

    L_k is the second's likelihood ratio at the k-th point of T1's grid, or (with `odds` empty) of the k-th bet.
    While the release keeps its bound, E[mean R] grows by 1 a second at most: no alarm before A of them on average.
    """
    factors = log_factors(second, odds)
    held = statistic if len(statistic) == len(factors) else [0.0] * len(factors)
    return tuple(
        math.exp(min(_MOST_LOG, math.log1p(max(0.0, old)) + factor))
        for old, factor in zip(held, factors, strict=True)
    )


def log_factors(second: Second, odds: Sequence[float]) -> list[float]:
    """ln L_k of one second, for each point of the grid or each bet."""
    if not odds:
        return _t3_row(second.bets)
    n = count(second.n)
    s = min(count(second.bad), n)
    return [s * a + (n - s) * b for a, b in zip(odds[::2], odds[1::2], strict=True)]


def log_restarted(seconds: Sequence[Sequence[float]]) -> list[float]:
    """ln of the Shiryaev–Roberts statistic, begun from nothing with each of these seconds' log factors, at the last.

    R of a suffix is Σ_i exp(Σ_{j≥i} ln L_j) over its seconds i, so that one walk backwards gives all of them.
    """
    found: list[float] = []
    if not seconds:
        return found
    sums = [0.0] * len(seconds[0])
    total = -math.inf
    for factors in reversed(seconds):
        sums = [held + each for held, each in zip(sums, factors, strict=True)]
        total = log_sum((total, log_mean(sums)))
        found.append(total)
    return found[::-1]


def alarm_at(n: float, seconds: float) -> float:
    """A: the detector's alarm, from n requests in so many seconds; one false alarm a year, and at least 10⁶."""
    busy = min(1.0, count(n) / seconds) if seconds > 0 else 1.0
    return max(LEAST_ALARM, YEAR_SECONDS * busy)


def log_sum(values: Iterable[float]) -> float:
    """ln Σ exp(values), without overflow; −inf of nothing."""
    held = tuple(values)
    most = max(held, default=-math.inf)
    return most if math.isinf(most) else most + math.log(math.fsum(math.exp(each - most) for each in held))


def log_mean(values: Sequence[float]) -> float:
    """ln of the mean of exp(values): the mean of e-processes is one, whatever depends on what."""
    return log_sum(values) - math.log(len(values))


def count(value: float) -> float:
    """A count as it may be: what is no number, below zero or beyond all traffic is brought within."""
    return min(max(value, 0.0), _MOST_COUNT) if value == value else 0.0  # noqa: PLR0124  # NaN alone differs from itself


def signed(value: float) -> float:
    """A sum of log factors as it may be."""
    return min(max(value, -_MOST_COUNT), _MOST_COUNT) if value == value else 0.0  # noqa: PLR0124


def _bound(p0: float) -> float:
    return min(max(p0, LEAST_BOUND), 1.0 - LEAST_BOUND)
