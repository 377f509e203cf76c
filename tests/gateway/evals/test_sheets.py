"""promptfoo's CSV: a row is a case, and `__expected` a small language."""

from __future__ import annotations

import pytest

from flags.model import Json
from gateway.evals import sheets
from policies.evals.suite import suite_from


@pytest.mark.parametrize(
    ("cell", "expected"),
    [
        ("30 days", {"type": "equals", "value": "30 days"}),
        ("Note: thirty", {"type": "equals", "value": "Note: thirty"}),
        ("contains: 30", {"type": "contains", "value": "30"}),
        ("not-contains:30", {"type": "not-contains", "value": "30"}),
        ("contains-all: a, b", {"type": "contains-all", "value": ["a", "b"]}),
        ("similar(0.8): thirty days", {"type": "similar", "threshold": 0.8, "value": "thirty days"}),
        ("latency(900)", {"type": "latency", "threshold": 900.0}),
        ("is-json", {"type": "is-json"}),
        ("grade: is kind", {"type": "llm-rubric", "value": "is kind"}),
        ("llm-rubric: is\nkind", {"type": "llm-rubric", "value": "is\nkind"}),
        ("fn: output == 1", {"type": "javascript", "value": "output == 1"}),
        ("rouge-n(0.5): x", {"type": "rouge-n", "threshold": 0.5, "value": "x"}),
        ("similar(high): x", {"type": "equals", "value": "similar(high): x"}),
    ],
)
def test_a_cell_is_an_assertion(cell: str, expected: Json) -> None:
    assert sheets.assertion_in(cell) == expected


def test_a_row_is_a_case() -> None:
    text = (
        "question, context ,__expected1,__expected2,__description,__threshold,__metric,__prefix,__metadata:id,"
        "__config:__expected2:threshold,__providerOutput\r\n"
        '"Why, Ada?",[1],contains: 3,similar: x,First,0.5,tone,Q: ,7,0.9,\r\n'
        ",,,,,,,,,,\r\n"
        "Short,,,,,,,,,,given\r\n"
    )

    first, second = suite_from(sheets.tests_in(text)).cases

    assert first.vars == {"question": "Why, Ada?", "context": "[1]"}
    assert [(each.name, each.threshold, each.metric) for each in first.asserts] == [
        ("contains", None, "tone"),
        ("similar", 0.9, "tone"),
    ]
    assert (first.title, first.threshold, first.prefix, first.metadata) == ("First", 0.5, "Q: ", {"id": "7"})
    assert second.asserts == ()
    assert second.lacks == ("'__providerOutput'",)
