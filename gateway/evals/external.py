"""A report that was made elsewhere, of which the gateway knows only the JSON: read, and judged again by our own gate.

What it says of itself (that it passed) is not taken over. Knows no program that makes reports.
"""

from __future__ import annotations

from dataclasses import replace

import msgspec

from flags.errors import Invalid, Refused
from flags.model import Document, Flag
from gateway.evals.wanted import MOST_RUNS, USUAL
from policies.evals.gate import Thresholds, gate
from policies.evals.report import Report
from policies.evals.result import CaseResult


class _Row(msgspec.Struct, frozen=True):
    """One run of a case, as policies.evals.report writes it; what else stands in it is not looked at."""

    case: int
    passed: bool | None
    score: float
    repeat: int = 1
    reason: str = ""
    title: str = ""


class _Report(msgspec.Struct, frozen=True):
    suite: str
    suite_hash: str
    results: list[_Row]
    # The version's content when it was asked; "": not told, so it counts for the one that is there now.
    hash: str = ""
    started: str = ""
    seconds: float = 0.0
    repeat: int = 1
    by: str = "elsewhere"
    min_pass_rate: float | None = None
    min_score: float | None = None


def report_from(document: Document, flag: Flag, variant: str) -> Report:
    """The report in `document`, on `variant`. The flag's own thresholds hold; without any, the report's.

    Raises Invalid with the path, and Refused for a version that is withdrawn: no app's pin reaches it.
    """
    if variant in flag.withdrawn:
        raise Refused(
            "variant_withdrawn",
            f'flag "{flag.key}": {variant} is withdrawn, so what was asked from outside was another version',
            mend=f"pointsman eval run {flag.key} {variant}",
        )
    try:
        found = msgspec.convert(document, _Report)
    except msgspec.ValidationError as error:
        raise Invalid("report", f"this is no report of evals: {error}") from None
    if not 0 < len(found.results) <= MOST_RUNS:
        raise Invalid("report.results", f"found {len(found.results)} results, expected 1 to {MOST_RUNS:,}")
    results = [
        CaseResult(
            each.case, each.repeat, each.passed, min(1.0, max(0.0, each.score)), each.reason, each.title
        )
        for each in found.results
    ]
    thresholds = thresholds_for(flag, found.min_pass_rate, found.min_score)
    return Report(
        flag.key,
        variant,
        found.hash or flag.variants[variant].hash,
        found.suite,
        found.suite_hash,
        results,
        gate(results, thresholds),
        thresholds,
        found.started,
        found.seconds,
        repeat=found.repeat,
        by=found.by if found.by != "pointsman" else "elsewhere",
    )


def complete(report: Report, runs: int | None) -> Report:
    """The report of a suite of which a whole run has `runs` answers: those that are missing were not evaluated."""
    return replace(report, gated=gate(report.results, report.thresholds, expected=runs))


def thresholds_for(flag: Flag, min_pass_rate: float | None, min_score: float | None) -> Thresholds:
    """The flag's own where it has rules, else what is given, else what is usual."""
    if flag.promotion is not None:
        return Thresholds(flag.promotion.min_pass_rate, flag.promotion.min_score)
    return Thresholds(USUAL.min_pass_rate if min_pass_rate is None else min_pass_rate, min_score)
