"""The gateway's own switches, in one table: their keys, what they do, how they stand by themselves, what they may hold.

Knows JSON values; no flag, no store and no request.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import NamedTuple, TypeAlias

from flags.model import Json

ON, OFF = "on", "off"
# How a switch stands: a boolean one as it says; of one that takes a number None is each route's own, 0 is off.
Setting: TypeAlias = bool | float | None


class Range(NamedTuple):
    """The numbers that a switch takes in a boolean's place, and what one says."""

    low: float
    high: float
    says: str
    whole: bool = False

    def holds(self, number: float) -> bool:
        """Whether `number` is one of them."""
        return self.low <= number <= self.high and (not self.whole or number == int(number))


@dataclass(frozen=True, slots=True)
class Switch:
    """One switch. `field` is its name in a Stand; `usual` is how it stands where nobody has said otherwise."""

    key: str
    field: str
    usual: bool
    about: str
    number: Range | None = None

    @property
    def expected(self) -> str:
        """What a variant may hold, in words."""
        if self.number is None:
            return "true or false"
        whole = "whole number" if self.number.whole else "number"
        return f"true or false, or a {whole} from {self.number.low:g} to {self.number.high:g} ({self.number.says})"

    def fits(self, value: Json) -> bool:
        """Whether a variant may hold `value`."""
        if isinstance(value, bool):
            return True
        return self.number is not None and isinstance(value, int | float) and self.number.holds(value)

    def setting(self, value: Json) -> Setting:
        """How the switch stands with `value`, which must fit."""
        if self.number is None:
            return value is True
        if isinstance(value, bool):
            return None if value else 0.0
        assert isinstance(value, int | float)
        return float(value)


PERCENT = "percent of the requests, in place of each one's own"

SWITCHES: tuple[Switch, ...] = (
    Switch(
        "gateway.cache",
        "cache",
        usual=True,
        about="routes with a response cache read it and write it",
    ),
    Switch(
        "gateway.shadow",
        "shadow",
        usual=True,
        about="versions on a shadow are sent copies of requests",
        number=Range(0, 100, PERCENT),
    ),
    Switch(
        "gateway.judge",
        "judge",
        usual=True,
        about="routes with an online judge have a share of their answers judged",
        number=Range(0, 100, PERCENT),
    ),
    Switch(
        "gateway.keep-alive",
        "keep_alive",
        usual=True,
        about="a stream that is silent for long carries signs of life",
        # As RouteSpec.keep_alive_seconds.
        number=Range(0, 600, "seconds of silence, in place of each route's own"),
    ),
    Switch(
        "gateway.content-logging",
        "content_logging",
        usual=False,
        about="what requests say and what is answered goes to the log `pointsman.content`",
    ),
    # A provider that is down is asked twice by every request of a candidate; the shield rests by itself only after
    # ten failures in a row, on one route in one process.
    Switch(
        "gateway.shield",
        "shield",
        usual=True,
        about="what a candidate fails is asked again of its control",
    ),
    # A vector store that is slow or wrong takes every route with passages along.
    Switch(
        "gateway.retrieval",
        "retrieval",
        usual=True,
        about="prompts get passages; off: they are answered without, and neither retriever nor index is measured",
    ),
    # The classic storm: everybody asks a provider that is nearly down once more. Fallbacks stay.
    Switch(
        "gateway.retries",
        "retries",
        usual=True,
        about="an upstream that failed is asked again where its version says so",
        number=Range(0, 10, "retries of one target at most", whole=True),
    ),
)
BY_KEY: Mapping[str, Switch] = MappingProxyType({each.key: each for each in SWITCHES})
KEYS = frozenset(BY_KEY)
# Whose variants may be booleans and numbers side by side: a reserved key cannot be left for a new flag of another type.
MIXED = frozenset(each.key for each in SWITCHES if each.number is not None)
# What begins so and is neither a switch nor a route's layer is a slip of the pen.
PREFIX = "gateway."
