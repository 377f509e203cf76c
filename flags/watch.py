"""Keeps a worker's snapshot at the end of the ledger, and tells the fleet how far it has come.

Knows nothing of requests: whoever serves them is handed each new snapshot. Never raises for want of Redis; it
goes on with the last snapshot, says so (`degraded`), and returns to the ledger by itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
from collections import deque
from collections.abc import Callable, Coroutine, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from flags.call import FAILURES, Client, Reply, translated
from flags.change import NO_CONTENTS, Loaded
from flags.connect import BLOCK_SECONDS, LISTEN_SECONDS
from flags.disk import DiskCopy
from flags.errors import StoreError
from flags.fleet import BEAT_SECONDS, WorkerInfo
from flags.ledger import Entry, continues, entry_from
from flags.model import START, ObjectKey, Position
from flags.slices import in_slices
from flags.snapshot import Builder, Snapshot, hashes_of
from flags.store import Store, left_by

log = logging.getLogger(__name__)

# Entries taken from Redis at once: some 0.3 ms to decode.
PAGE = 100
# Between two attempts to reach a Redis that is away; doubled up to the second, so that 100 workers do not
# beat on a server that is just coming up, and all of them are back within a second of it.
FIRST_PAUSE_SECONDS = 0.05
LAST_PAUSE_SECONDS = 1.0
# A task that has not ended this long after its cancellation did not get it.
CANCEL_SECONDS = 0.2
# How many positions are remembered, to tell from which revision on a lost history differs.
TRAIL = 64
# Who is more entries behind reads the objects anew: that takes less time and memory.
FAR = 1000
# Rows of dead workers are looked for this often (in beats).
FORGET_EVERY_BEATS = 60

OnSnapshot: TypeAlias = Callable[[Snapshot, frozenset[ObjectKey] | None], None]


@dataclass(frozen=True, slots=True)
class HistoryChanged:
    """Redis came back with another past: entries that we had followed are no longer in the ledger.

    `first` is the oldest revision known to be lost (exact among the last 64), `last` the newest;
    `now` is where the ledger ends. An emptied store ends at 0: then the last snapshot is kept.
    """

    first: int
    last: int
    now: Position


OnHistory: TypeAlias = Callable[[HistoryChanged], None]
# Told why contact with Redis was lost, and None when it is there again.
OnContact: TypeAlias = Callable[[str | None], None]


class Watcher:
    """Follows one namespace for one worker; without a `worker`, as an observer: nobody awaits it and it only reads,
    so that a Redis user who may read (`+@read`) is enough for it.

    `on_snapshot` gets each new snapshot and the keys that changed (None: all may have).
    """

    def __init__(
        self,
        store: Store,
        listener: Client,
        worker: WorkerInfo | None,
        on_snapshot: OnSnapshot,
        on_history: OnHistory | None = None,
        *,
        on_contact: OnContact | None = None,
    ) -> None:
        self._store = store
        self._listener = listener
        self._worker = worker
        self._on_snapshot = on_snapshot
        self._on_history = on_history
        self._on_contact = on_contact
        self._disk: DiskCopy | None = None
        # These are all that changes here: where we stand and how we came there, the contact with Redis,
        # and our tasks.
        self._snapshot: Snapshot | None = None
        self._trail: deque[Position] = deque(maxlen=TRAIL)
        self._emptied = False
        self._listening = False
        self._beating = False
        self._told: bool | None = None
        self._contact = asyncio.get_running_loop().time()
        self._tasks: list[asyncio.Task[None]] = []

    def __repr__(self) -> str:
        position = self._snapshot.position if self._snapshot else None
        return f"Watcher(position={position}, degraded={self.degraded}, age_seconds={self.age_seconds:.1f})"

    @property
    def snapshot(self) -> Snapshot | None:
        """The last snapshot; None until there is one."""
        return self._snapshot

    @property
    def degraded(self) -> bool:
        """Whether Redis is away, hangs or was emptied, so that the snapshot may be out of date."""
        return not (self._listening and self._beating) or self._emptied

    @property
    def age_seconds(self) -> float:
        """Seconds since the snapshot was last known to be current: up to 2 on an idle ledger."""
        return asyncio.get_running_loop().time() - self._contact

    async def start(self, disk: DiskCopy | None = None) -> None:
        """Take the snapshot from Redis, else from `disk`, and follow. Without either, `snapshot` stays None
        until Redis answers. When it returns with a snapshot from Redis, every later write awaits us.
        """
        self._disk = disk
        try:
            self._listening = True
            await self._catch_up()
            # The first snapshot registered us; looked again afterwards, a write in between is awaited or seen.
            await self._catch_up()
        except StoreError as error:
            self._listening = False
            self._say(str(error))
            await self._start_from_disk()
        self._tasks = [
            asyncio.create_task(self._forever(self._follow), name="pointsman-follow"),
            asyncio.create_task(self._forever(self._beat_on), name="pointsman-beat"),
        ]

    async def aclose(self) -> None:
        """Stop following and leave the fleet. May be called again. The clients stay open: others own them."""
        tasks, self._tasks = self._tasks, []
        await _cancelled(tasks)
        if tasks and self._worker is not None:
            with contextlib.suppress(StoreError):
                await self._store.fleet.leave(self._worker.id)
        if self._disk is not None:
            await self._disk.aclose()

    # The two loops

    async def _forever(self, loop: Callable[[], Coroutine[Any, Any, None]]) -> None:
        pause = FIRST_PAUSE_SECONDS
        while True:
            began = asyncio.get_running_loop().time()
            try:
                await loop()
            except StoreError as error:
                self._say(str(error))
            except Exception:  # the background loop's edge: a bug must not leave the worker deaf
                log.exception("following the ledger failed; trying again")
            if asyncio.get_running_loop().time() - began > LAST_PAUSE_SECONDS:
                pause = FIRST_PAUSE_SECONDS
            await asyncio.sleep(pause)
            pause = min(2 * pause, LAST_PAUSE_SECONDS)

    async def _follow(self) -> None:
        try:
            await self._catch_up()
            # Whoever was away is to be awaited again at once, and may have an acknowledgement to make good.
            await self._beat()
            while True:
                self._listening = True
                self._say("")
                entries = await self._feed()
                if entries:
                    await self._take(entries)
                else:
                    # XREAD after an id that a fail-over lost answers nothing, for ever.
                    await self._catch_up()
        finally:
            self._listening = False

    async def _beat_on(self) -> None:
        for count in range(FORGET_EVERY_BEATS):
            await asyncio.sleep(BEAT_SECONDS)
            try:
                await self._beat()
                if count == 0 and self._worker is not None:
                    await self._store.fleet.forget()
            except StoreError as error:
                self._beating = False
                self._say(str(error))

    async def _beat(self) -> None:
        """Register, acknowledge and stay alive, all in one; a worker without a snapshot serves nobody yet.

        An observer looks whether Redis still answers: the feed alone notices a hanging one seconds later.
        """
        if self._worker is None:
            await self._store.head()
            self._beating = True
            self._say("")
            return
        told: Position | None = None
        # Again where a swap came in between: of two beats on their way at once, the older may arrive last.
        while self._snapshot is not None and self._snapshot.position != told:
            told = self._snapshot.position
            await self._store.beat(self._worker, told)
            self._beating = True
            self._say("")

    # Following

    async def _feed(self) -> list[Entry]:
        """What comes next in the ledger, to its end; nothing when the block runs out."""
        position = self._snapshot.position if self._snapshot else START
        ledger = self._store.keys.ledger
        block = int(BLOCK_SECONDS * 1000)
        try:
            async with asyncio.timeout(LISTEN_SECONDS):
                found: Reply = await self._listener.xread(
                    {ledger: f"{position.revision}-0"}, count=PAGE, block=block
                )
        except FAILURES as error:
            raise translated(error, LISTEN_SECONDS) from error
        entries = [entry_from(fields[b"e"]) for _, fields in found[0][1]] if found else []
        return await self._to_the_end(entries) if len(entries) == PAGE else entries

    async def _to_the_end(self, entries: list[Entry]) -> list[Entry]:
        """All that follows, so that a batch written at once is also seen at once; no more than `_take` can use."""
        while len(entries) <= FAR and (page := await self._store.read_log(entries[-1].revision, PAGE)):
            entries += page
        return entries

    async def _catch_up(self) -> None:
        """Compare our position with the head, by revision and hash, and go there."""
        head = (await self._store.head()).position
        held = self._snapshot.position if self._snapshot else None
        if held is None or head.revision < held.revision:
            await self._reload()
        elif head != held:
            page = await self._store.read_log(held.revision, PAGE)
            await self._take(await self._to_the_end(page) if page else [])
        else:
            self._emptied = False  # it was, and has come back as it was before
        self._contact = asyncio.get_running_loop().time()

    async def _take(self, entries: Sequence[Entry]) -> None:
        """Move on by `entries`; where they do not continue what we hold, start over from the objects."""
        snapshot = self._snapshot
        usable = 0 < len(entries) <= FAR
        if snapshot is None or not usable or not continues(entries, snapshot.position):
            await self._reload()
            return
        changes = {entry.key: left_by(entry) async for entry in in_slices(entries) if entry.writes}
        named = {name async for left in in_slices(changes.values()) if left for name in hashes_of([left])}
        contents = await self._store.contents(name for name in named if name not in snapshot.contents)
        revision = max((entry.revision for entry in entries if entry.affects), default=snapshot.revision)
        end = entries[-1].position
        grown = await _built(Builder(snapshot.namespace, end, revision, changes, contents, onto=snapshot))
        self._trail.extend(entry.position for entry in entries[-TRAIL:])
        await self._swap(grown, frozenset(changes))

    async def _reload(self) -> None:
        """Take everything anew. Says so when the ledger is no longer the one that we followed."""
        with collector_paused():
            await self._take_everything()

    async def _take_everything(self) -> None:
        loaded = await self._store.load(self._snapshot.contents if self._snapshot else NO_CONTENTS)
        held = self._snapshot.position if self._snapshot else START
        changed = await self._differs(held, loaded)
        if changed is not None and loaded.position == START:
            if not self._emptied:
                self._tell(changed)
            self._emptied = True
            return
        first = max(0, loaded.position.revision - TRAIL)
        trail = [entry.position for entry in await self._store.read_log(first, TRAIL)]
        namespace = self._store.keys.namespace
        snapshot = await _built(
            Builder(namespace, loaded.position, loaded.revision, loaded.objects, loaded.contents)
        )
        self._trail = deque(trail, maxlen=TRAIL)
        if changed is not None:
            self._tell(changed)
        await self._swap(snapshot, None, replace=changed is not None)

    async def _swap(
        self, snapshot: Snapshot, changed: frozenset[ObjectKey] | None, *, replace: bool = False
    ) -> None:
        """Serve from `snapshot` from now on, and only then acknowledge it."""
        self._on_snapshot(snapshot, changed)
        self._snapshot = snapshot  # only now: what could not be swapped must not be acknowledged
        self._emptied = False
        if self._disk is not None:
            self._disk.offer(snapshot, replace=replace)
        self._contact = asyncio.get_running_loop().time()
        await self._beat()

    async def _start_from_disk(self) -> None:
        if self._disk is None or self._snapshot is not None:
            return
        copy = await asyncio.to_thread(self._disk.load)
        if copy is None:
            return
        namespace = self._store.keys.namespace
        builder = Builder(namespace, copy.position, copy.revision, copy.objects, copy.contents)
        snapshot = await _built(builder)
        self._on_snapshot(snapshot, None)
        self._snapshot = snapshot
        self._trail.append(copy.position)
        log.warning("Redis is away: serving revision %d from the copy on disk", copy.revision)

    # Another history

    async def _differs(self, held: Position, loaded: Loaded) -> HistoryChanged | None:
        """What was lost, when the ledger that was loaded does not contain the entry that we stand on."""
        if held in (START, loaded.position):
            return None
        oldest = min((position.revision for position in self._trail), default=held.revision)
        now = {entry.position for entry in await self._store.read_log(oldest - 1, TRAIL)}
        # Who was away while the ledger was archived beyond it has lost nothing.
        if held in now or held.revision <= (await self._store.archived()).position.revision:
            return None
        common = max((position.revision for position in self._trail if position in now), default=oldest - 1)
        return HistoryChanged(common + 1, held.revision, loaded.position)

    def _tell(self, changed: HistoryChanged) -> None:
        log.error(
            "history changed: revisions %d to %d are no longer in the ledger, which now ends at %d",
            *(changed.first, changed.last, changed.now.revision),
        )
        if self._on_history is not None:
            self._on_history(changed)

    def _say(self, why: str) -> None:
        """Log once when contact with Redis is lost, and once when it is there again."""
        if self.degraded == self._told:
            return
        self._told = self.degraded
        if self.degraded:
            goes_on = "going on with the last snapshot" if self._snapshot else "there are no flags yet"
            log.warning("Redis is away or empty (%s): %s", why or "no entries", goes_on)
        else:
            log.info("following the ledger of %s", self._store.keys.namespace)
        if self._on_contact is not None:
            self._on_contact((why or "the store is empty") if self.degraded else None)


@contextlib.contextmanager
def collector_paused() -> Iterator[None]:
    """No garbage collection meanwhile: it would look at all that is being made, again and again, for 100 ms each.

    What is made in a load is kept, so there is nothing to collect.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


async def _cancelled(tasks: Sequence[asyncio.Task[None]]) -> None:
    """Cancel `tasks` and wait for their end. More than once: see flags.connect on swallowed cancellations,
    which remain possible while sentinels are asked.
    """
    pending = set(tasks)
    while pending:
        for task in pending:
            task.cancel()
        _, pending = await asyncio.wait(pending, timeout=CANCEL_SECONDS)


async def _built(builder: Builder) -> Snapshot:
    """What `builder` makes, in slices."""
    async for _ in in_slices(builder):
        pass
    return builder.snapshot()
