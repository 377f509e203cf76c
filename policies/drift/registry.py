"""What the fleet knows of the names that providers report, in Redis, and what is new of them. Knows no ledger.

A name is looked up here at once where it is known, so that a provider who reports the same every time costs one call an
hour and worker.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from flags.call import Script, scripts_in
from flags.model import Flag
from flags.store import Store
from policies.drift.names import FINGERPRINT, MODEL, Reported

# What is known is asked anew after an hour, by which Redis knows too that it is still of use (it keeps it 30 days).
ASK_AGAIN_SECONDS = 3600.0
# Releases and targets of which a process remembers what is known; some 300 B each.
REMEMBERED = 2000


class Renamed(msgspec.Struct, frozen=True, gc=False):
    """A name that a target reports now for a content, which it did not when the content was met first.

    `kind` is model or fingerprint, `before` what is known; `since` in Unix seconds of Redis' clock.
    """

    flag: str
    variant: str
    content: str
    target: str
    kind: str
    before: tuple[str, ...]
    after: str
    since: int
    answers: int

    @property
    def id(self) -> str:
        """What tells it from others."""
        return f"{self.flag}/{self.variant}/{self.content[:16]}|{self.target}|{self.kind}|{self.after}"


class _Known(msgspec.Struct, frozen=True, gc=False):
    models: frozenset[str]
    fingerprints: frozenset[str]
    until: float

    def has(self, told: Reported) -> bool:
        return (
            told.names.get(MODEL, {}).keys() <= self.models
            and told.names.get(FINGERPRINT, {}).keys() <= self.fingerprints
        )


class Registry:
    """The names known. What changes here: what this process remembers of them. Raises StoreUnavailable.

    `clock` counts seconds.
    """

    def __init__(self, store: Store, clock: Callable[[], float]) -> None:
        self._store, self._clock = store, clock
        self._script: Script = scripts_in("policies")["names"]
        self._known: dict[tuple[str, str, str, str], _Known] = {}

    def __repr__(self) -> str:
        return f"<Registry {len(self._known)} known>"

    async def tell(self, told: Reported, flag: Flag) -> list[Renamed]:
        """Tell what was reported, where it is not all known; what is due to be told people."""
        release = told.release
        variant = flag.variants.get(release.variant)
        if variant is None:
            return []
        at = (flag.key, release.variant, variant.hash, told.target)
        known = self._known.get(at)
        if known is not None and known.until > self._clock() and known.has(told):
            return []
        counted = msgspec.msgpack.encode((told.answers, told.names))
        return self._heard(at, await self._call(at, counted))

    async def settle(self, renamed: Renamed, *, told: bool) -> None:
        """From now on a new name is known; `told` where people were."""
        at = (renamed.flag, renamed.variant, renamed.content, renamed.target)
        self._heard(at, await self._call(at, renamed.kind, renamed.after, int(told)))

    async def _call(self, at: tuple[str, str, str, str], *given: str | bytes | int) -> bytes:
        flag, variant, content, target = at
        key = self._store.keys.reported(flag, variant)
        args = [f"{content[:16]}|{target}", *given]
        # Any: what redis-py answers has no type.
        answer: Any = await self._store.calls.script(self._script, [key], args)
        return bytes(answer)

    def _heard(self, at: tuple[str, str, str, str], answer: bytes) -> list[Renamed]:
        learning, (models, fingerprints), due = msgspec.msgpack.decode(answer)
        # While it is learned what rotates, every answer counts.
        until = 0.0 if learning else self._clock() + ASK_AGAIN_SECONDS
        if len(self._known) >= REMEMBERED:
            del self._known[next(iter(self._known))]
        self._known[at] = _Known(frozenset(models), frozenset(fingerprints), until)
        return [
            Renamed(*at, kind=kind, before=tuple(before), after=after, since=int(since), answers=int(answers))
            for kind, before, after, since, answers in due
        ]
