"""Entries and their chain: what is sealed can be told from what was touched."""

from __future__ import annotations

import json

import pytest

from flags.errors import LedgerBroken, Refused
from flags.ledger import Author, Deed, Entry, continues, entry_from, entry_json, is_sealed, seal
from flags.model import START, Kind, ObjectKey, Position

KEY = ObjectKey(Kind.FLAG, "chat.prompt")
TIME = "2026-01-02T03:04:05.678Z"


def entry(after: Position = START, reason: str = "because", **document: object) -> Entry:
    deed = Deed("switch", KEY, None, document or {"serve": "v1"})  # type: ignore[arg-type]
    return seal(Author("ann", reason), deed, after=after, time=TIME, change_id="id1")


def test_the_hash_is_sha_256_over_rfc_8785_without_the_hash() -> None:
    """A frozen vector: another implementation must arrive at the same."""
    sealed = entry(percent=12.50, name="ä")

    assert (
        entry_json(sealed)
        == (
            '{"action":"switch","actor":"ann","affects":["flag/chat.prompt"],"after":{"name":"ä","percent":12.5},'
            '"before":null,"evidence":null,"hash":"'
            + sealed.hash
            + '","id":"id1","link":null,"object":"flag/chat.prompt",'
            '"prev":"","reason":"because","revision":1,"time":"2026-01-02T03:04:05.678Z"}'
        ).encode()
    )
    assert sealed.hash == "6bf0729afa77faddb4def1057af6ee5d1b10ffc54fb07eaae904d0c125fd4d22"


def test_an_entry_survives_its_json() -> None:
    sealed = entry(percent=10.0)

    assert entry_from(entry_json(sealed)) == sealed
    assert is_sealed(entry_json(sealed), sealed)


def test_the_shape_is_that_of_the_contract_and_an_id() -> None:
    fields = "revision time actor action object reason link before after evidence affects hash prev id"

    assert set(json.loads(entry_json(entry()))) == set(fields.split())


def test_a_reason_that_imitates_the_hash_changes_nothing() -> None:
    innocent = entry()
    sly = entry(reason=f'x","hash":"{innocent.hash}","id":"id1')

    assert is_sealed(entry_json(sly), sly)


def test_a_missing_an_unknown_and_a_mistyped_field_are_no_entry() -> None:
    fields = json.loads(entry_json(entry()))
    for wrong in ({**fields, "extra": 1}, {**fields, "revision": "1"}, {"revision": 1}, [], None):
        with pytest.raises(LedgerBroken, match="no entry of a ledger"):
            entry_from(json.dumps(wrong).encode())


def test_an_entry_of_64_kib_is_taken_and_one_byte_more_is_not() -> None:
    room = 65_536 - len(entry_json(entry(reason="")))
    assert len(entry_json(entry(reason="x" * room))) == 65_536

    with pytest.raises(Refused, match="takes 65537 bytes"):
        entry(reason="x" * (room + 1))


def test_entries_continue_when_revision_and_hash_do() -> None:
    first = entry()
    second = entry(first.position)

    assert continues([first, second], START)
    assert not continues([second], START)
    assert not continues([second, first], START)
    assert not continues([second], Position(1, "0" * 64))
    assert continues([], Position(7, "x"))


def test_a_note_writes_nothing_and_a_deletion_does() -> None:
    note = seal(
        Author("ann", "r"),
        Deed("approve", KEY, None, None, affects=False),
        after=START,
        time=TIME,
        change_id="i",
    )
    deletion = seal(Author("ann", "r"), Deed("delete", KEY, {}, None), after=START, time=TIME, change_id="i")

    assert (note.writes, deletion.writes) == (False, True)
    assert note.affects == ()
