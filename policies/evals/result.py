"""How a case ended: its assertions' scores put together as promptfoo does. Knows no gateway and no clock."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from policies.evals.answer import NO_VERSIONS, Answer
from policies.evals.case import Case
from policies.evals.checks import checked
from policies.evals.grader import Grader
from policies.evals.question import Question
from policies.evals.verdict import Checked, combined, metrics_of

NO_METRICS: Mapping[str, float] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class CaseResult:
    """How a case ended, asked the `repeat`-th time (from 1). `passed` None: it could not be evaluated; `reason` says why.

    `score` is 0 to 1; `metrics` are the mean scores of the assertions that name one.
    """

    case: int
    repeat: int
    passed: bool | None
    score: float
    reason: str
    title: str = ""
    answer: Answer | None = None
    checks: tuple[Checked, ...] = ()
    metrics: Mapping[str, float] = field(default_factory=lambda: NO_METRICS)


async def case_result(
    question: Question,
    answer: Answer,
    grader: Grader,
    *,
    repeat: int = 1,
    pinned: Mapping[str, str] = NO_VERSIONS,
) -> CaseResult:
    """How an answer ends its case. An error, or an answer that does not carry what was `pinned`, is not evaluated."""
    case = question.case
    lacking = answer.lacks(pinned)
    if lacking:
        return not_evaluated(case, lacking, repeat=repeat, answer=answer)
    checks = [await checked(each, question, answer, grader) for each in question.asserts]
    passed, score, reason = combined(checks, case.threshold)
    return CaseResult(
        case.number,
        repeat,
        passed,
        score,
        reason,
        title=case.title,
        answer=answer,
        checks=tuple(checks),
        metrics=metrics_of(checks),
    )


def not_evaluated(case: Case, reason: str, *, repeat: int = 1, answer: Answer | None = None) -> CaseResult:
    """A case that could not be evaluated, and why."""
    return CaseResult(case.number, repeat, None, 0.0, reason, title=case.title, answer=answer)
