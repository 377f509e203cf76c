"""The process's breakers: one for each target of each route, made when it is first asked. Knows no request.

They are local and take no lock. What an operator forced comes with the snapshot; what the fleet counted is `heard`.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from types import MappingProxyType
from typing import NamedTuple

from flags.model import Kind, Layer, ObjectKey
from gateway.breaking.forced import forced_in
from gateway.decision import Route, Serving
from gateway.upstream.base import Headers
from gateway.version import PreparedModel
from policies.breaker import BOUNDS, Bounds, Breaker, Permit, State

# Some 1 KiB each: more than any fleet's routes have targets, so that reaching it means something is wrong.
MOST = 10_000
NOTHING_FORCED: Mapping[str, State] = MappingProxyType({})


class Guarded(NamedTuple):
    """What one breaker guards."""

    route: str
    target: str

    def __str__(self) -> str:
        # A route's name has no bar; a model's may, so that the first one parts them.
        return f"{self.route}|{self.target}"


@dataclass(slots=True)
class _Row:
    """A breaker in its place: when it was last used, and what of its counts was taken already."""

    breaker: Breaker
    used: float
    calls: int = 0
    failures: int = 0


class Breakers:
    """The table. What changes: its rows, and two counters since the process began.

    `clock` counts seconds as the callers' `now` does, `draw` is uniform in [0, 1). Full, it drops the tenth
    of its rows that was longest out of use.
    """

    def __init__(
        self,
        *,
        clock: Callable[[], float],
        draw: Callable[[], float],
        bounds: Bounds = BOUNDS,
        most: int = MOST,
    ) -> None:
        self.clock, self._draw, self.bounds, self._most = clock, draw, bounds, most
        self._rows: dict[str, dict[str, _Row]] = {}
        self._held = 0
        self._forced: dict[str, Mapping[str, State]] = {}
        # The routes as they were when their rows were last compared with them.
        self._followed: dict[str, Route] = {}
        # Calls to an open target for want of another, and requests for which there was no target at all.
        self.asked_anyway = 0
        self.refused = 0

    def __repr__(self) -> str:
        return f"<Breakers {self._held} rows, {self.asked_anyway} asked anyway, {self.refused} refused>"

    # Asking

    def permit(self, route: str, target: str, now: float) -> Permit | None:
        """The leave to ask `target` for `route`, or None: not now."""
        rows = self._rows.get(route)
        row = rows.get(target) if rows else None
        if row is None:
            row = self._made(route, target, now)
        row.used = now
        return row.breaker.ask(now)

    def ask_anyway(self, route: str, targets: Iterable[str], now: float) -> tuple[str, Permit] | None:
        """Where none of `targets` may be asked: the open one that failed longest ago. None where it is no use:
        all have had too many requests, or are forced open."""
        rows = [(self._row(route, target, now).breaker, target) for target in dict.fromkeys(targets)]
        for breaker, target in sorted(rows, key=lambda each: each[0].failed_at):
            permit = breaker.ask_anyway(now)
            if permit is not None:
                self.asked_anyway += 1
                return target, permit
        self.refused += 1
        return None

    def retry_after(self, route: str, targets: Iterable[str], now: float) -> float | None:
        """Seconds until the first of `targets` may be asked; None where that is for an operator to say."""
        at = min((self._row(route, target, now).breaker.retry_at(now) for target in targets), default=now)
        return None if math.isinf(at) else at - now

    def forced_open(self, route: str, target: str) -> bool:
        """Whether an operator forbids to ask it."""
        return self._forced.get(route, NOTHING_FORCED).get(target) is State.FORCED_OPEN

    def _row(self, route: str, target: str, now: float) -> _Row:
        return self._rows.get(route, {}).get(target) or self._made(route, target, now)

    def _made(self, route: str, target: str, now: float) -> _Row:
        if self._held >= self._most:
            self._drop_oldest()
        row = _Row(Breaker(now, self._draw, self.bounds), now)
        row.breaker.force(self._forced.get(route, NOTHING_FORCED).get(target), now)
        self._rows.setdefault(route, {})[target] = row
        self._held += 1
        return row

    def _drop_oldest(self) -> None:
        """Many at once: to look for the oldest takes milliseconds, and no request must pay for that."""
        everything = (
            (row.used, route, target) for route, rows in self._rows.items() for target, row in rows.items()
        )
        for _, route, target in heapq.nsmallest(max(1, self._most // 10), everything):
            self._drop(route, target)

    def _drop(self, route: str, target: str) -> None:
        rows = self._rows[route]
        del rows[target]
        self._held -= 1
        if not rows:
            del self._rows[route]
            self._followed.pop(route, None)

    # Following the snapshot

    def follow(self, serving: Serving, changed: frozenset[ObjectKey] | None = None) -> None:
        """Take over what operators forced, and let go of targets that no version has any more.

        With `changed`, only the routes among them are read for it. Cheap where nothing of a route changed.
        """
        stored = serving.snapshot.of_kind(Kind.ROUTE)
        names = list(stored) if changed is None else [key.name for key in changed if key.kind is Kind.ROUTE]
        if changed is None:
            self._forced = {}
        for name in names:
            found = forced_in(stored[name].document) if name in stored else NOTHING_FORCED
            if found:
                self._forced[name] = found
            else:
                self._forced.pop(name, None)
        for name in list(self._rows):
            self._follow_route(name, serving.routes.get(name))
        for name in names:
            self._obey(name)

    def _follow_route(self, name: str, route: Route | None) -> None:
        if route is not None and self._followed.get(name) is route:
            return
        targets = targets_of(route) if route is not None else ()
        for target in [each for each in self._rows[name] if each not in targets]:
            self._drop(name, target)
        if route is not None and name in self._rows:
            self._followed[name] = route

    def _obey(self, name: str) -> None:
        forced, now = self._forced.get(name, NOTHING_FORCED), self.clock()
        for target, row in self._rows.get(name, {}).items():
            row.breaker.force(forced.get(target), now)
        # Shown although nobody asks them: that is the point of forcing one open.
        for target in forced:
            self._row(name, target, now)

    # The fleet, and people

    def heard(self, guarded: str, calls: int, failures: int, workers: int) -> None:
        """The fleet's sums of `route|target` over the window, and how many workers saw failures."""
        route, _, target = guarded.partition("|")
        row = self._rows.get(route, {}).get(target)
        if row is not None:
            row.breaker.heard(self.clock(), calls, failures, workers)

    def gains(self) -> dict[str, tuple[int, int]]:
        """Calls and failures of each `route|target` since this was last asked; without those that had none."""
        found: dict[str, tuple[int, int]] = {}
        for route, rows in self._rows.items():
            for target, row in rows.items():
                breaker = row.breaker
                if (breaker.calls, breaker.failures) != (row.calls, row.failures):
                    found[str(Guarded(route, target))] = (
                        breaker.calls - row.calls,
                        breaker.failures - row.failures,
                    )
                    row.calls, row.failures = breaker.calls, breaker.failures
        return found

    def all(self) -> list[tuple[Guarded, Breaker]]:
        """Every breaker, by route and target."""
        found = [
            (Guarded(route, target), row.breaker)
            for route, rows in self._rows.items()
            for target, row in rows.items()
        ]
        return sorted(found, key=lambda each: each[0])


