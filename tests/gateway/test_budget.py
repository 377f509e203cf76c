"""What an app grants its request, by headers of ours and of other gateways."""

from __future__ import annotations

from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.budget import HEADERS, UNBOUNDED, Budget, read_budget
from gateway.errors import BadRequest


def test_a_request_that_says_nothing_is_bounded_by_its_version_alone() -> None:
    assert read_budget({b"content-type": b"application/json"}) is UNBOUNDED


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        (b"x-pointsman-timeout-seconds", b"2.5", Budget(2.5)),
        (b"x-pointsman-max-attempts", b"3", Budget(inf, 3)),
        (b"x-litellm-timeout", b"30", Budget(30.0)),
        (b"x-litellm-num-retries", b"0", Budget(inf, 1)),
        (b"x-litellm-num-retries", b"2", Budget(inf, 3)),
        (b"x-portkey-request-timeout", b"1500", Budget(1.5)),
    ],
)
def test_each_header_grants_what_its_gateway_means(name: bytes, value: bytes, expected: Budget) -> None:
    assert read_budget({name: value}) == expected


def test_the_least_of_several_counts() -> None:
    headers = {
        b"x-pointsman-timeout-seconds": b"9",
        b"x-litellm-timeout": b"8",
        b"x-portkey-request-timeout": b"7000",
        b"x-pointsman-max-attempts": b"4",
        b"x-litellm-num-retries": b"1",
    }

    assert read_budget(headers) == Budget(7.0, 2)


@pytest.mark.parametrize("value", [b"", b"0", b"-1", b"nan", b"inf", b"soon", b"1e999", b"\xff"])
def test_a_timeout_of_ours_that_is_none_is_refused_by_name(value: bytes) -> None:
    with pytest.raises(BadRequest, match="x-pointsman-timeout-seconds"):
        read_budget({b"x-pointsman-timeout-seconds": value})


@pytest.mark.parametrize("value", [b"", b"0", b"-1", b"1.5", b"many", b"9" * 5000])
def test_a_number_of_attempts_that_is_none_is_refused_by_name(value: bytes) -> None:
    with pytest.raises(BadRequest, match="x-pointsman-max-attempts") as caught:
        read_budget({b"x-pointsman-max-attempts": value})

    assert caught.value.param == "x-pointsman-max-attempts"
    assert len(caught.value.message) < 200


@pytest.mark.parametrize("value", [b"", b"-1", b"nan", b"soon", b"9" * 5000])
def test_what_another_gateway_would_not_understand_is_ignored(value: bytes) -> None:
    headers = dict.fromkeys((b"x-litellm-timeout", b"x-litellm-num-retries"), value)

    found = read_budget({**headers, b"x-portkey-request-timeout": b"?"})

    assert found.attempts == inf
    assert found.seconds == inf or value == b"9" * 5000


@given(st.dictionaries(st.sampled_from(sorted(HEADERS)), st.binary(max_size=12)))
def test_whatever_is_sent_a_budget_is_positive_or_refused(headers: dict[bytes, bytes]) -> None:
    try:
        found = read_budget(headers)
    except BadRequest:
        return

    assert found.seconds > 0
    assert found.attempts >= 1
