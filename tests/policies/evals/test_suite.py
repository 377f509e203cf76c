"""A promptfoo document becomes a suite: defaults merged, lists unfolded, what is lacking kept by its name."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest

from flags.errors import Invalid
from flags.model import Json
from policies.evals.suite import CASES_MAX, DEPTH_MAX, suite_from

CONTAINS: Json = {"type": "contains", "value": "30"}


def one(**test: Json) -> dict[str, Json]:
    return {"tests": [{"vars": {"question": "How long?"}, "assert": [CONTAINS], **test}]}


def test_a_bare_list_is_a_suite() -> None:
    suite = suite_from([{"assert": [CONTAINS]}], name="s.yaml")

    assert suite.name == "s.yaml"
    assert [each.name for each in suite.cases[0].asserts] == ["contains"]
    assert suite.cases[0].title == "case 1"


def test_defaults_come_first_and_give_way() -> None:
    document: Json = {
        "defaultTest": {
            "vars": {"tone": "kind", "lang": "en"},
            "assert": [{"type": "latency", "threshold": 900}],
            "threshold": 0.5,
            "options": {"prefix": "Q: "},
            "metadata": {"team": "a"},
        },
        "tests": [
            {"vars": {"lang": "de"}, "assert": [CONTAINS], "metadata": {"id": 7}},
            {"threshold": 1, "options": {"disableDefaultAsserts": True}, "assert": [CONTAINS]},
        ],
    }

    first, second = suite_from(document).cases

    assert first.vars == {"tone": "kind", "lang": "de"}
    assert [each.type for each in first.asserts] == ["latency", "contains"]
    assert (first.threshold, second.threshold) == (0.5, 1)
    assert (first.prefix, second.prefix) == ("Q: ", "Q: ")
    assert first.metadata == {"team": "a", "id": 7}
    assert [each.type for each in second.asserts] == ["contains"]


def test_lists_of_variables_unfold_to_every_combination_unless_told_not_to() -> None:
    variables: Json = {"a": [1, 2], "b": ["x", "y"], "c": "z", "d": []}

    cases = suite_from(one(vars=variables)).cases
    kept = suite_from(one(vars=variables, options={"disableVarExpansion": True})).cases

    assert [(each.vars["a"], each.vars["b"]) for each in cases] == [(1, "x"), (1, "y"), (2, "x"), (2, "y")]
    assert [each.number for each in cases] == [1, 2, 3, 4]
    assert [each.vars for each in kept] == [variables]


def test_lists_that_unfold_without_end_are_refused_before_they_do() -> None:
    wide: dict[str, Json] = {f"v{at}": list(range(100)) for at in range(50)}

    with pytest.raises(Invalid, match="unfold"):
        suite_from(one(vars=wide))


def test_so_many_cases_and_no_more() -> None:
    assert len(suite_from([{}] * CASES_MAX).cases) == CASES_MAX
    with pytest.raises(Invalid, match="more than 10000"):
        suite_from([{}] * (CASES_MAX + 1))


@pytest.mark.parametrize(
    ("test", "lacking"),
    [
        ({"assert": [{"type": "javascript", "value": "1"}]}, "assertion type 'javascript'"),
        ({"assert": [{"type": "not-python", "value": "1"}]}, "assertion type 'python'"),
        # Its threshold is a distance, and no share.
        ({"assert": [{"type": "levenshtein", "value": "x", "threshold": 3}]}, "assertion type 'levenshtein'"),
        ({"assert": [{**CONTAINS, "transform": "output"}]}, "contains with 'transform'"),  # type: ignore[dict-item]
        ({"assert": [{"type": "equals", "value": "file://check.py"}]}, "equals with 'file://check.py'"),
    ],
)
def test_an_assertion_that_we_lack_is_kept_by_its_name(test: dict[str, Json], lacking: str) -> None:
    (found,) = suite_from(one(**test)).cases[0].asserts

    assert str(found.lacks).startswith(lacking)


@pytest.mark.parametrize(
    ("test", "lacking"),
    [
        ({"assertScoringFunction": "file://score.js"}, "'assertScoringFunction'"),
        ({"providerOutput": "x"}, "'providerOutput'"),
        ({"options": {"transform": "output"}}, "options.transform"),
        ({"vars": {"q": "file://make.js"}}, "variable 'q' from 'file://make.js'"),
    ],
)
def test_a_case_that_asks_for_what_we_lack_tells_it(test: dict[str, Json], lacking: str) -> None:
    (found,) = suite_from(one(**test)).cases[0].lacks

    assert found.startswith(lacking)


@pytest.mark.parametrize(
    ("document", "path", "message"),
    [
        ({}, "tests", "no cases"),
        ([], "tests", "no cases"),
        (None, "tests", "no cases"),
        ("text", "tests", "expected a list"),
        ({"tests": []}, "tests", "no cases"),
        ({"tests": ["file://x.csv"]}, "tests[0]", "expected a test"),
        ({**one(), "scenarios": [{"config": []}]}, "scenarios", "not evaluated here"),
        ({**one(), "redteam": {"purpose": "x"}}, "redteam", "not evaluated here"),
        ({**one(), "test": [1]}, "test", "not evaluated here"),
        ({**one(), "defaultTest": [1]}, "defaultTest", "expected a mapping"),
        (one(vars=[1]), "tests[0].vars", "expected a mapping"),
        (one(threshold=2), "tests[0].threshold", "not between"),
        (one(threshold=True), "tests[0].threshold", "expected a number"),
        (one(description=["x"]), "tests[0].description", "expected a text"),
        (one(**{"assert": CONTAINS}), "tests[0].assert", "expected a list"),
        (one(**{"assert": ["contains: x"]}), "tests[0].assert[0]", "expected an assertion"),
        (one(**{"assert": [{"value": "x"}]}), "tests[0].assert[0]", "no `type`"),
        (one(**{"assert": [{"type": "contains"}]}), "tests[0].assert[0]", "no `value`"),
        (one(**{"assert": [{"type": "latency"}]}), "tests[0].assert[0]", "no `threshold`"),
        (
            one(**{"assert": [{"type": "similar", "value": "x", "threshold": 1.1}]}),
            "tests[0].assert[0].threshold",
            "not between",
        ),
        (one(**{"assert": [{**CONTAINS, "weight": -1}]}), "tests[0].assert[0].weight", "below 0"),  # type: ignore[dict-item]
        (one(**{"assert": [{"type": "assert-set"}]}), "tests[0].assert[0]", "no assertions"),
        (one(**{"assert": [{"$ref": "#/assertionTemplates/x"}]}), "tests[0].assert", "leads to nothing"),
    ],
)
def test_what_is_wrong_is_refused_with_its_path(document: Json, path: str, message: str) -> None:
    with pytest.raises(Invalid, match=message) as error:
        suite_from(document)

    assert error.value.path == path


def test_a_reference_to_a_template_is_followed_and_a_circle_ends() -> None:
    templates: Json = {
        "a": {"$ref": "#/assertionTemplates/b"},
        "b": CONTAINS,
        "c": {"$ref": "#/assertionTemplates/c"},
    }
    good = one(**{"assert": [{"$ref": "#/assertionTemplates/a"}]})
    round_it = one(**{"assert": [{"$ref": "#/assertionTemplates/c"}]})

    assert suite_from({**good, "assertionTemplates": templates}).cases[0].asserts[0].value == "30"
    with pytest.raises(Invalid, match="circle"):
        suite_from({**round_it, "assertionTemplates": templates})


def test_the_hash_is_of_the_content_and_any_change_of_a_case_changes_it() -> None:
    changed: list[Any] = [
        one(),
        one(vars={"question": "How long ?"}),
        one(threshold=0.5),
        one(**{"assert": [{"type": "contains", "value": "31"}]}),
        {**one(), "defaultTest": {"threshold": 0.5}},
    ]
    hashes = sorted(suite_from(each).hash for each in changed)

    assert all(a != b for a, b in pairwise(hashes))
    assert suite_from(one(), name="other").hash == suite_from(dict(reversed(one().items()))).hash
    assert suite_from(suite_from(one()).document) == suite_from(one())


def test_providers_and_how_promptfoo_is_run_are_not_looked_at() -> None:
    extra: Json = {"providers": ["openai:gpt-4o"], "evaluateOptions": {"maxConcurrency": 9}, "scenarios": []}

    assert len(suite_from({**one(provider="x"), **extra}).cases) == 1  # type: ignore[dict-item]


@pytest.mark.parametrize("levels", [DEPTH_MAX, 900, 100_000])
def test_what_nests_too_deeply_to_be_walked_is_refused(levels: int) -> None:
    deep: Json = "x"
    for _ in range(levels):
        deep = {"a": deep}

    with pytest.raises(Invalid, match="nested more than 64 levels"):
        suite_from(one(vars={"question": deep}))


def test_a_suite_as_deep_as_may_be_is_read() -> None:
    deep: Json = "x"
    # Above it: the tests, a test, its variables, the question.
    for _ in range(DEPTH_MAX - 5):
        deep = {"a": deep}

    assert suite_from(one(vars={"question": deep})).cases
