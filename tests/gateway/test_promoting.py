"""Promotion rules in a config file: the suite is read in with it, and what nobody could satisfy is refused with its path."""

from __future__ import annotations

from pathlib import Path

import pytest

from flags.canonical import digest
from flags.errors import Invalid
from flags.model import Embedding, Json
from gateway.config.promoting import (
    promotion_of,
    promotion_problems,
    record_problems,
    suite_of,
    told_by_hash,
    written_out,
)
from gateway.spec_base import Target
from gateway.spec_rulebook import PromotionSpec, RecordSpec, SuiteSpec

SUITE = """
tests:
  - vars: {question: Hi}
    assert: [{type: contains, value: Hello}]
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "suites").mkdir()
    (tmp_path / "suites" / "support.yaml").write_text(SUITE)
    return tmp_path


class TestSuites:
    def test_are_read_in_so_that_any_worker_can_run_them(self, folder: Path) -> None:
        name, suite = suite_of(PromotionSpec(evals="suites/support.yaml"), folder)

        assert name == "suites/support.yaml"
        assert "Hello" in str(suite)
        assert promotion_of(PromotionSpec(), name, suite).suite == digest(suite)

    def test_that_came_resolved_are_the_same_suite(self, folder: Path) -> None:
        name, suite = suite_of(PromotionSpec(evals="suites/support.yaml"), folder)
        assert isinstance(suite, dict)

        again = suite_of(PromotionSpec(evals=SuiteSpec(name, suite)), None)

        assert again == (name, suite)

    @pytest.mark.parametrize(
        ("file", "text"),
        [("none.yaml", None), ("empty.yaml", ""), ("bad.yaml", "tests: 3"), ("no.yaml", "tests: []")],
    )
    def test_that_are_missing_empty_or_malformed_are_refused(
        self, folder: Path, file: str, text: str | None
    ) -> None:
        if text is not None:
            (folder / file).write_text(text)

        with pytest.raises(Invalid):
            suite_of(PromotionSpec(evals=file), folder)

    def test_outside_the_files_folder_are_refused(self, folder: Path) -> None:
        with pytest.raises(Invalid, match="evals"):
            suite_of(PromotionSpec(evals="../support.yaml"), folder / "suites")

    def test_are_not_read_where_there_is_no_folder(self) -> None:
        with pytest.raises(Invalid) as refused:
            suite_of(PromotionSpec(evals="suites/support.yaml"), None)

        assert refused.value.mend == "send {file, suite}"


def test_rules_are_written_out_as_they_were_declared(folder: Path) -> None:
    spec = PromotionSpec(
        evals="suites/support.yaml",
        min_score=0.8,
        repeat=3,
        judge="judge",
        embedding=Target("openai", "small"),
        approvals=2,
        roles=["approver"],
        strict=True,
        every_seconds=3600,
    )
    name, suite = suite_of(spec, folder)
    rules = promotion_of(spec, name, suite)

    written = written_out(rules, suite)

    assert written == {
        "evals": {"file": "suites/support.yaml", "suite": suite},
        "min_score": 0.8,
        "repeat": 3,
        "judge": "judge",
        "embedding": {"upstream": "openai", "model": "small"},
        "approvals": 2,
        "roles": ["approver"],
        "strict": True,
        "every_seconds": 3600,
    }
    assert rules.embedding == Embedding("openai", "small")
    assert str(digest(suite)) in str(told_by_hash({"promotion": written}))
    assert written_out(promotion_of(PromotionSpec(), "", None), None) == {}


@pytest.mark.parametrize(
    ("spec", "paths"),
    [
        (PromotionSpec(approvals=1, roles=["approver", "admin"]), []),
        (PromotionSpec(approvals=1, roles=["approver", "viewer"]), ["p.roles[1]"]),
        (PromotionSpec(roles=["admin"]), ["p.roles"]),
        (PromotionSpec(min_pass_rate=0.5, every_seconds=60), ["p.min_pass_rate", "p.every_seconds"]),
        (PromotionSpec(evals="s.yaml", min_pass_rate=0.5), []),
    ],
)
def test_what_nobody_could_satisfy_is_told_with_its_path(spec: PromotionSpec, paths: list[str]) -> None:
    assert [problem.path for problem in promotion_problems("p", spec)] == paths


@pytest.mark.parametrize(
    ("record", "paths"),
    [
        (RecordSpec(semver="1.2.0", hash=digest(1), semantic_diff_from="v6"), []),
        (RecordSpec(semver="1.2"), ["r.semver"]),
        (RecordSpec(hash=digest(2)), ["r.hash"]),
        (RecordSpec(semantic_diff_from="v5"), ["r.semantic_diff_from"]),
    ],
)
def test_a_record_is_held_against_its_content(record: RecordSpec, paths: list[str]) -> None:
    content: Json = 1

    assert [each.path for each in record_problems("r", record, content, {"v6": 0})] == paths
