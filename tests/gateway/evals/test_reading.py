"""A suite's files become one document; what is missing, malformed or empty is told with its file and line, and never passes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from flags.errors import Invalid
from gateway.evals import folder, reading
from gateway.evals.reading import read_suite
from policies.evals.suite import suite_from

TEST = "- vars: {question: How long?}\n  assert: [{type: contains, value: '30'}]\n"


def written(at: Path, files: Mapping[str, str | bytes]) -> Path:
    """The first of the files, all of which are written below a folder."""
    for name, content in files.items():
        path = at / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return at / next(iter(files))


def read(at: Path, **files: str | bytes) -> Any:
    return read_suite(written(at, {name.replace("__", "."): each for name, each in files.items()}))


def refused(path: Path) -> Invalid:
    with pytest.raises(Invalid) as error:
        read_suite(path)
    return error.value


def test_a_suite_of_all_kinds_of_files_becomes_one_document(tmp_path: Path) -> None:
    main = """
description: Support
providers: [openai:gpt-4o]
prompts: [file://prompts/first.txt, Other]
defaultTest: file://default.yaml
tests:
  - vars: {question: Hi, context: file://docs/a.md, rows: file://rows.yaml}
    assert:
      - {type: is-json, value: file://schema.json}
      - {type: assert-set, assert: [{type: equals, value: file://docs/a.md}]}
  - file://cases/*.yaml
  - cases.csv
  - path: file://more.jsonl
"""
    files = {
        "suite.yaml": main,
        "prompts/first.txt": "Answer {{question}}\n---\nSecond",
        "default.yaml": "assert: [{type: latency, threshold: 900}]",
        "docs/a.md": "Thirty days.\n",
        "rows.yaml": "- 1\n- 2\n",
        "schema.json": '{\n\t"type": "object"}',
        "cases/b.yaml": TEST,
        "cases/a.yaml": "vars: {question: alone}",
        "cases.csv": "question,__expected\nWhy?,contains: x\n",
        "more.jsonl": '{"vars": {"question": "L"}}\n\n',
    }

    document: Any = read_suite(written(tmp_path, files))
    suite = suite_from(document)

    assert [each.vars["question"] for each in suite.cases] == ["Hi", "alone", "How long?", "Why?", "L"]
    assert suite.cases[0].vars["context"] == "Thirty days."
    assert suite.cases[0].vars["rows"] == "[1, 2]"
    assert [each.type for each in suite.cases[0].asserts] == ["latency", "is-json", "assert-set"]
    assert suite.cases[0].asserts[1].value == {"type": "object"}
    assert suite.cases[0].asserts[2].asserts[0].value == "Thirty days."
    assert suite.prompt == "Answer {{question}}"
    assert "file://" not in json.dumps(document)


@pytest.mark.parametrize("name", ["s.yaml", "s.yml", "s.json", "s.csv", "s.jsonl"])
def test_a_suite_may_be_a_bare_list_of_tests(tmp_path: Path, name: str) -> None:
    texts = {
        "s.json": '[{"vars": {"question": "x"}}]',
        "s.csv": "question\nx\n",
        "s.jsonl": '{"vars": {"question": "x"}}',
    }
    document: Any = read_suite(written(tmp_path, {name: texts.get(name, TEST)}))

    assert len(document["tests"]) == 1


def test_several_files_in_a_variable_are_a_case_each(tmp_path: Path) -> None:
    files = {"s.yaml": "tests: [{vars: {question: 'file://q/*.txt'}}]", "q/b.txt": "B", "q/a.txt": "A"}

    suite = suite_from(read_suite(written(tmp_path, files)))

    assert [each.vars["question"] for each in suite.cases] == ["A", "B"]


def test_a_change_of_a_file_that_is_named_changes_the_hash(tmp_path: Path) -> None:
    path = written(tmp_path, {"s.yaml": "tests: [{vars: {question: file://q.txt}}]", "q.txt": "A"})
    before = suite_from(read_suite(path)).hash
    (tmp_path / "q.txt").write_text("B")

    assert suite_from(read_suite(path)).hash != before


@pytest.mark.parametrize(
    ("files", "place", "message"),
    [
        ({"s.yaml": ""}, "s.yaml:1", "nothing in this file"),
        ({"s.yaml": "tests: []"}, "s.yaml:1: tests", "no cases"),
        ({"s.yaml": "# only\n"}, "s.yaml:1", "nothing in this file"),
        ({"s.yaml": "just text"}, "s.yaml:1", "this is no suite"),
        ({"s.yaml": "{}"}, "s.yaml:1", "this is no suite"),
        ({"s.yaml": "tests:\n  - vars: [\n"}, "s.yaml:", "not YAML"),
        ({"s.yaml": "tests: 1\ntests: 2\n"}, "s.yaml:2", "given twice"),
        ({"s.json": '{"tests": [}'}, "s.json:1", "not JSON"),
        ({"s.yaml": b"tests: [\xff]"}, "s.yaml:1", "not UTF-8"),
        ({"s.txt": TEST}, "s.txt", "a suite is a .yaml"),
        ({"s.csv": ""}, "s.csv:1", "nothing in this file"),
        ({"s.csv": "question\n"}, "s.csv", "no cases in this file"),
        ({"s.csv": "a,a\n1,2\n"}, "s.csv:1", "given twice"),
        ({"s.csv": "a\n1,2\n"}, "s.csv:2", "2 columns"),
        ({"s.csv": 'a\n"x\n'}, "s.csv:", "not CSV"),
        ({"s.csv": "a,__threshold\n1,high\n"}, "s.csv:2", "expected a number"),
        ({"s.csv": b"a\n\xff\n"}, "s.csv:2", "not UTF-8"),
        ({"s.jsonl": "{}\n{\n"}, "s.jsonl:2", "not JSON"),
        (
            {"s.yaml": f"{TEST}- vars: {{}}\n  assert:\n  - type: contains\n"},
            "s.yaml:5: [1].assert[0]",
            "no `value`",
        ),
        ({"s.yaml": f"tests:\n{TEST}scenarios: [{{}}]\n"}, "s.yaml:4: scenarios", "not evaluated here"),
        ({"s.yaml": f"defaultTest: {{threshold: 7}}\ntests:\n{TEST}"}, "s.yaml:3: tests[0]", "not between"),
        (
            {"s.yaml": "tests: [c.yaml, {vars: {q: x}, threshold: 7}]", "c.yaml": TEST * 3},
            "s.yaml:1: tests[1].threshold",
            "not between",
        ),
        (
            {"s.yaml": "tests: [c.yaml]", "c.yaml": "- vars: {}\n  threshold: 7"},
            "c.yaml:2: [0].threshold",
            "not between",
        ),
        ({"s.yaml": "tests: [c.yaml]", "c.yaml": ""}, "c.yaml", "nothing in this file"),
        ({"s.yaml": "tests: [c.yaml]", "c.yaml": "[]"}, "c.yaml", "no cases in this file"),
        ({"s.yaml": "tests:\n  - c.yaml"}, "s.yaml:2: tests[0]", "no file 'c.yaml'"),
        ({"s.yaml": "tests: 'c/*.yaml'"}, "s.yaml:1: tests", "no file"),
        ({"s.yaml": "tests: [{vars: {q: file://no.txt}}]"}, "s.yaml:1: tests[0].vars.q", "no file 'no.txt'"),
        ({"s.yaml": "prompts: [file://no.txt]\ntests: [{}]"}, "s.yaml:1: prompts", "no file"),
        ({"s.yaml": "tests: [make.js]", "make.js": "x"}, "s.yaml:1: tests[0]", "not read here"),
        ({"s.yaml": "tests: ['file://make.py:cases']"}, "s.yaml:1: tests[0]", "not read here"),
        ({"s.yaml": "tests: https://example.com/t.csv"}, "s.yaml:1: tests", "not read here"),
        ({"s.yaml": "tests: ['*']", "a.py": "x"}, "s.yaml:1: tests[0]", "code is never run"),
        ({"s.yaml": "tests: [{vars: {n: 99999999999999999999}}]"}, "s.yaml:1", "2^53"),
    ],
)
def test_what_is_wrong_names_its_file_and_line(
    tmp_path: Path, files: dict[str, str | bytes], place: str, message: str
) -> None:
    error = refused(written(tmp_path, files))

    assert error.path.startswith(place)
    assert message in error.message


def test_a_file_that_is_missing_or_no_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "dir.yaml").mkdir()

    assert "cannot be read" in refused(tmp_path / "missing.yaml").message
    assert "no file" in refused(tmp_path / "dir.yaml").message


@pytest.mark.parametrize(
    "name", ["../secret.txt", "/etc/hostname", "link.txt", "a/../../secret.txt", "../*.txt", "dir/*.txt", ""]
)
def test_nothing_outside_the_folder_is_read(tmp_path: Path, name: str) -> None:
    (tmp_path / "secret.txt").write_text("hidden")
    path = written(tmp_path / "suite", {"s.yaml": f"tests: [{{vars: {{question: 'file://{name}'}}}}]"})
    (tmp_path / "suite" / "link.txt").symlink_to(tmp_path / "secret.txt")
    (tmp_path / "suite" / "dir").symlink_to(tmp_path)

    error = refused(path)

    assert "folder" in error.message or "no file" in error.message


@pytest.mark.parametrize(
    "test",
    [
        "vars: {question: file://make.js}",
        "{vars: {question: x}, assert: [{type: equals, value: 'file://check.py:fn'}]}",
        "{vars: {question: x}, assert: [{type: javascript, value: file://check.js}]}",
        "{vars: {question: x}, assert: [{type: is-json, value: 'exec:rm'}]}",
        "vars: {question: file://picture.png}",
    ],
)
def test_code_is_never_run_nor_read_and_stays_by_its_name(tmp_path: Path, test: str) -> None:
    suite = suite_from(read_suite(written(tmp_path, {"s.yaml": f"- {test}"})))

    assert suite.cases[0].lacks or any(each.lacks for each in suite.cases[0].asserts)


def test_a_file_and_all_files_together_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folder, "ALL_BYTES_MAX", 100)
    fits = "tests: [{vars: {question: file://a.txt}}]"
    path = written(tmp_path, {"s.yaml": fits, "a.txt": "x" * (100 - len(fits))})

    assert suite_from(read_suite(path)).cases
    (tmp_path / "a.txt").write_text("x" * (101 - len(fits)))
    assert "in all" in refused(path).message


def test_a_file_beyond_its_limit_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "s.csv"
    with path.open("wb") as file:
        file.truncate(folder.FILE_BYTES_MAX + 1)

    assert "larger than 16 MiB" in refused(path).message


def test_so_many_cases_in_files_and_no_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "CASES_MAX", 2)

    assert read(tmp_path, s__csv="q\n1\n2\n")
    assert "more than 2 cases" in refused(written(tmp_path, {"s.csv": "q\n1\n2\n3\n"})).message


def test_chats_are_read_from_files(tmp_path: Path) -> None:
    files = {
        "s.yaml": "prompts: [{id: file://chat.json}]\ntests: [{}]",
        "chat.json": '[{"role": "user", "content": "{{q}}"}]',
    }

    assert suite_from(read_suite(written(tmp_path, files))).prompt == [{"role": "user", "content": "{{q}}"}]
