"""Keeps this process's signer supplied with the namespace's keys. Knows the store's secrets, and no token's form.

A key is made for each week of Redis' clock and written once, by whoever comes first; so all workers agree on every
key without asking each other. The next week's is taken in advance: no token waits for a key at midnight.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from datetime import datetime

from flags.errors import StoreUnavailable
from flags.store import Store
from flags.units import KEY_BYTES, unit_key
from gateway.token import PERIOD_SECONDS, TokenSigner

# Often enough to see a clock that was set, and an hour of a week is nothing.
RENEW_SECONDS = 3600.0
# Between two attempts while Redis is away.
AGAIN_SECONDS = 1.0
# The name of a secret. A person's unit has a key of its own (flags.units).
TOKEN_KEY = "decision-token"  # noqa: S105  # a name, not the key
# Keys of so many weeks behind those in use are removed, so that they do not pile up; a year, for a fleet that slept.
OLD_PERIODS = 52


class Signing:
    """Has the signer, None until the store has given its keys once. What changes here: that reference."""

    def __init__(self, store: Store, *, entropy: Callable[[int], bytes], now: Callable[[], float]) -> None:
        self._store, self._entropy, self._now = store, entropy, now
        self._task: asyncio.Task[None] | None = None
        self.signer: TokenSigner | None = None

    def __repr__(self) -> str:
        return f"<Signing with {self.signer!r}>"

    def now(self) -> float:
        """Unix seconds by Redis' clock, which alone the workers have in common; by our own until it is known."""
        return self._now() + (self.signer.skew_seconds if self.signer else 0)

    async def start(self) -> None:
        """Take the keys, and renew them until `aclose`. Where Redis is away nobody waits for it."""
        with contextlib.suppress(StoreUnavailable):
            self.signer = await signer_from(self._store, self._entropy, self._now)
        self._task = asyncio.create_task(self._renew())

    async def aclose(self) -> None:
        """Stop renewing. Idempotent."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})

    async def _renew(self) -> None:
        while True:
            await asyncio.sleep(RENEW_SECONDS if self.signer is not None else AGAIN_SECONDS)
            # Away: the keys at hand are good for a week more.
            with contextlib.suppress(StoreUnavailable):
                self.signer = await signer_from(self._store, self._entropy, self._now)


async def signer_from(store: Store, entropy: Callable[[int], bytes], now: Callable[[], float]) -> TokenSigner:
    """A signer for the week that Redis' clock shows, and those beside it. Raises StoreUnavailable."""
    told = datetime.fromisoformat(await store.time()).timestamp()
    skew = round(told - now())
    period = int(told) // PERIOD_SECONDS
    keys = {each: await store.secret(name_of(each), lambda: entropy(KEY_BYTES)) for each in around(period)}
    people = await unit_key(store, entropy)
    old = [name_of(each) for each in range(period - 1 - OLD_PERIODS, period - 1)]
    await store.calls.run(lambda redis: redis.hdel(store.keys.secrets, *old))
    return TokenSigner(keys, people, skew_seconds=skew)


def around(period: int) -> range:
    """The weeks whose keys are needed: the last one's tokens are still read, the next one's turn may come."""
    return range(period - 1, period + 2)


def name_of(period: int) -> str:
    """The name of a week's key, numbered from 1970."""
    return f"{TOKEN_KEY}:{period}"
