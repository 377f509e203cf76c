"""The operators' endpoints for the ledger's records: its anchor, a flag's change log, archiving. Knows HTTP only as `Call`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import msgspec
from msgspec import Meta

from flags.anchor import anchor as anchored
from flags.anchor import kept_anchor
from flags.archive import Copy, checkpoint
from flags.checkpoint import BEGINNING
from flags.errors import LedgerBroken, NotFound, StoreError
from flags.ledger import Author, entry_from
from flags.model import ObjectKey, Position, StoredObject
from flags.slices import in_slices
from flags.store import Store
from flags.walk import Anchor
from gateway.archiving import archivable, archive
from gateway.auth import Role
from gateway.http.bodies import Link, Reason, Revision
from gateway.http.endpoint import Call, Endpoint
from gateway.shapes import AuditShape, HeldShape
from policies.governance.changelog import Logged, is_about, logged

# Entries read at once: some 300 KB, one round trip.
PAGE = 500
# One call looks at so many entries, half a second's work, and then answers with what it found so far.
LOOKS = 20_000
# What Sha256 and a size look like in `SIZE:ROOT`.
AnchorText = Annotated[str, Meta(pattern=r"^[0-9]{1,18}:[0-9a-f]{64}$", description="SIZE:ROOT")]
FileName = Annotated[str, Meta(min_length=1, max_length=300, description="where the copy lies, for people")]


class ChangelogQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Entries after a revision, at most `limit`."""

    after: Revision = 0
    limit: Annotated[int, Meta(ge=1, le=1000)] = 100


class ChangelogPage(msgspec.Struct, frozen=True):
    """A flag's change log, oldest first. `next` is the revision to go on after, null at the end; a page may be short.

    Changes up to revision `archived` are in archives.
    """

    entries: list[Logged]
    next: int | None
    archived: int


class AnchorShape(msgspec.Struct, frozen=True):
    """The ledger's size and Merkle root (RFC 6962) now, as `SIZE:ROOT` too; what may be archived, and what is."""

    anchor: str
    size: int
    root: str
    archivable: int
    archived: int
    # The ledger up to its archived part: what a copy of the next part goes on from.
    archived_hash: str
    archived_size: int
    frontier: list[str]


class TrimBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Take everything up to revision `upto` out of the ledger: a copy of it, as `anchor` describes it, lies in `file`."""

    upto: Annotated[int, Meta(ge=1, le=2**53 - 1)]
    hash: Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]
    anchor: AnchorText
    file: FileName
    reason: Reason
    link: Link | None = None


class Trimmed(msgspec.Struct, frozen=True):
    """Which revisions were taken out, and the entry that tells of it."""

    first: int
    last: int
    revision: int
    hash: str
    id: str


async def changelog(call: Call) -> ChangelogPage:
    """A page of a flag's change log. Raises NotFound for a flag that is not there and has no past here."""
    query: ChangelogQuery = call.query
    key, store = call.path["key"], call.house.operations.store
    archives = await store.archived()
    found: list[Logged] = []
    at = max(query.after, archives.position.revision)
    looks, following = 0, None
    while texts := await store.read_log_bytes(at, PAGE):
        async for text in in_slices(texts):
            told = logged(key, entry_from(text)) if is_about(text, key) else None
            if told is not None and len(found) < query.limit:
                found.append(told)
        at, looks = entry_from(texts[-1]).revision, looks + len(texts)
        if len(found) >= query.limit or looks >= LOOKS:
            # What of this page did not fit is found again by whoever goes on.
            following = found[-1].revision if len(found) >= query.limit else at
            break
    known = call.snapshot.flags.keys()
    if not found and following is None and not query.after and key not in known:
        raise NotFound(f'flag "{key}" does not exist and has no past in this ledger')
    return ChangelogPage(found, following, archives.position.revision)


async def audit(call: Call) -> AuditShape:
    """From the store itself, not from this process's copy of it."""
    store = call.house.operations.store
    unreadable: list[str] = []
    kept, before = None, BEGINNING
    try:
        # First: what is kept now is of entries that the head, which is read later, comes after.
        kept = await kept_anchor(store)
    except LedgerBroken as error:
        unreadable.append(str(error))
    try:
        before = await checkpoint(store)
    except LedgerBroken as error:
        unreadable.append(str(error))
    position, objects = await _state(store, unreadable)
    return AuditShape(
        position.revision,
        position.hash,
        {str(key): HeldShape(held.revision, held.document) for key, held in objects.items()},
        await store.bad_contents(),
        None if before == BEGINNING else msgspec.to_builtins(before),
        None if kept is None else str(kept),
        unreadable,
    )


async def _state(store: Store, unreadable: list[str]) -> tuple[Position, Mapping[ObjectKey, StoredObject]]:
    """Where the ledger ends, and the objects there; none where a ledger that was altered leads to no such end."""
    try:
        loaded = await store.load()
        return loaded.position, loaded.objects
    except StoreError as error:
        # Raises where Redis is away.
        head = await store.head()
        unreadable.append(f"the objects cannot be read together with the ledger: {error}")
        return head.position, {}


async def anchor(call: Call) -> AnchorShape:
    """What to note elsewhere. Raises LedgerBroken where the ledger does not go on from what was anchored before."""
    store = call.house.operations.store
    now, before = await anchored(store), await checkpoint(store)
    return AnchorShape(
        str(now),
        now.size,
        now.root,
        max(0, await archivable(store, call.snapshot)),
        before.revision,
        before.hash,
        before.size,
        list(before.frontier),
    )


async def trim(call: Call) -> Trimmed:
    """The ledger begins after what was archived. Raises Refused where anybody still needs it, or the copy is another."""
    body: TrimBody = call.body
    copy = Copy(Position(body.upto, body.hash), Anchor.parse(body.anchor), body.file)
    author = Author(call.operator.name, body.reason.strip(), body.link)
    done = await archive(call.house.operations.store, call.snapshot, author, copy)
    return Trimmed(done.part.first, done.part.last, done.entry.revision, done.entry.hash, done.entry.id)


ENDPOINTS: tuple[Endpoint, ...] = (
    Endpoint(
        "GET",
        "/flags/{key}/changelog",
        changelog,
        "What changed of a flag, field by field, and why",
        ChangelogPage,
        query=ChangelogQuery,
    ),
    Endpoint("GET", "/audit", audit, "What the ledger must lead to", AuditShape),
    Endpoint("GET", "/audit/anchor", anchor, "The ledger's size and Merkle root", AnchorShape),
    Endpoint(
        "POST",
        "/audit/trim",
        trim,
        "Take out of the ledger what somebody holds a verified copy of",
        Trimmed,
        body=TrimBody,
        needs=Role.ADMIN,
    ),
)
