"""A ruling in plain words, with the numbers it rests on. Decides nothing."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from types import MappingProxyType

from policies import evidence
from policies.evidence import OVER_QUANTILES, QUANTILES, EventKind
from policies.exhibit import Counting, Exhibit, Trial, Watch, Window
from policies.policy import MetricKind, Policy
from policies.verdict import Ruling

# Above this ln E is told as a power of ten.
_LOG_MILLION = math.log(1e6)
_COUNTED: Mapping[Counting, str] = MappingProxyType(
    {
        "units": "each user once",
        "requests": "requests counted: fewer than 20 different users",
        "pairs": "fewer than 20 different users: requests counted that the control answered",
    }
)
_WORST_VALUES = {MetricKind.SECONDS: "s", MetricKind.COST: "USD"}


def reason_of(exhibit: Exhibit, ruling: Ruling, policy: Policy) -> str:
    """One sentence: what was seen of whom, against which bound, and how much evidence that is of how much needed."""
    match exhibit:
        case Trial():
            return _trial(exhibit, ruling, policy)
        case Watch():
            return _watch(exhibit, ruling, policy)
        case Window():
            return _window(exhibit, ruling, policy)


def _trial(trial: Trial, ruling: Ruling, policy: Policy) -> str:
    parts = [
        *([_against_limit(trial, policy)] if policy.limit is not None else ()),
        *([_against_control(trial, policy)] if policy.times_safe is not None else ()),
    ]
    log_e = ruling.ratio * ruling.log_needed
    tests = ", ".join(f"{name} {told(value)}" for name, value in ruling.log_e.items())
    strength = f"evidence {told(log_e)} of {told(ruling.log_needed)} needed ({tests})"
    return f"{policy.metric.name}: {', '.join(parts)}; {strength}; {_COUNTED[trial.counting]}"


def _against_limit(trial: Trial, policy: Policy) -> str:
    seen = _seen(policy, trial.n, trial.bad, "candidate ")
    if evidence.by_mean(policy):
        return seen
    controls = [
        _sum(trial, index, 1)
        for index, kind in enumerate(trial.events)
        if kind in (EventKind.BAD, EventKind.OVER_LIMIT)
    ]
    return f"{seen}, control {_many(controls[0] if controls else 0, _bad_word(policy))}"


def _against_control(trial: Trial, policy: Policy) -> str:
    times = f"limit {policy.times_safe:g} × control"
    if evidence.quantiles_of(policy) and len(trial.thresholds) < len(QUANTILES):
        return f"{times}: the control's quantiles are not known yet"
    kinds = (EventKind.BAD, EventKind.MASS, *OVER_QUANTILES)
    mine, others = (
        "/".join(
            f"{_sum(trial, index, side):.4g}" for index, kind in enumerate(trial.events) if kind in kinds
        )
        for side in (0, 1)
    )
    if len(trial.thresholds) == len(QUANTILES):
        above = "/".join(f"{value:.4g}" for value in trial.thresholds)
        unit = _WORST_VALUES.get(policy.metric.kind, "")
        return f"{times}: quantiles {above} {unit}, candidate above the limit {mine} of {trial.n}, control above them {others}"
    return f"{times}: {_bad_word(policy)}s candidate {mine}, control {others}"


def _watch(watch: Watch, ruling: Ruling, policy: Policy) -> str:
    if policy.limit is None:
        return (
            f"{policy.metric.name}: nothing to compare with: the policy has no limit, and there is no control"
        )
    log_r = ruling.log_e["Shiryaev–Roberts"]
    strength = f"detector {told(log_r)} of {told(ruling.log_needed)} needed (Shiryaev–Roberts)"
    lately = ""
    if watch.seconds:
        n, bad = sum(each[0] for each in watch.seconds), sum(each[1] for each in watch.seconds)
        lately = f", {_seen(policy, n, bad, 'latest ')} in {len(watch.seconds)} seconds with traffic"
    return f"{policy.metric.name}: {_seen(policy, watch.n, watch.bad, '')}{lately}; {strength}"


def _window(window: Window, ruling: Ruling, policy: Policy) -> str:
    seen = _seen(policy, window.n, window.bad, "", limit=policy.limit is not None)
    relative = ""
    if policy.times_safe is not None:
        held = f"{window.control_bad:.4g} of {window.control_n}"
        relative = f", limit {policy.times_safe:g} × control ({held})"
    few = f"; at least {policy.min_count} are needed" if window.n < policy.min_count else ""
    span = f"in the last {policy.window_seconds:g} s"
    return f"{policy.metric.name}: {seen} {span}{relative}; {ruling.ratio:.2f} of the bound{few}"


def _seen(policy: Policy, n: int, bad: float, whose: str, *, limit: bool = True) -> str:
    what = "score" if policy.metric.kind is MetricKind.SCORE else "request"
    if evidence.by_mean(policy):
        mean = f"mean {_worth(policy, bad / n)} over" if n else "none of"
        return f"{mean} {_many(n, whose + what)}" + (f" (limit {policy.limit:g})" if limit else "")
    verb = {MetricKind.ERROR: "failed", MetricKind.SECONDS: "slow"}.get(policy.metric.kind, "bad")
    return f"{bad:.6g} of {_many(n, whose + what)} {verb}" + (f" ({_bound(policy)})" if limit else "")


def _bound(policy: Policy) -> str:
    share = f"{100 * evidence.bound(policy):.4g} %"
    if policy.metric.kind is MetricKind.SECONDS:
        return f"limit {share} over {policy.limit:g} s"
    return f"limit {share}"


def _worth(policy: Policy, badness: float) -> str:
    """A mean as its users know it: badness turned back into the score."""
    metric = policy.metric
    if metric.kind is not MetricKind.SCORE:
        return f"{badness:.4g} {_WORST_VALUES.get(metric.kind, '')}".rstrip()
    share = 1.0 - badness if metric.higher_is_better else badness
    return f"{metric.low + share * (metric.high - metric.low):.4g}"


def _bad_word(policy: Policy) -> str:
    match policy.metric.kind:
        case MetricKind.ERROR:
            return "failure"
        case MetricKind.SECONDS:
            return "slow one"
        case _:
            return "bad one"


def _sum(trial: Trial, event: int, side: int) -> float:
    pairs: Sequence[tuple[float, float]] = [
        each.events[event] for each in trial.segments if event < len(each.events)
    ]
    return sum(pair[side] for pair in pairs)


def _many(number: float, word: str) -> str:
    return f"{number:.6g} {word}{'' if number == 1 else 's'}"


def told(log_e: float) -> str:
    """e^`log_e` for people: two or three digits, large ones as a power of ten."""
    if log_e > _LOG_MILLION:
        return f"10^{log_e / math.log(10):.1f}"
    value = math.exp(log_e)
    return f"{value:.0f}" if value >= 99.5 else f"{value:.2g}"
