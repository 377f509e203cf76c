"""A decision token says who asked and what answered; only ours are believed, and for a week."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.token import (
    PERIOD_SECONDS,
    VALID_SECONDS,
    DecisionExpired,
    InvalidDecision,
    TokenSigner,
)
from policies.outcome import Release
from tests.gateway.builders import NOW, SIGNER

ANSWERED = "support-bot~AbC_-3~support-bot.prompt:v7:2:c~support-bot.model:gpt-4.1:1:d"
WEEK = NOW // PERIOD_SECONDS


def signed(now: int = NOW, answered: str = ANSWERED, signer: TokenSigner = SIGNER) -> str:
    token = signer.sign("req-1", now, answered)
    assert token is not None
    return token.decode()


def test_what_was_signed_is_read_again() -> None:
    decided = SIGNER.read(signed(), NOW)

    assert (decided.request_id, decided.decided_at) == ("req-1", NOW)
    assert decided.answered.route == "support-bot"
    assert decided.answered.unit == "AbC_-3"
    assert decided.answered.releases == (
        Release("support-bot.prompt", "v7", 2),
        Release("support-bot.model", "gpt-4.1", 1),
    )
    assert decided.answered.how == "cd"


def test_who_was_not_named_has_no_unit_and_a_route_may_have_no_layers() -> None:
    decided = SIGNER.read(signed(answered="support-bot~-"), NOW)

    assert (decided.answered.unit, decided.answered.releases) == ("", ())


@pytest.mark.parametrize("at", range(0, 120, 7))
def test_one_changed_character_is_noticed(at: int) -> None:
    token = signed()
    at = at % len(token)
    forged = token[:at] + ("x" if token[at] != "x" else "y") + token[at + 1 :]

    with pytest.raises((InvalidDecision, DecisionExpired)):
        SIGNER.read(forged, NOW)


def test_a_token_is_valid_for_a_week_and_not_a_second_longer() -> None:
    assert SIGNER.read(signed(), NOW + VALID_SECONDS).request_id == "req-1"
    with pytest.raises(DecisionExpired, match="7"):
        SIGNER.read(signed(), NOW + VALID_SECONDS + 1)


def test_a_token_of_last_weeks_key_is_read_while_it_is_valid() -> None:
    next_week = TokenSigner({WEEK: b"k" * 32, WEEK + 1: b"n" * 32}, b"u" * 32)

    assert next_week.read(signed(), (WEEK + 1) * PERIOD_SECONDS).decided_at == NOW
    assert signed((WEEK + 1) * PERIOD_SECONDS, signer=next_week)


def test_a_token_whose_key_is_gone_has_expired() -> None:
    later = TokenSigner({WEEK + 3: b"n" * 32}, b"u" * 32)

    with pytest.raises(DecisionExpired):
        later.read(signed(), NOW + 3 * PERIOD_SECONDS)


def test_nothing_is_signed_without_a_key_for_the_time() -> None:
    assert SIGNER.sign("req-1", NOW + PERIOD_SECONDS, ANSWERED) is None


def test_all_tokens_are_in_redis_time() -> None:
    behind = TokenSigner({WEEK: b"k" * 32}, b"u" * 32, skew_seconds=3600)

    assert SIGNER.read(signed(NOW - 3600, signer=behind), NOW).decided_at == NOW
    assert behind.read(signed(), NOW - 3600).decided_at == NOW


@given(st.text(max_size=60) | st.lists(st.text(max_size=8), max_size=8).map("~".join))
def test_whatever_is_sent_as_a_token_is_refused_and_nothing_breaks(sent: str) -> None:
    with pytest.raises((InvalidDecision, DecisionExpired)):
        SIGNER.read(sent, NOW)


def test_a_unit_is_the_same_for_one_and_another_for_another_and_in_another_namespace() -> None:
    other = TokenSigner({}, b"v" * 32)

    assert SIGNER.unit("ann") == SIGNER.unit("ann")
    assert len(SIGNER.unit("ann")) == 11
    assert len({SIGNER.unit("ann"), SIGNER.unit("bob"), other.unit("ann"), SIGNER.unit("\ud800")}) == 4
