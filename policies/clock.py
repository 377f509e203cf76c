"""Redis' clock as this worker last heard it, going on between. Knows nothing of the host's date, which may jump."""

from __future__ import annotations

from collections.abc import Callable


class FleetClock:
    """The one clock by which a fleet counts. What changes here: the last time heard, and when. `monotonic` in seconds."""

    __slots__ = ("_at", "_heard_ms", "_monotonic")

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._heard_ms: int | None = None
        self._at = 0.0

    def __repr__(self) -> str:
        return f"<FleetClock {self.now_ms()}>"

    def heard(self, now_ms: int) -> None:
        """Redis said so just now."""
        self._heard_ms, self._at = now_ms, self._monotonic()

    def now_ms(self) -> int | None:
        """Unix milliseconds, None as long as Redis has not been heard."""
        if self._heard_ms is None:
            return None
        return self._heard_ms + int((self._monotonic() - self._at) * 1000)

    def age_seconds(self) -> float:
        """Since Redis was heard."""
        return float("inf") if self._heard_ms is None else self._monotonic() - self._at
