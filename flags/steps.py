"""How far one evaluation may go: what a rule walks through and builds is bounded, for its data come from callers.

A rule is written by who may write flags; a context by anybody. `reduce` can double a text with every item, and an array
of an array goes as deep as there is data. Knows no operator and no flag.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

from flags.errors import Invalid

T = TypeVar("T")

# Items that `map` and its kin look at in one evaluation, all of them together: some 2 ms. Tags, carts and groups have
# hundreds.
MOST_ITEMS = 5_000
# An item of `reduce` counts as so many: each step may look at all that those before it made.
A_REDUCTION = 5
# Of a text that `cat` makes, and of an array that `merge` makes: `reduce` copies it with every item.
MOST_CHARACTERS = 256 * 1024
MOST_MERGED = 10_000
# Of a product, beyond which it is no number in any other language (a float ends at 1,024).
MOST_BITS = 4_096


class _Left(threading.local):
    items = MOST_ITEMS


class Steps:
    """What is left of a rule's evaluation, by thread. What changes here: that, and whether anything counts at all."""

    __slots__ = ("_left",)

    def __init__(self) -> None:
        # Few rules walk through anything: only those have something to count.
        self._left: _Left | None = None

    def __repr__(self) -> str:
        return f"<Steps: {'nothing counts' if self._left is None else self._left.items}>"

    def counted(self) -> Steps:
        """Have them counted from now on; said while a rule is compiled."""
        self._left = self._left or _Left()
        return self

    def begun(self, term: Callable[[T], T]) -> Callable[[T], T]:
        """`term`, before each call of which all steps are there again; itself where nothing counts."""
        left = self._left
        if left is None:
            return term

        def run(data: T) -> T:
            left.items = MOST_ITEMS
            return term(data)

        return run

    def walk(self, items: int) -> None:
        """So many items will be looked at. Raises Invalid where that is more than are left."""
        left = self._left
        assert left is not None
        left.items -= items
        if left.items < 0:
            raise Invalid("", f"it walks through more than {MOST_ITEMS:,} items")


def bounded_text(parts: list[str]) -> str:
    """`parts` as one text. Raises Invalid for one that is too long."""
    if sum(map(len, parts)) > MOST_CHARACTERS:
        raise Invalid("", f"`cat` makes a text of more than {MOST_CHARACTERS:,} characters")
    return "".join(parts)
