"""What may be said of a version, by whom, and what it means for the next rollback."""

from __future__ import annotations

from dataclasses import replace

import pytest

from flags.errors import Refused
from gateway.versions import marking
from tests.gateway.versions.making import RULES, card, governed, life, ran, said


@pytest.mark.parametrize("name", ["carol", "Carol", "CAROL"])
def test_nobody_approves_their_own_version(name: str) -> None:
    flag = governed()

    with pytest.raises(Refused, match="nobody approves their own version") as refused:
        marking.approve(flag, card(flag, "v7"), said(name))

    assert refused.value.rule == "own_version"


def test_nor_does_whom_its_record_names_as_its_author() -> None:
    flag = governed()
    told = replace(card(flag, "v7"), record={"created_by": "dave"})

    with pytest.raises(Refused, match="nobody approves their own version"):
        marking.approve(flag, told, said("dave"))


def test_who_approves_twice_counts_once_and_changes_nothing() -> None:
    flag = governed()
    once = marking.approve(flag, card(flag, "v7"), said())

    assert marking.approve(flag, once, said(reason="again")) is once
    assert [mark.role for mark in marking.approve(flag, once, said(role="admin")).approvals] == ["admin"]


@pytest.mark.parametrize("quarantined", [True, False])
def test_what_is_out_of_service_is_not_approved(quarantined: bool) -> None:
    flag = governed(withdrawn=frozenset({"v7"}))
    if quarantined:
        flag = replace(flag, withdrawn=frozenset(), quarantined=frozenset({flag.variants["v7"].hash}))

    with pytest.raises(Refused, match="quarantine" if quarantined else "withdrawn") as refused:
        marking.approve(flag, card(flag, "v7"), said())

    assert refused.value.rule == "not_withdrawn"


def test_an_approval_is_for_the_content_that_was_looked_at() -> None:
    flag = governed()
    known = card(flag, "v7")
    marking.same_content(flag, known, known.hash)
    marking.same_content(flag, known, None)

    with pytest.raises(Refused, match="another content") as refused:
        marking.same_content(flag, known, "0" * 64)

    assert refused.value.rule == "hash_changed"


def test_a_rejection_takes_approvals_away_and_an_approval_the_rejection() -> None:
    flag = governed()
    approved = marking.approve(flag, card(flag, "v7"), said())

    rejected = marking.reject(approved, said("dave", reason="rude"))
    again = marking.approve(flag, rejected, said())

    assert (rejected.approvals, rejected.rejected and rejected.rejected.by) == ((), "dave")
    assert marking.reject(rejected, said("dave", reason="rude")) is rejected
    assert (len(again.approvals), again.rejected) == (1, None)


def test_deprecating_can_be_taken_back() -> None:
    flag = governed()
    blank = card(flag, "v7")

    deprecated = marking.deprecate(blank, said(reason="old"))

    assert marking.deprecate(deprecated, said(reason="old")) is deprecated
    assert marking.undeprecate(deprecated) == blank
    assert marking.undeprecate(blank) == blank


class TestConsequences:
    def test_of_what_nobody_gets_there_are_none(self) -> None:
        flag = governed()

        assert marking.consequences(flag, "v5", {**life(flag).cards}) == []

    def test_against_safe_says_where_a_rollback_lands_then(self) -> None:
        flag = governed(serve="v7", safe="v6")
        deprecated = card(flag, "v6", said(), runs=(ran(),), deprecated=said(reason="old"))
        good = card(flag, "v5", said(), runs=(ran(),))

        (told,) = marking.consequences(flag, "v6", {**life(flag, deprecated, good).cards})

        assert told.startswith("v6 is the safe version: a rollback will land on v5")

    def test_against_the_only_good_one_says_that_a_rollback_is_ungoverned(self) -> None:
        flag = governed(serve="v7", safe="v6")
        deprecated = card(flag, "v6", said(), runs=(ran(),), deprecated=said(reason="old"))

        (told,) = marking.consequences(flag, "v6", {**life(flag, deprecated).cards})

        assert "UNGOVERNED" in told
        assert "not_deprecated: it was deprecated by bob: old" in told

    def test_without_rules_a_rollback_lands_on_it_all_the_same(self) -> None:
        flag = governed(None, serve="v7", safe="v6")

        (told,) = marking.consequences(flag, "v6", {**life(flag).cards})

        assert "no promotion rules: a rollback still lands on it" in told

    def test_what_is_served_stays_served(self) -> None:
        flag = governed(RULES, serve="v7", safe="v6")

        (told,) = marking.consequences(flag, "v7", {**life(flag).cards})

        assert told.startswith("v7 is still given to users")
