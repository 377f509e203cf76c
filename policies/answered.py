"""What answered a request, as the request index keeps it for feedback by request id. Knows no store."""

from __future__ import annotations

import msgspec

from policies.outcome import Release


class Answered(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """The route and the releases that answered, how each was chosen, and who asked ("" for nobody named).

    `decided_at` in Unix seconds of Redis' clock, at most a second or two early; 0 where that is kept elsewhere.
    """

    route: str
    releases: tuple[Release, ...]
    how: str = ""
    unit: str = ""
    decided_at: int = 0

    def text(self) -> str:
        """As JSON; without unit and time it is the same for all requests that were answered alike."""
        return msgspec.json.encode(self).decode()


def answered_from(text: str | bytes) -> Answered:
    """The inverse of `Answered.text`. Raises msgspec.MsgspecError for anything else."""
    return msgspec.json.decode(text, type=Answered)
