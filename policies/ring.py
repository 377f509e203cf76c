"""The last seconds, counted one by one: what came in them, and their sum. Pure; knows no rule."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass


@dataclass(slots=True)
class Bucket:
    """What was counted in one second, or in several."""

    second: int
    calls: int = 0
    failures: int = 0
    slow: int = 0


class Ring:
    """At most `seconds` buckets; those without a call do not exist. What changes: the buckets."""

    __slots__ = ("_buckets", "_seconds", "latest")

    def __init__(self, seconds: int) -> None:
        self._seconds = seconds
        self._buckets: deque[Bucket] = deque()
        self.latest = Bucket(-1)

    def __repr__(self) -> str:
        return f"<Ring of {len(self._buckets)} buckets, the latest {self.latest}>"

    def turn(self, now: float) -> Bucket:
        """The bucket of this second. A clock that went back counts in the last one."""
        second = int(now)
        if second > self.latest.second:
            self.latest = Bucket(second)
            self._buckets.append(self.latest)
            while self._buckets[0].second <= second - self._seconds:
                self._buckets.popleft()
        return self.latest

    def counts(self, now: float) -> Bucket:
        """The sum of the last seconds."""
        total = Bucket(int(now))
        for bucket in self._buckets:
            if bucket.second > total.second - self._seconds:
                total.calls += bucket.calls
                total.failures += bucket.failures
                total.slow += bucket.slow
        return total

    def clear(self) -> None:
        """Forget everything."""
        self._buckets.clear()
        self.latest = Bucket(-1)
