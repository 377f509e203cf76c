"""What OFREP's doors ask of the application, and what they read of it at one moment. Knows no request."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, Protocol

from flags.ofrep import config_tag, digest
from gateway.auth import Keyring
from gateway.decision import Serving
from gateway.errors import NotReady
from gateway.signing import Signing
from gateway.spec_flags import OfrepSpec

# Of 2^32 states two are told apart: a client compares only the last that it saw with the present one.
MARK_DIGITS = 8


class House(Protocol):
    """The application, as these doors see it."""

    serving: Serving | None
    # What the config file says of these doors; may change when it is reread.
    ofrep: OfrepSpec
    signing: Signing

    @property
    def keys(self) -> Keyring:
        """Who may come in."""
        ...

    def diverted(self) -> Mapping[str, str]:
        """What this worker has taken out of service by itself: the version, by flag."""
        ...

    def degraded(self) -> bool:
        """Whether this process serves without its store."""
        ...

    def stopping(self) -> bool:
        """Whether open streams should end, because the process does."""
        ...

    async def followed(self, seconds: float) -> None:
        """Return once all workers serve what this one does, after `seconds` at most. Never raises for want of the store."""
        ...

    def now(self) -> float:
        """Seconds since the epoch."""
        ...

    def marks(self) -> list[tuple[bytes, bytes]]:
        """The headers that every answer carries."""
        ...


class State(NamedTuple):
    """What all answers of this worker hang on, beside who asks: equal states answer alike.

    `local` names what this worker alone diverts, "" where that is nothing.
    """

    revision: int
    fingerprint: str
    local: str

    @property
    def mark(self) -> str:
        """What the flags are, whatever the revision: it alone changes with every Change of a route."""
        return digest([self.fingerprint.encode(), self.local.encode()])[:MARK_DIGITS]

    @property
    def id(self) -> str:
        """The state as an event's id, the revision first. Flags of another history, or such that one worker diverts, may
        have the same revision, but another id."""
        return f"{self.revision}-{self.mark}"

    @property
    def tag(self) -> str:
        """The tag of the flags, as an event tells it and a client sends it back."""
        return config_tag(self.revision, self.fingerprint)


def served(house: House) -> Serving:
    """What is served now. Raises NotReady before the first snapshot."""
    if house.serving is None:
        raise NotReady("starting: no flags are known yet", retry_after_seconds=1)
    return house.serving


def state_of(house: House, serving: Serving) -> State:
    """The state in which `serving` answers."""
    diverted = house.diverted()
    local = ",".join(f"{flag}={diverted[flag]}" for flag in sorted(diverted)) if diverted else ""
    return State(serving.snapshot.revision, serving.snapshot.fingerprint, local)
