"""Versions in words: a table, a life with its rules, a difference. Pure: the API's documents in, lines out."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from gateway.cli.figures import columns, to_the_second
from gateway.cli.terminal import Line

HEADINGS = ("", "VERSION", "STAGE", "EVAL", "APPROVED", "CREATED", "BY", "HASH", "")
# As many as tell the versions of one flag apart.
HASH_DIGITS = 12
# Of a time, the day: the table is to fit a terminal, and `lifecycle show` has the rest.
DAY_DIGITS = 10
STAGES: Mapping[str, str] = MappingProxyType(
    {
        "production": "good",
        "deprecated": "doubt",
        "rejected": "bad",
        "withdrawn": "bad",
        "quarantined": "bad",
    }
)
SIGNS: Mapping[str, str] = MappingProxyType({"+": "good", "-": "bad", "@": "faint"})


def table(found: Mapping[str, Any]) -> list[Line]:
    """One version a line, then the last known good one and why."""
    rows = columns([HEADINGS, *(_row(each, found) for each in found["versions"])])
    styles = ["faint", *(STAGES.get(each["stage"], "") for each in found["versions"])]
    lines = [Line(row, style) for row, style in zip(rows, styles, strict=True)]
    return [*lines, *_good(found)]


def lives(found: Mapping[str, Any]) -> list[Line]:
    """A flag's rules, its last known good version, and each version with what it lacks."""
    layer = f" ({found['layer']})" if found["layer"] else ""
    served = found["served"] or "nothing"
    lines = [Line(f"{found['flag']}{layer}: serves {served}, safe {found['safe']}", "head")]
    lines += [Line(f"  rules: {_rules(found['promotion'])}"), *_good(found)]
    for each in found["versions"]:
        lines += [Line(""), *_life(each)]
    return lines


def life(found: Mapping[str, Any]) -> list[Line]:
    """Everything about one version, its content at last."""
    lines = _life(found)
    if found["erased"]:
        return [*lines, Line("  content: erased", "bad")]
    return [*lines, Line("  content:"), *(Line(f"    {text}") for text in _content(found["content"]))]


def difference(found: Mapping[str, Any]) -> list[Line]:
    """A unified diff, each place under its heading."""
    if found["same"]:
        return [Line(f"{found['from']} and {found['to']} have the same content ({found['from_hash']})")]
    lines = []
    for part in found["parts"]:
        lines += [Line(f"{sign} {found[side]} {part['path']}".rstrip(), "head") for sign, side in _SIDES]
        lines += [Line(text, SIGNS.get(text[:1], "")) for text in part["lines"]]
    return lines


_SIDES = (("---", "from"), ("+++", "to"))


def said(done: Mapping[str, Any], what: str) -> list[Line]:
    """What was said of a version, and how it stands now."""
    told = f"is {what}" if done["changed"] else f"was {what} already"
    head = f"{done['flag']} {done['variant']} {told}: {done['stage']} (revision {done['revision']})"
    lines = [Line(head), Line(f"  hash {done['hash']}")]
    if done["approvals"]:
        lines.append(Line(f"  approved by {', '.join(map(_approval, done['approvals']))}"))
    for each in done["unmet"]:
        lines += _missing(each)
    return [*lines, *_good(done)]


def _row(each: Mapping[str, Any], found: Mapping[str, Any]) -> tuple[str, ...]:
    marks = [*each["marks"], *(["last known good"] if each["last_known_good"] else [])]
    counting = sum(approval["counts"] for approval in each["approvals"])
    wanted = f"/{found['promotion']['approvals']}" if found["promotion"] else ""
    return (
        each["name"],
        each["version"],
        each["stage"],
        each["eval_status"],
        f"{counting}{wanted}",
        (each["created_at"] or "")[:DAY_DIGITS],
        each["created_by"],
        each["hash"][:HASH_DIGITS],
        ", ".join(marks),
    )


def _good(found: Mapping[str, Any]) -> list[Line]:
    good = found["last_known_good"]
    lines = [Line(f"  last known good: {good['variant'] or 'none'} ({good['reason']})")]
    if found.get("ungoverned"):
        lines.append(Line(f"  {found['safe']} is safe, ungoverned: {'; '.join(found['ungoverned'])}", "bad"))
    return lines


