"""The coin: which part of a whole a key falls into (flagd's `fractional` v3). Knows no context and no flag.

Source: flagd's fractional specification v3: murmur3 (x86, 32 bits, seed 0, unsigned) over the key's canonical
CBOR, then `(hash * total) >> 32`. Other languages' flagd providers draw the same users.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

import cbor2
import mmh3

from flags.coercion import Value

# flagd: the weights of one rule add up to at most MaxInt32.
MAX_TOTAL = 2_147_483_647

# CBOR (RFC 8949 §3): the head of a text is 0x60 + its length, or 0x78/0x79/0x7a and 1, 2 or 4 bytes of
# length.
TEXT = 0x60
PAIR = b"\x82"

# What encoding a key can raise: surrogates, integers past 64 bits in odd places, cycles, foreign types.
UNENCODABLE = (cbor2.CBOREncodeError, ArithmeticError, RecursionError, TypeError, ValueError)


def encoded_text(text: str) -> bytes:
    """Canonical CBOR of a text (a tenth of the time that cbor2 takes).

    Raises UnicodeEncodeError for surrogates.
    """
    utf8 = text.encode()
    size = len(utf8)
    if size < 24:
        return bytes((TEXT + size,)) + utf8
    if size < 256:
        return bytes((0x78, size)) + utf8
    if size < 65_536:
        return b"\x79" + size.to_bytes(2, "big") + utf8
    return b"\x7a" + size.to_bytes(4, "big") + utf8


def hashed(encoded: bytes) -> int:
    """0 … 2³²−1 for a key in canonical CBOR."""
    return mmh3.hash(encoded, 0, False)  # noqa: FBT003 — mmh3 takes `signed` by position fastest


def key_hash(key: Value) -> int | None:
    """0 … 2³²−1 for any JSON key; None where it cannot be encoded."""
    try:
        if type(key) is str:
            return hashed(encoded_text(key))
        return hashed(cbor2.dumps(_whole(key), canonical=True))
    except UNENCODABLE:
        return None


def _whole(key: Value) -> Value:
    """`key` with floats that have no fraction as integers: 1.0 and 1 are one key in every language."""
    if isinstance(key, dict):
        return {name: _whole(value) for name, value in key.items()}
    if isinstance(key, (list, tuple)):
        return [_whole(value) for value in key]
    if isinstance(key, float) and key.is_integer() and -(2**63) <= key <= 2**64 - 1:
        return int(key)
    return key


@dataclass(frozen=True, slots=True)
class Shares:
    """Who gets what: `ends` are the running sums of the weights, the last one their total (> 0)."""

    ends: Sequence[int]
    variants: Sequence[Value]

    def of(self, hash_value: int) -> Value:
        """The variant into whose share `hash_value` falls."""
        ends = self.ends
        return self.variants[bisect_right(ends, (hash_value * ends[-1]) >> 32)]


def shares_of(fractions: Sequence[Value]) -> Shares | None:
    """`[variant, weight?]` pairs as shares; None (null) for a malformed pair, no weight at all, or too much.

    A weight is an integer, 1 where left out; negative ones count as 0, since a computed ramp may start below
    it.
    """
    ends: list[int] = []
    total = 0
    for fraction in fractions:
        weight = _weight(fraction)
        if weight is None:
            return None
        total += weight
        ends.append(total)
    if not 0 < total <= MAX_TOTAL:
        return None
    return Shares(tuple(ends), tuple(fraction[0] for fraction in fractions))


def _weight(fraction: Value) -> int | None:
    if not isinstance(fraction, (list, tuple)) or not 0 < len(fraction) <= 2:
        return None
    if len(fraction) == 1:
        return 1
    weight = fraction[1]
    if isinstance(weight, bool) or not isinstance(weight, int):
        return None
    return max(0, weight)
