"""Runs a suite: its cases are asked, so many at once, graded, and judged together. Writes nothing.

Every case's outcome is kept, but of its answer only a beginning: what a run holds in memory is bounded. Knows no card
and no store.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from functools import lru_cache
from typing import NamedTuple, TypeAlias

from flags.model import Json
from gateway.evals.asking import Asking, Inquiry
from gateway.evals.wanted import Plan
from gateway.template import TemplateFailed, TemplateInvalid, compile_template
from policies.evals.answer import Answer
from policies.evals.case import Case
from policies.evals.gate import gate
from policies.evals.grader import Grader
from policies.evals.question import NotAsked, Render, Unrenderable, question_of
from policies.evals.report import Report
from policies.evals.result import CaseResult, case_result, not_evaluated

# Of all answers together so much text is kept for the report; each has its share of it, between these.
TEXT_CHARACTERS, LEAST_CHARACTERS, MOST_CHARACTERS = 8_000_000, 100, 4_000
# Templates that are kept compiled: a suite has few prompts, each rendered for every case.
TEMPLATES_KEPT = 64


class Tally(NamedTuple):
    """How far a run is: answers asked for so far, of all, and how those ended."""

    done: int
    total: int
    passed: int = 0
    failed: int = 0
    not_evaluated: int = 0

    def plus(self, passed: bool | None) -> Tally:  # noqa: FBT001  # how one more ended
        """With one more."""
        return Tally(
            self.done + 1,
            self.total,
            self.passed + (passed is True),
            self.failed + (passed is False),
            self.not_evaluated + (passed is None),
        )


Progress: TypeAlias = Callable[[Tally], None]


class Run:
    """One run of a suite. What changes here: the results, and how far it is."""

    def __init__(self, plan: Plan, asking: Asking, grader: Grader, progress: Progress) -> None:
        self._plan, self._asking, self._grader, self._progress = plan, asking, grader, progress
        self._render = renderer()
        self._characters = min(MOST_CHARACTERS, max(LEAST_CHARACTERS, TEXT_CHARACTERS // plan.runs))
        self._results: list[CaseResult] = []
        self.tally = Tally(0, plan.runs)

    def __repr__(self) -> str:
        return (
            f"<Run of {self._plan.flag}={self._plan.variant.name}, {self.tally.done} of {self.tally.total}>"
        )

    async def results(self) -> list[CaseResult]:
        """How every case ended, each time, in the suite's order. Cancelled, it leaves nothing running."""
        runs = self._runs()
        self._progress(self.tally)
        async with asyncio.TaskGroup() as group:
            for _ in range(min(self._plan.concurrency, self._plan.runs)):
                group.create_task(self._work(runs))
        return sorted(self._results, key=lambda each: (each.case, each.repeat))

    def _runs(self) -> Iterator[tuple[Case, int]]:
        for repeat in range(1, self._plan.repeat + 1):
            for case in self._plan.suite.cases:
                yield case, repeat

    async def _work(self, runs: Iterator[tuple[Case, int]]) -> None:
        """One of those that ask beside each other: they share `runs`, until nothing is left."""
        for case, repeat in runs:
            result = await self._one(case, repeat)
            self._results.append(shortened(result, self._characters))
            self.tally = self.tally.plus(result.passed)
            self._progress(self.tally)
            # An upstream within this process may answer without ever waiting, and users want their turn.
            await asyncio.sleep(0)

    async def _one(self, case: Case, repeat: int) -> CaseResult:
        plan = self._plan
        try:
            question = question_of(case, plan.suite, self._render)
        except NotAsked as error:
            return not_evaluated(case, error.message, repeat=repeat)
        messages: list[Json] = [
            {"role": message.role, "content": message.content} for message in question.messages
        ]
        pins = {} if plan.served else {plan.flag: plan.variant.name}
        answer = await self._asking.ask(
            Inquiry(plan.route, messages, question.variables, pins, about=plan.flag)
        )
        pinned = {plan.layer: plan.variant.name}
        return await case_result(question, answer, self._grader, repeat=repeat, pinned=pinned)


async def run_suite(run: Run, plan: Plan, *, clock: Callable[[], float], now: Callable[[], float]) -> Report:
    """The report of a run; `now` is Unix time, `clock` counts seconds."""
    started, began = now(), clock()
    results = await run.results()
    return Report(
        plan.flag,
        plan.variant.name,
        plan.variant.hash,
        plan.suite.name,
        plan.suite.hash,
        results,
        gate(results, plan.thresholds, expected=plan.runs),
        plan.thresholds,
        _time(started),
        clock() - began,
        repeat=plan.repeat,
    )


def renderer() -> Render:
    """Renders a suite's templates, in the language and within the budget of the gateway's own prompts."""
    compiled = lru_cache(TEMPLATES_KEPT)(compile_template)

    def render(text: str, variables: Mapping[str, Json]) -> str:
        if "{{" not in text and "{%" not in text and "{#" not in text:
            return text
        try:
            return compiled(text).render(variables)
        except (TemplateInvalid, TemplateFailed) as error:
            raise Unrenderable(error.message, mend=error.mend) from error

    return render


def shortened(result: CaseResult, characters: int) -> CaseResult:
    """With the beginning of the answer only, and without the passages."""
    answer: Answer | None = result.answer
    if answer is None:
        return result
    text = answer.text if len(answer.text) <= characters else f"{answer.text[:characters]}…"
    return replace(result, answer=replace(answer, text=text, retrieved=()))


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