def targets_of(route: Route) -> Sequence[str]:
    """Every target that some version of the route's model would ask, in the versions' order."""
    found: dict[str, None] = {}
    for layer in route.layers:
        if layer.layer is Layer.MODEL:
            for version in layer.versions.values():
                if isinstance(version.prepared, PreparedModel):
                    found |= dict.fromkeys(attempt.target for attempt in version.prepared.attempts)
    return tuple(found)


def retry_after(headers: Headers, now: float) -> float | None:
    """The seconds that `Retry-After` asks for: a number, or a date (RFC 9110 §10.2.3). `now`: Unix time.

    A date is compared with the answer's own `Date`, where it has one: clocks differ. Nonsense is None.
    """
    told = {name: value for name, value in headers if name in (b"retry-after", b"retry-after-ms", b"date")}
    for name, unit in ((b"retry-after-ms", 0.001), (b"retry-after", 1.0)):
        try:
            seconds = float(told[name]) * unit
        except (KeyError, ValueError):
            continue
        return seconds if 0 <= seconds < math.inf else None
    until = _date(told.get(b"retry-after"))
    if until is None:
        return None
    told_now = _date(told.get(b"date"))
    return max(0.0, until - (now if told_now is None else told_now))


def _date(value: bytes | None) -> float | None:
    if value is None:
        return None
    try:
        return parsedate_to_datetime(value.decode("ascii")).timestamp()
    except (ValueError, OverflowError):
        return None
