"""Every automatic decision is judged again from the ledger alone; whatever cannot be reproduced is named."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import msgspec
import pytest

from flags.audit import MAX_PROBLEMS
from flags.ledger import Author, Deed, entry_json, seal
from flags.model import START, Kind, ObjectKey, Position
from policies.recount import Recount
from tests.policies.test_judge import LIMIT, errors, on_trial, stored

FLAG = ObjectKey(Kind.FLAG, "bot.prompt")
BREACH = stored(on_trial(LIMIT, errors(5, 5, 3)))


def line(
    evidence: Mapping[str, Any] | None = BREACH,
    *,
    actor: str = "policy/limit",
    action: str = "rollback",
    key: ObjectKey = FLAG,
    revision: int = 1,
) -> bytes:
    """One entry of a ledger, sealed: whoever forged it knew how."""
    after = START if revision == 1 else Position(revision - 1, "0" * 64)
    deed = Deed(action, key, {"serve": "v6"}, {"serve": "v6", "withdrawn": ["v7"]})
    author = Author(actor, "error_rate: 5 of 5 failed", evidence=evidence)
    return entry_json(seal(author, deed, after=after, time="2026-01-02T03:04:05.678Z", change_id="0" * 32))


def recounted(*lines: bytes) -> Recount:
    recount = Recount()
    for each in lines:
        recount.take(each)
    return recount


def test_a_decision_that_is_reproduced_is_counted() -> None:
    recount = recounted(line(), line(revision=2))

    assert (recount.recomputed, recount.found) == (2, [])


def test_what_people_did_and_notes_without_evidence_are_not_judged() -> None:
    recount = recounted(
        line(None, actor="alice"),
        line({"why": "a hunch"}, actor="alice"),
        line(None, action="alert"),
        line({"clock": "soak"}, actor="automation/soak"),
        b"no entry",
    )

    assert (recount.recomputed, recount.found) == (0, [])


def test_a_rollback_without_evidence_is_a_problem() -> None:
    recount = recounted(line(None))

    assert recount.found == [
        "revision 1, the rollback of flag/bot.prompt by policy/limit: it has no evidence"
    ]


@pytest.mark.parametrize(
    ("entry", "problem"),
    [
        (line(actor="policy/other"), "its evidence is that of the policy limit"),
        (line(key=ObjectKey(Kind.FLAG, "other")), "its evidence is about flag/bot.prompt"),
        (line({"formula": "trial/1"}), "cannot be recomputed"),
        (line(stored(on_trial(LIMIT, errors(3, 3, 0)))), "does not carry it"),
    ],
)
def test_a_decision_that_is_not_reproduced_names_its_revision(entry: bytes, problem: str) -> None:
    found = recounted(entry).found

    assert len(found) == 1
    assert found[0].startswith("revision 1, the rollback of flag/")
    assert problem in found[0]


def test_counts_that_were_altered_are_found_though_the_entry_was_sealed_again() -> None:
    altered = copy.deepcopy(BREACH)
    altered["segments"][0]["events"][0][1] = 1

    assert "was altered" in recounted(line(altered)).found[0]


def test_the_report_is_bounded() -> None:
    bad = line(None)
    recount = recounted(*[bad] * (MAX_PROBLEMS + 5))

    assert len(recount.found) == MAX_PROBLEMS + 1
    assert recount.found[-1] == "and 5 more decisions that are not reproduced"


def test_an_entry_survives_its_way_through_json() -> None:
    again = msgspec.json.encode(msgspec.json.decode(line()))

    assert recounted(again).found == []
