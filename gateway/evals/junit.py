"""A report of evals as JUnit XML, which continuous integration reads. Knows the report's JSON, and no server.

What failed is a <failure>; what could not be evaluated is an <error>, so that no reader takes it for a pass.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from xml.sax.saxutils import escape, quoteattr

TEXT_CHARS_MAX = 2_000
# What XML 1.0 (2.2) has no way to write.
_FORBIDDEN = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def junit(report: Mapping[str, Any]) -> str:
    """The XML of a report (policies.evals.report.document). `Any`: the report may come from a server, as JSON."""
    rows = [each for each in report.get("results", []) if isinstance(each, Mapping)]
    gate = _gate(report)
    name = f"{report.get('flag', '')} {report.get('variant', '')}: {report.get('suite', '')}".strip()
    failures = sum(each.get("passed") is False for each in rows) + ("<failure" in gate)
    errors = sum(each.get("passed") is None for each in rows) + ("<error" in gate)
    counts = f'tests="{len(rows) + 1}" failures="{failures}" errors="{errors}"'
    head = f"name={_quoted(name)} {counts} time={_quoted(_seconds(report.get('seconds')))}"
    cases = "\n".join([gate, *(_case(each, name) for each in rows)])
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f"<testsuites {counts}>\n<testsuite {head}>\n{cases}\n</testsuite>\n</testsuites>\n"
    )


def _gate(report: Mapping[str, Any]) -> str:
    """The gate itself, first: cases may fail within its threshold."""
    reason = str(report.get("error") or report.get("reason") or "")
    return _testcase("gate", "gate", "0", _outcome(report.get("passed"), reason))


def _case(row: Mapping[str, Any], suite: str) -> str:
    answer = row.get("answer")
    answer = answer if isinstance(answer, Mapping) else {}
    title = f"{row.get('title') or row.get('case')} [{row.get('repeat', 1)}]"
    inner = _outcome(row.get("passed"), str(row.get("reason", "")))
    said = answer.get("text")
    if said and row.get("passed") is not True:
        inner += f"<system-out>{_text(str(said))}</system-out>"
    return _testcase(title, suite, _seconds(answer.get("seconds")), inner)


def _testcase(name: str, suite: str, seconds: str, inner: str) -> str:
    head = f'<testcase name={_quoted(name)} classname={_quoted(suite)} time="{seconds}"'
    return f"{head}>{inner}</testcase>" if inner else f"{head}/>"


def _outcome(passed: object, reason: str) -> str:
    if passed is True:
        return ""
    if passed is False:
        return f"<failure message={_quoted(reason)}/>"
    return f"<error message={_quoted(reason or 'not evaluated')}/>"


def _seconds(found: object) -> str:
    return f"{found:.3f}" if isinstance(found, (int, float)) else "0"


def _text(text: str) -> str:
    return escape(_FORBIDDEN.sub("\ufffd", text[:TEXT_CHARS_MAX]))


def _quoted(text: str) -> str:
    return quoteattr(_FORBIDDEN.sub("\ufffd", text[:TEXT_CHARS_MAX]))
