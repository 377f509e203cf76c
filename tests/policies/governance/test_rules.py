"""Each promotion rule by name, at its bound and one past it; which version is the last known good; stages of a life."""

from __future__ import annotations

from dataclasses import replace

import pytest

from flags.model import Flag, Promotion
from policies.governance.card import Card, approved, card_of, deprecated, evaluated, rejected
from policies.governance.rules import (
    Stage,
    counted,
    eval_status,
    last_known_good,
    semver_of,
    stage_of,
    unmet,
)
from tests.policies.governance.making import OLDER, RULES, cards, good, governed, mark, run

FLAG = governed()
BLANK = card_of("bot.prompt", FLAG.variants["v6"], None)


def missing(card: Card, flag: Flag = FLAG, name: str = "v6") -> list[str]:
    return [each.rule.value for each in unmet(flag, name, card)]


def test_a_version_that_satisfies_every_rule_lacks_nothing() -> None:
    assert missing(good(FLAG, "v6")) == []


def test_a_flag_without_rules_asks_for_nothing() -> None:
    assert missing(BLANK, replace(FLAG, promotion=None)) == []


def test_of_a_new_version_every_paper_is_missing_by_name() -> None:
    assert missing(BLANK) == ["eval_passed", "approved"]


@pytest.mark.parametrize(
    ("how", "lacks"),
    [
        ({"pass_rate": 0.9}, []),
        ({"pass_rate": 0.89}, ["eval_passed"]),
        ({"passed": False}, ["eval_passed"]),
        ({"passed": None, "not_evaluated": 1}, ["eval_passed"]),
    ],
)
def test_evals_pass_from_the_threshold_on_and_an_error_is_no_pass(
    how: dict[str, object], lacks: list[str]
) -> None:
    assert missing(approved(evaluated(BLANK, run(**how)), mark())) == lacks


def test_a_score_below_its_threshold_is_no_pass() -> None:
    flag = replace(FLAG, promotion=replace(RULES, min_score=0.8))

    assert missing(approved(evaluated(BLANK, run(score=0.8)), mark()), flag) == []
    assert missing(approved(evaluated(BLANK, run(score=0.79)), mark()), flag) == ["eval_passed"]


def test_a_pass_over_fewer_repeats_than_the_rules_ask_for_is_none_yet() -> None:
    flag = replace(FLAG, promotion=replace(RULES, repeat=3))
    twice, thrice = (approved(evaluated(BLANK, run(repeat=times)), mark()) for times in (2, 3))

    assert (missing(twice, flag), eval_status(flag, twice)) == (["eval_passed"], "pending")
    assert (missing(thrice, flag), eval_status(flag, thrice)) == ([], "passed")


def test_a_pass_on_another_suite_is_stale() -> None:
    card = approved(evaluated(BLANK, run(OLDER)), mark())

    (found,) = unmet(FLAG, "v6", card)

    assert "another suite" in found.message


def test_the_author_and_other_roles_do_not_approve() -> None:
    passed = evaluated(BLANK, run())

    assert missing(approved(passed, mark("ann"))) == ["approved"]
    assert missing(approved(passed, mark("bob", "operator"))) == ["approved"]
    assert missing(approved(passed, mark("bob", "admin"))) == ["approved"]


def test_two_people_are_two_approvals_and_one_is_one() -> None:
    flag = replace(FLAG, promotion=replace(RULES, approvals=2))
    once = approved(evaluated(BLANK, run()), mark("bob"))

    assert missing(approved(once, mark("bob")), flag) == ["approved"]
    assert missing(approved(once, mark("cy")), flag) == []
    assert counted(flag, approved(once, mark("cy"))) == ["bob", "cy"]


def test_where_no_roles_are_named_approvers_and_admins_count() -> None:
    flag = replace(FLAG, promotion=Promotion(approvals=1))

    assert missing(approved(BLANK, mark("bob", "admin")), flag) == []
    assert missing(approved(BLANK, mark("bob", "operator")), flag) == ["approved"]


def test_marks_and_service_are_rules_too() -> None:
    ready = good(FLAG, "v6")

    assert missing(deprecated(ready, mark())) == ["not_deprecated"]
    assert missing(rejected(ready, mark())) == ["approved", "not_rejected"]
    assert missing(ready, replace(FLAG, withdrawn=frozenset({"v6"}))) == ["not_withdrawn"]
    assert missing(ready, replace(FLAG, quarantined=frozenset({FLAG.variants["v6"].hash}))) == [
        "not_withdrawn"
    ]


