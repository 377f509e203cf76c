"""A version is shadowed while it may be served and others are; its generation stays what it was."""

from __future__ import annotations

from dataclasses import replace

import pytest

from flags.errors import Invalid, NotFound, Refused
from flags.model import Flag, Rollout, Shadow
from policies import act, verbs
from policies.reverting import bring_back, revive
from tests.policies.test_verbs import a_flag, generations

TIME = "2026-01-01T00:00:00Z"


def shadowed(**fields: object) -> Flag:
    """v6 is served and v7 is sent a copy of 5 %."""
    return a_flag(shadow=Shadow("v7", 5.0), **fields)


def test_a_shadow_begins_moves_and_ends_and_nothing_else_does() -> None:
    begun = verbs.shadow(a_flag(), "v7", 5)
    moved = verbs.shadow(begun.flag, "v7", 12.34)
    ended = verbs.unshadow(moved.flag)

    assert (begun.left, begun.reached, begun.changed) == (None, "v7", True)
    assert begun.flag == a_flag(shadow=Shadow("v7", 5.0))
    assert moved.flag.shadow == Shadow("v7", 12.34)
    assert moved.flag.shadow.weight == 1234
    assert (ended.left, ended.reached, ended.flag) == ("v7", None, a_flag())
    assert generations(moved.flag) == generations(a_flag())


def test_saying_it_twice_changes_nothing() -> None:
    assert not verbs.shadow(shadowed(), "v7", 5).changed
    assert not verbs.unshadow(a_flag()).changed


def test_a_flag_that_no_request_is_sent_to_has_no_shadow() -> None:
    with pytest.raises(Refused) as refused:
        verbs.shadow(a_flag(layer=None), "v7", 5)

    assert refused.value.rule == "no_layer"


def test_another_version_takes_the_shadows_place() -> None:
    step = verbs.shadow(shadowed(), "v5", 1)

    assert (step.left, step.reached, step.flag.shadow) == ("v7", "v5", Shadow("v5", 1.0))


def test_a_candidate_may_be_shadowed_too() -> None:
    assert verbs.shadow(a_flag(rollout=Rollout("v7", 10)), "v7", 5).changed


@pytest.mark.parametrize(
    ("flag", "rule"),
    [
        (a_flag(withdrawn=frozenset({"v7"})), "variant_withdrawn"),
        (a_flag(quarantined=frozenset({"2" * 64})), "quarantined"),
        (a_flag(serve="v7"), "already_served"),
    ],
)
def test_what_is_out_of_service_or_serves_everybody_is_not_shadowed(flag: Flag, rule: str) -> None:
    with pytest.raises(Refused) as refused:
        verbs.shadow(flag, "v7", 5)

    assert refused.value.rule == rule


def test_an_unknown_version_and_a_share_that_is_none_are_refused() -> None:
    with pytest.raises(NotFound):
        verbs.shadow(a_flag(), "v9", 5)
    for percent in (-1, 100.01, 12.345):
        with pytest.raises(Invalid):
            verbs.shadow(a_flag(), "v7", percent)


def test_withdrawing_the_shadowed_version_ends_its_shadow_in_the_same_step() -> None:
    assert verbs.withdraw(shadowed(), "v7").flag.shadow is None
    assert verbs.withdraw(shadowed(), "v5").flag.shadow == Shadow("v7", 5.0)


def test_a_rollback_ends_the_shadow_of_what_it_withdraws() -> None:
    flag = shadowed(rollout=Rollout("v7", 10))

    assert verbs.rollback(flag).flag.shadow is None


def test_what_automation_puts_in_quarantine_is_shadowed_under_no_name() -> None:
    flag = shadowed()
    same = replace(flag.variants["v5"], hash=flag.variants["v7"].hash)
    twin = replace(flag, variants={**flag.variants, "v5": same}, rollout=Rollout("v5", 10))

    assert act.braked(twin, "v5", TIME).shadow is None


def test_a_version_that_is_served_to_all_from_now_on_is_its_own_shadow_no_more() -> None:
    assert verbs.switch(shadowed(), "v7").flag.shadow is None
    assert verbs.switch(shadowed(), "v5").flag.shadow == Shadow("v7", 5.0)
    assert verbs.promote(shadowed(rollout=Rollout("v7", 10))).flag.shadow is None


def test_a_revert_brings_no_shadow_of_what_is_quarantined_or_served() -> None:
    quarantined = a_flag(quarantined=frozenset({"2" * 64}))

    assert revive(quarantined, shadowed()).shadow is None
    assert revive(a_flag(), shadowed()).shadow == Shadow("v7", 5.0)
    assert bring_back(shadowed(), quarantined).shadow is None
