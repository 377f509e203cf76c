"""Breakers that stay open: a short outage mends itself, a long one people must hear of. Judges no call.

Every worker looks at its own breakers; of the fleet one tells, by a note in the ledger, from which the notice is made.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence

from flags.change import Draft, View
from flags.ledger import Author
from flags.model import Kind, ObjectKey
from flags.slices import in_slices
from gateway.breaking.breakers import Guarded
from policies.brake import Bell, Ledger
from policies.breaker import Standing, State
from policies.rounds import Rounds

log = logging.getLogger("pointsman.notices")

ACTION, ACTOR = "breaker.open", "automation/breakers"
# Longer than a provider's deploy or a blip of the network; a person can do something about what lasts longer.
LONG_SECONDS = 300.0
LOOK_SECONDS = 10.0
# While it lasts, the fleet tells again so often.
TELL_AGAIN_SECONDS = 3600.0


class BreakerWatch:
    """One worker's watch, looking while its `rounds` are under way. What changes here: since when which breaker has not been
    closed.

    `standings` gives this worker's breakers as they stand now; `away` tells that Redis is known not to answer.
    """

    def __init__(
        self,
        standings: Callable[[], Iterable[tuple[Guarded, Standing]]],
        ledger: Ledger,
        bell: Bell,
        *,
        away: Callable[[], bool],
        clock: Callable[[], float],
    ) -> None:
        self._standings, self._ledger, self._bell = standings, ledger, bell
        self._clock = clock
        self._since: dict[tuple[str, str], float] = {}
        self.rounds = Rounds("the watch over breakers", self.round, LOOK_SECONDS, away=away)

    def __repr__(self) -> str:
        return f"<BreakerWatch {len(self._since)} not closed>"

    async def round(self) -> int:
        """Look once; how many were told. Raises StoreUnavailable."""
        now = self._clock()
        since: dict[tuple[str, str], float] = {}
        long: list[tuple[Guarded, Standing, float]] = []
        async for guarded, standing in in_slices(self._standings()):
            # One that is tried again (half open) has not answered yet; one that is forced a person knows of.
            if standing.state not in (State.OPEN, State.HALF_OPEN):
                continue
            key = guarded.route, guarded.target
            since[key] = self._since.get(key, now)
            # One that waits for nothing is asked by nobody: whether its target is still down, nobody knows.
            asked = standing.state is State.HALF_OPEN or bool(standing.retry_in)
            if asked and now - since[key] >= LONG_SECONDS:
                long.append((guarded, standing, now - since[key]))
        self._since = since
        told = 0
        for guarded, standing, seconds in long:
            told += await self._tell(guarded, standing, seconds)
        return told

    async def _tell(self, guarded: Guarded, standing: Standing, seconds: float) -> bool:
        if not await self._bell.alarm(f"breaker|{guarded.route}|{guarded.target}", TELL_AGAIN_SECONDS):
            return False
        # What was counted before it opened is forgotten by now, unless it was tried meanwhile.
        counted = (
            f" ({standing.failures} of its last {standing.calls} calls failed)" if standing.calls else ""
        )
        reason = (
            f"the breaker of {guarded.target} for route {guarded.route} has not closed for"
            f" {seconds / 60:.0f} minutes{counted}"
        )
        key = ObjectKey(Kind.ROUTE, guarded.route)

        def decide(view: View) -> Sequence[Draft]:
            return [Draft(ACTION, key, None, affects=False)] if key in view.objects else []

        committed = await self._ledger.change(Author(ACTOR, reason), [key], decide, insist=True)
        log.warning("%s", reason)
        return bool(committed.entries)
