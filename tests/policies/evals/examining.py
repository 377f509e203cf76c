"""Builders of cases, answers and graders."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flags.model import Json
from policies.evals.answer import Answer
from policies.evals.checks import checked
from policies.evals.grader import GraderAway
from policies.evals.question import Question, question_of
from policies.evals.suite import suite_from
from policies.evals.verdict import Checked


class Judge:
    """A grader that says what it was told to, and keeps what it was asked."""

    def __init__(self, says: str = "", cosines: Mapping[str, float] | None = None) -> None:
        self.says = says
        self.cosines = dict(cosines or {})
        self.asked: list[tuple[str, str]] = []

    async def similarity(self, a: str, b: str) -> float:
        if a not in self.cosines:
            raise GraderAway(f"no vector of {a!r}")
        return self.cosines[a]

    async def ask(self, instruction: str, material: str) -> str:
        self.asked.append((instruction, material))
        return self.says


def render(text: str, variables: Mapping[str, Json]) -> str:
    """The plainest of template languages."""
    for name, value in variables.items():
        text = text.replace("{{" + name + "}}", str(value)).replace("{{ " + name + " }}", str(value))
    return text


def question(assertion: Json = None, **variables: Json) -> Question:
    """A case with one assertion, made ready."""
    test: Json = {"vars": {"question": "How long?", **variables}, "assert": [assertion] if assertion else []}
    suite = suite_from([test])
    return question_of(suite.cases[0], suite, render)


async def look(
    assertion: Mapping[str, Json], text: str = "30 days", grader: Judge | None = None, **answer: Any
) -> Checked:
    """What an assertion makes of an answer."""
    ready = question(dict(assertion))
    return await checked(
        ready.asserts[0], ready, Answer(text, **{"seconds": 0.5, **answer}), grader or Judge()
    )