def _rules(rules: Mapping[str, Any] | None) -> str:
    if rules is None:
        return "none (no promotion rules)"
    told = ["a valid record"]
    if rules["suite"]:
        score = "" if rules["min_score"] is None else f" and score {rules['min_score']:g}"
        suite = f"{rules['evals']} ({rules['suite'][:HASH_DIGITS]})".strip()
        told.append(f"passed {suite} with pass rate {rules['min_pass_rate']:g}{score}")
    if rules["approvals"]:
        roles = " or ".join(rules["roles"]) or "approver or admin"
        told.append(f"approved by {rules['approvals']} ({roles}), not the author")
    told.append("neither rejected, deprecated, withdrawn nor quarantined")
    return "; ".join(told) + ("; strict: switch asks for it too" if rules["strict"] else "")


def _life(each: Mapping[str, Any]) -> list[Line]:
    share = f", {each['percent']:g} % of the users" if each["percent"] else ""
    marks = f" ({', '.join(each['marks'])}{share})" if each["marks"] else ""
    head = f"{each['name']}  {each['version']}  {each['stage']}{marks}"
    lines = [Line(head, STAGES.get(each["stage"], "") or "head"), Line(f"  hash {each['hash']}")]
    lines.append(Line(f"  {_origin(each)}"))
    for rule in each["rules"]:
        lines += [_met(rule)] if rule["met"] else _missing(rule)
    lines += [Line(f"  eval {_run(run)}", "faint" if run["stale"] else "") for run in each["evaluations"]]
    lines += [Line(f"  approved by {_said(mark)}") for mark in each["approvals"]]
    lines += [
        Line(f"  {word} by {_said(each[field])}", "bad")
        for word, field in (("rejected", "rejection"), ("deprecated", "deprecation"))
        if each[field]
    ]
    word = "last known good" if each["last_known_good"] else "last known good?"
    return [
        *lines,
        Line(f"  {word}: {each['last_known_good_reason']}", "good" if each["last_known_good"] else ""),
    ]


def _origin(each: Mapping[str, Any]) -> str:
    told = [
        f"declared by {each['created_by'] or 'unknown'} at {_time(each['created_at']) or 'unknown'}",
        f"environment {each['environment']}",
        f"generation {each['generation']}",
    ]
    told += [f"served since {_time(each['served_at'])}"] if each["served_at"] and each["percent"] else []
    for word, field in (("source", "source_file_uri"), ("from", "semantic_diff_from"), ("notes:", "notes")):
        told += [f"{word} {each[field]}"] if each[field] else []
    return ", ".join([*told, *([f"tags {' '.join(each['tags'])}"] if each["tags"] else [])])


def _met(rule: Mapping[str, Any]) -> Line:
    return Line(f"  ✓ {rule['rule']}" + (f": {rule['message']}" if rule["message"] else ""), "good")


def _missing(rule: Mapping[str, Any]) -> list[Line]:
    return [Line(f"  ✗ {rule['rule']}: {rule['message']}", "bad"), Line(f"      → {rule['mend']}")]


def _run(run: Mapping[str, Any]) -> str:
    ending = {True: "passed", False: "not passed", None: "NOT EVALUATED"}[run["passed"]]
    stale = ", stale: of another suite than the current one" if run["stale"] else ""
    away = f", {run['not_evaluated']} not evaluated" if run["not_evaluated"] else ""
    return (
        f"{run['suite']}: {ending}, pass rate {run['pass_rate']:.3g}, score {run['score']:.3g}, {run['cases']} cases{away},"
        f" {_time(run['at'])} by {run['by']}, report {run['report_link']}{stale}"
    )


def _approval(mark: Mapping[str, Any]) -> str:
    return f"{mark['by']} ({mark['role']}{'' if mark['counts'] else ', does not count'})"


def _said(mark: Mapping[str, Any]) -> str:
    who = _approval(mark) if "counts" in mark else f"{mark['by']} ({mark['role']})"
    link = f" <{mark['link']}>" if mark["link"] else ""
    return f"{who} {_time(mark['at'])}: {mark['reason']}{link}"


def _content(content: Any) -> Sequence[str]:  # JSON of any kind
    """A prompt message by message, as it reads; all else as JSON."""
    messages = content.get("messages") if isinstance(content, dict) else None
    if not isinstance(messages, list):
        return _json(content)
    lines: list[str] = []
    for message in messages:
        text = message.get("content")
        lines += [f"[{message.get('role')}]", *(text.split("\n") if isinstance(text, str) else _json(text))]
    rest = {name: value for name, value in content.items() if name != "messages"}
    return [*lines, *(_json(rest) if rest else [])]


def _json(value: object) -> list[str]:
    return json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False).split("\n")


def _time(text: str | None) -> str:
    return to_the_second(text) if text else ""
