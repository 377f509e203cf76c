"""Applying under promotion rules: records of versions, rules that come or go, and a state that no file forces past them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from flags.canonical import digest
from flags.change import Draft
from flags.errors import Refused
from flags.model import Json, Kind, ObjectKey, StoredObject
from gateway.config.declaration import Declaration
from gateway.declaring.plan import Options, Plan
from policies.governance.card import approved, card_key, card_of, document_of
from tests.gateway.declaring.test_plan import APPLY, World, one_flag
from tests.policies.governance.making import mark

RESET = replace(APPLY, reset_state=True)
TWO: Json = {"a": 1, "b": 2}
THREE: Json = {"a": 1, "b": 2, "c": 3}
RULES: Json = {"approvals": 1}


def ruled(**fields: Json) -> Declaration:
    return one_flag(**{"serve": "a", "safe": "a", "promotion": RULES, **fields})


@pytest.fixture
def world() -> World:
    """A flag under rules, whose versions nobody approved; a is served and safe."""
    world = World()
    world.apply(ruled())
    return world


def approve(world: World, name: str) -> None:
    card = approved(card_of("f", world.flag("f").variants[name], None), mark("bob"))
    key = card_key("f", name)
    world.objects[key] = StoredObject(key, document_of(card), 2)


def flag_draft(made: Plan) -> Draft:
    (draft,) = (each for each in made.drafts if each.key.kind is Kind.FLAG)
    return draft


def refused(world: World, declaration: Declaration, options: Options = RESET) -> Refused:
    with pytest.raises(Refused) as found:
        world.plan(declaration, options)
    return found.value


class TestState:
    def test_no_file_makes_safe_what_nobody_approved(self, world: World) -> None:
        error = refused(world, ruled(serve="b", safe="b"))

        assert (error.rule, "b may not be safe" in error.message) == ("approved", True)
        assert world.flag("f").safe == "a"

    def test_nor_a_version_that_comes_with_the_same_file(self, world: World) -> None:
        assert refused(world, ruled(variants=THREE, serve="c", safe="c")).rule == "approved"

    def test_nor_where_the_same_file_takes_the_rules_away(self, world: World) -> None:
        assert refused(world, one_flag(serve="b", safe="b")).rule == "approved"

    def test_no_file_has_everybody_served_what_nobody_approved(self, world: World) -> None:
        assert "b may not be promoted" in refused(world, ruled(serve="b")).message

    def test_what_was_approved_is_taken_as_ever(self, world: World) -> None:
        approve(world, "b")

        made = world.apply(ruled(serve="b", safe="b"), RESET)

        assert (world.flag("f").served, world.flag("f").safe) == ("b", "b")
        assert flag_draft(made).evidence is None

    def test_an_admins_override_shouts_in_the_ledger(self, world: World) -> None:
        made = world.apply(ruled(serve="b", safe="b"), replace(RESET, override=True))

        evidence = flag_draft(made).evidence
        assert evidence is not None
        assert str(evidence["override"]).startswith("['b: approved: ")
        assert any("overridden by ada" in warning for warning in made.warnings)
        assert world.flag("f").safe == "b"

    def test_serve_starts_all_the_same_and_says_so(self, world: World) -> None:
        made = world.apply(ruled(serve="b", safe="b"), replace(RESET, lenient=True))

        evidence = flag_draft(made).evidence
        assert evidence is not None
        assert "b may not be safe" in str(evidence["ungoverned"])
        assert any("it is set nevertheless" in warning for warning in made.warnings)

    def test_without_a_reset_what_is_served_is_nobodys_business_here(self, world: World) -> None:
        made = world.plan(ruled(serve="b", safe="b"))

        assert made.drafts == ()
        assert made.notes


class TestRules:
    def test_that_are_new_warn_of_a_safe_version_that_does_not_satisfy_them(self) -> None:
        world = World()
        world.apply(one_flag(serve="a", safe="a"))

        made = world.apply(ruled())

        (warning,) = made.warnings
        assert "a is safe and does not satisfy the promotion rules" in warning
        assert "pointsman approve f a" in warning

    def test_that_are_met_warn_of_nothing(self) -> None:
        world = World()
        world.apply(one_flag(serve="a", safe="a"))
        approve(world, "a")

        assert world.apply(ruled()).warnings == ()

    def test_that_stand_are_not_warned_of_again(self, world: World) -> None:
        assert world.apply(ruled(variants=THREE)).warnings == ()


class TestRecords:
    def test_are_written_on_the_cards_and_only_where_they_changed(self) -> None:
        world = World()
        told = ruled(records={"a": {"semver": "1.2.0", "notes": "the first"}})

        made = world.apply(told)

        (record,) = (draft for draft in made.drafts if draft.key == card_key("f", "a"))
        assert (record.action, record.affects) == ("record", False)
        assert record.after is not None
        assert record.after["record"] == {"semver": "1.2.0", "notes": "the first"}
        assert world.apply(told).drafts == ()

    def test_keep_what_people_said_of_the_version(self, world: World) -> None:
        approve(world, "a")

        world.apply(ruled(records={"a": {"notes": "kept"}}))

        card = card_of("f", world.flag("f").variants["a"], world.objects[card_key("f", "a")])
        assert ([each.by for each in card.approvals], dict(card.record)) == (["bob"], {"notes": "kept"})

    def test_of_a_content_that_was_edited_are_not_taken_for_the_one_that_stays(self, world: World) -> None:
        edited = ruled(variants={"a": 9, "b": 2}, records={"b": {"notes": "as it was"}})

        made = world.apply(edited, replace(APPLY, lenient=True))

        assert [draft.key for draft in made.drafts if draft.key.kind is Kind.VERSION] == [card_key("f", "b")]
        assert world.flag("f").variants["a"].hash == digest(1)
        assert ObjectKey(Kind.VERSION, "f/a") not in world.objects


class TestWhatARecordTells:
    def test_of_evals_and_approvals_counts_for_nothing_and_is_warned_of_once(self, world: World) -> None:
        told = ruled(records={"b": {"eval_status": "passed", "approved_by": "bob", "approved_at": "2030"}})
        made = world.apply(told)

        assert [each for each in made.warnings if "which counts for nothing" in each] == [
            "flag 'f': the record of b tells its eval_status, approved_by, approved_at, which counts for nothing:"
            " `pointsman eval run` and `pointsman approve` are what does"
        ]
        assert world.plan(told).warnings == ()
        assert refused(world, ruled(serve="b", safe="b")).rule == "approved"

    def test_makes_a_version_deprecated_until_it_tells_so_no_more(self, world: World) -> None:
        approve(world, "b")
        world.apply(ruled(records={"b": {"deprecated": True}}))
        assert refused(world, ruled(serve="b", safe="b")).rule == "not_deprecated"

        world.apply(ruled())

        assert world.plan(ruled(serve="b", safe="b"), RESET).drafts

    def test_makes_an_author_whose_approval_does_not_count(self, world: World) -> None:
        approve(world, "b")
        world.apply(ruled(records={"b": {"created_by": "bob"}}))

        assert refused(world, ruled(serve="b", safe="b")).rule == "approved"
