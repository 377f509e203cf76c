"""How a run ended: its cases judged over their repeats against thresholds. Pure.

What was not evaluated is never a pass. A run is failed in spite of it only where it would fail had all of that passed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from policies.evals.result import NO_METRICS, CaseResult
from policies.evals.verdict import reaches


@dataclass(frozen=True, slots=True)
class Thresholds:
    """What a run must reach, both 0 to 1. `min_score` None: only the pass rate is looked at."""

    min_pass_rate: float = 0.95
    min_score: float | None = None


@dataclass(frozen=True, slots=True)
class Gated:
    """How a run ended. `passed` None: it could not be evaluated.

    `pass_rate` is runs passed of all runs, `score` the mean of all runs (0 to 1; one that was not evaluated counts 0).
    `cases` and `not_evaluated` count cases, `runs` each time that one was (to be) asked.
    """

    passed: bool | None
    pass_rate: float
    score: float
    cases: int
    not_evaluated: int
    runs: int
    reason: str
    metrics: Mapping[str, float] = field(default_factory=lambda: NO_METRICS)


def gate(results: Sequence[CaseResult], thresholds: Thresholds, *, expected: int | None = None) -> Gated:
    """How a run ended. `expected` runs were to be made: those that are missing were not evaluated."""
    runs = max(len(results), expected or 0)
    lost = runs - sum(each.passed is not None for each in results)
    passed = sum(each.passed is True for each in results)
    score = sum(each.score for each in results if each.passed is not None)
    verdict, reason = _verdict(passed, score, lost, runs, thresholds)
    return Gated(
        verdict,
        passed / runs if runs else 0.0,
        score / runs if runs else 0.0,
        cases=len({each.case for each in results}),
        not_evaluated=len({each.case for each in results if each.passed is None}),
        runs=runs,
        reason=reason,
        metrics=_metrics(results),
    )


def _verdict(
    passed: int, score: float, lost: int, runs: int, thresholds: Thresholds
) -> tuple[bool | None, str]:
    """Whether it is passed and why, judging what was `lost` as if it had passed; which then is no pass either."""
    if not runs:
        return None, "there was nothing to evaluate"
    rate, mean = (passed + lost) / runs, (score + lost) / runs
    at_best = " at best" if lost else ""
    if not reaches(rate, thresholds.min_pass_rate):
        return False, f"pass rate {rate:.3f}{at_best}, expected {thresholds.min_pass_rate:g}"
    if thresholds.min_score is not None and not reaches(mean, thresholds.min_score):
        return False, f"score {mean:.3f}{at_best}, expected {thresholds.min_score:g}"
    if lost:
        return None, f"{lost} of {runs} runs could not be evaluated"
    return True, f"pass rate {rate:.3f}, score {mean:.3f}"


def _metrics(results: Sequence[CaseResult]) -> Mapping[str, float]:
    """Of each metric the mean over the runs that have it."""
    found: dict[str, list[float]] = {}
    for each in results:
        for name, score in each.metrics.items():
            found.setdefault(name, []).append(score)
    return MappingProxyType({name: sum(scores) / len(scores) for name, scores in sorted(found.items())})
