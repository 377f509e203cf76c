"""What operators forced, as a route's document holds it: `forced: {"openai/gpt-4.1": "open"}`. Pure; knows no store."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType

from flags.model import Document, Json
from policies.breaker import State

# The field of a route's document, beside `spec` and `declared`: it is operated, so that no file ever sets it.
FORCED = "forced"


class Force(StrEnum):
    """What an operator may say of a breaker: nobody is asked, everybody is, or it is left to itself again."""

    OPEN = "open"
    OFF = "off"
    AUTO = "auto"


STATES: Mapping[Json, State] = MappingProxyType({Force.OPEN: State.FORCED_OPEN, Force.OFF: State.OFF})


def forced_in(document: Document) -> Mapping[str, State]:
    """The forced states of a route's targets. What a later version may have written is left out."""
    found = document.get(FORCED)
    if not isinstance(found, Mapping):
        return {}
    return {
        target: STATES[word] for target, word in found.items() if isinstance(word, str) and word in STATES
    }


def forced_to(document: Document, target: str, force: Force) -> Document:
    """`document` with `target` forced; with AUTO, without."""
    found = document.get(FORCED)
    forced: dict[str, Json] = dict(found) if isinstance(found, Mapping) else {}
    forced.pop(target, None)
    if force is not Force.AUTO:
        forced[target] = force.value
    rest: dict[str, Json] = {name: value for name, value in document.items() if name != FORCED}
    return {**rest, FORCED: dict(sorted(forced.items()))} if forced else rest
