"""What the traffic met, counted by version. Pure: knows no clock, no SDK and no screen."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

# Figures of the screen look back this far; "who serves" looks back one second.
WINDOW_SECONDS = 4.0
NOW_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Sample:
    """One request as its app saw it; times in seconds of one clock. `prompt` None: no version was named.

    `shielded`: the control answered in place of a candidate that had failed. `score`: what the user thought of
    it, 1 for helped, where one was asked.
    """

    began: float
    ended: float
    prompt: str | None
    error: str | None = None
    model: str | None = None
    shielded: bool = False
    score: float | None = None

    @property
    def seconds(self) -> float:
        return self.ended - self.began


@dataclass(frozen=True, slots=True)
class Row:
    """One version's figures; `p50` and `p95` in seconds, over good answers and errors alike."""

    version: str
    requests: int
    errors: int
    p50: float
    p95: float

    @property
    def error_share(self) -> float:
        return self.errors / self.requests


@dataclass(frozen=True, slots=True)
class Picture:
    """What the screen shows: shares of the last second, figures of the last few, totals."""

    serving: tuple[tuple[str, float], ...]
    rate: float
    recent: tuple[Row, ...]
    totals: tuple[tuple[str, int, int], ...]


class Tally:
    """Collects samples. What changes here: the samples of the last seconds, when the first began, and totals."""

    def __init__(self) -> None:
        # In order of their end.
        self._recent: list[Sample] = []
        self._requests: Counter[str] = Counter()
        self._errors: Counter[str] = Counter()
        self._first: float | None = None

    def add(self, sample: Sample) -> None:
        """Count one; what the screen can no longer show is let go."""
        version = name_of(sample)
        self._first = sample.began if self._first is None else self._first
        self._requests[version] += 1
        self._errors[version] += sample.error is not None
        self._recent.append(sample)
        oldest = sample.ended - WINDOW_SECONDS
        if self._recent[0].ended < oldest - WINDOW_SECONDS:
            self._recent = [one for one in self._recent if one.ended >= oldest]

    def errors_of(self, version: str) -> int:
        """How many requests failed on `version` so far."""
        return self._errors[version]

    def picture(self, now: float) -> Picture:
        """Everything as of `now`."""
        recent = [one for one in self._recent if one.ended >= now - WINDOW_SECONDS]
        totals = tuple(
            (version, self._requests[version], self._errors[version]) for version in sorted(self._requests)
        )
        span = (
            WINDOW_SECONDS
            if self._first is None
            else min(WINDOW_SECONDS, max(now - self._first, NOW_SECONDS))
        )
        return Picture(shares(recent, now), len(recent) / span, rows(recent), totals)


def name_of(sample: Sample) -> str:
    """The versions as they are shown, `v6/small`; what named none never reached a version."""
    return "/".join(filter(None, (sample.prompt, sample.model))) or "none"


def shares(samples: Iterable[Sample], now: float) -> tuple[tuple[str, float], ...]:
    """Who served the last second's answers, largest share first."""
    count = Counter(name_of(one) for one in samples if one.ended >= now - NOW_SECONDS)
    return tuple((version, number / count.total()) for version, number in count.most_common())


def rows(samples: Iterable[Sample]) -> tuple[Row, ...]:
    """One row for each version, by name."""
    by_version: dict[str, list[Sample]] = defaultdict(list)
    for one in samples:
        by_version[name_of(one)].append(one)
    return tuple(_row(version, by_version[version]) for version in sorted(by_version))


def percentile(ordered: Sequence[float], share: float) -> float:
    """The nearest-rank percentile of ascending numbers, of which there is at least one."""
    return ordered[max(math.ceil(share * len(ordered)) - 1, 0)]


def _row(version: str, samples: Sequence[Sample]) -> Row:
    seconds = sorted(one.seconds for one in samples)
    errors = sum(one.error is not None for one in samples)
    return Row(version, len(samples), errors, percentile(seconds, 0.5), percentile(seconds, 0.95))
