"""Cases in a CSV file, as promptfoo writes them: a row is a case, a column a variable, `__…` what is asserted.

Knows no file. The small language of `__expected` is promptfoo's: `TYPE(threshold): value`, else the text itself (equals).
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Mapping
from types import MappingProxyType

from flags.errors import Invalid
from flags.model import Json
from policies.evals.case import TYPES

# Types that promptfoo has and we lack: told by name, and not read as the text that an answer should equal.
LACKING = frozenset(
    {
        "agent-rubric",
        "answer-relevance",
        "bleu",
        "classifier",
        "contains-html",
        "contains-sql",
        "contains-xml",
    }
    | {"context-recall", "context-relevance", "conversation-relevance", "finish-reason", "g-eval", "gleu"}
    | {"guardrails", "is-html", "is-refusal", "is-sql", "is-valid-function-call", "is-xml", "javascript"}
    | {"is-valid-openai-function-call", "is-valid-openai-tools-call", "levenshtein", "max-score", "meteor"}
    | {
        "model-graded-closedqa",
        "model-graded-factuality",
        "moderation",
        "perplexity",
        "perplexity-score",
        "pi",
    }
    | {"python", "rouge-n", "ruby", "search-rubric", "select-best", "tool-call-f1", "trace-error-spans"}
    | {"trace-span-count", "trace-span-duration", "webhook", "word-count"}
)
_OLD_NAMES = MappingProxyType({"grade": "llm-rubric", "fn": "javascript", "eval": "javascript"})
_LISTS = frozenset({"contains-all", "contains-any", "icontains-all", "icontains-any"})
_EXPECTED = re.compile(r"(not-)?([a-z0-9-]+)(?:\((\d+(?:\.\d+)?)\))?\s*(?::\s*(.*))?", re.DOTALL)
_ASSERTED = re.compile(r"__expected\d*")
_SETTING = re.compile(r"__config:(__expected\d*):(threshold)")


def tests_in(text: str) -> list[dict[str, Json]]:
    """The tests in a CSV with a header. Raises Invalid, whose path is `:LINE`."""
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        header = [each.strip() for each in next(reader, [])]
        _check_header(header)
        return [_test(header, row, line) for line, row in _rows(reader, len(header))]
    except csv.Error as error:
        raise Invalid(f":{reader.line_num}", f"not CSV: {error}") from None


def _check_header(header: list[str]) -> None:
    if not any(header):
        raise Invalid(":1", "there is nothing in this file", mend="begin with a line of column names")
    twice = {each for each in header if header.count(each) > 1}
    if twice or not all(header):
        found = f"the column {min(twice)!r} is given twice" if all(header) else "a column has no name"
        raise Invalid(":1", found)


def _rows(reader: Iterator[list[str]], width: int) -> Iterator[tuple[int, list[str]]]:
    for row in reader:
        line: int = reader.line_num  # type: ignore[attr-defined]  # a csv reader's own, which its protocol hides
        if len(row) > width:
            raise Invalid(f":{line}", f"this row has {len(row)} columns, the header {width}", mend="quote it")
        if any(row):
            yield line, row + [""] * (width - len(row))


def _test(header: list[str], row: list[str], line: int) -> dict[str, Json]:
    cells = dict(zip(header, row, strict=True))
    variables: dict[str, Json] = {}
    metadata: dict[str, Json] = {}
    test: dict[str, Json] = {"vars": variables, "assert": list(_asserts(cells, line))}
    options: dict[str, Json] = {"disableVarExpansion": True}
    for name, cell in cells.items():
        if not name.startswith("__"):
            variables[name] = cell
        elif name.startswith("__metadata:"):
            metadata[name.removeprefix("__metadata:")] = cell
        elif name == "__description":
            test["description"] = cell
        elif name == "__threshold":
            test |= {"threshold": _number(cell, name, line)} if cell else {}
        elif name in ("__prefix", "__suffix"):
            options[name.removeprefix("__")] = cell
        elif name != "__metric" and cell and not _ASSERTED.fullmatch(name) and not _SETTING.fullmatch(name):
            # Kept by its name, so that the case is not evaluated.
            test[name] = cell
    return test | {"metadata": metadata, "options": options}


def _asserts(cells: Mapping[str, str], line: int) -> Iterator[dict[str, Json]]:
    metric = cells.get("__metric")
    for name, cell in cells.items():
        if not _ASSERTED.fullmatch(name) or not cell.strip():
            continue
        found = assertion_in(cell.strip())
        threshold = cells.get(f"__config:{name}:threshold")
        if threshold:
            found["threshold"] = _number(threshold, name, line)
        yield {**found, "metric": metric} if metric else found


def assertion_in(text: str) -> dict[str, Json]:
    """The assertion that a cell of `__expected` holds."""
    found = _EXPECTED.fullmatch(text)
    negated, kind, threshold, value = found.groups() if found else (None, "", None, None)
    kind = _OLD_NAMES.get(kind, kind) if value is not None else kind
    if kind not in TYPES | LACKING:
        return {"type": "equals", "value": text}
    assertion: dict[str, Json] = {"type": f"{negated or ''}{kind}"}
    if threshold:
        assertion["threshold"] = float(threshold)
    if value:
        assertion["value"] = _listed(value) if kind in _LISTS else value
    return assertion


def _listed(value: str) -> list[Json]:
    return [each.strip() for each in value.split(",") if each.strip()]


def _number(cell: str, name: str, line: int) -> float:
    try:
        return float(cell)
    except ValueError:
        raise Invalid(f":{line}", f"{name} is {cell[:60]!r}; expected a number") from None
