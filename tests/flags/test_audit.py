"""The audit finds every entry that was edited, removed, inserted, moved or re-sealed, and every edited object."""

from __future__ import annotations

import json
from functools import reduce
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flags.audit import Anchor, verify
from flags.canonical import canonical, digest
from flags.change import Draft
from flags.errors import Invalid
from flags.ledger import Author, Deed, Entry, entry_from, entry_json, seal
from flags.model import START, Kind, ObjectKey, Position, StoredObject
from tests.flags.stores import ANN, CHAT, OTHER, always, draft, opened, put
from tests.redis_server import RedisServer

KEYS = [ObjectKey(Kind.FLAG, name) for name in ("a", "b", "c")]


def ledger(size: int, after: Position = START, actor: str = "ann") -> list[bytes]:
    """`size` sealed entries from `after` on."""
    lines: list[bytes] = []
    for number in range(size):
        deed = Deed("switch", KEYS[number % 3], {"n": number}, {"n": number + 1})
        sealed = seal(
            Author(actor, f"reason {number}"),
            deed,
            after=after,
            time="2026-01-01T00:00:00Z",
            change_id=f"c{number}",
        )
        lines.append(entry_json(sealed))
        after = sealed.position
    return lines


LINES = ledger(7)
ANCHOR = str(verify(LINES).anchor)


def test_an_untouched_ledger_is_ok_and_an_empty_one_too() -> None:
    report = verify(LINES, anchor=ANCHOR)

    assert (report.ok, report.entries, report.problems) == (True, 7, ())
    assert report.head == entry_from(LINES[-1]).position
    assert verify([]).ok
    assert verify([]).root == sha256(b"").hexdigest()


def test_the_root_is_that_of_rfc_6962() -> None:
    """Against the recursive definition of section 2.1, for every size up to 20."""

    def root(leaves: list[bytes]) -> bytes:
        if len(leaves) == 1:
            return sha256(b"\x00" + leaves[0]).digest()
        split = 1 << ((len(leaves) - 1).bit_length() - 1)
        return sha256(b"\x01" + root(leaves[:split]) + root(leaves[split:])).digest()

    lines = ledger(20)
    for size in range(1, 21):
        assert verify(lines[:size]).root == root(lines[:size]).hex()


@given(st.integers(0, 6), st.data())
def test_any_changed_byte_is_found(at: int, data: st.DataObject) -> None:
    line = LINES[at]
    offset = data.draw(st.integers(0, len(line) - 1))
    byte = data.draw(st.integers(0, 255).filter(lambda value: value != line[offset]))

    edited = line[:offset] + bytes([byte]) + line[offset + 1 :]

    assert not verify([*LINES[:at], edited, *LINES[at + 1 :]]).ok


@given(st.integers(0, 6), st.sampled_from(sorted(json.loads(LINES[0]))), st.booleans())
def test_any_changed_field_is_found_even_when_its_entry_is_sealed_anew(
    at: int, name: str, again: bool
) -> None:
    fields = json.loads(LINES[at])
    old = fields[name]
    fields[name] = {int: lambda: old + 1, str: lambda: old + "x", list: list, dict: dict}.get(
        type(old), lambda: "x" if name == "link" else {"x": 1}
    )()
    edited = _resealed(fields) if again and name != "hash" else json.dumps(fields).encode()
    lines = [*LINES[:at], edited, *LINES[at + 1 :]]

    # Only the last entry can be sealed anew without breaking the chain, and then the anchor tells.
    assert not verify(lines, anchor=ANCHOR).ok
    if not (again and at == 6):
        assert not verify(lines).ok


@given(st.integers(0, 6), st.booleans())
def test_a_removed_entry_is_found(at: int, known: bool) -> None:
    lines = [*LINES[:at], *LINES[at + 1 :]]

    # The end alone can be cut off unseen by the chain; the head or an anchor tells.
    report = verify(lines, head=entry_from(LINES[-1]).position) if known else verify(lines, anchor=ANCHOR)

    assert not report.ok
    if at < 6:
        assert any("missing" in problem for problem in verify(lines).problems)


@given(st.permutations(range(7)))
def test_any_other_order_is_found(order: list[int]) -> None:
    report = verify([LINES[at] for at in order])

    assert report.ok == (order == list(range(7)))


@given(st.integers(0, 6), st.integers(0, 7))
def test_a_repeated_entry_is_found(which: int, at: int) -> None:
    assert not verify([*LINES[:at], LINES[which], *LINES[at:]]).ok


@given(st.integers(0, 6))
def test_a_ledger_written_anew_from_some_entry_on_holds_only_without_the_anchor(at: int) -> None:
    before = entry_from(LINES[at - 1]).position if at else START
    forged = [*LINES[:at], *ledger(7 - at, before, actor="mallory")]

    assert verify(forged).ok
    report = verify(forged, anchor=ANCHOR)
    assert not report.ok
    assert "not those that the anchor was taken from" in report.problems[0]


