"""Keeps the latest Outcomes of this process, and counts all of them. Knows no Redis: the gauge will flush it.

The buffer is bounded: when it is full the oldest Outcome goes, and is counted as dropped.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Mapping

from policies.outcome import Ending, Outcome

# Half a second of one worker at full speed: twice what lies between two flushes. Some 4 MB.
CAPACITY = 10_000


class Recorder:
    """A bounded buffer of Outcomes. What changes here: the buffer and the counts."""

    def __init__(self, capacity: int = CAPACITY) -> None:
        self._buffer: deque[Outcome] = deque(maxlen=capacity)
        self._endings: Counter[Ending] = Counter()
        self.dropped = 0

    def __repr__(self) -> str:
        return f"<Recorder {len(self._buffer)} outcomes, {self.total} requests, {self.dropped} dropped>"

    def add(self, outcome: Outcome) -> None:
        """Take one Outcome; the oldest is dropped when there is no room."""
        if len(self._buffer) == self._buffer.maxlen:
            self.dropped += 1
        self._buffer.append(outcome)
        self._endings[outcome.ending] += 1

    def refused(self) -> None:
        """Count a request that ended before anything was decided."""
        self._endings[Ending.REFUSED] += 1

    def take(self) -> tuple[Outcome, ...]:
        """All Outcomes since the last call, oldest first."""
        taken = tuple(self._buffer)
        self._buffer.clear()
        return taken

    @property
    def total(self) -> int:
        """Requests ended so far, however they ended."""
        return sum(self._endings.values())

    @property
    def endings(self) -> Mapping[str, int]:
        """Requests ended so far, by ending."""
        return {ending.value: self._endings[ending] for ending in Ending}
