"""Who asks, from OpenFeature's evaluation context: what a rule may look at, in JSON's types. Knows no flag."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from datetime import date, datetime
from typing import TypeVar

from openfeature.evaluation_context import EvaluationContext

from flags.errors import Invalid
from flags.model import NOTHING, Context, Json
from flags.ofrep import MAX_DEPTH, MAX_VALUES

# What JSON has, and most attributes are: these go as they are.
PLAIN = frozenset((bool, int, float, str, type(None)))

NOBODY = Context(None)

T = TypeVar("T")


def context_from(asked: EvaluationContext | None, *, attributes: bool) -> Context:
    """The context as `flags.resolve` wants it; without its attributes where no rule would look at them.

    Times become RFC 3339 texts, sets and tuples lists, and what is of no JSON type its `str`. An empty targeting key is
    none. Raises Invalid for a targeting key that is no text, and for attributes that no JSON can be made of.
    """
    if asked is None:
        return NOBODY
    key = asked.targeting_key
    if key is not None and not isinstance(key, str):
        raise Invalid(
            "targetingKey", f"expected a string, found {type(key).__name__}", mend="give its str(...)"
        )
    if not attributes or not asked.attributes:
        return Context(key or None, NOTHING)
    return Context(key or None, _attributes(asked.attributes))


def _attributes(found: Mapping[str, object]) -> Mapping[str, Json]:
    if PLAIN.issuperset(map(type, found.values())):  # at a third of the cost of all(...), once an evaluation
        return found  # type: ignore[return-value]  # seen one line above
    making = _Making()
    return {str(name): making.json(value, str(name), 1) for name, value in found.items()}


class _Making:
    """JSON made of one context, as large as OFREP takes one. What changes here: how many values it may still have.

    A list that holds itself twice has no end, and would reach the depth only after years.
    """

    __slots__ = ("_left",)

    def __init__(self) -> None:
        self._left = MAX_VALUES

    def json(self, value: object, path: str, depth: int) -> Json:
        """`value` as JSON. Raises Invalid."""
        if type(value) in PLAIN:
            return value  # type: ignore[return-value]  # seen one line above
        if depth > MAX_DEPTH:
            raise Invalid(path[:200], f"nests deeper than {MAX_DEPTH} levels")
        if isinstance(value, Mapping):
            return {
                str(name): self.json(item, f"{path}.{name}", depth + 1)
                for name, item in self._counted(value.items(), path)
            }
        if isinstance(value, str):
            return str.__str__(value)
        if isinstance(value, Sequence | Set) and not isinstance(value, bytes | bytearray):
            return [
                self.json(item, f"{path}.{at}", depth + 1)
                for at, item in enumerate(self._counted(value, path))
            ]
        return _scalar(value, path)

    def _counted(self, items: Iterable[T], path: str) -> Iterator[T]:
        for item in items:
            self._left -= 1
            if self._left < 0:
                raise Invalid(path[:200], f"there are more than {MAX_VALUES:,} values, or it holds itself")
            yield item


def _scalar(value: object, path: str) -> Json:
    if isinstance(value, datetime | date):
        return value.isoformat()
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value)
    try:
        return str(value)
    except Exception as error:  # a foreign type's own code: the attribute is at fault, not the evaluation
        raise Invalid(path, f"{type(value).__name__} cannot be written as text: {error!r}") from error