def test_an_anchor_holds_for_the_ledger_that_has_grown() -> None:
    anchor = str(verify(LINES[:4]).anchor)

    assert verify(LINES, anchor=anchor).ok
    assert verify(LINES[:3], anchor=anchor).problems == ("the ledger has 3 entries; the anchor knows 4",)


@pytest.mark.parametrize("text", ["", "7", "7:xyz", "x:" + "0" * 64, "7:" + "G" * 64, "-1:" + "0" * 64])
def test_what_is_no_anchor_is_refused(text: str) -> None:
    with pytest.raises(Invalid, match="expected SIZE:ROOT"):
        Anchor.parse(text)


def test_other_white_space_is_another_text() -> None:
    assert not verify([LINES[0].replace(b",", b", ", 1)]).ok


def test_a_line_that_is_no_entry_is_a_problem_and_not_the_end() -> None:
    report = verify([LINES[0], b"{}", LINES[1]])

    assert report.entries == 3
    assert "entry 2 (after revision 1) cannot be read" in report.problems[0]
    assert len(report.problems) == 1


def test_many_problems_are_counted_and_the_first_are_told() -> None:
    report = verify(line.replace(b"ann", b"bob") for line in ledger(250))

    assert len(report.problems) == 101
    assert report.problems[-1] == "and 150 more problems"


def test_objects_edited_beside_the_ledger_are_found() -> None:
    stored = reduce(_written, map(entry_from, LINES), {})
    assert verify(LINES, objects=stored).ok

    edited = {**stored, KEYS[0]: StoredObject(KEYS[0], {"n": 99}, stored[KEYS[0]].revision)}
    gone = {key: held for key, held in stored.items() if key != KEYS[1]}
    foreign = {**stored, CHAT: StoredObject(CHAT, {}, 3)}
    for objects, name in (
        (edited, "flag/a is stored"),
        (gone, "flag/b is gone"),
        (foreign, "flag/chat.prompt is stored"),
    ):
        (problem,) = verify(LINES, objects=objects).problems
        assert problem.startswith(name)


async def test_the_ledger_of_a_real_store_is_ok_until_somebody_touches_it(any_redis: RedisServer) -> None:
    async with opened(any_redis.url) as store:
        await put(store)
        await store.change(
            ANN, None, always(draft(CHAT, "v2"), draft(OTHER), Draft("note", CHAT, None, affects=False))
        )
        await store.change(ANN, [OTHER], always(Draft("delete", OTHER, None)))
        loaded = await store.load()
        lines = await store.read_log_bytes(0, 100)
        assert verify(lines, head=loaded.position, objects=loaded.objects).ok

        with any_redis.client() as client:
            held = client.hget(store.keys.objects, str(CHAT))
            assert isinstance(held, bytes)
            client.hset(store.keys.objects, str(CHAT), held.replace(b'"serve":"v2"', b'"serve":"v1"'))
            client.xdel(store.keys.ledger, "2-0")
        report = verify(
            await store.read_log_bytes(0, 100), head=loaded.position, objects=(await store.load()).objects
        )

        assert report.problems[0] == "revisions 2 to 2 are missing"
        assert any("flag/chat.prompt is stored otherwise" in problem for problem in report.problems)


async def test_a_content_that_another_took_the_place_of_is_found(any_redis: RedisServer) -> None:
    async with opened(any_redis.url) as store:
        await put(store)
        assert await store.bad_contents() == []
        with any_redis.client() as client:
            client.hset(store.keys.contents, digest("one"), b'"EVIL"')
            client.hset(store.keys.contents, "no hash", b'"two"')

        bad = await store.bad_contents()
        report = verify(await store.read_log_bytes(0, 100), bad_contents=bad)

        assert bad == sorted([digest("one"), "no hash"])
        assert any(digest("one") in problem and "was edited" in problem for problem in report.problems)
        assert not report.ok


async def test_every_content_is_looked_at_however_many_there_are(redis_server: RedisServer) -> None:
    values = [f"content {number}" for number in range(300)]
    drafts = [Draft("declare", CHAT, {"n": at}, {digest(value): value}) for at, value in enumerate(values)]
    async with opened(redis_server.url) as store:
        await store.change(ANN, [CHAT], always(*drafts))
        with redis_server.client() as client:
            for value in values[::7]:
                client.hset(store.keys.contents, digest(value), b"1")

        assert await store.bad_contents() == sorted(digest(value) for value in values[::7])


def _resealed(fields: dict[str, object]) -> bytes:
    bare = {name: value for name, value in fields.items() if name != "hash"}
    return canonical({**bare, "hash": sha256(canonical(bare)).hexdigest()})  # type: ignore[dict-item,arg-type]


def _written(objects: dict[ObjectKey, StoredObject], entry: Entry) -> dict[ObjectKey, StoredObject]:
    assert entry.after is not None
    return {**objects, entry.key: StoredObject(entry.key, entry.after, entry.revision)}
