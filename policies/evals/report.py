"""A run's report: what was asked, answered and found, as JSON of bounded size. Knows no file and no gateway."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from flags.model import Json
from policies.evals.gate import Gated, Thresholds
from policies.evals.result import CaseResult
from policies.evals.verdict import Checked, brief

# Enough to see what went wrong; 10,000 answers stay within 20 MB.
TEXT_CHARS_MAX = 2_000


@dataclass(frozen=True, slots=True)
class Report:
    """A run of a suite on a version. `hash` is the version's, `suite_hash` the suite's; `started` is RFC 3339.

    `error` says why nothing of it could be evaluated, where the run itself was in vain.
    """

    flag: str
    variant: str
    hash: str
    suite: str
    suite_hash: str
    results: Sequence[CaseResult]
    gated: Gated
    thresholds: Thresholds
    started: str
    seconds: float
    repeat: int = 1
    error: str | None = None
    by: str = "pointsman"

    @property
    def passed(self) -> bool | None:
        """Whether the gate was passed; None where it could not be evaluated."""
        return self.gated.passed


def summary(report: Report, *, link: str | None = None) -> dict[str, Json]:
    """What `eval run` answers (CONTRACT §6); `link` is where the report is kept."""
    gated = report.gated
    return {
        "flag": report.flag,
        "variant": report.variant,
        "suite": report.suite,
        "suite_hash": report.suite_hash,
        "passed": gated.passed,
        "pass_rate": gated.pass_rate,
        "score": gated.score,
        "cases": gated.cases,
        "not_evaluated": gated.not_evaluated,
        "report": link,
    }


def document(report: Report, *, link: str | None = None) -> dict[str, Json]:
    """The whole report: the summary's fields first, then every run of every case. Texts are cut to TEXT_CHARS_MAX."""
    thresholds = report.thresholds
    return {
        **summary(report, link=link),
        "hash": report.hash,
        "by": report.by,
        "reason": report.gated.reason,
        "error": _text(report.error),
        "started": report.started,
        "seconds": report.seconds,
        "repeat": report.repeat,
        "runs": report.gated.runs,
        "thresholds": {"min_pass_rate": thresholds.min_pass_rate, "min_score": thresholds.min_score},
        "metrics": dict(report.gated.metrics),
        "results": [_result(each) for each in report.results],
    }


def _result(result: CaseResult) -> dict[str, Json]:
    answer = result.answer
    told: dict[str, Json] = {
        "case": result.case,
        "repeat": result.repeat,
        "title": _text(result.title),
        "passed": result.passed,
        "score": result.score,
        "reason": _text(result.reason),
        "metrics": dict(result.metrics),
        "checks": [_check(each) for each in result.checks],
    }
    if answer is not None:
        told["answer"] = {
            "text": _text(answer.text),
            "seconds": answer.seconds,
            "cost_usd": answer.cost_usd,
            "input_tokens": answer.input_tokens,
            "output_tokens": answer.output_tokens,
            "versions": dict(answer.versions),
            "error": _text(answer.error),
        }
    return told


def _check(check: Checked) -> dict[str, Json]:
    return {
        "type": check.name,
        "passed": check.passed,
        "score": check.score,
        "weight": check.weight,
        "metric": check.metric,
        "reason": _text(check.reason),
    }


def _text(text: str | None) -> str | None:
    """A text as UTF-8 can hold it, cut: a model may answer half of a surrogate pair, and no JSON takes that."""
    return None if text is None else brief(text, TEXT_CHARS_MAX).encode("utf-8", "replace").decode("utf-8")
