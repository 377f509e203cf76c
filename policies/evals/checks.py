"""One assertion on one answer. Knows which kind is looked at by whom, and no gateway."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from types import MappingProxyType
from typing import TypeAlias

from policies.evals import judged
from policies.evals.answer import Answer
from policies.evals.case import SET, Assertion
from policies.evals.grader import Grader, GraderAway
from policies.evals.question import Question
from policies.evals.schema import embedded, parsed, unmet
from policies.evals.texts import TEXTS, spelled
from policies.evals.verdict import Checked, Found, NotEvaluated, combined, plainly

_Judged: TypeAlias = Callable[[Assertion, Question, Answer, Grader], Awaitable[Found]]
_JUDGED: Mapping[str, _Judged] = MappingProxyType(
    {
        "similar": judged.similar,
        "llm-rubric": judged.rubric,
        "factuality": judged.factuality,
        "context-faithfulness": judged.faithfulness,
    }
)


async def checked(assertion: Assertion, question: Question, answer: Answer, grader: Grader) -> Checked:
    """What `assertion` makes of `answer`; `passed` None where it cannot be evaluated. Raises nothing for what a suite says."""
    passed: bool | None
    try:
        passed, score, reason = await _found(assertion, question, answer, grader)
        if assertion.negated:
            passed, score = not passed, 1 - score
    except (NotEvaluated, GraderAway) as error:
        mend = f" (mend: {error.mend})" if error.mend else ""
        passed, score, reason = None, 0.0, f"{error.message}{mend}"
    return Checked(assertion.name, passed, score, reason, assertion.metric, assertion.weight)


def _search(pattern: str, text: str) -> bool:
    # Only where a suite has a pattern: the engine takes 3 MB and 6 ms of each worker's start.
    from policies.evals.patterns import search  # noqa: PLC0415

    return search(pattern, text)


async def _found(assertion: Assertion, question: Question, answer: Answer, grader: Grader) -> Found:
    if assertion.lacks:
        raise NotEvaluated(f"{assertion.lacks} is not evaluated here")
    if assertion.type in TEXTS:
        return TEXTS[assertion.type](assertion.value, answer.text)
    if assertion.type in _JUDGED:
        return await _JUDGED[assertion.type](assertion, question, answer, grader)
    match assertion.type:
        case "regex":
            # In a thread: it may take its whole second, and everybody else is served meanwhile.
            hit = await asyncio.to_thread(_search, spelled(assertion.value), answer.text)
            return plainly(hit, f"{spelled(assertion.value)[:80]!r} is looked for")
        case "is-json" | "contains-json":
            return await asyncio.to_thread(_json, assertion, answer.text)
        case "latency":
            return _at_most(answer.seconds * 1000, assertion.threshold, "ms")
        case "cost":
            return _at_most(answer.cost_usd, assertion.threshold, "USD")
        case _ if assertion.type == SET:
            return await _set(assertion, question, answer, grader)
    raise NotEvaluated(f"assertion type {assertion.type!r} is not evaluated here")


def _json(assertion: Assertion, text: str) -> Found:
    """The answer is JSON (or contains some), and of the schema where one is given."""
    if assertion.type == "contains-json":
        found = list(embedded(text))
    else:
        try:
            found = [parsed(text)]
        except ValueError as error:
            return Found(passed=False, score=0.0, reason=f"the answer is no JSON: {error}")
    if not found or assertion.value is None:
        return plainly(found, "JSON is looked for")
    wrong = [unmet(each, assertion.value) for each in found]
    return plainly(None in wrong, next((each for each in wrong if each), "it is of the schema"))


def _at_most(found: float | None, most: float | None, unit: str) -> Found:
    """What was measured against its limit; what is unknown is not zero."""
    if found is None or most is None:
        raise NotEvaluated(f"it is not known how many {unit} it was")
    return plainly(found <= most, f"{found:.6g} {unit}, at most {most:g}")


async def _set(assertion: Assertion, question: Question, answer: Answer, grader: Grader) -> Found:
    """An `assert-set`: its assertions put together as a case's are. One that is not evaluated makes the set so."""
    checks = [await checked(each, question, answer, grader) for each in assertion.asserts]
    passed, score, reason = combined(checks, assertion.threshold)
    if passed is None:
        raise NotEvaluated(reason)
    return Found(passed, score, reason)