def test_a_record_that_contradicts_the_content_is_not_valid() -> None:
    ready = good(FLAG, "v6")

    assert missing(replace(ready, record={"semver": "v6"})) == ["valid_record"]
    assert missing(replace(ready, record={"hash": "0" * 64})) == ["valid_record"]
    assert missing(replace(ready, record={"semver": "1.2.0-rc.1+build.5"})) == []


@pytest.mark.parametrize(
    ("name", "semver"),
    [
        ("v7", "7.0.0"),
        ("1.2", "1.2.0"),
        ("v1.2.3", "1.2.3"),
        ("gpt-4.1", "0.0.0-gpt-4-1"),
        ("r_2", "0.0.0-r-2"),
    ],
)
def test_a_name_tells_its_semver(name: str, semver: str) -> None:
    assert semver_of(name, BLANK) == semver


def test_the_last_known_good_is_the_newest_that_satisfies_the_rules() -> None:
    found = last_known_good(FLAG, cards(FLAG, "v5", "v6"))

    assert found.variant == "v6"
    assert "passed suites/support.yaml" in found.reason
    assert "approved by bob (approver)" in found.reason
    assert [each.rule.value for each in found.unmet["v7"]] == ["eval_passed", "approved"]


def test_v10_is_newer_than_v9_where_both_were_declared_at_once() -> None:
    flag = governed("v8", "v9", "v10")
    at_once = replace(
        flag, variants={n: replace(v, created_at="2030-01-01T00:00:00Z") for n, v in flag.variants.items()}
    )

    assert last_known_good(at_once, cards(at_once, "v8", "v9", "v10")).variant == "v10"


def test_what_is_left_out_is_not_the_last_known_good() -> None:
    assert last_known_good(FLAG, cards(FLAG, "v5", "v6"), but={"v6"}).variant == "v5"


def test_where_nothing_satisfies_the_rules_there_is_none() -> None:
    found = last_known_good(FLAG, cards(FLAG))

    assert (found.variant, sorted(found.unmet)) == (None, ["v5", "v6", "v7"])


def test_without_rules_safe_itself_counts() -> None:
    assert last_known_good(governed(rules=None), {}).variant == "v5"


def test_a_life_from_draft_to_superseded() -> None:
    unserved = replace(FLAG, serve="v7")
    passed = evaluated(BLANK, run())

    assert stage_of(unserved, "v6", BLANK) is Stage.DRAFT
    assert stage_of(unserved, "v6", evaluated(BLANK, run(pass_rate=0.1, passed=False))) is Stage.DRAFT
    assert stage_of(unserved, "v6", passed) is Stage.EVALUATED
    assert stage_of(unserved, "v6", approved(passed, mark())) is Stage.APPROVED
    assert stage_of(replace(FLAG, serve="v6"), "v6", BLANK) is Stage.PRODUCTION
    old = replace(FLAG.variants["v6"], served_at="2030-01-01T00:00:00Z")
    assert stage_of(replace(FLAG, variants={**FLAG.variants, "v6": old}), "v6", passed) is Stage.SUPERSEDED


def test_what_was_said_or_done_last_that_matters_most_is_the_stage() -> None:
    card = deprecated(good(FLAG, "v6"), mark())
    out = replace(FLAG, withdrawn=frozenset({"v6"}))

    assert stage_of(FLAG, "v6", card) is Stage.DEPRECATED
    assert stage_of(out, "v6", good(FLAG, "v6")) is Stage.WITHDRAWN
    assert stage_of(replace(out, quarantined=frozenset({card.hash})), "v6", card) is Stage.QUARANTINED
    assert stage_of(FLAG, "v6", rejected(BLANK, mark())) is Stage.REJECTED


def test_an_eval_status_is_of_the_current_suite() -> None:
    assert eval_status(FLAG, BLANK) == "pending"
    assert eval_status(FLAG, evaluated(BLANK, run(OLDER))) == "pending"
    assert eval_status(FLAG, evaluated(BLANK, run(pass_rate=0.5))) == "failed"
    assert eval_status(replace(FLAG, promotion=None), evaluated(BLANK, run(OLDER))) == "passed"
