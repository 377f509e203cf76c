"""A rollback by the rules: where it lands, when it is ungoverned, and that it never refuses for want of papers."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flags.errors import Refused
from flags.ledger import Author
from policies import verbs
from policies.governance.braking import record_of, rolled_back, taken_out
from policies.governance.card import deprecated
from policies.governance.guarding import guarded
from policies.governance.landing import lands_on
from policies.governance.record import StepName, document_of, open_steps, opening, record_from
from policies.governance.rules import unmet
from tests.policies.governance.making import RULES, TIME, cards, good, governed, mark

FLAG = governed("v5", "v6", "v7", safe="v6")


def test_a_safe_version_in_order_is_where_it_lands_though_another_is_newer() -> None:
    flag = governed("v5", "v6", "v7", safe="v5")

    found = rolled_back(flag, cards(flag, "v5", "v6"))

    assert (found.step.flag.safe, found.step.flag.served, found.landing.moved) == ("v5", "v5", False)


def test_a_safe_version_that_no_longer_satisfies_them_moves_to_the_last_known_good() -> None:
    found = rolled_back(FLAG, cards(FLAG, "v5", v6=deprecated(good(FLAG, "v6"), mark(reason="leaks"))))

    after = found.step.flag
    assert (after.safe, after.served, after.withdrawn) == ("v5", "v5", frozenset({"v7"}))
    assert found.landing.moved
    assert "leaks" in found.landing.reason


def test_where_nothing_satisfies_them_it_lands_on_safe_ungoverned_and_says_what_it_would_take() -> None:
    found = rolled_back(FLAG, cards(FLAG))

    assert (found.step.flag.safe, found.step.flag.served) == ("v6", "v6")
    assert found.landing.ungoverned[0].startswith("eval_passed: ")
    assert "pointsman eval run bot.prompt v6" in found.landing.ungoverned[-1]


def test_what_is_left_behind_is_never_the_last_known_good() -> None:
    found = rolled_back(FLAG, cards(FLAG, "v7"))

    assert found.step.flag.served == "v6"
    assert found.landing.ungoverned


def test_where_it_would_land_is_known_before_it_is_done() -> None:
    for in_order in ((), ("v5",), ("v6",), ("v5", "v6"), ("v7",)):
        papers = cards(FLAG, *in_order)

        assert lands_on(FLAG, papers) == rolled_back(FLAG, papers).step.flag.served


def test_it_never_lands_on_the_content_that_it_leaves_under_another_name() -> None:
    twin = {**FLAG.variants, "v8": replace(FLAG.variants["v7"], name="v8")}
    flag = replace(FLAG, variants=twin)

    by_hand = rolled_back(flag, cards(flag, "v5", "v8"))
    by_itself = taken_out(flag, "v7", cards(flag, "v8"), TIME)

    assert by_hand.step.flag.served == "v5"
    assert (by_itself.step.flag.served, bool(by_itself.landing.ungoverned)) == ("v6", True)


def test_where_safe_itself_serves_everybody_and_is_in_order_no_more_it_goes_back_to_what_is() -> None:
    flag = governed("v5", "v6", "v7", safe="v7")
    worse = deprecated(good(flag, "v7"), mark(reason="leaks"))

    found = rolled_back(flag, cards(flag, "v6", v7=worse))

    after = found.step.flag
    assert (after.safe, after.served, after.withdrawn, found.landing.moved) == (
        "v6",
        "v6",
        frozenset({"v7"}),
        True,
    )
    assert "leaks" in found.landing.reason
    assert rolled_back(after, cards(flag, "v6", v7=worse)).step.changed is False


def test_where_safe_serves_everybody_and_nothing_is_better_a_person_must_name_another() -> None:
    flag = governed("v5", "v6", "v7", safe="v7")

    for papers in (cards(flag), cards(flag, "v6", "v7")):
        with pytest.raises(Refused) as refused:
            rolled_back(flag, papers)
        assert refused.value.rule == verbs.ALREADY_SAFE


def test_what_is_so_already_is_refused_for_no_papers_though_it_is_named() -> None:
    after = rolled_back(FLAG, cards(FLAG), to="v6").step.flag

    assert rolled_back(after, cards(FLAG, "v5"), to="v6").step.changed is False


def test_a_version_that_is_named_must_be_in_order_where_another_is() -> None:
    with pytest.raises(Refused, match="v5 may not be safe") as refused:
        rolled_back(FLAG, cards(FLAG, "v6"), to="v5")

    assert refused.value.rule == "eval_passed"
    assert "--to v6" in (refused.value.mend or "")


def test_a_version_that_is_named_is_taken_where_none_is_in_order_or_an_admin_overrides() -> None:
    alone = rolled_back(FLAG, cards(FLAG), to="v5")
    overridden = rolled_back(FLAG, cards(FLAG, "v6"), to="v5", override=True)

    assert alone.step.flag.safe == overridden.step.flag.safe == "v5"
    assert alone.landing.ungoverned
    assert overridden.landing.ungoverned


def test_automation_withdraws_the_candidate_alone_and_quarantines_it() -> None:
    flag = verbs.start(governed("v5", "v6", "v7", safe="v5", serve="v6"), "v7", 10).flag

    found = taken_out(flag, "v7", cards(flag, "v6"), TIME)

    after = found.step.flag
    assert (after.safe, after.served, after.withdrawn) == ("v6", "v6", frozenset({"v7"}))
    assert after.quarantined == frozenset({flag.variants["v7"].hash})


def test_a_candidates_users_land_on_what_serves_all_others_and_what_that_lacks_is_told() -> None:
    flag = verbs.start(governed("v5", "v6", "v7", safe="v6", serve="v6"), "v7", 10).flag
    papers = cards(flag, "v5", v6=deprecated(good(flag, "v6"), mark(reason="leaks")))

    found = taken_out(flag, "v7", papers, TIME)
    record = record_of(found, Author("policy/error-rate", "errors"), papers, time=TIME, routes=["bot"])

    assert (found.step.flag.safe, found.step.flag.served, record.to) == ("v5", "v6", "v6")
    assert record.steps[StepName.LOCATE].detail.startswith(
        "v6: what serves all others; safe is v5 from now on"
    )
    assert record.ungoverned[0].startswith("not_deprecated: ")


@given(
    in_order=st.sets(st.sampled_from(["v5", "v6", "v7"])),
    safe=st.sampled_from(["v5", "v6"]),
    candidate=st.booleans(),
)
def test_a_brake_never_refuses_for_want_of_papers(in_order: set[str], safe: str, candidate: bool) -> None:
    flag = governed("v5", "v6", "v7", safe=safe, serve=safe if candidate else "v7")
    if candidate:
        flag = verbs.start(flag, "v7", 10).flag
    papers = cards(flag, *in_order)

    found = rolled_back(flag, papers)

    after = found.step.flag
    assert after.served == after.safe != "v7"
    assert after.safe is not None
    assert bool(found.landing.ungoverned) == bool(unmet(after, after.safe, papers[after.safe]))


def test_the_record_begins_with_the_version_found_and_restored() -> None:
    found = rolled_back(FLAG, cards(FLAG, "v6"))

    record = record_of(
        found, Author("ann", "wrong answers", "https://x/1"), cards(FLAG), time=TIME, routes=["bot"]
    )

    assert (record.flag, record.origin, record.to, record.label) == (
        "bot.prompt",
        "v7",
        "v6",
        "v6.0.0-rollback",
    )
    assert record.hash == FLAG.variants["v6"].hash
    assert [*open_steps(record)] == [*StepName][2:]
    assert record_from(document_of(record)) == record
    draft = opening("abc", record)
    assert (str(draft.key), draft.affects) == ("rollback/abc", False)


def test_safe_is_guarded_on_every_way() -> None:
    papers = cards(FLAG, "v6")

    with pytest.raises(Refused, match="v5 may not be safe"):
        guarded(FLAG, verbs.switch(FLAG, "v5", safe="v5").flag, papers, action="switch")
    with pytest.raises(Refused, match="v7 may not be safe"):
        guarded(FLAG, verbs.settle(FLAG).flag, papers, action="safe")
    told = guarded(FLAG, verbs.switch(FLAG, "v5", safe="v5").flag, papers, action="switch", override=True)
    assert told[0].startswith("v5: eval_passed")


def test_a_promotion_is_guarded_and_a_switch_is_told_unless_strict() -> None:
    flag = verbs.start(governed("v5", "v6", "v7", safe="v5", serve="v6"), "v7", 10).flag
    strict = replace(flag, promotion=replace(RULES, strict=True))
    papers = cards(flag, "v5", "v6")

    with pytest.raises(Refused, match="v7 may not be promoted"):
        guarded(flag, verbs.promote(flag).flag, papers, action="rollout.promote")
    assert guarded(flag, verbs.switch(flag, "v7").flag, papers, action="switch")
    with pytest.raises(Refused, match="v7 may not be promoted"):
        guarded(strict, verbs.switch(strict, "v7").flag, papers, action="switch")
    assert guarded(flag, verbs.switch(flag, "v5").flag, papers, action="switch") == ()


def test_a_rollout_of_a_draft_is_tried_without_papers() -> None:
    flag = governed("v5", "v6", "v7", safe="v5", serve="v5")

    assert guarded(flag, verbs.start(flag, "v7", 10).flag, cards(flag, "v5"), action="rollout") == ()


def test_a_rollout_to_everybody_is_told_as_a_switch_is_and_refused_by_strict_rules() -> None:
    flag = governed("v5", "v6", "v7", safe="v5", serve="v5")
    strict = replace(flag, promotion=replace(RULES, strict=True))
    papers = cards(flag, "v5")

    (told, *_) = guarded(flag, verbs.start(flag, "v7", 100).flag, papers, action="rollout")
    with pytest.raises(Refused, match="v7 may not be given to all"):
        guarded(strict, verbs.start(strict, "v7", 100).flag, papers, action="rollout")

    assert told.startswith("v7: eval_passed")
    assert guarded(strict, verbs.start(strict, "v7", 99.99).flag, papers, action="rollout") == ()


def test_a_version_that_comes_with_the_change_itself_has_no_papers() -> None:
    new = governed("v5", "v6", "v7", "v8", safe="v8", serve="v7")

    with pytest.raises(Refused, match="v8 may not be safe"):
        guarded(FLAG, new, cards(FLAG, "v5", "v6", "v7"), action="declare")


def test_a_change_cannot_loosen_the_rules_that_it_is_held_to() -> None:
    after = replace(FLAG, safe="v5", promotion=None)

    with pytest.raises(Refused, match="may not be safe"):
        guarded(FLAG, after, cards(FLAG, "v6"), action="revert")
