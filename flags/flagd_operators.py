"""flagd's own operators, compiled: `fractional`, `sem_ver`, `starts_with`, `ends_with`.

Knows terms and scopes, not how rules nest. On bad input each gives null, never false, so that the default
answers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

from flags.bucket import PAIR, Shares, encoded_text, hashed, key_hash, shares_of
from flags.coercion import Value

Term: TypeAlias = Callable[[Value], Value]


def drawn(scope: Value, key: Value = None, *fractions: Value) -> Value:
    """`fractional` with every argument evaluated.

    An array as first argument is a fraction already; then the key is the user.
    """
    if isinstance(key, list):
        key, fractions = user_key(scope), (key, *fractions)
    # "" and 0 and false are keys like others; only null is none.
    hash_value = None if key is None else key_hash(key)
    shares = None if hash_value is None else shares_of(fractions)
    return None if shares is None or hash_value is None else shares.of(hash_value)


def user_key(scope: Value) -> list[str] | None:
    """`[flagKey, targetingKey]`; None where nobody is named.

    Fails inside `map` over what is no object, as flagd does.
    """
    targeting_key = scope.get("targetingKey")
    if not isinstance(targeting_key, str) or not targeting_key:
        return None
    return [scope.get("$flagd", {}).get("flagKey", ""), targeting_key]


def user_draw(flag: str, fractions: Sequence[Value]) -> Term:
    """The shorthand with constant fractions, at a rule's root: nearly every rule there is."""
    shares = shares_of(fractions)
    if shares is None:
        return nothing
    prefix = PAIR + encoded_text(flag)
    of = shares.of

    def run(context: Value) -> Value:
        key = context["targetingKey"]
        if not isinstance(key, str) or not key:
            return None
        try:
            return of(hashed(prefix + encoded_text(key)))
        except UnicodeEncodeError:
            return None

    return run


def keyed_draw(key: Term, fractions: Sequence[Value]) -> Term:
    """A computed key with constant fractions. A key that turns out to be an array is a fraction after all."""
    shares = shares_of(fractions)

    def run(scope: Value) -> Value:
        value = key(scope)
        if isinstance(value, list):
            return drawn(scope, value, *fractions)
        return _share(shares, value)

    return run


def _share(shares: Shares | None, key: Value) -> Value:
    if shares is None or key is None:
        return None
    hash_value = key_hash(key)
    return None if hash_value is None else shares.of(hash_value)


def nothing(_: Value) -> None:
    """The term that gives null."""


def starts_with(*values: Value) -> bool | None:
    """Whether the first of exactly two texts begins with the second."""
    return values[0].startswith(values[1]) if _two_texts(values) else None


def ends_with(*values: Value) -> bool | None:
    """Whether the first of exactly two texts ends with the second."""
    return values[0].endswith(values[1]) if _two_texts(values) else None


def _two_texts(values: tuple[Value, ...]) -> bool:
    return len(values) == 2 and isinstance(values[0], str) and isinstance(values[1], str)
