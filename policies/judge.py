"""The verdict on one policy in one case, from counts alone; and the same verdict again, from the ledger alone.

Pure: any worker may judge, there is no leader, and nothing here knows a clock, a store or what a breach does.
`judge` puts together an exhibit (exhibit.py), weighs it, and says why (reason.py). `recompute` reads the exhibit
back from a ledger's evidence and weighs it by the same function: what cannot be reproduced cannot be decided.

The rules (DESIGN §5). With a control `limit` is breached when the absolute test (T1, of means T3) *and* the relative
one (T2 at r = 1, of means T4) both pass 1/α: either null may be the true one, so asking for both keeps α. `times_safe`
is T2 alone. A policy with both gives half of its α to each. Without a control a Shiryaev–Roberts detector judges
against `limit`. `method: threshold` is a plain bound over a window.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from policies import evidence
from policies.case import Case
from policies.counts import CaseCounts, Second
from policies.evidence import OVER_QUANTILES, RELATIVE_BETS, EventKind
from policies.exhibit import (
    EvidenceInvalid,
    Exhibit,
    Trial,
    Watch,
    Window,
    exhibit_from,
    exhibit_of,
    log_factors,
)
from policies.policy import Method, MetricKind, Policy
from policies.reason import reason_of
from policies.verdict import Ruling, Standing, Verdict

# Below so many observations nobody is healthy yet: at a limit of 5 % one failure would be expected.
HEALTHY_FROM = 20
# Evidence less than half of the way (in logarithms) to the brake.
HEALTHY_BELOW = 0.5
# What keeps a rollout from its next step: evidence as of α = 0.05, five times less than a rollback at 0.01 needs.
OBJECTION_ALPHA = 0.05
# Half of all first attempts would have to fail, and all second ones to succeed, before pairs mistook that for a fault.
PAIRS_LEAST = 0.5
# A plain threshold objects when nine tenths of its bound are reached; half of it is where many a healthy route lives.
OBJECTION_RATIO = 0.9
# A ratio is for bars and orders, not for arithmetic.
MOST_RATIO = 1e6


@dataclass(frozen=True, slots=True)
class _Side:
    """One alternative of a policy, `limit` or `times_safe`: its tests, all of which must pass, and its estimate."""

    tests: Mapping[str, float]
    within: bool

    @property
    def log_e(self) -> float:
        return min(self.tests.values())


def judge(case: Case, policy: Policy, counts: CaseCounts, now_ms: int) -> Verdict:
    """One policy's verdict on one case; `now_ms` is Redis' clock. Never raises, whatever the counts are.

    Undecided where anything that is needed is missing. `evidence` is what `recompute` needs, at most 20 KB.
    """
    exhibit = exhibit_of(case, policy, counts, now_ms)
    ruling = weigh(exhibit, policy)
    document = {**msgspec.to_builtins(exhibit), "ruling": msgspec.to_builtins(ruling)}
    return Verdict(
        policy=policy.name,
        case=case.key,
        standing=ruling.standing,
        ratio=ruling.ratio,
        reason=reason_of(exhibit, ruling, policy) + _rests(case),
        objects=ruling.objects,
        evidence=document,
    )


def _rests(case: Case) -> str:
    """Why a case hears nothing, where it does not."""
    return (
        f"; rests: {' and '.join(case.under)} pins this layer to a version of its own" if case.under else ""
    )


def needs_seconds(case: Case, policy: Policy, counts: CaseCounts, now_ms: int | None = None) -> bool:
    """Whether a watch's detector has reached its alarm, and the kept seconds are wanted to prove it.

    Without `now_ms` the least alarm is taken, so that seconds are fetched a little too early.
    """
    found = counts.policies.get(policy.id)
    if case.control is not None or policy.method is Method.THRESHOLD or found is None or found.seconds:
        return False
    if policy.limit is None or not found.detector:
        return False
    watched = exhibit_of(case, policy, counts, counts.since_ms if now_ms is None else now_ms)
    assert isinstance(watched, Watch)
    return watched.statistic >= (evidence.LEAST_ALARM if now_ms is None else watched.alarm)


def recompute(document: Mapping[str, Any]) -> Ruling:
    """What a ledger's evidence says when it is judged anew. Raises EvidenceInvalid for what lacks a field."""
    exhibit = exhibit_from(document)
    return weigh(exhibit, exhibit.policy.policy)


