"""What `apply` would write, as a plan to review: per object, field by field. Knows the server's answer and no server."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from gateway.cli.markdown import code, table, value
from policies.governance.changelog import FieldChange, flag_changes

FLAG = "flag/"
# What a plan of thousands shows of one object; JSON has all of it.
MAX_FIELDS = 40
# Longer than most fields; a hash is told by its first twelve digits.
MAX_VALUE = 80


def plan_of(done: Mapping[str, Any]) -> dict[str, Any]:
    """The server's answer to a dry run, each write with its `changes` (field, old_value, new_value)."""
    writes = [{**each, "changes": [_built(change) for change in _changes(each)]} for each in done["writes"]]
    return {**done, "writes": writes}


def plan_text(plan: Mapping[str, Any], form: str) -> str:
    """The plan in words, or as Markdown for a comment on a pull request."""
    return _markdown(plan) if form == "md" else _words(plan)


def _built(change: FieldChange) -> dict[str, Any]:
    return {"field": change.field, "old_value": change.old_value, "new_value": change.new_value}


def _changes(write: Mapping[str, Any]) -> Iterator[FieldChange]:
    before, after = write["before"], write["after"]
    if str(write["object"]).startswith(FLAG):
        yield from flag_changes(before, after)
        return
    old, new = (dict(_leaves((side or {}).get("spec"), "")) for side in (before, after))
    for name in dict.fromkeys((*new, *old)):
        if json.dumps(old.get(name)) != json.dumps(new.get(name)):
            yield FieldChange(name, old.get(name), new.get(name))


def _leaves(found: object, path: str) -> Iterator[tuple[str, Any]]:
    """Every value that is no object, under its dotted path."""
    if isinstance(found, Mapping):
        for name, each in found.items():
            yield from _leaves(each, f"{path}.{name}" if path else str(name))
    elif found is not None:
        yield path, found


def _told(plan: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What whoever reviews must know besides: what is refused a place, and what stays as it is operated."""
    return [*(("warning", line) for line in plan["warnings"]), *(("note", line) for line in plan["notes"])]


def _count(plan: Mapping[str, Any]) -> str:
    writes = plan["writes"]
    if not writes:
        return f"nothing to change (revision {plan['revision']})"
    kinds = {
        action: sum(each["action"] == action for each in writes) for action in ("create", "update", "delete")
    }
    told = ", ".join(f"{count} to {action}" for action, count in kinds.items() if count)
    return f"{told} (as of revision {plan['revision']}); nothing is written yet"


def _words(plan: Mapping[str, Any]) -> str:
    lines = []
    for write in plan["writes"]:
        lines.append(f"{write['action']:>6}  {write['object']}")
        for change in _shown(write["changes"]):
            lines.append(
                f"          {change['field']}: {_short(change['old_value'])} → {_short(change['new_value'])}"
            )
        lines += [f"          … {more} more fields" for more in _more(write["changes"])]
    lines += [f"{kind}: {line}" for kind, line in _told(plan)]
    return "\n".join([*lines, _count(plan)])


def _markdown(plan: Mapping[str, Any]) -> str:
    parts = ["### Pointsman: the plan", _count(plan)]
    for write in plan["writes"]:
        rows = [
            (code(change["field"]), value(_cut(change["old_value"])), value(_cut(change["new_value"])))
            for change in _shown(write["changes"])
        ]
        rows += [(f"… {more} more fields", "", "") for more in _more(write["changes"])]
        parts.append(f"**{write['action']}** {code(write['object'])}")
        if rows:
            parts.append(table(("field", "now", "then"), rows))
    parts += [f"- {kind}: {code(line, limit=1_000)}" for kind, line in _told(plan)]
    return "\n\n".join(parts)


def _shown(changes: Sequence[Mapping[str, Any]]) -> Sequence[Mapping[str, Any]]:
    return changes[:MAX_FIELDS]


def _more(changes: Sequence[Mapping[str, Any]]) -> list[int]:
    return [len(changes) - MAX_FIELDS] if len(changes) > MAX_FIELDS else []


def _cut(found: Any) -> Any:
    """A hash by its first digits."""
    is_hash = isinstance(found, str) and len(found) == 64 and not found.strip("0123456789abcdef")
    return f"{found[:12]}…" if is_hash else found


def _short(found: Any) -> str:
    if found is None:
        return "(nothing)"
    text = json.dumps(_cut(found), ensure_ascii=False)
    return text if len(text) <= MAX_VALUE else f"{text[: MAX_VALUE - 1]}…"
