"""What admits a client that can send no header."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.auth import ANYBODY, NO_KEYS, Reader, keyring
from gateway.errors import Unauthorized
from gateway.http.ofrep.ticket import admitted, ticket
from gateway.token import PERIOD_SECONDS, TokenSigner
from tests.gateway.builders import NOW
from tests.gateway.http.ofrep.standing import KEYS

WEEK = NOW // PERIOD_SECONDS
SIGNER = TokenSigner({each: b"%d" % each * 8 for each in range(WEEK - 1, WEEK + 4)}, b"u" * 32)
RING = replace(keyring({}, KEYS), now=lambda: NOW)
SHOP = RING.reader(b"shop-key-1")


def given_to(reader: Reader, now: int = NOW) -> str:
    found = ticket(SIGNER, reader, now)
    assert found is not None
    return found


@pytest.mark.parametrize("secret", [b"shop-key-1", b"page-key-1", b"vera-token"])
def test_it_admits_whom_it_was_given_to(secret: bytes) -> None:
    reader = RING.reader(secret)

    assert admitted(given_to(reader), SIGNER, RING, NOW) == reader


def test_without_keys_it_admits_anybody() -> None:
    assert admitted(given_to(ANYBODY), SIGNER, NO_KEYS, NOW) == ANYBODY


def test_it_is_the_same_all_week_and_taken_in_the_week_after() -> None:
    first = WEEK * PERIOD_SECONDS
    early, late = given_to(SHOP, first), given_to(SHOP, first + PERIOD_SECONDS - 1)

    assert early == late
    assert early != given_to(SHOP, first + PERIOD_SECONDS)
    assert admitted(early, SIGNER, RING, first + 2 * PERIOD_SECONDS - 1) == SHOP
    with pytest.raises(Unauthorized):
        admitted(early, SIGNER, RING, first + 2 * PERIOD_SECONDS)


def test_it_tells_neither_the_key_nor_its_digest() -> None:
    assert "shop-key-1" not in given_to(SHOP)
    assert SHOP.digest.hex() not in given_to(SHOP)


def test_it_ends_with_the_key_though_another_of_the_same_name_follows() -> None:
    document = {"apps": [{"name": "shop", "key": "shop-key-2"}]}

    with pytest.raises(Unauthorized):
        admitted(given_to(SHOP), SIGNER, keyring({}, document), NOW)


def test_one_without_keys_is_good_for_nothing_once_there_are_some() -> None:
    with pytest.raises(Unauthorized):
        admitted(given_to(ANYBODY), SIGNER, RING, NOW)


def test_another_namespace_s_is_not_taken() -> None:
    other = TokenSigner({WEEK: b"other" * 8}, b"u" * 32)

    with pytest.raises(Unauthorized):
        admitted(given_to(SHOP), other, RING, NOW)


def test_without_this_week_s_key_there_is_none() -> None:
    assert ticket(TokenSigner({}, b"u" * 32), SHOP, NOW) is None


@given(
    st.text(max_size=80) | st.builds(lambda name: given_to(SHOP).replace("shop", name), st.text(max_size=9))
)
def test_what_was_made_up_admits_nobody(text: str) -> None:
    if text != given_to(SHOP):
        with pytest.raises(Unauthorized):
            admitted(text, SIGNER, RING, NOW)
