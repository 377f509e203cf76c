"""Keeps what ended in this process until the gauge takes it. Knows no Redis and no rule.

The buffers are bounded: when one is full the oldest goes, and is counted as dropped.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Mapping

from policies.outcome import Blame, Ending, Outcome, Score
from policies.series import DROPPED, HOUSE, Series, ended, feedback, route_subject

# Half a second of one worker at full speed: twice what lies between two flushes. Some 4 MB.
CAPACITY = 10_000


class Recorder:
    """Bounded buffers of Outcomes and scores, and counts of what has none. What changes here: those.

    `wake` is called for each failed outcome; the gauge sets it.
    """

    __slots__ = ("_dropped", "_outcomes", "_room", "_scores", "_series", "dropped", "wake")

    def __init__(self, capacity: int = CAPACITY) -> None:
        self._room = capacity
        self._outcomes: deque[Outcome] = deque(maxlen=capacity)
        self._scores: deque[Score] = deque(maxlen=capacity)
        self._series = Series()
        # Since the last `take_series`, and ever.
        self._dropped = 0
        self.dropped = 0
        self.wake: Callable[[], None] = _nobody

    def __repr__(self) -> str:
        return (
            f"<Recorder {len(self._outcomes)} outcomes, {len(self._scores)} scores, {self.dropped} dropped>"
        )

    def add(self, outcome: Outcome) -> None:
        """Take one Outcome; the oldest is dropped when there is no room."""
        if len(self._outcomes) >= self._room:
            self._drop()
        self._outcomes.append(outcome)
        if outcome.ending is Ending.FAILED:
            self.wake()

    def add_score(self, score: Score) -> None:
        """Take one score; the oldest is dropped when there is no room."""
        if len(self._scores) >= self._room:
            self._drop()
        self._scores.append(score)

    def refused(self, route: str = "", ending: Ending = Ending.REFUSED, blame: Blame = Blame.CLIENT) -> None:
        """Count a request that ended before anything was decided; `route` only where there is one of that name."""
        self._series.add(route_subject(route), {ended(ending, blame): 1})

    def heard(self, word: str) -> None:
        """Count one score sent in by what became of it: accepted, late, forged, unknown… (words of ours only)."""
        self._series.add(HOUSE, {feedback(word): 1})

    def take(self) -> tuple[Outcome, ...]:
        """All Outcomes since the last call, oldest first."""
        taken = tuple(self._outcomes)
        self._outcomes.clear()
        return taken

    def take_scores(self) -> tuple[Score, ...]:
        """All scores since the last call, oldest first."""
        taken = tuple(self._scores)
        self._scores.clear()
        return taken

    def take_series(self) -> Series:
        """What was counted beside the Outcomes since the last call: refusals, feedback, drops."""
        taken, self._series = self._series, Series()
        if self._dropped:
            taken.add(HOUSE, {DROPPED: self._dropped})
            self._dropped = 0
        return taken

    def drop(self, count: int) -> None:
        """Count what another bound made us lose."""
        self._dropped += count
        self.dropped += count

    def _drop(self) -> None:
        self._dropped += 1
        self.dropped += 1

    @property
    def endings(self) -> Mapping[str, int]:
        """Requests not yet taken, by ending; those that were refused before a decision among them."""
        counts = Counter(outcome.ending.value for outcome in self._outcomes)
        for measures in self._series.values():
            for ending in Ending:
                counts[ending.value] += sum(
                    int(count)
                    for measure, count in measures.items()
                    if measure.startswith(f"e:{ending.value}:")
                )
        return {ending.value: counts[ending.value] for ending in Ending}


def _nobody() -> None:
    """Whom to wake before there is a gauge."""
