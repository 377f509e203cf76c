"""Keeps the docket at the newest snapshot: which policies are in force, what is on trial, which flags are to move.

Works in slices beside the requests, so a docket may be some milliseconds older than what is served; evidence and
Changes name generations and revisions, so nothing rests on their being the same. Knows no counts and no store.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
from collections.abc import Collection, Iterator, Mapping
from math import inf

from flags.model import NOTHING, Document, Flag, Kind, Layer, ObjectKey, RolloutState, StoredObject
from flags.slices import in_slices
from flags.snapshot import Snapshot
from flags.watch import collector_paused
from policies.act import soaks
from policies.case import EMPTY, Docket, Making, layer_flags
from policies.pinning import pins_of
from policies.policy import Policy, policies_in

log = logging.getLogger(__name__)


class Roster:
    """The docket of one worker. What changes here: the docket, what it was made from, and what is still to be done."""

    def __init__(self) -> None:
        self.docket: Docket = EMPTY
        # The flags that automation may move: a rollout in steps runs, or what is served is not safe yet.
        self.moving: dict[str, None] = {}
        self._made: Snapshot | None = None
        self._snapshot: Snapshot | None = None
        self._changed: set[ObjectKey] = set()
        self._anew = False
        self._wake = asyncio.Event()
        self._current = asyncio.Event()
        self._news = asyncio.Event()
        # Snapshots that were followed, and how many of them the docket has seen.
        self._followed, self._reached = 0, 0.0

    def __repr__(self) -> str:
        return f"<Roster {len(self.docket.cases)} cases, {len(self.moving)} moving>"

    def follow(self, snapshot: Snapshot, changed: frozenset[ObjectKey] | None) -> None:
        """A new snapshot is served; None: all of it may have changed. Returns at once."""
        self._snapshot = snapshot
        self._followed += 1
        if changed is None:
            self._anew = True
        else:
            self._changed |= changed
        self._current.clear()
        self._wake.set()

    async def run(self) -> None:
        """Make dockets for ever; to be cancelled."""
        try:
            while True:
                await self._wake.wait()
                self._wake.clear()
                reaching = self._followed
                try:
                    await self._make()
                except (
                    Exception
                ):  # the background loop's edge: a docket that cannot be made must not be the last
                    log.exception("the cases could not be made anew; going on with those before")
                self._tell(reaching)
                if not self._wake.is_set():
                    self._current.set()
        finally:
            # There will be no other docket: nobody shall wait for one.
            self._tell(inf)

    def _tell(self, reached: float) -> None:
        self._reached = reached
        self._news.set()
        self._news = asyncio.Event()

    async def current(self) -> Docket:
        """The docket, as soon as it is that of the newest snapshot."""
        await self._current.wait()
        return self.docket

    async def caught_up(self) -> None:
        """Returns when the docket is that of what is served now, or of something newer; at once where it is already."""
        wanted = self._followed
        while self._reached < wanted:
            await self._news.wait()

    async def reaches(self, key: str, revision: int) -> None:
        """Returns when a flag is as of `revision`, or later, or gone."""
        while (flag := self.flag(key)) is not None and flag.revision < revision:
            await self._news.wait()

    def next_docket(self) -> asyncio.Event:
        """Set when the docket after the present one is there."""
        return self._news

    def flag(self, key: str) -> Flag | None:
        """A flag, as of the docket."""
        found = self._made.flags.get(key) if self._made else None
        return None if found is None else found.flag

    def declared(self, policy: str) -> StoredObject | None:
        """The object that declares a policy, as of the docket; None for one that ships."""
        return self._made.of_kind(Kind.POLICY).get(policy) if self._made else None

    async def _make(self) -> None:
        snapshot, changed, anew = self._snapshot, self._changed, self._anew
        self._changed, self._anew = set(), False
        if snapshot is None:
            return
        policies = self.docket.known
        kinds = {key.kind for key in changed}
        if anew or kinds & {Kind.POLICY, Kind.METRIC}:
            found = policies_of(snapshot)
            anew, policies = anew or found != dict(policies), found
        flags, routes = Flags(snapshot), Routes(snapshot)
        making = (
            Making(EMPTY, flags, routes, policies, pinning=flags.pins, changed_routes=routes)
            if anew
            else Making(
                self.docket,
                flags,
                routes,
                policies,
                pinning=flags.pins,
                changed_flags=[key.name for key in changed if key.kind is Kind.FLAG],
                changed_routes=[key.name for key in changed if key.kind is Kind.ROUTE],
            )
        )
        with collector_paused() if anew else contextlib.nullcontext():
            async for _ in in_slices(making):
                pass
            docket = making.docket()
        if anew:
            # What a full load made will stay: the collector need not look at it again.
            gc.freeze()
        moving = {} if anew else self.moving
        async for key in in_slices(
            [*flags] if anew else [key.name for key in changed if key.kind is Kind.FLAG]
        ):
            flag = flags.get(key)
            if flag is not None and moves(flag):
                moving[key] = None
            else:
                moving.pop(key, None)
        self.docket, self.moving, self._made = docket, moving, snapshot


def moves(flag: Flag) -> bool:
    """Whether automation may raise its rollout, or make safe what it serves."""
    rollout = flag.rollout
    if rollout is not None:
        return bool(rollout.steps) and rollout.state is RolloutState.RUNNING and flag.enabled
    return soaks(flag)


def policies_of(snapshot: Snapshot) -> dict[str, Policy]:
    """The policies in force, by name."""
    policies = {name: _spec(stored) for name, stored in snapshot.of_kind(Kind.POLICY).items()}
    metrics = {name: _spec(stored) for name, stored in snapshot.of_kind(Kind.METRIC).items()}
    return policies_in(policies, metrics)


class Flags(Mapping[str, Flag]):
    """A snapshot's flags."""

    __slots__ = ("_snapshot",)

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot

    def __getitem__(self, key: str) -> Flag:
        return self._snapshot.flags[key].flag

    def __iter__(self) -> Iterator[str]:
        return iter(self._snapshot.flags)

    def __len__(self) -> int:
        return len(self._snapshot.flags)

    def pins(self, key: str, variant: str) -> Collection[Layer]:
        """The layers that a version of a pipeline pins."""
        return pins_of(self._snapshot.flags[key].values.get(variant))


class Routes(Mapping[str, Mapping[Layer, str]]):
    """The flag of each layer of a snapshot's routes."""

    __slots__ = ("_stored",)

    def __init__(self, snapshot: Snapshot) -> None:
        self._stored = snapshot.of_kind(Kind.ROUTE)

    def __getitem__(self, name: str) -> Mapping[Layer, str]:
        return layer_flags(name, _spec(self._stored[name]))

    def __iter__(self) -> Iterator[str]:
        return iter(self._stored)

    def __len__(self) -> int:
        return len(self._stored)


def _spec(stored: StoredObject) -> Document:
    """An object's declared part."""
    found = stored.document.get("spec", NOTHING)
    return found if isinstance(found, Mapping) else NOTHING
