"""What is asked for a case: the suite's prompt, else the variable that holds the question; else it is not asked."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from flags.model import Json
from policies.evals.question import Message, NotAsked, Unrenderable, question_of
from policies.evals.suite import suite_from
from tests.policies.evals.examining import render

CHAT = '[{"role": "system", "content": "Be {{tone}}."}, {"role": "user", "content": "{{q}}"}]'


def asked(document: Mapping[str, Json] | None = None, **variables: Json) -> list[tuple[str, str]]:
    suite = suite_from({"tests": [{"vars": variables}], **(document or {})})
    return [(each.role, each.content) for each in question_of(suite.cases[0], suite, render).messages]


@pytest.mark.parametrize(
    ("variables", "text"),
    [
        ({"input": "b", "question": "a", "prompt": "c"}, "a"),
        ({"query": "b", "context": "c"}, "b"),
        ({"anything": "only", "number": 3}, "only"),
        ({"question": "about {{topic}}", "topic": "refunds"}, "about refunds"),
    ],
)
def test_without_a_prompt_a_variable_is_the_question(variables: dict[str, Json], text: str) -> None:
    assert asked(**variables) == [("user", text)]


@pytest.mark.parametrize(
    "prompts",
    [CHAT, [CHAT], [[{"role": "system", "content": "Be {{tone}}."}, {"role": "user", "content": "{{q}}"}]]],
)
def test_a_prompt_may_be_a_chat(prompts: Json) -> None:
    assert asked({"prompts": prompts}, tone="kind", q='say "hi"') == [
        ("system", "Be kind."),
        ("user", 'say "hi"'),
    ]


def test_a_prompt_is_filled_in_and_only_the_first_is_asked() -> None:
    document: Json = {
        "prompts": [{"raw": "Answer: {{q}}", "label": "x"}, "Other"],
        "defaultTest": {"options": {"prefix": "<", "suffix": ">"}},
    }

    assert asked(document, q="why") == [("user", "<Answer: why>")]


@pytest.mark.parametrize(
    ("document", "variables"),
    [
        ({}, {"a": "x", "b": "y"}),
        ({}, {}),
        ({}, {"question": " "}),
        ({"prompts": ["file://prompt.js"]}, {"question": "x"}),
        ({"prompts": [{"label": "no text"}]}, {"question": "x"}),
        ({"prompts": [[{"role": "tool", "content": "x"}]]}, {"question": "x"}),
        ({"prompts": [[{"role": "user", "content": [{"type": "image_url"}]}]]}, {"question": "x"}),
        ({"prompts": [[{"role": "system", "content": "only this"}]]}, {"question": "x"}),
        ({"defaultTest": {"assert": [{"type": "javascript"}]}}, {"question": "x"}),
        ({"defaultTest": {"options": {"transform": "x"}}}, {"question": "x"}),
        (
            {"defaultTest": {"assert": [{"type": "assert-set", "assert": [{"type": "bleu"}]}]}},
            {"question": "x"},
        ),
    ],
)
def test_what_cannot_be_asked_says_why(document: dict[str, Json], variables: dict[str, Json]) -> None:
    with pytest.raises(NotAsked):
        asked(document, **variables)


def test_values_of_assertions_are_filled_in_however_deep() -> None:
    test: Json = {
        "vars": {"question": "q", "name": "Ada"},
        "assert": [
            {"type": "is-json", "value": {"properties": {"n": {"const": "{{name}}"}}}},
            {"type": "assert-set", "assert": [{"type": "contains-all", "value": ["{{ name }}", 3]}]},
        ],
    }
    suite = suite_from([test])

    schema, found = question_of(suite.cases[0], suite, render).asserts

    assert schema.value == {"properties": {"n": {"const": "Ada"}}}
    assert found.asserts[0].value == ["Ada", 3]


def test_a_template_that_does_not_render_is_not_asked() -> None:
    def broken(text: str, variables: Mapping[str, Json]) -> str:
        raise Unrenderable("'x' is undefined")

    suite = suite_from([{"vars": {"question": "{{x}}"}}])

    with pytest.raises(NotAsked, match="'x' is undefined"):
        question_of(suite.cases[0], suite, broken)


def test_text_without_braces_is_never_given_to_a_template() -> None:
    def never(text: str, variables: Mapping[str, Json]) -> str:
        raise AssertionError(text)

    suite = suite_from([{"vars": {"question": "100 % {of} it\n"}}])

    assert question_of(suite.cases[0], suite, never).messages == (Message("user", "100 % {of} it\n"),)
    assert question_of(suite.cases[0], suite, never).text == "100 % {of} it\n"
