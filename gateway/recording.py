"""Appends what was measured to a file, for `policies test --replay`: outcomes, scores, and how the flags stood.

Knows the lines' form only as policies.record has it. No prompt, no answer and no name of a user is in them: whom a
line is about it tells by the unit, a keyed hash. Writing is a thread's work; no request waits for the disk.
"""

from __future__ import annotations

import asyncio
import logging
import os
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeAlias

from flags.model import Kind, Layer, ObjectKey
from flags.snapshot import Snapshot
from gateway.compiling import spec
from policies.case import layer_flags
from policies.outcome import Outcome, Score
from policies.pinning import pins_of
from policies.record import State, outcome_line, score_line, state_line

log = logging.getLogger("pointsman.recording")

# Some 700,000 outcomes; replay holds a million lines in memory.
LIMIT_BYTES = 256 << 20
# Outcomes that wait for a disk that does not answer; twice what the recorder holds. More are lost, which is told once.
MOST_WAITING = 20_000

# What became of the flags since: None, if all of it may have changed.
Changed: TypeAlias = frozenset[ObjectKey] | None
Item: TypeAlias = Outcome | Score | tuple[Snapshot, Changed]


def create(path: str) -> None:
    """Make the file, readable by its owner alone, or take the one that is there. Raises OSError where it cannot be used."""
    file = _opened(path)
    try:
        if not stat.S_ISREG(os.fstat(file).st_mode):
            raise OSError(None, "it is no ordinary file")
        os.fchmod(file, 0o600)
    finally:
        os.close(file)


class Recording:
    """One worker's pen; all of a host's workers write to one file, whole lines at a time.

    It ends where the file has reached `limit` bytes, or cannot be written; the log says so. What changes here: what is
    still to be written, and whether it has ended.
    """

    def __init__(self, path: str, *, now: Callable[[], float], limit: int = LIMIT_BYTES) -> None:
        self._path, self._now, self._limit = path, now, limit
        self._waiting: list[tuple[float, Item]] = []
        self._writing: asyncio.Task[None] | None = None
        self._full = False
        self.ended = False

    def __repr__(self) -> str:
        state = "ended" if self.ended else f"{len(self._waiting)} waiting"
        return f"<Recording to {self._path}, {state}>"

    def note(self, measured: Sequence[Outcome | Score]) -> None:
        """Outcomes, or scores, as the gauge takes them: at most a flush after they happened. Returns at once."""
        self._add(measured)

    def stands(self, snapshot: Snapshot, changed: Changed) -> None:
        """The flags stand so from now on. Returns at once."""
        if changed is None or any(key.kind in (Kind.FLAG, Kind.ROUTE) for key in changed):
            self._add([(snapshot, changed)])

    async def aclose(self) -> None:
        """Write what waits. Idempotent."""
        while self._writing is not None:
            await self._writing

    def _add(self, items: Sequence[Item]) -> None:
        if self.ended:
            return
        if len(self._waiting) + len(items) > MOST_WAITING:
            if not self._full:
                log.warning("%s is written too slowly: some lines are left out", self._path)
            self._full = True
            return
        now = self._now()
        self._waiting += [(now, item) for item in items]
        if self._writing is None:
            self._writing = asyncio.create_task(self._write_on(), name="recording")

    async def _write_on(self) -> None:
        try:
            while self._waiting and not self.ended:
                taken, self._waiting = self._waiting, []
                await asyncio.to_thread(self._write, taken)
        except OSError as error:
            log.error("nothing is recorded any more: %s cannot be written: %s", self._path, error.strerror)
            self.ended = True
        finally:
            self._writing = None

    def _write(self, taken: Sequence[tuple[float, Item]]) -> None:
        lines = b"".join(b"%b\n" % line for line in lines_of(taken))
        # Opened anew, a few times a second: whoever moves the file away begins another.
        file = _opened(self._path)
        try:
            if os.fstat(file).st_size + len(lines) > self._limit:
                log.warning("nothing is recorded any more: %s has its %d bytes", self._path, self._limit)
                self.ended = True
            elif lines and os.write(file, lines) < len(lines):
                raise OSError(None, "the disk is full")
        finally:
            os.close(file)


def lines_of(items: Iterable[tuple[float, Item]]) -> Iterator[bytes]:
    """Each as its line."""
    for time, item in items:
        if isinstance(item, Outcome):
            yield outcome_line(item, time)
        elif isinstance(item, Score):
            yield score_line(item, time)
        else:
            state = state_of(*item)
            if state.flags or state.routes:
                yield state_line(state, time)


def state_of(snapshot: Snapshot, changed: Changed) -> State:
    """The layers' flags and the routes, of all or of what has changed; a route that is new brings its flags."""
    stored = snapshot.of_kind(Kind.ROUTE)
    names = stored if changed is None else [key.name for key in changed if key.kind is Kind.ROUTE]
    routes = {name: layer_flags(name, spec(stored[name].document)) for name in names if name in stored}
    keys = {key: None for layers in routes.values() for key in layers.values()}
    keys |= dict.fromkeys(key.name for key in changed or () if key.kind is Kind.FLAG)
    found = [snapshot.flags[key].flag for key in keys if key in snapshot.flags]
    pins = {
        flag.key: {name: [*pins_of(value)] for name, value in snapshot.flags[flag.key].values.items()}
        for flag in found
        if flag.layer is Layer.PIPELINE
    }
    return State({flag.key: flag for flag in found if flag.layer is not None}, routes, pins)


def _opened(path: str) -> int:
    # O_NONBLOCK: a pipe that nobody reads is refused, and not waited for.
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK
    return os.open(path, flags, 0o600)