def doubt(document: Mapping[str, Any]) -> str | None:
    """What is wrong with an automatic decision that rests on `document`: None when it is reproduced, a breach."""
    try:
        noted = msgspec.convert(document.get("ruling"), Ruling)
        again = recompute(document)
    except (EvidenceInvalid, msgspec.ValidationError) as error:
        return f"its evidence cannot be recomputed: {error}"
    if again.standing is not Standing.BREACHED:
        return f"its evidence does not carry it: recomputed it is {again.standing} (ratio {again.ratio:.4g})"
    if again.standing is not noted.standing or not _alike(again, noted):
        return f"its evidence was altered: recomputed ratio {again.ratio:.9g}, noted {noted.ratio:.9g}"
    return None


def _alike(one: Ruling, other: Ruling) -> bool:
    # Another machine's logarithm may differ in its last bit.
    near = [math.isclose(one.ratio, other.ratio, rel_tol=1e-9), one.log_e.keys() == other.log_e.keys()]
    return all(near) and all(
        math.isclose(value, other.log_e[test], rel_tol=1e-9, abs_tol=1e-9)
        for test, value in one.log_e.items()
    )


def weigh(exhibit: Exhibit, policy: Policy) -> Ruling:
    """The standing of an exhibit by its `policy`: the one function by which all is decided, live and from the ledger."""
    match exhibit:
        case Trial():
            return _weigh_trial(exhibit, policy)
        case Watch():
            return _weigh_watch(exhibit, policy)
        case Window():
            return _weigh_window(exhibit, policy)


def _weigh_trial(trial: Trial, policy: Policy) -> Ruling:
    sides = [
        *([_limit(trial, policy)] if policy.limit is not None else ()),
        *([_times_safe(trial, policy)] if policy.times_safe is not None else ()),
    ]
    part = trial.policy.share / max(1, len(sides))
    needed = _log_needed(policy.alpha * part)
    best = max((side.log_e for side in sides), default=0.0)
    ratio = _clipped(best / needed)
    breached = bool(sides) and best >= needed
    calm = trial.n >= HEALTHY_FROM and ratio < HEALTHY_BELOW and all(side.within for side in sides)
    return Ruling(
        standing=_standing(breached=breached, healthy=calm),
        ratio=ratio,
        log_e={name: value for side in sides for name, value in side.tests.items()},
        log_needed=needed,
        objects=bool(sides) and (breached or best >= _log_needed(OBJECTION_ALPHA * part)),
    )


def _limit(trial: Trial, policy: Policy) -> _Side:
    """T1 or T3 against the limit, and the candidate against its control."""
    counts, first, n = trial.counts, trial.first, trial.n
    if evidence.by_mean(policy):
        bets = _places(trial, RELATIVE_BETS)
        old = trial.forgotten
        relative = evidence.log_t4(counts[old:], bets, units=True, first=first + old) if bets else 0.0
        tests = {"T3": evidence.log_t3(counts, first=first), "T4": relative}
    else:
        p0 = evidence.bound(policy)
        place = _places(trial, (EventKind.BAD, EventKind.OVER_LIMIT))
        relative = _relative(trial, place[0], 1.0) if place else 0.0
        tests = {"T1": evidence.log_t1(counts, p0, first=first), "T2": relative}
    return _Side(tests, within=bool(n) and trial.bad / n <= _plain_bound(policy))


def _times_safe(trial: Trial, policy: Policy) -> _Side:
    """T2 at r = times_safe; several kinds of events by the mean of their E."""
    r = policy.times_safe or 1.0
    places = _places(trial, (EventKind.BAD, EventKind.MASS, *OVER_QUANTILES))
    if not places or len(trial.thresholds) < len(evidence.quantiles_of(policy)):
        return _Side({"T2 times_safe": 0.0}, within=False)
    if evidence.quantiles_of(policy):
        r = 1.0  # what counts is already a value above times_safe times the control's quantile
    logs = [_relative(trial, each, r) for each in places]
    return _Side({"T2 times_safe": evidence.log_mean(logs)}, all(_within(trial, each, r) for each in places))


def _relative(trial: Trial, event: int, r: float) -> float:
    """T2, and where the shield told of pairs, a twentieth part of them."""
    old = trial.forgotten
    log_t2 = evidence.log_t2(trial.counts[old:], event, r, units=True, first=trial.first + old)
    pairs = _places(trial, (EventKind.PAIRED,))
    if not pairs:
        return log_t2
    # Where T2 has users enough to speak for itself, pairs need not stand on attempts being independent.
    least = 0.0 if trial.counting == "pairs" else PAIRS_LEAST
    paired = evidence.log_paired(trial.counts, pairs[0], r, least=least, first=trial.first)
    return evidence.weighted(log_t2, paired)


