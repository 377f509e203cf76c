"""What comes with every verb: who wants it and why, and how long to wait for the fleet. Knows no verb."""

from __future__ import annotations

from dataclasses import dataclass

from flags.errors import Invalid
from flags.ledger import Author

# CONTRACT: a write waits this long for the workers that were alive, unless told otherwise.
WAIT_SECONDS = 5.0
# A wait is held open by the server: a minute is more than any fleet needs, and bounds what a caller can hold.
MAX_WAIT_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Order:
    """Who wants it, and how long to wait for the fleet; `override`: an admin, past the promotion rules.

    Raises Invalid for a wait out of range.
    """

    author: Author
    wait_seconds: float = WAIT_SECONDS
    override: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.wait_seconds <= MAX_WAIT_SECONDS:
            found = f"found {self.wait_seconds}, expected 0 to {MAX_WAIT_SECONDS:.0f}"
            raise Invalid("wait_seconds", found)
