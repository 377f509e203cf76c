"""promptfoo's out.json, of its versions 1 to 3, becomes our results. Knows that file's shape, and runs nothing.

What it calls an error, and whatever is not said plainly, is not evaluated: only `success: true` without one is a pass.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from flags.errors import Invalid
from flags.model import Json
from policies.evals.answer import Answer
from policies.evals.result import CaseResult
from policies.evals.verdict import Checked, brief

# What stays of an answer: a report has no more either.
TEXT_CHARS_MAX = 2_000
ROWS_MAX = 50_000
# promptfoo's `failureReason`: an assertion failed (1), or there was an error (2).
_ERROR = 2


def results_in(data: bytes) -> list[CaseResult]:
    """The results in an out.json. Raises Invalid for any other file."""
    try:
        document: Json = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise Invalid("out.json", f"promptfoo's result is no JSON: {error}") from None
    rows = _rows(document)
    if not 0 < len(rows) <= ROWS_MAX:
        raise Invalid("out.json", f"promptfoo's result has {len(rows)} results; expected 1 to {ROWS_MAX}")
    numbers: dict[str, int] = {}
    asked: Counter[int] = Counter()
    results = []
    for at, row in enumerate(rows):
        found = row if isinstance(row, Mapping) else {}
        case = numbers.setdefault(_key(found, at), len(numbers) + 1)
        asked[case] += 1
        results.append(_result(found, case, asked[case]))
    return results


def _rows(document: Json) -> Sequence[Json]:
    """The list of results: `results.results` since version 2, `results` before."""
    found = document.get("results") if isinstance(document, Mapping) else None
    if isinstance(found, Mapping):
        found = found.get("results")
    if isinstance(found, str) or not isinstance(found, Sequence):
        raise Invalid("out.json", "promptfoo's result has no list of results")
    return found


def _key(row: Mapping[str, Json], at: int) -> str:
    """What is the same for the repeats of a case: `testIdx` counts them on. Older versions tell no case: each row is one."""
    if not isinstance(row.get("testCase"), Mapping):
        return f"row {at}"
    provider = row.get("provider")
    named = provider.get("id") if isinstance(provider, Mapping) else provider
    return json.dumps([row["testCase"], row.get("vars"), row.get("promptIdx"), named], sort_keys=True)


def _result(row: Mapping[str, Json], case: int, repeat: int) -> CaseResult:
    checks = tuple(_checks(row.get("gradingResult")))
    passed, reason = _verdict(row, checks)
    return CaseResult(
        case,
        repeat,
        passed,
        0.0 if passed is None else _fraction(row.get("score"), 1.0 if passed else 0.0),
        reason,
        title=_title(row, case),
        answer=_answer(row),
        checks=checks,
        metrics={
            str(name)[:200]: _fraction(score, 0.0)
            for name, score in _mapping(row.get("namedScores")).items()
            if _number(score) is not None
        },
    )


def _verdict(row: Mapping[str, Json], checks: Sequence[Checked]) -> tuple[bool | None, str]:
    success, error = row.get("success"), row.get("error")
    told = brief(str(error)) if error else ""
    graded = _mapping(row.get("gradingResult"))
    if not isinstance(success, bool):
        return None, told or "promptfoo does not say whether it passed"
    if row.get("failureReason") == _ERROR:
        return None, told or "promptfoo met an error"
    if success:
        return (None, told) if error else (True, "all assertions pass")
    if not graded:
        # Nothing was graded, so nothing of the answer failed.
        return None, told or "promptfoo graded nothing"
    return False, brief(str(graded.get("reason") or told or "failed"))


def _checks(graded: Json) -> Iterator[Checked]:
    parts = _mapping(graded).get("componentResults")
    for part in parts if isinstance(parts, list) else []:
        found = _mapping(part)
        assertion = _mapping(found.get("assertion"))
        passed = found.get("pass")
        weight, metric = _number(assertion.get("weight")), assertion.get("metric")
        yield Checked(
            str(assertion.get("type") or "assertion")[:100],
            passed if isinstance(passed, bool) else None,
            _fraction(found.get("score"), 1.0 if passed is True else 0.0),
            brief(str(found.get("reason") or "")),
            metric=str(metric)[:200] if metric else None,
            weight=1.0 if weight is None else weight,
        )


def _answer(row: Mapping[str, Json]) -> Answer:
    response = _mapping(row.get("response"))
    output = response.get("output")
    text = output if isinstance(output, str) else "" if output is None else json.dumps(output)
    tokens = _mapping(response.get("tokenUsage"))
    error = row.get("error") if row.get("failureReason") == _ERROR or not response else None
    return Answer(
        brief(text, TEXT_CHARS_MAX),
        (_number(row.get("latencyMs")) or 0.0) / 1000,
        # 0 is what it writes for a model whose price it does not know.
        cost_usd=_number(row.get("cost")) or None,
        error=brief(str(error)) if error else None,
        input_tokens=_whole(tokens.get("prompt")),
        output_tokens=_whole(tokens.get("completion")),
    )


def _title(row: Mapping[str, Json], case: int) -> str:
    found = row.get("description") or _mapping(row.get("testCase")).get("description")
    return brief(str(found), 200) if found else f"case {case}"


def _mapping(found: Json) -> Mapping[str, Json]:
    return found if isinstance(found, Mapping) else {}


def _number(found: Json) -> float | None:
    if isinstance(found, bool) or not isinstance(found, (int, float)) or not math.isfinite(found):
        return None
    return float(found)


def _whole(found: Json) -> int | None:
    number = _number(found)
    return None if number is None else int(number)


def _fraction(found: Json, default: float) -> float:
    number = _number(found)
    return default if number is None else min(1.0, max(0.0, number))
