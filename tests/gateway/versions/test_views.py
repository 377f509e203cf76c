"""Records of versions, made from flags and cards."""

from __future__ import annotations

from dataclasses import replace

import pytest

from flags.errors import NotFound, Refused
from flags.model import Promotion, Rollout
from gateway.versions import views
from gateway.versions.shapes import VersionRecord
from policies.governance.rules import Rule
from tests.gateway.versions.making import SUITE, card, governed, life, ran, said

# notes/governance.md, "A version's record".
RECORD = (
    *(
        "id",
        "name",
        "version",
        "hash",
        "created_at",
        "environment",
        "created_by",
        "tags",
        "notes",
        "deprecated",
    ),
    *("approved_by", "approved_at", "eval_status", "source_file_uri", "semantic_diff_from"),
)


def test_a_record_has_the_fields_that_governance_teams_use() -> None:
    flag = governed()
    declared = {
        "semver": "7.1.0",
        "source": "prompts/v7.yaml",
        "tags": ["tone"],
        "notes": "kinder",
        "environment": "staging",
        "semantic_diff_from": "v6",
    }

    found = views.version_record(life(flag, card(flag, "v7", said(), runs=(ran(),), record=declared)), "v7")

    content = flag.variants["v7"].hash
    assert {name: getattr(found, name) for name in RECORD} == {
        "id": f"support-bot.prompt/v7@{content[:12]}",
        "name": "v7",
        "version": "7.1.0",
        "hash": content,
        "created_at": "2027-01-03T00:00:00Z",
        "environment": "staging",
        "created_by": "carol",
        "tags": ["tone"],
        "notes": "kinder",
        "deprecated": False,
        "approved_by": ["bob"],
        "approved_at": "2027-02-01T00:00:00Z",
        "eval_status": "passed",
        "source_file_uri": "prompts/v7.yaml",
        "semantic_diff_from": "v6",
    }
    assert VersionRecord.__struct_fields__[: len(RECORD)] == RECORD


def test_a_version_of_which_nothing_was_said_is_a_draft_that_lacks_eval_and_approval() -> None:
    found = views.version_record(life(governed()), "v7")

    assert (found.stage, found.eval_status, found.approved_at, found.environment) == (
        "draft",
        "pending",
        None,
        "prod",
    )
    assert [each.rule for each in found.unmet] == ["eval_passed", "approved"]
    assert {rule.rule: rule.met for rule in found.rules} == {
        **{rule.value: True for rule in Rule},
        "eval_passed": False,
        "approved": False,
    }
    assert all(rule.met or rule.mend.startswith("pointsman ") for rule in found.rules)


def test_a_flag_without_rules_asks_for_nothing_and_says_so() -> None:
    known = life(governed(None))

    found = views.version_list(known)

    assert found.promotion is None
    assert (found.last_known_good.variant, found.ungoverned) == ("v6", [])
    assert all(each.rules == [] and each.unmet == [] for each in found.versions)
    assert "no promotion rules" in views.why_good(known, "v7")


def test_rules_that_ask_for_no_eval_and_no_approval_are_not_shown() -> None:
    found = views.version_record(life(governed(Promotion())), "v7")

    assert [each.rule for each in found.rules] == [
        "valid_record",
        "not_rejected",
        "not_deprecated",
        "not_withdrawn",
    ]


def test_the_last_known_good_version_says_why_and_the_others_why_not() -> None:
    flag = governed(serve="v7", safe="v5")
    known = life(
        flag,
        card(flag, "v5", said(), runs=(ran(),)),
        card(flag, "v6", said(), runs=(ran(),)),
        card(flag, "v7", runs=(ran(),)),
    )

    found = {each.name: each for each in views.version_list(known).versions}

    assert [name for name, each in found.items() if each.last_known_good] == ["v6"]
    assert "passed suites/support.yaml" in found["v6"].last_known_good_reason
    assert found["v7"].last_known_good_reason.startswith("not it: approved: 0 of 1 approvals")
    assert found["v5"].last_known_good_reason == "not it: v6 is newer, and satisfies every rule as well"


def test_versions_come_newest_first_and_what_safe_lacks_is_told() -> None:
    found = views.version_list(life(governed()))

    assert [each.name for each in found.versions] == ["v7", "v6", "v5"]
    assert (found.last_known_good.variant, len(found.ungoverned)) == (None, 2)


def test_a_run_of_another_suite_is_stale_and_does_not_count() -> None:
    flag = governed()
    runs = (ran("4" * 64, at="2027-01-10T00:00:00Z", name=""), ran(passed=False))

    found = views.version_record(life(flag, card(flag, "v7", runs=runs)), "v7")

    assert [(each.suite, each.stale) for each in found.evaluations] == [
        ("suites/support.yaml", False),
        ("4" * 12, True),
    ]
    assert (found.evaluations[0].suite_hash, found.eval_status) == (SUITE, "failed")


def test_an_approval_that_does_not_count_is_shown_as_such() -> None:
    flag = governed()

    found = views.version_record(
        life(flag, card(flag, "v7", said("carol"), said("eve", "viewer"), said())), "v7"
    )

    assert [(each.by, each.counts) for each in found.approvals] == [
        ("carol", False),
        ("eve", False),
        ("bob", True),
    ]
    assert found.approved_by == ["carol", "eve", "bob"]


def test_who_gets_it_and_what_it_is_to_the_flag_is_told() -> None:
    flag = governed(rollout=Rollout("v7", 12.5))
    known = life(flag)

    found = {name: views.version_record(known, name) for name in flag.variants}

    assert {name: each.percent for name, each in found.items()} == {"v5": 0, "v6": 87.5, "v7": 12.5}
    assert {name: each.marks for name, each in found.items()} == {
        "v5": [],
        "v6": ["served", "safe"],
        "v7": ["candidate"],
    }
    assert views.percent_of(replace(flag, enabled=False), "v6") == 0


def test_withdrawn_and_quarantined_are_told_apart() -> None:
    flag = governed(withdrawn=frozenset({"v5", "v7"}))
    flag = replace(flag, quarantined=frozenset({flag.variants["v7"].hash}))
    known = life(flag)

    found = {name: views.version_record(known, name) for name in flag.variants}

    assert {name: (each.stage, each.withdrawn, each.quarantined) for name, each in found.items()} == {
        "v5": ("withdrawn", True, False),
        "v6": ("production", False, False),
        "v7": ("quarantined", True, True),
    }


def test_a_detail_has_the_content_unless_that_was_erased() -> None:
    flag = governed()
    content = {"messages": [{"role": "system", "content": "You are v7."}]}

    here = views.version_detail(life(flag), "v7", {flag.variants["v7"].hash: content})
    gone = views.version_detail(life(flag), "v7", {})

    assert (here.content, here.erased) == (content, False)
    assert (gone.content, gone.erased) == (None, True)
    with pytest.raises(NotFound, match="variants: v5, v6, v7"):
        views.version_detail(life(flag), "v8", {})


def test_what_was_erased_cannot_be_compared() -> None:
    flag = governed()

    with pytest.raises(Refused, match="the content of v6 was erased"):
        views.content_diff(flag, "v6", "v7", {flag.variants["v7"].hash: {}})
