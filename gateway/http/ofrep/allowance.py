"""How often one caller may ask: a bucket that fills with time. Knows nobody but by a name in bytes, and no clock."""

from __future__ import annotations

from collections import OrderedDict

# Callers that are remembered; who is forgotten begins with a full bucket, which errs for the caller.
MOST_CALLERS = 10_000


class Allowance:
    """The buckets of one worker, each holding a second's worth. What changes here: what is left in them, and since when.

    With more callers than are remembered, those who asked longest ago are forgotten.
    """

    __slots__ = ("_left",)

    def __init__(self) -> None:
        self._left: OrderedDict[bytes, tuple[float, float]] = OrderedDict()

    def __repr__(self) -> str:
        return f"<Allowance of {len(self._left)} callers>"

    def take(self, who: bytes, per_second: float, now: float) -> float:
        """Take one; 0 where there was one, else the seconds until there is one again. `now` in seconds that only rise."""
        most = max(1.0, per_second)
        left, since = self._left.pop(who, (most, now))
        left = min(most, left + (now - since) * per_second)
        granted = left >= 1.0
        self._left[who] = (left - 1.0 if granted else left, now)
        if len(self._left) > MOST_CALLERS:
            self._left.popitem(last=False)
        return 0.0 if granted else (1.0 - left) / per_second
