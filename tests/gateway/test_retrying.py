"""How many of a version's attempts are left where retries are bounded."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway.retrying import with_retries
from gateway.version import Attempt


def attempt(target: str, *, fallback: bool = False) -> Attempt:
    return Attempt(target, b'"m"', fallback=fallback, target=f"{target}/m")


def test_other_targets_and_fallbacks_are_no_retries() -> None:
    first, other, spare = attempt("a"), attempt("b"), attempt("c", fallback=True)

    assert with_retries([first, first, other, first, spare], 0) == [first, other, spare]
    assert with_retries([first, first, other, first, spare], 1) == [first, first, other, spare]


@given(st.lists(st.builds(attempt, st.sampled_from("abc"), fallback=st.booleans())), st.integers(0, 10))
def test_the_order_stays_and_every_target_is_asked_at_least_once(attempts: list[Attempt], most: int) -> None:
    kept = with_retries(attempts, most)

    left = iter(attempts)
    assert all(each in left for each in kept)
    assert {each.target for each in kept} == {each.target for each in attempts}
    assert [each for each in kept if each.fallback] == [each for each in attempts if each.fallback]
