"""Reads and writes one namespace in Redis: every Change by `change`, every snapshot from `load`.

Knows no rule about what may be changed (callers decide, purely, on a `View`) and keeps no state of its own.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime

import msgspec

from flags.call import CALL_SECONDS, Calls, Client, Command, Reply
from flags.canonical import canonical, name_of
from flags.change import NO_CONTENTS, Committed, Decide, Draft, Head, Loaded, View
from flags.checkpoint import ARCHIVES_FIELDS, Archives, archives_from
from flags.errors import Conflict, Invalid, LedgerBroken, StoreUnavailable
from flags.fleet import Acks, Fleet, WorkerInfo, WorkerState, alive
from flags.keys import Keys
from flags.ledger import Author, Deed, Entry, continues, entry_from, entry_json, seal
from flags.model import Document, Json, ObjectKey, Position, StoredObject
from flags.slices import in_slices
from flags.snapshot import hashes_of

__all__ = [
    "Acks", "Author", "Committed", "Draft", "Entry", "Head", "Loaded", "Store", "View", "WorkerInfo",
    "WorkerState",
]  # fmt: skip

log = logging.getLogger(__name__)

# A writer that loses this often against others meets a store that is busier than any operator makes it.
TRIES = 50
# Losers try again after up to this long, so that they do not meet again.
JITTER_SECONDS = 0.005
# A batch may carry thousands of entries; Redis takes some 0.1 ms for each.
ENTRY_SECONDS = 0.001
# Pages small enough to be decoded well within a millisecond or two.
SCAN_PAGE = 100
CONTENT_PAGE = 50
LOG_PAGE = 200
# A load starts over when a fail-over changes the history under it.
LOADS = 5


class _Stored(msgspec.Struct, frozen=True):
    document: dict[str, object]
    revision: int


class Store:
    """One namespace. Safe to share between tasks. All but `acknowledged` raise StoreUnavailable when Redis is away."""

    __slots__ = ("_calls", "_new_id", "_random", "fleet", "keys")

    def __init__(
        self,
        redis: Client,
        namespace: str,
        *,
        new_id: Callable[[], str] = lambda: uuid.uuid4().hex,
        chance: Callable[[], float] = random.random,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._calls = Calls(redis)
        self._new_id = new_id
        self._random = chance
        self.keys = Keys(namespace)
        self.fleet = Fleet(self._calls, self.keys, clock=clock)

    def __repr__(self) -> str:
        return f"Store({self.keys.namespace!r}, {self._calls!r})"

    @property
    def calls(self) -> Calls:
        """The way to Redis, for what other rooms keep there under `keys`."""
        return self._calls

    async def aclose(self) -> None:
        """Close the connections. May be called again."""
        await self._calls.aclose()

    # Writing

    async def change(
        self, author: Author, reads: Sequence[ObjectKey] | None, decide: Decide, *, insist: bool = False
    ) -> Committed:
        """Commit what `decide` drafts, all or nothing, and tell where the ledger stands then.

        `reads` names the objects that `decide` looks at (None: all); it may write no others. Where another
        writer was faster, it is asked anew; if the other changed an object that this one writes, Conflict is
        raised, unless we `insist`. After StoreUnavailable it is not known whether the change was written.
        """
        first: View | None = None
        ours: set[ObjectKey] = set()
        for _ in range(TRIES):
            view = await self._view(reads)
            if first is not None and not insist:
                await self._refuse_conflict(author, first, view, ours)
            drafts = decide(view)
            if not drafts:
                return Committed(view.position, (), view)
            first = first or view
            ours |= {draft.key for draft in drafts}
            committed = await self._commit(author, view, drafts, reads)
            if committed is not None:
                return committed
            await asyncio.sleep(self._random() * JITTER_SECONDS)
        raise StoreUnavailable(
            f"other writers were faster {TRIES} times; nothing was written", mend="try again"
        )

    async def _commit(
        self, author: Author, view: View, drafts: Sequence[Draft], reads: Sequence[ObjectKey] | None
    ) -> Committed | None:
        """The write as it stands in the ledger, or None when the head had moved."""
        entries, args = await self._ready(author, view, drafts, reads)
        keys = [self.keys.head, self.keys.ledger, self.keys.objects, self.keys.contents, self.keys.workers]
        seconds = CALL_SECONDS + ENTRY_SECONDS * len(entries)
        answer, milliseconds, rows = await self._calls.script("apply", keys, args, seconds=seconds)
        return (
            None
            if answer == b"moved"
            else Committed(entries[-1].position, entries, view, alive(rows, milliseconds))
        )

    async def _ready(
        self, author: Author, view: View, drafts: Sequence[Draft], reads: Sequence[ObjectKey] | None
    ) -> tuple[tuple[Entry, ...], list[str | bytes | int]]:
        """The entries, and the arguments of apply.lua that write them.

        In slices, because a declaration may carry thousands. A thread would hold up requests for longer: to get
        the interpreter back from it takes them 5 ms each time.
        """
        entries = tuple([entry async for entry in in_slices(self._sealed(author, view, drafts, reads))])
        affecting = max((entry.revision for entry in entries if entry.affects), default="")
        args: list[str | bytes | int] = [*view.position, *entries[-1].position, affecting, len(entries)]
        async for entry in in_slices(entries):
            written = entry.object if entry.writes else ""
            args += [entry.revision, entry_json(entry), written, _stored_json(entry)]
        seen: set[str] = set()
        async for name, text in in_slices(_contents(drafts)):
            if name not in seen:
                args += [name, text]
            seen.add(name)
        return entries, args

    def _sealed(
        self, author: Author, view: View, drafts: Sequence[Draft], reads: Sequence[ObjectKey] | None
    ) -> Iterator[Entry]:
        """The drafts as entries that continue the ledger from the view."""
        allowed = None if reads is None else frozenset(reads)
        documents: dict[ObjectKey, Document | None] = {
            key: held.document for key, held in view.objects.items()
        }
        position = view.position
        for draft in drafts:
            if allowed is not None and draft.key not in allowed:
                raise ValueError(f"{draft.key} is written but was not read; name it in `reads`")
            note = draft.after is None and not draft.affects
            before = None if note else documents.get(draft.key)
            deed = Deed(draft.action, draft.key, before, draft.after, draft.affects)
            change_id = draft.id or self._new_id()
            entry = seal(draft.by(author), deed, after=position, time=view.time, change_id=change_id)
            position = entry.position
            if not note:
                documents[draft.key] = draft.after
            yield entry

    async def _refuse_conflict(
        self, author: Author, first: View, now: View, ours: Iterable[ObjectKey]
    ) -> None:
        """Raise Conflict when one of `ours` is no longer what it was at first."""
        changed = [key for key in ours if first.objects.get(key) != now.objects.get(key)]
        if not changed:
            return
        names = {str(key) for key in changed}
        since = await self.read_log(first.position.revision, LOG_PAGE)
        theirs = tuple(entry for entry in since if entry.object in names and entry.writes)
        told = "; ".join(f"{e.action} by {e.actor} at revision {e.revision} ({e.reason})" for e in theirs)
        raise Conflict(
            f"{', '.join(sorted(names))} was changed meanwhile: {told or 'by a change that is lost'}; "
            f"the change by {author.actor} ({author.reason}) was not written",
            theirs=theirs,
            mend="look at what is there now and, if you still want your change, give the command again",
        )

    # Reading

    async def time(self) -> str:
        """Redis' clock, RFC 3339 UTC."""
        seconds, micros, *_ = await self._calls.script("read", [self.keys.head, self.keys.objects])
        return _time(seconds, micros)

    async def head(self) -> Head:
        """Where the ledger ends now; no script, so that who may only read can follow."""
        return _head(await self._calls.run(_hmget(self.keys.head, ("revision", "hash", "affecting"))))

    async def load(self, held: Mapping[str, Json] = NO_CONTENTS) -> Loaded:
        """All objects as of one position, and the contents that they name, read in small pages.

        `held` are contents at hand; what lies under a hash never changes, so they are not read again.
        """
        head, objects = await self._everything()
        wanted = {name async for stored in in_slices(objects.values()) for name in hashes_of([stored])}
        contents = {name: held[name] async for name in in_slices(wanted) if name in held}
        contents |= await self.contents(wanted - contents.keys())
        return Loaded(head.position, head.revision, objects, contents)

    async def read_log(self, after: int, limit: int) -> list[Entry]:
        """The entries that follow revision `after`, oldest first, at most `limit`."""
        return [entry_from(text) for text in await self.read_log_bytes(after, limit)]

    async def read_log_bytes(self, after: int, limit: int) -> list[bytes]:
        """As `read_log`, to the byte as stored: what `flags.ledger.verify` wants."""
        start = f"{after + 1}-0"
        rows = await self._calls.run(lambda redis: redis.xrange(self.keys.ledger, start, "+", count=limit))
        return [fields[b"e"] for _, fields in rows]

    async def archived(self) -> Archives:
        """Up to where the ledger was archived and trimmed away, and who has it (flags.archive)."""
        return archives_from(*await self._calls.run(_hmget(self.keys.checkpoint, ARCHIVES_FIELDS)))

    async def contents(self, hashes: Iterable[str]) -> dict[str, Json]:
        """The contents by hash; those that were erased or never written are left out.

        So are those that do not meet their hash (the log tells): what is served is what was declared, or nothing.
        """
        wanted = list(hashes)
        found: dict[str, Json] = {}
        for at in range(0, len(wanted), CONTENT_PAGE):
            page = wanted[at : at + CONTENT_PAGE]
            values = await self._calls.run(_hmget(self.keys.contents, page))
            for name, text in zip(page, values, strict=True):
                if text is None:
                    continue
                if name_of(text) == name:
                    found[name] = msgspec.json.decode(text)
                else:
                    log.error("the content %s does not meet its hash and is not served", name)
        return found

    async def bad_contents(self) -> list[str]:
        """The hashes under which something else lies than they name: for an audit. Reads all, in small pages."""
        bad: set[str] = set()
        cursor: Reply = 0
        while True:
            cursor, page = await self._calls.run(_hscan(self.keys.contents, cursor, CONTENT_PAGE))
            bad |= {
                name.decode(errors="replace") for name, text in page.items() if name_of(text).encode() != name
            }
            if int(cursor) == 0:
                return sorted(bad)

    async def secret(self, name: str, make: Callable[[], bytes]) -> bytes:
        """The secret `name` of this namespace; the first who asks makes it, all others get the same."""
        value: bytes | None = await self._calls.run(lambda redis: redis.hget(self.keys.secrets, name))
        if value is None:
            made = make()
            await self._calls.run(lambda redis: redis.hsetnx(self.keys.secrets, name, made))
            value = await self._calls.run(lambda redis: redis.hget(self.keys.secrets, name))
        if value is None:
            raise StoreUnavailable(f"the secret {name!r} was written and is gone; Redis loses data")
        return value

    async def _view(self, reads: Sequence[ObjectKey] | None) -> View:
        if reads is None:
            head, objects = await self._everything()
            return View(head.position, await self.time(), objects)
        names = [str(key) for key in reads]
        answer = await self._calls.script("read", [self.keys.head, self.keys.objects], names)
        found = {key: _object(key, text) for key, text in zip(reads, answer[5:], strict=True) if text}
        return View(_head(answer[2:5]).position, _time(answer[0], answer[1]), found)

    async def _everything(self) -> tuple[Head, dict[ObjectKey, StoredObject]]:
        """All objects as of one head; what others write meanwhile is taken from the ledger."""
        for _ in range(LOADS):
            head = await self.head()
            objects = await self._scan()
            caught_up = await self._replay(head, objects)
            if caught_up is not None:
                return caught_up, objects
        raise StoreUnavailable(
            f"the ledger's history changed {LOADS} times while it was read", mend="try again"
        )

    async def _scan(self) -> dict[ObjectKey, StoredObject]:
        objects: dict[ObjectKey, StoredObject] = {}
        cursor: Reply = 0
        while True:
            cursor, page = await self._calls.run(_hscan(self.keys.objects, cursor, SCAN_PAGE))
            keys = [ObjectKey.parse(name.decode()) for name in page]
            objects |= {key: _object(key, text) for key, text in zip(keys, page.values(), strict=True)}
            if int(cursor) == 0:
                return objects

    async def _replay(self, head: Head, objects: dict[ObjectKey, StoredObject]) -> Head | None:
        """Bring `objects`, read from `head` on, up to the ledger's end; None when that is another history."""
        position, revision = head.position, head.revision
        while entries := await self.read_log(position.revision, LOG_PAGE):
            if not continues(entries, position):
                return None
            for entry in entries:
                _catch_up(objects, entry)
            position = entries[-1].position
            revision = max((entry.revision for entry in entries if entry.affects), default=revision)
        # A fail-over may have taken back what was read: then objects are newer than the end of the ledger.
        newest = max((stored.revision for stored in objects.values()), default=0)
        end = await self.head()
        lost = end.position.revision == position.revision and end.position != position
        if newest > position.revision or end.position.revision < position.revision or lost:
            return None
        return Head(position, revision)

    # The fleet

    async def beat(self, worker: WorkerInfo, position: Position) -> None:
        """Heartbeat and acknowledgement of `position`; see Fleet."""
        await self.fleet.beat(worker, position)

    async def workers(self) -> list[WorkerState]:
        """All known workers; see Fleet."""
        return await self.fleet.workers()

    async def acknowledged(
        self, position: Position, within_seconds: float, alive_at_write: Sequence[str]
    ) -> Acks:
        """Wait for the workers that were alive at the write; see Fleet."""
        return await self.fleet.acknowledged(position, within_seconds, alive_at_write)


