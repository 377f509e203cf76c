"""Cases are scored as promptfoo scores; a run passes only when all of it was evaluated and enough of it passed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.evals.answer import Answer
from policies.evals.gate import Thresholds, gate
from policies.evals.result import CaseResult, case_result
from policies.evals.verdict import Checked, combined, metrics_of
from tests.policies.evals.examining import Judge, question

CHECKS = st.lists(
    st.builds(
        Checked,
        st.just("contains"),
        st.sampled_from([True, False, None]),
        st.floats(0, 1),
        st.just("r"),
        st.sampled_from([None, "m"]),
        st.floats(0, 100),
    ),
    max_size=6,
)
RESULTS = st.lists(
    st.builds(
        CaseResult,
        st.integers(1, 5),
        st.integers(1, 3),
        st.sampled_from([True, False, None]),
        st.floats(0, 1),
        st.just("r"),
    ),
    max_size=20,
)
THRESHOLDS = st.builds(Thresholds, st.floats(0, 1), st.none() | st.floats(0, 1))


def check(passed: bool | None, score: float, weight: float = 1.0, metric: str | None = None) -> Checked:
    return Checked("contains", passed, score, "r", metric, weight)


def result(passed: bool | None, score: float = 0.0, case: int = 1) -> CaseResult:
    return CaseResult(case, 1, passed, score, "r")


@pytest.mark.parametrize(
    ("checks", "threshold", "expected"),
    [
        ([], None, (True, 1.0)),
        ([], 0.9, (True, 1.0)),
        ([check(True, 1), check(False, 0)], None, (False, 0.5)),
        ([check(True, 1), check(False, 0)], 0.5, (True, 0.5)),
        ([check(True, 1), check(False, 0)], 0.51, (False, 0.5)),
        ([check(True, 1, 3), check(False, 0, 1)], 0.75, (True, 0.75)),
        ([check(True, 0.4)], 0.5, (False, 0.4)),
        ([check(True, 1), check(False, 0, 0)], None, (True, 1.0)),
        ([check(False, 0, 0)], None, (True, 1.0)),
        ([check(True, 1), check(None, 0)], 0.1, (None, 0.0)),
        ([check(False, 0), check(None, 0, 0)], None, (None, 0.0)),
    ],
)
def test_a_case_is_the_weighted_mean_of_its_assertions(
    checks: list[Checked], threshold: float | None, expected: tuple[bool | None, float]
) -> None:
    assert combined(checks, threshold)[:2] == expected


def test_a_sum_of_decimals_that_rounds_below_its_threshold_reaches_it() -> None:
    assert combined([check(True, 0.1), check(True, 0.2), check(True, 0.6)], 0.3)[0] is True


@given(CHECKS, st.none() | st.floats(0, 1))
def test_a_score_is_a_share_and_one_assertion_not_evaluated_makes_the_case_so(
    checks: list[Checked], threshold: float | None
) -> None:
    passed, score, _ = combined(checks, threshold)

    assert 0 <= score <= 1
    assert (passed is None) == any(each.passed is None for each in checks)


def test_a_metric_is_the_mean_of_what_names_it_and_was_evaluated() -> None:
    checks = [
        check(True, 1, 0, "tone"),
        check(False, 0.5, 9, "tone"),
        check(None, 0, 1, "tone"),
        check(True, 1),
    ]

    assert metrics_of(checks) == {"tone": 0.75}


@pytest.mark.parametrize(
    ("results", "thresholds", "passed"),
    [
        ([], Thresholds(0), None),
        ([result(True, 1)], Thresholds(1), True),
        ([result(True, 1)] * 19 + [result(False)], Thresholds(0.95), True),
        ([result(True, 1)] * 18 + [result(False)] * 2, Thresholds(0.95), False),
        ([result(True, 0.8)], Thresholds(1, 0.8), True),
        ([result(True, 0.8)], Thresholds(1, 0.81), False),
        ([result(True, 1)] * 99 + [result(None)], Thresholds(0.5), None),
        ([result(None)], Thresholds(0), None),
        ([result(False)] * 2 + [result(None)], Thresholds(0.5), False),
        ([result(False), result(None)], Thresholds(0.5), None),
        ([result(True, 0.1), result(None)], Thresholds(0, 0.6), False),
    ],
)
def test_the_gate_at_its_limit_and_one_past_it(
    results: list[CaseResult], thresholds: Thresholds, passed: bool | None
) -> None:
    assert gate(results, thresholds).passed is passed


@given(RESULTS, THRESHOLDS)
def test_what_was_not_evaluated_never_passes(results: list[CaseResult], thresholds: Thresholds) -> None:
    gated = gate(results, thresholds)

    assert gated.passed is not True or (results and all(each.passed is not None for each in results))
    assert 0 <= gated.pass_rate <= 1
    assert 0 <= gated.score <= 1 + 1e-9


@given(RESULTS, THRESHOLDS)
def test_a_failure_stays_one_however_the_rest_had_ended(
    results: list[CaseResult], thresholds: Thresholds
) -> None:
    at_best = [each if each.passed is not None else result(True, 1, each.case) for each in results]

    if gate(results, thresholds).passed is False:
        assert gate(at_best, thresholds).passed is False
    elif gate(results, thresholds).passed is None and results:
        assert gate(at_best, thresholds).passed is True


@given(RESULTS, THRESHOLDS)
def test_one_more_failure_never_makes_a_pass(results: list[CaseResult], thresholds: Thresholds) -> None:
    worse = gate([*results, result(False)], thresholds).passed

    assert worse is not True or gate(results, thresholds).passed is not False or not results


def test_a_run_that_ended_early_is_not_evaluated() -> None:
    gated = gate([result(True, 1)] * 9, Thresholds(0.5), expected=10)

    assert (gated.passed, gated.pass_rate, gated.runs) == (None, 0.9, 10)


def test_cases_are_counted_once_however_often_they_were_asked() -> None:
    gated = gate([result(True, 1), result(None), result(None), result(True, 1, case=2)], Thresholds(0.1))

    assert (gated.cases, gated.not_evaluated, gated.runs) == (2, 1, 4)


@pytest.mark.parametrize(
    ("answer", "passed"),
    [
        (Answer("30", 0.1, versions={"prompt": "v2", "model": "m"}), True),
        (Answer("30", 0.1, versions={"prompt": "v1"}), None),
        (Answer("30", 0.1), None),
        (Answer("30", 0.1, versions={"prompt": "v2"}, error="502"), None),
        (Answer("30", 0.1, versions={"prompt": "v2"}, error=""), None),
        (Answer("31", 0.1, versions={"prompt": "v2"}), False),
    ],
)
async def test_an_error_or_another_version_than_the_pinned_one_is_not_evaluated(
    answer: Answer, passed: bool | None
) -> None:
    ready = question({"type": "equals", "value": "30", "metric": "exact"})

    found = await case_result(ready, answer, Judge(), repeat=2, pinned={"prompt": "v2"})

    assert (found.passed, found.repeat, found.case) == (passed, 2, 1)
    assert found.metrics == ({} if passed is None else {"exact": float(passed)})
