"""A report has the contract's fields first, and texts of bounded length that JSON can hold."""

from __future__ import annotations

import json

from policies.evals.answer import Answer
from policies.evals.gate import Thresholds, gate
from policies.evals.report import TEXT_CHARS_MAX, Report, document, summary
from policies.evals.result import CaseResult
from policies.evals.verdict import Checked


def report(*results: CaseResult) -> Report:
    least = Thresholds(0.9, 0.5)
    return Report("f", "v2", "a" * 64, "s.yaml", "b" * 64, results, gate(results, least), least, "t", 1.5)


def test_a_summary_is_the_contracts() -> None:
    found = summary(report(CaseResult(1, 1, True, 1.0, "ok")), link="abc")

    assert found == {
        "flag": "f",
        "variant": "v2",
        "suite": "s.yaml",
        "suite_hash": "b" * 64,
        "passed": True,
        "pass_rate": 1.0,
        "score": 1.0,
        "cases": 1,
        "not_evaluated": 0,
        "report": "abc",
    }


def test_a_document_begins_with_the_summary_and_bounds_its_texts() -> None:
    answer = Answer("x" * 9_000 + "\ud83d", 0.2, error="\ud83d")
    checks = (Checked("contains", None, 0.0, "y" * 9_000),)
    whole = document(report(CaseResult(1, 1, None, 0.0, "r", "t", answer, checks)))
    text = json.dumps(whole, ensure_ascii=False).encode()

    assert list(whole)[:10] == list(summary(report()))
    assert len(text) < 2 * TEXT_CHARS_MAX + 2_000
    assert json.loads(text)["results"][0]["answer"]["error"] == "?"
    assert whole["thresholds"] == {"min_pass_rate": 0.9, "min_score": 0.5}
