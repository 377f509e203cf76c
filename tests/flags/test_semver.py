"""Versions compare as SemVer 2.0.0 says, read with flagd's leniency."""

from __future__ import annotations

from itertools import pairwise

import pytest

from flags.semver import compared, version_of

# SemVer 2.0.0 §11, in order of precedence.
ORDER = ["1.0.0-alpha", "1.0.0-alpha.1", "1.0.0-alpha.beta", "1.0.0-beta", "1.0.0-beta.2", "1.0.0-beta.11"]
ORDER += ["1.0.0-rc.1", "1.0.0", "1.0.1", "1.9.0", "1.10.0", "2.0.0"]


@pytest.mark.parametrize(("lower", "higher"), list(pairwise(ORDER)))
def test_precedence_is_semvers(lower: str, higher: str) -> None:
    assert compared(lower, "<", higher) is True
    assert compared(higher, ">=", lower) is True
    assert compared(lower, "=", higher) is False


@pytest.mark.parametrize(
    ("first", "sign", "second", "expected"),
    [
        ("v1.2.3", "=", "1.2.3", True),
        ("V1", "=", "1.0.0", True),
        (1, "=", "1.0.0", True),
        (1.2, "=", "1.2.0", True),
        ("1.2.3+build5", "=", "1.2.3+build6", True),
        ("1.2.3", "!=", "1.2.4", True),
        ("1.9.9", "^", "1.0.0", True),
        ("2.0.0", "^", "1.9.9", False),
        ("1.2.9", "~", "1.2.0", True),
        ("1.3.0", "~", "1.2.0", False),
        ("1.2", "<=", "1.2.0", True),
    ],
)
def test_signs_compare_as_flagd_has_them(first: object, sign: str, second: object, expected: bool) -> None:
    assert compared(first, sign, second) is expected


@pytest.mark.parametrize(
    ("first", "sign", "second"),
    [
        ("2.0.0.0", "=", "2.0.0"),
        ("01.0.0", "=", "1.0.0"),
        ("1.0.0-01", "=", "1.0.0"),
        ("", "=", "1.0.0"),
        (None, "=", "1.0.0"),
        (True, "=", "1.0.0"),
        ("1.0.0", "==", "1.0.0"),
        ("1.0.0", None, "1.0.0"),
        ("1.0.0", ["="], "1.0.0"),
        ("1.0.0\n", "=", "1.0.0"),
        ("9" * 5000, "=", "1.0.0"),
    ],
)
def test_what_is_no_version_or_sign_gives_null_not_false(first: object, sign: object, second: object) -> None:
    assert compared(first, sign, second) is None


def test_a_rollback_label_is_a_prerelease_and_sorts_below_its_version() -> None:
    """Why nothing is ever ordered by such a label."""
    assert compared("v1.2.1-rollback", "<", "v1.2.1") is True
    assert version_of("v1.2.1-rollback") is not None
