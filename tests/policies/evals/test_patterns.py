"""Patterns of hostile suites end in time, and honest ones work."""

from __future__ import annotations

import pytest

from policies.evals.patterns import UNFOLDED_MAX, search, unfolded
from policies.evals.verdict import NotEvaluated

SHORT = 0.02


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        (r"(a|aa)+$", "a" * 60 + "!"),
        (r"(x+x+)+y", "x" * 3_000),
        (r"^(.*?,){25}P", "1," * 60),
    ],
)
def test_a_pattern_that_backtracks_without_end_is_given_up(pattern: str, text: str) -> None:
    with pytest.raises(NotEvaluated, match="backtracks"):
        search(pattern, text, seconds=SHORT)


@pytest.mark.parametrize(
    "pattern",
    [
        r"a{99999999}",
        r"a{,99999999}",
        r"(?:a{1000}){1000}",
        r"((a{50}){50}){50}",
        r"((?:[ab]{400}|c){100}x){3}",
        r"[)]{3}(?:\(a{300}\)[(]){300}",
    ],
)
def test_counted_repeats_are_bounded_before_they_are_unfolded(pattern: str) -> None:
    with pytest.raises(NotEvaluated, match="unfold"):
        search(pattern, "a")


@pytest.mark.parametrize(
    "pattern",
    [
        "(?x)(?:a{300} # )\n){300}",
        "(?#[)a",
        "(?R)",
        "(a)(?1)",
        "(?V1)[[a]b]",
        "[[:alpha:])]",
        "(?:a{300}[b[:alpha:])]){300}",
        "(?:a{300}[][:alpha:])]){300}",
        r"(?:a{300}[\][:alpha:])]){300}",
        "(?ix:a)",
        "(?&name)",
        "(?(1)a|b)",
    ],
)
def test_what_javascript_has_not_is_refused_since_the_count_does_not_know_it(pattern: str) -> None:
    with pytest.raises(NotEvaluated, match="JavaScript"):
        search(pattern, "a")


@pytest.mark.parametrize("pattern", ["(", "a**", "[a", "x" * 2_001, "(" * 1_000 + ")" * 1_000, r"\L<a>"])
def test_what_is_no_pattern_is_not_evaluated(pattern: str) -> None:
    with pytest.raises(NotEvaluated):
        search(pattern, "a")


@pytest.mark.parametrize(
    ("pattern", "text", "found"),
    [
        (r"^[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}$", "123e4567-e89b-12d3-a456-426614174000", True),
        (r"(?i)refund", "REFUND", True),
        (r"(?<year>\d{4})-\k<year>", "2026-2026", True),
        (r"\\k<(?<!x)y|y", "y", True),
        (r"[][{}()]{2}", "[]", True),
        (r"\d", "٣", False),
        (r"\{1\}", "{1}", True),
        (r"a{,3}b", "aab", True),
        (r"(?s).", "\n", True),
    ],
)
def test_honest_patterns_work(pattern: str, text: str, found: bool) -> None:
    assert search(pattern, text) is found


@pytest.mark.parametrize(
    ("pattern", "steps"),
    [("a{50000}", UNFOLDED_MAX), ("a{50001}", UNFOLDED_MAX + 1), ("(ab{3}){2}", 10), ("", 1)],
)
def test_the_count_multiplies_what_is_repeated(pattern: str, steps: int) -> None:
    assert unfolded(pattern) == steps
