"""The oldest entries leave Redis only when a verified copy is elsewhere, and what is left stays checkable, live and offline."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
import pytest

from flags import archive as archiving
from flags.anchor import anchor
from flags.archive import Copy, checkpoint, trim
from flags.audit import Audit, Known, Report, State, verify
from flags.checkpoint import ARCHIVE, BEGINNING, Checkpoint
from flags.errors import Conflict, LedgerBroken, Refused, StoreUnavailable
from flags.ledger import Author, Deed, Entry, entry_from, entry_json, seal
from flags.model import Json, Position
from flags.store import Store
from flags.walk import Anchor, Walk
from tests.flags.stores import ANN, BOB, CHAT, OTHER, always, draft, following, opened, put
from tests.redis_server import RedisServer

# As an operator's copy of the first twelve entries lies somewhere.
UPTO = 12


class Actors:
    """Counts the entries of each actor."""

    def __init__(self, before: Mapping[str, Json] | None = None) -> None:
        self.counts: dict[str, Json] = dict(before or {})

    def take(self, entry: Entry) -> None:
        self.counts[entry.actor] = int(str(self.counts.get(entry.actor, 0))) + 1

    def document(self) -> Mapping[str, Json]:
        return self.counts


async def filled(store: Store, entries: int = 20) -> list[bytes]:
    """A ledger of two flags, one of which was written early only."""
    await put(store, key=OTHER)
    for turn in range(entries - 1):
        await put(store, f"v{1 + turn % 2}", author=ANN if turn % 2 else BOB)
    return await store.read_log_bytes(0, 1_000)


def copy_of(lines: list[bytes], file: str = "ledger-1.jsonl") -> Copy:
    walk = Walk()
    for line in lines:
        walk.take(line)
    return Copy(walk.position, walk.anchor, file)


async def trimmed(store: Store, upto: int = UPTO) -> list[bytes]:
    """The archived lines; the ledger begins after them."""
    lines = await filled(store)
    await trim(store, ANN, copy_of(lines[:upto]), upto=upto, tally=Actors())
    return lines[:upto]


async def live(store: Store, known: Anchor | None = None) -> Report:
    """As `audit verify` has it of a running server."""
    before = await checkpoint(store)
    loaded = await store.load()
    audit = Audit(Known(known, None, before))
    for text in await store.read_log_bytes(before.revision, 1_000):
        audit.take(text)
    return audit.report(State(loaded.position, loaded.objects, await store.bad_contents()))


def offline(*files: list[bytes]) -> Report:
    audit = Audit()
    for lines in files:
        for line in lines:
            audit.take(line)
        audit.ends()
    return audit.report()


async def test_the_ledger_begins_after_what_was_archived_and_tells_of_it(any_redis: RedisServer) -> None:
    async with opened(any_redis.url) as store:
        lines = await filled(store)
        done = await trim(store, ANN, copy_of(lines[:UPTO]), upto=UPTO, tally=Actors())
        left = await store.read_log_bytes(0, 1_000)
        archives = await store.archived()

        assert left[:-1] == lines[UPTO:]
        assert entry_from(left[-1]) == done.entry
        assert (done.entry.action, done.entry.object, done.entry.affects) == (ARCHIVE, "ledger/archive", ())
        assert done.entry.evidence is not None
        assert done.entry.evidence["size"] == UPTO
        assert done.entry.evidence["root"] == verify(lines[:UPTO]).root
        assert archives.position == entry_from(lines[UPTO - 1]).position
        assert "revisions 1 to 12, archived by ann at" in archives.where(3)
        assert archives.where(3).endswith("into ledger-1.jsonl")
        assert archives.tallies == {"ann": 6, "bob": 6}


async def test_what_is_left_and_what_was_archived_hold_together(any_redis: RedisServer) -> None:
    async with opened(any_redis.url) as store:
        archived = await trimmed(store)
        tail = await store.read_log_bytes(0, 1_000)
        here, there = await live(store), offline(archived, tail)

        assert (here.ok, here.problems) == (True, ())
        assert (there.ok, there.problems) == (True, ())
        assert here.anchor == there.anchor
        assert (here.archived, here.entries) == (UPTO, 21)
        assert await anchor(store) == here.anchor


async def test_a_second_archive_goes_on_from_the_first(redis_server: RedisServer) -> None:
    async with opened(redis_server.url) as store:
        first = await trimmed(store)
        second = await store.read_log_bytes(0, 5)
        copy = copy_of([*first, *second], "ledger-2.jsonl")
        await trim(store, BOB, copy, upto=17, tally=Actors((await checkpoint(store)).tallies))
        tail = await store.read_log_bytes(0, 1_000)
        archives = await store.archived()

        assert (await live(store)).problems == ()
        assert offline(first, second, tail).problems == ()
        assert "ledger-1.jsonl" in archives.where(12)
        assert "ledger-2.jsonl" in archives.where(13)
        assert archives.tallies == {"ann": 9, "bob": 8}


async def test_the_anchor_goes_on_over_an_archive_and_without_one_begins_there(
    redis_server: RedisServer,
) -> None:
    async with opened(redis_server.url) as store:
        lines = await filled(store)
        early = await anchor(store)
        archived = lines[:UPTO]
        await trim(store, ANN, copy_of(archived), upto=UPTO, tally=Actors())
        with redis_server.client() as client:
            went_on = await anchor(store)
            client.delete(store.keys.anchor)
            anew = await anchor(store)

        assert went_on == anew == verify([*archived, *await store.read_log_bytes(0, 1_000)]).anchor
        assert early.size == 20


async def test_workers_start_and_those_that_were_away_find_no_other_history(
    redis_server: RedisServer,
) -> None:
    async with opened(redis_server.url) as store:
        first = await put(store)
        async with following(redis_server.url) as away:
            await away.reaches(first)
            lines = await filled(store, 30)
            await away.watcher.aclose()
            behind = away.snapshot.position
            await trim(
                store,
                ANN,
                copy_of([*await store.read_log_bytes(0, 1), *lines[1:28]]),
                upto=28,
                tally=Actors(),
            )

        async with following(redis_server.url) as fresh:
            await fresh.until(lambda: fresh.snapshot.position.revision >= 32)

            assert fresh.histories == []
        assert away.histories == []
        assert behind.revision <= 31


@pytest.mark.parametrize("upto", [11, 0])
async def test_what_is_still_needed_stays(redis_server: RedisServer, upto: int) -> None:
    async with opened(redis_server.url) as store:
        lines = await filled(store)
        with pytest.raises(Refused, match="stay: the newest 1,000") as refused:
            await trim(store, ANN, copy_of(lines[:UPTO]), upto=upto, tally=Actors())

        assert refused.value.rule == "archive_keeps"
        assert await store.read_log_bytes(0, 1_000) == lines


async def test_a_copy_of_something_else_trims_nothing(redis_server: RedisServer) -> None:
    async with opened(redis_server.url) as store:
        lines = await filled(store)
        good = copy_of(lines[:UPTO])
        bad = (
            Copy(good.last, Anchor(UPTO, "0" * 64), "f"),
            Copy(Position(UPTO, "0" * 64), good.anchor, "f"),
            Copy(good.last, Anchor(UPTO - 1, good.anchor.root), "f"),
        )
        for copy in bad:
            with pytest.raises(Refused, match="the copy ends at") as refused:
                await trim(store, ANN, copy, upto=UPTO, tally=Actors())
            assert refused.value.rule == "archive_differs"

        assert await store.read_log_bytes(0, 1_000) == lines
        assert await checkpoint(store) == BEGINNING


async def test_a_broken_ledger_is_not_archived(redis_server: RedisServer) -> None:
    async with opened(redis_server.url) as store:
        lines = await filled(store)
        with redis_server.client() as client:
            client.xdel(store.keys.ledger, "5-0")

        with pytest.raises(LedgerBroken, match="found revision 6 after revision 4"):
            await trim(store, ANN, copy_of(lines[:UPTO]), upto=UPTO, tally=Actors())


async def test_of_two_who_archive_at_once_one_is_told(
    redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(redis_server.url) as store:
        lines = await filled(store)
        found = await checkpoint(store)
        await trim(store, ANN, copy_of(lines[:UPTO]), upto=UPTO, tally=Actors())

        async def stale(_store: Store) -> Checkpoint:
            return found

        monkeypatch.setattr(archiving, "checkpoint", stale)
        with pytest.raises((Conflict, LedgerBroken)):
            await trim(store, BOB, copy_of(lines[:14]), upto=14, tally=Actors())

        assert (await store.read_log_bytes(0, 1))[0] == lines[UPTO]


async def test_a_trim_that_died_after_its_entry_harms_nothing(
    redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(redis_server.url) as store:
        lines = await filled(store)

        async def dies(*_args: object) -> None:
            raise LedgerBroken("died")

        with monkeypatch.context() as patched:
            patched.setattr(archiving, "_cut", dies)
            with pytest.raises(LedgerBroken, match="died"):
                await trim(store, ANN, copy_of(lines[:UPTO]), upto=UPTO, tally=Actors())
        assert (await live(store)).problems == ()
        await trim(store, ANN, copy_of(lines[:UPTO]), upto=UPTO, tally=Actors())

        assert (await live(store)).problems == ()
        assert offline(lines[:UPTO], await store.read_log_bytes(0, 1_000)).problems == ()


async def test_an_object_edited_after_its_entry_was_archived_is_found(redis_server: RedisServer) -> None:
    """OTHER was written by an archived entry alone."""
    async with opened(redis_server.url) as store:
        await trimmed(store)
        with redis_server.client() as client:
            held = client.hget(store.keys.objects, str(OTHER))
            assert isinstance(held, bytes)
            client.hset(store.keys.objects, str(OTHER), held.replace(b'"safe":"v1"', b'"safe":"v2"'))
            edited = (await live(store)).problems
            client.hdel(store.keys.objects, str(OTHER))
            gone = (await live(store)).problems

        assert edited == ("flag/other.prompt is stored otherwise than its last entry (revision 1) says",)
        assert gone == ("flag/other.prompt is gone otherwise than its last entry (revision 1) says",)


@pytest.mark.parametrize("field", ["frontier", "objects", "size", "hash", "revision", "parts", "tallies"])
async def test_an_edited_checkpoint_is_found(redis_server: RedisServer, field: str) -> None:
    async with opened(redis_server.url) as store:
        await trimmed(store)
        found = await checkpoint(store)
        edits: dict[str, object] = {
            "frontier": ("0" * 64, *found.frontier[1:]),
            "objects": {**found.objects, str(OTHER): (1, "0" * 64)},
            "size": found.size + 1,
            "hash": "0" * 64,
            "revision": found.revision - 1,
            "parts": (),
            "tallies": {},
        }
        edited = msgspec.structs.replace(found, **{field: edits[field]})
        with redis_server.client() as client:
            client.hset(store.keys.checkpoint, "document", edited.text)

        report = await live(store)

        assert any("checkpoint of the archived part" in problem for problem in report.problems)


@pytest.mark.parametrize("deed", ["edited", "removed", "inserted", "swapped", "resealed"])
async def test_every_deed_on_the_kept_part_is_found_live(redis_server: RedisServer, deed: str) -> None:
    async with opened(redis_server.url) as store:
        await trimmed(store)
        noted = (await live(store)).anchor
        lines = await store.read_log_bytes(0, 1_000)
        forged = tampered(lines, deed, (await checkpoint(store)).position)
        with redis_server.client() as client:
            client.delete(store.keys.ledger)
            for number, line in enumerate(forged, UPTO + 1):
                client.xadd(store.keys.ledger, {"e": line}, id=f"{number}-0")
            if deed == "resealed":
                last = entry_from(forged[-1])
                client.hset(store.keys.head, mapping={"revision": last.revision, "hash": last.hash})

        if deed == "inserted":
            # One more than the head knows of: no objects can be read that go with such a ledger.
            with pytest.raises(StoreUnavailable):
                await live(store, noted)
        else:
            assert not (await live(store, noted)).ok


@pytest.mark.parametrize("deed", ["edited", "removed", "inserted", "swapped", "resealed"])
@pytest.mark.parametrize("which", [0, 1])
async def test_every_deed_on_files_is_found_offline(redis_server: RedisServer, deed: str, which: int) -> None:
    async with opened(redis_server.url) as store:
        files = [await trimmed(store), await store.read_log_bytes(0, 1_000)]
        noted = offline(*files).anchor
        begin = Position(0, "") if which == 0 else entry_from(files[0][-1]).position
        files[which] = tampered(files[which], deed, begin)

        audit = Audit(Known(noted))
        for line in [*files[0], *files[1]]:
            audit.take(line)

        assert not audit.report().ok


async def test_an_archive_sealed_anew_with_all_that_follows_is_found_by_the_entry_about_it(
    redis_server: RedisServer,
) -> None:
    """Even without an anchor: what the entry says of the archive was left as it was."""
    async with opened(redis_server.url) as store:
        files = [await trimmed(store), await store.read_log_bytes(0, 1_000)]
        whole = resealed([*files[0], *files[1]], Position(0, ""))

        assert offline(whole[:UPTO], whole[UPTO:]).problems == (
            "the first 12 entries are not those that revision 21 archived",
        )


async def test_an_anchor_of_the_archived_part_needs_the_archives(redis_server: RedisServer) -> None:
    async with opened(redis_server.url) as store:
        archived = await trimmed(store)
        early = verify(archived[:5]).anchor
        tail = await store.read_log_bytes(0, 1_000)

        (problem,) = (await live(store, early)).problems
        assert "lies in the archived part" in problem
        assert (await live(store, verify(archived).anchor)).ok
        assert verify([*archived, *tail], anchor=str(early)).ok


async def test_a_tail_alone_says_what_is_missing(redis_server: RedisServer) -> None:
    async with opened(redis_server.url) as store:
        await trimmed(store)

        (problem, *_) = offline(await store.read_log_bytes(0, 1_000)).problems
        assert problem == "revisions 1 to 12 are missing"


async def test_writing_goes_on_as_before(redis_server: RedisServer) -> None:
    async with opened(redis_server.url) as store:
        await trimmed(store)
        committed = await store.change(ANN, [CHAT], always(draft(CHAT, "v2", "after")))

        assert committed.position.revision == 22
        assert (await live(store)).ok


def tampered(lines: list[bytes], deed: str, begin: Position) -> list[bytes]:
    """As somebody with Redis, or the file, in hand would."""
    if deed == "edited":
        return [*lines[:3], lines[3].replace(b'"actor":"', b'"actor":"x'), *lines[4:]]
    if deed == "removed":
        return [*lines[:3], *lines[4:]]
    if deed == "inserted":
        return [*lines[:3], lines[2], *lines[3:]]
    if deed == "swapped":
        return [*lines[:3], lines[4], lines[3], *lines[5:]]
    return resealed(lines, begin)


def resealed(lines: list[bytes], begin: Position) -> list[bytes]:
    """The same entries in another's name, each sealed anew upon the one before."""
    made = []
    for entry in map(entry_from, lines):
        author = Author("mallory", entry.reason, entry.link, entry.evidence)
        deed = Deed(entry.action, entry.key, entry.before, entry.after, bool(entry.affects))
        sealed = seal(author, deed, after=begin, time=entry.time, change_id=entry.id)
        begin = sealed.position
        made.append(entry_json(sealed))
    return made
