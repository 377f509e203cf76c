"""What a channel is to the sender: something that takes a notice or says why not. Knows no protocol and no store."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from policies.notices.event import Event

# Of what a peer answers, and of what went wrong, as much as people need to see why.
SHOWN_CHARS = 200
# A claim holds longer than any attempt: what a config may say is bounded by it.
MOST_SECONDS = 60.0


class NotSent(Exception):
    """Raised when a notice was not taken; the message says why, and holds no secret. It is tried again later."""


@dataclass(frozen=True, slots=True)
class Notice:
    """An event to be told now; `more` events alike are told with it."""

    event: Event
    more: int = 0


class Channel(Protocol):
    """One way to people."""

    async def send(self, notice: Notice) -> str:
        """Send it; what was answered, in a few words. Raises NotSent. Ends within the channel's time limit."""
        ...
