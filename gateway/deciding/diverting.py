"""What is withdrawn here and still given by its provider: switched there where that can be, else people are told.

Users get the safe version either way, by *withdrawn → safe*. Called by one worker at a time, and each deed is rung once
for the fleet. Knows no share.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Sequence
from typing import Protocol

from flags.change import Draft, View
from flags.ledger import Author, Entry
from flags.model import Flag, Kind, ObjectKey
from gateway.deciding.decider import Decider
from gateway.deciding.likeness import began
from gateway.deciding.loading import Switchable
from gateway.deciding.sightings import Sighting
from gateway.deciding.threads import Busy, Threads
from policies.brake import Bell, Ledger

log = logging.getLogger("pointsman.deciding")

ACTION, UNDECIDED, DECIDING = "diverted", "undecided", "automation/decisions"
# Providers need some seconds to hear of a switch, and a minute to be asked again in vain is soon enough.
SWITCH_AGAIN_SECONDS, TELL_AGAIN_SECONDS = 60.0, 86_400.0
SWITCH_SECONDS = 5.0
# A version that was given before it was withdrawn is not "still given": this long after, it is.
STILL_SECONDS = 2


class Reads(Ledger, Protocol):
    """What is asked of the store here."""

    async def read_log(self, after: int, limit: int) -> list[Entry]:
        """Entries behind a revision."""
        ...


class Diverting:
    """One worker's. What changes here: its threads."""

    def __init__(self, store: Reads, bell: Bell) -> None:
        self._store, self._bell = store, bell
        self._threads = Threads(2, "pointsman-switching")

    def __repr__(self) -> str:
        return f"<Diverting {self._threads!r}>"

    async def look(self, flag: Flag, given: Sequence[Sighting], now: int, decider: Decider | None) -> None:
        """Have what is withdrawn and still given switched, or told. Raises StoreUnavailable."""
        since = began(flag) + STILL_SECONDS
        still = {each.variant for each in given if each.second >= since and each.variant in flag.withdrawn}
        for name in sorted(still):
            if decider is not None and flag.safe is not None:
                await self._divert(flag, name, flag.safe, decider)

    async def _divert(self, flag: Flag, name: str, safe: str, decider: Decider) -> None:
        able = isinstance(decider.provider, Switchable)
        life = f"diverted|{flag.key}|{name}|{flag.variants[name].generation}|{safe}"
        if able:
            if not await self._bell.alarm(f"{life}|switch", SWITCH_AGAIN_SECONDS):
                return
            outcome = await self._switched(flag, name, safe, decider)
        else:
            outcome = f"{decider.reference} still gives it: change it there"
        # What came of it is told once a day, and whenever it is another thing.
        if await self._bell.alarm(f"{life}|{outcome[:200]}", TELL_AGAIN_SECONDS):
            await self._tell(flag, f"{name} is withdrawn here and diverted to {safe}; {outcome}", decider)

    async def _switched(self, flag: Flag, name: str, safe: str, decider: Decider) -> str:
        """What came of asking the provider to serve `safe`."""
        assert isinstance(decider.provider, Switchable)
        provider, reason = decider.provider, await self._reason(flag, name)
        try:
            found = await self._threads.run(lambda: provider.switch(flag.key, safe, reason), SWITCH_SECONDS)
            if inspect.isawaitable(found):
                async with asyncio.timeout(SWITCH_SECONDS):
                    await found
        except (TimeoutError, Busy):
            return (
                f"{decider.reference} did not switch to {safe} within {SWITCH_SECONDS:g} s: change it there"
            )
        except (Exception, SystemExit, KeyboardInterrupt) as error:  # noqa: BLE001  # foreign code: all it raises is told
            what = f"{type(error).__name__}: {error}"[:200]
            return f"{decider.reference} could not switch to {safe} ({what}): change it there"
        return f"{decider.reference} was asked to serve {safe}, and took it"

    async def _reason(self, flag: Flag, name: str) -> str:
        """Why it was withdrawn: the reason of the flag's last Change, as far as the ledger tells."""
        entries = await self._store.read_log(flag.revision - 1, 1)
        told = next((each.reason for each in entries if each.revision == flag.revision), "")
        return told or f"{name} is withdrawn"

    async def undecided(self, route: str, why: str) -> None:
        """Tell that a route's provider is not asked by some worker, once a day for each cause. Raises StoreUnavailable."""
        if await self._bell.alarm(f"undecided|{route}|{why[:200]}", TELL_AGAIN_SECONDS):
            await self._note(UNDECIDED, ObjectKey(Kind.ROUTE, route), DECIDING, f"the store decides: {why}")

    async def _tell(self, flag: Flag, reason: str, decider: Decider) -> None:
        log.warning("%s: %s", flag.key, reason)
        await self._note(ACTION, ObjectKey(Kind.FLAG, flag.key), f"provider/{decider.reference}", reason)

    async def _note(self, action: str, key: ObjectKey, actor: str, reason: str) -> None:
        def decide(view: View) -> Sequence[Draft]:
            return [Draft(action, key, None, affects=False)] if key in view.objects else []

        await self._store.change(Author(actor, reason), [key], decide, insist=True)
