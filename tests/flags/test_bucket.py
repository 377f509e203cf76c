"""The coin falls in the same way in every language, version and process."""

from __future__ import annotations

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flags.bucket import MAX_TOTAL, encoded_text, key_hash, shares_of


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        (["support-bot.prompt", "user-1"], 2_811_256_414),
        ("support-bot.prompt/v7/user-1", 1_300_780_652),
        (1.5, 346_941_878),
    ],
)
def test_the_hash_of_a_key_is_flagds(key: object, expected: int) -> None:
    assert key_hash(key) == expected


@pytest.mark.parametrize("size", [0, 1, 23, 24, 255, 256, 65_535, 65_536])
def test_texts_of_every_length_class_are_canonical_cbor(size: int) -> None:
    assert encoded_text("x" * size) == cbor2.dumps("x" * size, canonical=True)


@given(st.text(max_size=300))
def test_any_text_is_encoded_as_cbor2_does(text: str) -> None:
    assert encoded_text(text) == cbor2.dumps(text, canonical=True)


def test_a_whole_float_is_the_same_key_as_its_integer() -> None:
    assert key_hash(7.0) == key_hash(7)
    assert key_hash([{"a": 7.0}]) == key_hash([{"a": 7}])
    assert key_hash(2.0**65) != key_hash(2**65)


@pytest.mark.parametrize("key", ["\ud800", ["f", "\ud800"], object()])
def test_a_key_that_cannot_be_encoded_has_no_hash(key: object) -> None:
    assert key_hash(key) is None


def test_a_share_ends_one_before_the_next_begins() -> None:
    shares = shares_of([["a", 1], ["b", 1]])

    assert shares is not None
    assert [shares.of(h) for h in (0, 2**31 - 1, 2**31, 2**32 - 1)] == ["a", "a", "b", "b"]


def test_weights_default_to_one_and_negative_ones_count_as_nothing() -> None:
    shares = shares_of([["a", -5], ["b"], ["c", 0]])

    assert shares is not None
    assert {shares.of(h) for h in (0, 2**31, 2**32 - 1)} == {"b"}


@pytest.mark.parametrize(
    "fractions",
    [
        [],
        [["a", 0]],
        [["a", -1], ["b", 0]],
        [["a", 1.0]],
        [["a", True]],
        [["a", "1"]],
        [["a", None]],
        [["a", 1, 2]],
        [[]],
        ["a"],
        [["a", MAX_TOTAL], ["b", 1]],
    ],
)
def test_malformed_or_empty_shares_are_null(fractions: list[object]) -> None:
    assert shares_of(fractions) is None


def test_the_largest_total_is_still_taken() -> None:
    assert shares_of([["a", MAX_TOTAL - 1], ["b", 1]]) is not None
