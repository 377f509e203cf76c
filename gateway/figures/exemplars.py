"""Recent requests of this process that stand for their buckets in histograms. Knows neither store nor text.

Bounded: one for each bucket of the routes that were asked last; the eldest route goes when there are too many.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping, Sequence

from gateway.figures.exposition import Exemplar, labels
from policies.outcome import NO_REQUEST, Ending, Outcome

# Some 20 buckets of 200 bytes for each of two histograms: 8 MB at most.
ROUTES = 1_000


class Exemplars:
    """The last request in each bucket. What changes here: these.

    `bounds` by histogram name: `seconds`, `first_content`. The label is the request's id, by which feedback, logs and
    traces know it too.
    """

    def __init__(
        self,
        bounds: Mapping[str, Sequence[float]],
        *,
        now: Callable[[], float],
        routes: int = ROUTES,
    ) -> None:
        self._bounds, self._now, self._most = bounds, now, routes
        self._kept: dict[str, dict[tuple[str, int], Exemplar]] = {}

    def __repr__(self) -> str:
        return f"<Exemplars of {len(self._kept)} routes>"

    def note(self, outcomes: Iterable[Outcome]) -> None:
        """Take from what the recorder gave to the gauge; of many in one bucket the last stays."""
        latest: dict[tuple[str, str, int], tuple[Outcome, float]] = {}
        for outcome in outcomes:
            # As policies.series counts them.
            if outcome.part in NO_REQUEST:
                continue
            if outcome.ending in (Ending.OK, Ending.FAILED):
                self._place(latest, outcome, "seconds", outcome.seconds)
            if outcome.first_content_seconds is not None:
                self._place(latest, outcome, "first_content", outcome.first_content_seconds)
        now = self._now()
        for (route, what, index), (outcome, value) in latest.items():
            self._of(route)[what, index] = Exemplar(labels(request_id=outcome.request_id), value, now)

    def of(self, route: str, what: str) -> dict[int, Exemplar]:
        """Exemplars of one histogram of a route, by bucket."""
        return {index: each for (name, index), each in self._kept.get(route, {}).items() if name == what}

    def _place(
        self,
        latest: dict[tuple[str, str, int], tuple[Outcome, float]],
        outcome: Outcome,
        what: str,
        value: float,
    ) -> None:
        latest[outcome.route, what, bisect_left(self._bounds[what], value)] = (outcome, value)

    def _of(self, route: str) -> dict[tuple[str, int], Exemplar]:
        kept = self._kept.get(route)
        if kept is None:
            if len(self._kept) >= self._most:
                del self._kept[next(iter(self._kept))]
            kept = self._kept[route] = {}
        return kept
