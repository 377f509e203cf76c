"""One event on its way to one channel: what the outbox hands out and what it can tell. Nouns only; knows no store."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from policies.notices.event import Event


class State(StrEnum):
    """Waiting to be sent (again), sent, given up, or not to be sent any more."""

    DUE = "due"
    TOLD = "told"
    DEAD = "dead"
    DROPPED = "dropped"


class Result(StrEnum):
    """How one attempt ended: `dead` is a failure that no further attempt can mend."""

    TOLD = "told"
    FAILED = "failed"
    DEAD = "dead"
    DROPPED = "dropped"


@dataclass(frozen=True, slots=True)
class Delivery:
    """What a worker has claimed and must settle. `attempt` counts from 1; `more` events alike are told by this one."""

    event: Event
    channel: str
    attempt: int
    more: int
    token: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Room:
    """How many deliveries a channel can take now, and for how long a claim holds (seconds)."""

    channel: str
    most: int
    lease_seconds: float


@dataclass(frozen=True, slots=True)
class Claimed:
    """What is to be sent now, and all channels for which something waits, gone ones too."""

    deliveries: tuple[Delivery, ...]
    channels: frozenset[str]


@dataclass(frozen=True, slots=True)
class Receipt:
    """How far an event's delivery to a channel is. Times are Unix milliseconds of Redis' clock, 0 where there is none.

    `first_ms` is when it was first to be sent, `at_ms` when its state last changed, `due_ms` when it is tried next.
    `found` is what the channel answered, or what went wrong last.
    """

    id: str
    channel: str
    state: State
    attempts: int
    first_ms: int
    at_ms: int
    found: str = ""
    due_ms: int = 0
    more: int = 0
    event: Event | None = None


@dataclass(frozen=True, slots=True)
class Board:
    """The outbox at a glance: what waits (soonest first), was told and is dead (newest first); the counts are of all."""

    waiting: int
    dead: int
    receipts: tuple[Receipt, ...]

    def of(self, state: State) -> list[Receipt]:
        """Those in one state, in the board's order."""
        return [each for each in self.receipts if each.state is state]


@dataclass(frozen=True, slots=True)
class Told:
    """How far an event is on all its channels. `merged` is the event whose message tells of this one too."""

    receipts: Mapping[str, Receipt]
    merged: str | None = None

    @property
    def settled(self) -> bool:
        """Whether nothing is under way any more, well or not."""
        return all(each.state is not State.DUE for each in self.receipts.values())
