"""Feeds of scores that should report and do not: a policy that hears nothing cannot brake, so somebody is told.

Missing data never rolls anything back. Knows windows and policies; no request, and no count of evidence.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

from flags.change import Draft, View
from flags.ledger import Author
from flags.model import Kind, ObjectKey
from policies.brake import Bell, Ledger
from policies.policy import MetricKind, Policy
from policies.window import Window, joined

log = logging.getLogger(__name__)

# A route with so many requests in so many minutes should have had one score at least.
SILENT_MINUTES, LEAST_REQUESTS = 10, 100
# A feed that has reported in this time is one that should report, also where nobody declared a policy for it.
KNOWN_MINUTES = 360
# Told once an hour and route; looked for once a minute, by one worker of the fleet.
TELL_EVERY_SECONDS, LOOK_EVERY_SECONDS = 3600.0, 60.0


class Readings(Bell, Protocol):
    """What is asked of the measures here."""

    async def windows(self, minutes: int) -> list[Window]:
        """One Window a minute, newest last."""
        ...


async def look_for_silence(
    ledger: Ledger, readings: Readings, policies: Mapping[str, Policy], routes: Sequence[str]
) -> int:
    """Tell of each feed that is silent, if it is this worker's turn; how many were told. Raises StoreUnavailable."""
    scored = [policy for policy in policies.values() if policy.metric.kind is MetricKind.SCORE]
    if not scored or not await readings.alarm("feeds", LOOK_EVERY_SECONDS):
        return 0
    windows = await readings.windows(KNOWN_MINUTES)
    told = 0
    for route, policy in silent(scored, routes, windows):
        if await readings.alarm(f"feed|{route}|{policy.metric.name}", TELL_EVERY_SECONDS):
            await _tell(ledger, route, policy)
            told += 1
    return told


def silent(
    policies: Sequence[Policy], routes: Sequence[str], windows: Sequence[Window]
) -> Iterator[tuple[str, Policy]]:
    """The routes that have requests and no score of a metric that should come, once for each metric. Pure."""
    lately, known = joined(windows[-SILENT_MINUTES:]), joined(windows)
    heard = {metric for stats in known.routes.values() for metric in stats.scores}
    for route in routes:
        stats = lately.routes.get(route)
        if stats is None or stats.requests < LEAST_REQUESTS:
            continue
        expected = {
            policy.metric.name: policy
            for policy in policies
            if policy.watches(route) and (not policy.shipped or policy.metric.name in heard)
        }
        for metric, policy in sorted(expected.items()):
            if not stats.scores.get(metric):
                yield route, policy


async def _tell(ledger: Ledger, route: str, policy: Policy) -> None:
    metric = policy.metric.name
    reason = (
        f"no score of {metric} came for route {route} in {SILENT_MINUTES} minutes with more than "
        f"{LEAST_REQUESTS} requests: policy {policy.name} cannot judge by it"
    )
    key = ObjectKey(Kind.ROUTE, route)

    def decide(view: View) -> Sequence[Draft]:
        return [Draft("alert", key, None, affects=False)] if key in view.objects else []

    # Nothing was decided from counts here, so there is no evidence to recompute.
    await ledger.change(Author("automation/feeds", reason), [key], decide, insist=True)
    log.warning("%s", reason)
