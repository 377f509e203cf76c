"""What is said of a version stays with its content, and is read back as it was written."""

from __future__ import annotations

import pytest

from flags.canonical import digest
from flags.errors import Invalid
from flags.model import StoredObject
from policies.governance.card import (
    SUITES_KEPT,
    Card,
    approved,
    card_from,
    card_key,
    card_of,
    deprecated,
    document_of,
    evaluated,
    rejected,
    written,
)
from tests.policies.governance.making import TIME, good, governed, mark, run, variant

FLAG = governed()


def stored(card: Card) -> StoredObject:
    return StoredObject(card.key, document_of(card), 3)


def test_a_card_is_read_back_as_it_was_written() -> None:
    card = deprecated(good(FLAG, "v6"), mark("cy", reason="old"))

    assert card_from("bot.prompt", "v6", document_of(card)) == card
    assert str(card.key) == "version/bot.prompt/v6"


def test_what_was_said_of_another_content_counts_for_nothing() -> None:
    card = good(FLAG, "v6")
    other = variant("v6")
    other = type(other)("v6", digest("edited"), 1, "ann", other.created_at)

    found = card_of("bot.prompt", other, stored(card))

    assert (found.hash, found.approvals, dict(found.evaluations)) == (other.hash, (), {})


def test_a_card_that_cannot_be_read_counts_as_one_on_which_nothing_stands() -> None:
    held = StoredObject(card_key("bot.prompt", "v6"), {"hash": digest("v6"), "later": 1}, 3)

    assert card_of("bot.prompt", FLAG.variants["v6"], held).approvals == ()
    with pytest.raises(Invalid, match="no card"):
        card_from("bot.prompt", "v6", held.document)


def test_a_person_counts_once() -> None:
    card = approved(good(FLAG, "v6"), mark("bob", reason="again"))

    assert [(each.by, each.reason) for each in card.approvals] == [("bob", "again")]


def test_a_rejection_voids_approvals_and_an_approval_takes_it_back() -> None:
    refused = rejected(good(FLAG, "v6"), mark("dee", reason="unsafe"))
    again = approved(refused, mark("eve"))

    assert (refused.approvals, again.rejected) == ((), None)


def test_of_more_suites_than_are_kept_the_oldest_run_goes() -> None:
    card = card_of("bot.prompt", FLAG.variants["v6"], None)
    for number in range(SUITES_KEPT + 2):
        card = evaluated(card, run(digest(number), name=f"{number}"))
        card = evaluated(card, type(run())(**{**_fields(run(digest(number))), "at": f"{TIME}{number:02}"}))

    assert digest(0) not in card.evaluations
    assert len(card.evaluations) == SUITES_KEPT


def test_writing_a_card_alters_no_evaluation() -> None:
    draft = written("approve", good(FLAG, "v6"))

    assert (draft.action, draft.affects, str(draft.key)) == ("approve", False, "version/bot.prompt/v6")


def _fields(evaluation: object) -> dict[str, object]:
    return {name: getattr(evaluation, name) for name in evaluation.__struct_fields__}  # type: ignore[attr-defined]