def _hmget(key: str, names: Sequence[str]) -> Command:
    return lambda redis: redis.hmget(key, names)


def _hscan(key: str, cursor: Reply, count: int) -> Command:
    return lambda redis: redis.hscan(key, cursor, count=count)


def left_by(entry: Entry) -> StoredObject | None:
    """The object as the entry that wrote it left it; None where it deleted it."""
    return None if entry.after is None else StoredObject(entry.key, entry.after, entry.revision)


def _catch_up(objects: dict[ObjectKey, StoredObject], entry: Entry) -> None:
    """Do to `objects` what the entry did, unless they have it already."""
    held = objects.get(entry.key)
    if not entry.writes or (held is not None and held.revision >= entry.revision):
        return
    left = left_by(entry)
    if left is None:
        objects.pop(entry.key, None)
    else:
        objects[left.key] = left


def _contents(drafts: Sequence[Draft]) -> Iterator[tuple[str, bytes]]:
    """The new contents under their hashes. Raises Invalid for one that lies under a wrong hash."""
    for draft in drafts:
        for name, value in draft.contents.items():
            text = canonical(value)
            if name_of(text) != name:
                raise Invalid(
                    str(draft.key), f"a content lies under {name}, but its SHA-256 is {name_of(text)}"
                )
            yield name, text


def _stored_json(entry: Entry) -> bytes:
    if entry.after is None:
        return b""
    return canonical({"document": entry.after, "revision": entry.revision})


def _object(key: ObjectKey, text: bytes) -> StoredObject:
    try:
        stored = msgspec.json.decode(text, type=_Stored)
    except msgspec.MsgspecError as error:
        raise LedgerBroken(
            f"{key} as stored is no object: {error}", mend="run `pointsman audit verify`"
        ) from error
    return StoredObject(key, stored.document, stored.revision)  # type: ignore[arg-type]  # JSON, just decoded


def _head(fields: Reply) -> Head:
    revision, text, affecting = fields
    return Head(Position(int(revision or 0), (text or b"").decode()), int(affecting or 0))


def _time(seconds: bytes, micros: bytes) -> str:
    """Redis' TIME as RFC 3339 UTC, to the millisecond."""
    at = datetime.fromtimestamp(int(seconds), tz=UTC)
    return f"{at:%Y-%m-%dT%H:%M:%S}.{int(micros) // 1000:03d}Z"
