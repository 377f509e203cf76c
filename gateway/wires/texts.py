"""A prompt's texts put in front of what an app sends, its bytes left as they came. Knows JSON, no field's name."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from gateway.prompt import Said

Raw = msgspec.Raw

# Who gives orders, and who talks: the first have a field of their own on some wires.
ORDERS = frozenset({"system", "developer"})
BETWEEN = "\n\n"
NULL = Raw(b"null")

_encode = msgspec.json.Encoder().encode


def orders(said: Sequence[Said]) -> list[str]:
    """The texts of system and developer; what rendered to nothing is left out."""
    return [each.text for each in said if each.role in ORDERS and each.text.strip()]


def talk(said: Sequence[Said]) -> bytes:
    """The other messages as JSON objects joined by commas; what rendered to nothing is left out."""
    others = (each for each in said if each.role not in ORDERS and each.text.strip())
    return b",".join([_encode({"role": each.role, "content": each.text}) for each in others])


def leading(texts: Iterable[str]) -> str:
    """The texts as they stand before another text: each followed by an empty line."""
    return "".join([text + BETWEEN for text in texts])


def before_text(front: str, raw: Raw) -> Raw:
    """`front` before the text of the JSON string `raw`.

    >>> bytes(before_text("a ", Raw(b'"\\\\u00e4"')))
    b'"a \\\\u00e4"'
    """
    return Raw(_encode(front)[:-1] + memoryview(raw)[1:])


def given(raw: Raw | None) -> Raw | None:
    """The value, None where it is absent or null."""
    return None if raw is None or raw == NULL else raw


def begins(raw: Raw, sign: str) -> bool:
    """Whether the JSON `raw` begins with `sign`: `"` a string, `[` an array, `{` an object."""
    return memoryview(raw)[0] == ord(sign)
