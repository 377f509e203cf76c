"""Which of a model version's equal targets is asked first, and which next. Knows names and numbers, no upstream.

The clock's time and the uniform draws come from the caller. What changes here: how fast each target was lately.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

# A new answer counts for so much: the last ten or so are what is known of a target.
NEWEST_SHARE = 0.2
# A target that nobody has asked for so long is asked by one request, to learn how it is now: with a thousand
# requests a second that is one in ten thousand, and a target that has recovered is found within seconds.
EXPLORE_SECONDS = 10.0
# Within so much of the fastest, targets count as alike and share by weight: else all requests would swing from one
# to the other together.
ALIKE = 1.25
# A call that failed counts as one this slow, however fast it failed: no target must win by refusing.
FAILED_SECONDS = 10.0
# Some 100 bytes each; more than a process has targets, so that reaching it means something is wrong.
MOST = 10_000


@dataclass(frozen=True, slots=True)
class Balance:
    """Equal targets, by the names under which breakers know them, and the share of each."""

    targets: tuple[str, ...]
    weights: tuple[float, ...]
    # Whether the fastest is asked rather than each by its weight.
    by_latency: bool = False


class _Pace(NamedTuple):
    """How fast a target was: a moving mean of seconds to the first content, and when it was asked last."""

    seconds: float | None
    asked_at: float


class Paces:
    """How fast targets answered in this process. `stream`: first content and whole answers are no equals in time."""

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._paces: dict[tuple[str, bool], _Pace] = {}

    def __repr__(self) -> str:
        return f"<Paces of {len(self._paces)} targets>"

    def note(self, target: str, seconds: float, now: float, *, stream: bool, failed: bool = False) -> None:
        """Take one answer's seconds to its first content (of a whole one: to its end)."""
        told = max(seconds, FAILED_SECONDS) if failed else seconds
        known = self.of(target, stream=stream)
        mean = told if known is None else known + NEWEST_SHARE * (told - known)
        self._put((target, stream), _Pace(mean, now))

    def of(self, target: str, *, stream: bool) -> float | None:
        """The moving mean of its seconds; None: nothing is known."""
        pace = self._paces.get((target, stream))
        return None if pace is None else pace.seconds

    def explore(self, target: str, now: float, *, stream: bool) -> bool:
        """Whether this request should ask `target` because nobody has for long; said to one request only."""
        pace = self._paces.get((target, stream))
        if pace is not None and now - pace.asked_at < EXPLORE_SECONDS:
            return False
        self._put((target, stream), _Pace(None if pace is None else pace.seconds, now))
        return True

    def _put(self, key: tuple[str, bool], pace: _Pace) -> None:
        if len(self._paces) >= self._most and key not in self._paces:
            self._paces.clear()
        self._paces[key] = pace


def drawn(weights: Sequence[float], lot: float) -> list[int]:
    """All places in a random order: each next one is drawn by its weight among those that are left.

    `lot` is uniform in [0, 1); one number does for all, since what a choice leaves of it is uniform again.

    >>> drawn((9.0, 1.0), 0.5), drawn((9.0, 1.0), 0.95)
    ([0, 1], [1, 0])
    """
    left = list(range(len(weights)))
    total = sum(weights)
    order = []
    while len(left) > 1:
        mark = lot * total
        chosen = left[-1]
        for place in left:
            if mark < weights[place]:
                chosen = place
                break
            mark -= weights[place]
        order.append(chosen)
        left.remove(chosen)
        total -= weights[chosen]
        # Rounding may leave a hair too much.
        lot = min(max(mark / weights[chosen], 0.0), 0.999_999_999)
    return order + left


def order(
    balance: Balance, lot: float, paces: Paces, now: float, *, stream: bool, explores: bool = True
) -> list[int]:
    """The places of the targets in the order in which one request asks them.

    By latency: one that is unknown or was long unseen, where this request `explores`; else those about as fast as the
    fastest, by weight; then the others, the faster first.
    """
    by_weight = drawn(balance.weights, lot)
    if not balance.by_latency:
        return by_weight
    if explores:
        for place in by_weight:
            if paces.explore(balance.targets[place], now, stream=stream):
                return [place, *(each for each in by_weight if each != place)]
    known = [paces.of(target, stream=stream) for target in balance.targets]
    least = min((seconds for seconds in known if seconds is not None), default=0.0) * ALIKE
    # What is not known yet is asked by somebody just now: his answer is waited for.
    return sorted(by_weight, key=lambda place: _rank(known[place], least))


def _rank(seconds: float | None, alike: float) -> tuple[int, float]:
    if seconds is None:
        return 2, 0.0
    return (0, 0.0) if seconds <= alike else (1, seconds)