def _places(trial: Trial, kinds: Sequence[EventKind]) -> list[int]:
    return [index for index, kind in enumerate(trial.events) if kind in kinds]


def _within(trial: Trial, event: int, r: float) -> bool:
    """Whether the candidate has no more of these events than r times what the coin would give it of the control's."""
    mine = fair = 0.0
    for segment in trial.segments:
        candidate, control = segment.events[event] if event < len(segment.events) else (0.0, 0.0)
        pi = min(max(segment.weight / 10_000, 0.0), 0.9999)
        mine, fair = mine + candidate, fair + r * control * pi / (1.0 - pi)
    return mine <= fair


def _weigh_watch(watch: Watch, policy: Policy) -> Ruling:
    needed = math.log(watch.alarm)
    if policy.limit is None:
        return Ruling(Standing.UNDECIDED, 0.0, {}, needed, objects=False)
    proven = _log_proven(watch, policy)
    breached = proven >= needed
    log_r = proven if breached else max(proven, math.log(max(1.0, watch.statistic)))
    # Evidence that the seconds at hand do not prove never reads as a pulled brake.
    ratio = _clipped(log_r / needed) if breached else min(_clipped(log_r / needed), 0.999)
    calm = watch.n >= HEALTHY_FROM and ratio < HEALTHY_BELOW and watch.bad / watch.n <= _plain_bound(policy)
    standing = _standing(breached=breached, healthy=calm)
    return Ruling(standing, ratio, {"Shiryaev–Roberts": log_r}, needed, objects=ratio >= HEALTHY_BELOW)


def _log_proven(watch: Watch, policy: Policy) -> float:
    seconds = [Second(0, n, bad, bets) for n, bad, bets in watch.seconds]
    found = evidence.log_restarted(log_factors(policy, seconds))
    return max(0.0, found[0]) if found else 0.0


def _weigh_window(window: Window, policy: Policy) -> Ruling:
    enough = window.n >= max(1, policy.min_count)
    parts = _parts(window, policy) if window.n else []
    ratio = _clipped(max(parts, default=0.0))
    breached = enough and ratio > 1.0
    if not enough:
        ratio = min(ratio, window.n / max(1, policy.min_count))
    calm = enough and bool(parts) and ratio < OBJECTION_RATIO
    return Ruling(
        standing=_standing(breached=breached, healthy=calm),
        ratio=ratio,
        log_e={},
        log_needed=0.0,
        objects=enough and ratio >= OBJECTION_RATIO,
    )


def _parts(window: Window, policy: Policy) -> list[float]:
    """How much of each bound is used: the rate (or mean) over what is allowed."""
    rate, seconds = window.bad / window.n, policy.metric.kind is MetricKind.SECONDS
    parts = []
    if policy.limit is not None:
        parts.append(rate / max(_plain_bound(policy), evidence.LEAST_BOUND))
    if policy.times_safe is None or window.control_n < max(1, policy.min_count):
        return parts
    if seconds and policy.limit is None:
        # What is counted are requests slower than times_safe × the control's quantile.
        parts.append(rate / (1.0 - policy.quantile))
    elif not seconds:
        # A control without any failure is taken to have had one: one against none is no proof of anything.
        least = 0.0 if evidence.by_mean(policy) else 1.0
        control = max(window.control_bad, least) / window.control_n
        parts.append(rate / max(policy.times_safe * control, 1e-12))
    return parts


def _plain_bound(policy: Policy) -> float:
    """What the mean of `bad` may be: USD for cost, else a rate or a mean badness."""
    return policy.limit or 0.0 if policy.metric.kind is MetricKind.COST else evidence.bound(policy)


def _log_needed(alpha: float) -> float:
    # α of one half is no promise any more, and 1 would take no evidence at all.
    return -math.log(min(max(alpha, 1e-300), 0.5))


def _clipped(ratio: float) -> float:
    # Nothing seen is a ratio of 0, whatever the last bit of a logarithm says.
    return min(max(round(ratio, 12), 0.0), MOST_RATIO)


def _standing(*, breached: bool, healthy: bool) -> Standing:
    if breached:
        return Standing.BREACHED
    return Standing.HEALTHY if healthy else Standing.UNDECIDED
