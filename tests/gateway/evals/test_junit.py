"""A report as JUnit XML: well formed whatever a model said, and what was not evaluated is an error."""

from __future__ import annotations

from typing import Any
from xml.etree import ElementTree as ET

from hypothesis import given
from hypothesis import strategies as st

from gateway.evals.junit import junit


def row(passed: bool | None, **more: Any) -> dict[str, Any]:
    head = {"case": 1, "repeat": 1, "title": "t", "passed": passed, "reason": "r"}
    return {**head, "answer": {"text": "x", "seconds": 0.25}, **more}


def whole(*rows: dict[str, Any], passed: bool | None = True, **more: Any) -> ET.Element:
    report = {
        "flag": "f",
        "variant": "v",
        "suite": "s",
        "passed": passed,
        "reason": "why",
        "results": list(rows),
        **more,
    }
    return ET.fromstring(junit(report))


def test_failures_and_errors_are_counted_with_the_gate_first() -> None:
    root = whole(row(True), row(False), row(None), passed=None, seconds=1.5)
    suite = root[0]

    assert dict(root.attrib) == {"tests": "4", "failures": "1", "errors": "2"}
    assert [[each.tag for each in case] for case in suite] == [
        ["error"],
        [],
        ["failure", "system-out"],
        ["error", "system-out"],
    ]
    assert suite.attrib["time"] == "1.500"
    assert suite[1].attrib == {"name": "t [1]", "classname": "f v: s", "time": "0.250"}


def test_a_run_in_vain_is_an_error() -> None:
    root = whole(passed=None, error="promptfoo is not on PATH")

    assert root[0][0][0].attrib["message"] == "promptfoo is not on PATH"


@given(st.text(st.characters(), max_size=200))
def test_whatever_a_model_says_is_well_formed(text: str) -> None:
    assert whole(row(False, title=text, reason=text, answer={"text": text}), flag=text) is not None


def test_texts_are_bounded() -> None:
    report = {"results": [row(False, reason="&" * 9_000, title="<" * 9_000, answer={"text": ">" * 9_000})]}

    assert len(junit(report)) < 40_000
