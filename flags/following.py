"""Follows one namespace from a thread of its own, for a process that has no event loop to lend. Knows no OpenFeature.

Nothing here makes a caller wait but `wait` and `stop`, and both say for how long at most.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import logging
import os
import threading
import weakref
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Protocol, TypeAlias

from flags.connect import connect, connect_listener
from flags.disk import DiskCopy
from flags.edge import Edge
from flags.model import Kind, ObjectKey
from flags.snapshot import Snapshot
from flags.store import Store
from flags.watch import Watcher

log = logging.getLogger(__name__)

# What is done beside following: often enough that a score is judged within the second.
CHORE_SECONDS = 0.25
# The longest way to an orderly end: a call to a Redis that hangs and is asked again (0.5 s), twice. Whoever is not
# through by then is left behind: the thread is a daemon.
STOP_SECONDS = 1.5

# Others' faults, which must not end the following.
CHORE, LISTENER = "what is done beside following the flags", "who follows the flags"

Chore: TypeAlias = Callable[[Store], Awaitable[object]]


@dataclass(frozen=True, slots=True)
class Namespace:
    """Where a namespace lies, and the file (None: none) in which a copy of it is kept to start from without Redis."""

    url: str
    name: str = "default"
    copy: Path | None = None


class Listener(Protocol):
    """Who is told, on the thread that follows. What it raises is logged and goes no further."""

    def swapped(self, changed: list[str] | None) -> None:
        """There is a new snapshot. `changed` names the flags that differ; None for the first."""
        ...

    def contact(self, lost: str | None) -> None:
        """Contact with Redis was lost, and why; None: it is there again."""
        ...


class Following:
    """The snapshot of a namespace, kept at the end of the ledger by a thread. Started and stopped any number of times.

    After a fork the child goes on with the snapshot that it inherited and, at the first look at it, starts a thread of
    its own: threads and connections do not survive a fork.
    """

    def __init__(self, namespace: Namespace, listener: Listener, chore: Chore | None = None) -> None:
        self._namespace = namespace
        self._listener = listener
        self._chore = chore
        # These are all that changes here: what is served, the run that serves it, and what a fork left over.
        self._snapshot: Snapshot | None = None
        self._run: _Run | None = None
        self._forked = False
        self._left: list[_Run] = []
        self._lock = threading.Lock()
        _followings().add(self)

    def __repr__(self) -> str:
        position = self._snapshot.position if self._snapshot else None
        return f"Following({self._namespace.name!r}, position={position}, running={self._run is not None})"

    def current(self) -> Snapshot | None:
        """The snapshot as it is now; None until there is one. Never waits."""
        if self._forked:
            self._revive()
        return self._snapshot

    def start(self) -> None:
        """Follow from now on. Raises Invalid for a URL or a namespace that can be none; else never."""
        with self._lock:
            self._start()

    def _start(self) -> None:
        if self._run is None:
            run = _Run(self._namespace, self._swap, self._contact, self._chore)
            run.start()
            self._run = run
            atexit.register(self.stop)

    def wait(self, seconds: float) -> bool:
        """Whether there is a snapshot, waiting for the first one of this start for so long at most."""
        run = self._run
        if run is not None:
            run.arrived.wait(seconds)
        return self._snapshot is not None

    def later(self, seconds: float, call: Callable[[], None]) -> None:
        """Have `call` made on the thread that follows, `seconds` from now; not at all where it has ended."""
        run = self._run
        if run is not None:
            run.later(seconds, call)

    def stop(self, seconds: float = STOP_SECONDS) -> None:
        """Stop following, waiting for the end so long at most; the snapshot stays. May be called again, by anyone."""
        with self._lock:
            run, self._run = self._run, None
        if run is not None:
            atexit.unregister(self.stop)
            run.stop(seconds)

    # On the thread that follows

    def _swap(self, snapshot: Snapshot, keys: frozenset[ObjectKey] | None) -> None:
        before, self._snapshot = self._snapshot, snapshot
        changed = None if before is None else changed_flags(before, snapshot, keys)
        with Edge(log, LISTENER):
            self._listener.swapped(changed)

    def _contact(self, lost: str | None) -> None:
        with Edge(log, LISTENER):
            self._listener.contact(lost)

    # In a child

    def after_fork(self) -> None:
        """Go on as the child of a fork (see the class): called by whoever keeps all of these."""
        self._lock = threading.Lock()
        run, self._run = self._run, None
        if run is not None:
            atexit.unregister(self.stop)
            # Kept: to let go of its connections would close what the parent still uses.
            self._left.append(run)
            self._forked = True

    def _revive(self) -> None:
        with self._lock:
            if not self._forked:
                return
            self._forked = False
            try:
                self._start()
            except RuntimeError as error:  # no thread to be had: an evaluation must not fail for that
                log.exception("the flags of %s stay as they were at the fork", self._namespace.name)
                self._contact(f"no thread could be started: {error}")


@cache
def _followings() -> weakref.WeakSet[Following]:
    """All of this process, so that one call is registered for a fork: none can be taken back, and a service may make
    providers for as long as it runs."""
    found: weakref.WeakSet[Following] = weakref.WeakSet()

    def tell() -> None:
        for following in list(found):
            following.after_fork()

    os.register_at_fork(after_in_child=tell)
    return found


class _Run:
    """One thread with its loop, from `start` to `stop`."""

    def __init__(
        self,
        namespace: Namespace,
        on_snapshot: Callable[[Snapshot, frozenset[ObjectKey] | None], None],
        on_contact: Callable[[str | None], None],
        chore: Chore | None,
    ) -> None:
        self._namespace = namespace
        self._on_snapshot = on_snapshot
        self._on_contact = on_contact
        self._chore = chore
        # Made here, so that what is wrong with them is said to whoever starts us. They open no connection yet.
        self._clients = (connect(namespace.url), connect_listener(namespace.url))
        self._store = Store(self._clients[0], namespace.name)
        self.arrived = threading.Event()
        # Not by the process' policy: a loop of another make may not bear to be inherited by a fork.
        self._loop = asyncio.SelectorEventLoop()
        self._over = asyncio.Event()
        self._thread = threading.Thread(target=self._main, name="pointsman-flags", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def later(self, seconds: float, call: Callable[[], None]) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(self._loop.call_later, seconds, call)

    def stop(self, seconds: float) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(self._over.set)
        if self._thread is not threading.current_thread():
            self._thread.join(seconds)

    def _main(self) -> None:
        try:
            with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
                runner.run(self._live())
        except Exception as error:  # the thread's edge: its process goes on with the last snapshot
            # At the interpreter's end nothing can be handed to other threads any more, so no copy is written either.
            if not self._over.is_set():
                log.exception("following the flags of %s has ended", self._namespace.name)
                self._on_contact(f"following has ended: {error}")

    async def _live(self) -> None:
        async with contextlib.AsyncExitStack() as closing:
            for client in self._clients:
                closing.push_async_callback(client.aclose)
            watcher = Watcher(self._store, self._clients[1], None, self._swapped, on_contact=self._on_contact)
            copy = self._namespace.copy
            closing.push_async_callback(watcher.aclose)
            await watcher.start(None if copy is None else DiskCopy(copy, self._namespace.name))
            while not self._over.is_set():
                await self._do_chore()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._over.wait(), CHORE_SECONDS if self._chore else None)
            await self._do_chore()

    async def _do_chore(self) -> None:
        if self._chore is not None:
            with Edge(log, CHORE):
                await self._chore(self._store)

    def _swapped(self, snapshot: Snapshot, keys: frozenset[ObjectKey] | None) -> None:
        self._on_snapshot(snapshot, keys)
        self.arrived.set()


def changed_flags(before: Snapshot, after: Snapshot, keys: frozenset[ObjectKey] | None) -> list[str]:
    """The names of the flags that are not the same in both, sorted; `keys` are all that can differ (None: any).

    The same means: stored alike, with the same contents at hand. The revision does not matter, so that after a move to
    another history only what really differs is named.
    """
    if keys is None:
        names = {*before.of_kind(Kind.FLAG), *after.of_kind(Kind.FLAG)}
    else:
        names = {key.name for key in keys if key.kind is Kind.FLAG}
    return sorted(name for name in names if _identity(before, name) != _identity(after, name))


def _identity(snapshot: Snapshot, name: str) -> object:
    stored = snapshot.of_kind(Kind.FLAG).get(name)
    flag = snapshot.flags.get(name)
    return (
        stored and stored.document,
        flag and (flag.values.keys(), flag.rule is None, flag.rule_error),
    )
