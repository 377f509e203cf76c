"""`rollback show` and `rollback tick`: the record of a governed rollback as a checklist.

Each is a call or two of the operators' API; no rule is known here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import datetime
from types import MappingProxyType
from typing import Any
from urllib.parse import quote

import click

from gateway.cli.client import Client
from gateway.cli.figures import columns
from gateway.cli.options import OPTIONAL_REASON, show, speaks_to_server
from gateway.cli.problem import FAILED, CommandError

# A hash in a sentence, but not in a link: its beginning tells it from others, the JSON has all of it.
HASH = re.compile(r"(?<![/\w])([0-9a-f]{12})[0-9a-f]{52}\b")
MARKS: Mapping[str, str] = MappingProxyType({"done": "✓", "failed": "✗", "open": "…"})


class Brake(click.Command):
    """`rollback`: `show` and `tick` as the first word are commands of their own, for records.

    A flag or route may bear such a name: it is rolled back as any other, for a rollback has a --reason, and neither does
    `show` take one nor does `tick` take it in place of the ID.
    """

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        """The context of the word's own command, where the first word is one."""
        word = SUBCOMMANDS.get(args[0]) if args else None
        if word is None or _is_a_flag(*args):
            return super().make_context(info_name, args, parent, **extra)
        return word.make_context(f"{info_name} {args[0]}", args[1:], parent, **extra)


def _is_a_flag(word: str, *rest: str) -> bool:
    """Whether the word is the name of what is to be rolled back."""
    reasons = [each for each in rest if each.partition("=")[0] == "--reason"]
    return bool(reasons) and (word == "show" or rest[0].startswith("-"))


@click.command("show")
@click.argument("name", metavar="[ID|FLAG]", required=False)
@speaks_to_server
def show_record(client: Client, as_json: bool, name: str | None) -> None:
    """Show a rollback step by step: the one with this ID, or the newest (of FLAG)."""
    record = _found(client, name)
    show(record, record_text(record), as_json=as_json)


def _link(ctx: click.Context, param: click.Parameter, link: str) -> str:
    if not link.startswith(("http://", "https://")) or any(map(str.isspace, link)):
        raise click.BadParameter(
            f"found {link!r}, expected a URL such as https://ci.example/run/1", ctx, param
        )
    return link


@click.command("tick")
@click.argument("change_id", metavar="ID")
@click.argument("step")
@click.option("--link", required=True, callback=_link, metavar="URL", help="Where it is proved.")
@OPTIONAL_REASON
@speaks_to_server
def tick(client: Client, as_json: bool, change_id: str, step: str, **body: Any) -> None:
    """Tick STEP of the rollback ID: `ci` or another tick of yours, or a step that is open or failed.

    What is ticked stays ticked, with the link that it was ticked by.
    """
    record = client.post(f"/rollbacks/{quote(change_id, safe='')}/tick", {"step": step, **body})
    told = record_text(record)
    if not record.get("changed", True):
        told = f"{step} was ticked before; nothing was written\n{told}"
    show(record, told, as_json=as_json)


SUBCOMMANDS: Mapping[str, click.Command] = MappingProxyType({"show": show_record, "tick": tick})


def _found(client: Client, name: str | None) -> Any:
    """The record that is meant. Raises CommandError where there is none."""
    unknown: CommandError | None = None
    if name is not None:
        try:
            return client.get(f"/rollbacks/{quote(name, safe='')}")
        except CommandError as refused:
            if refused.problem.get("code") != "not_found":
                raise
            unknown = refused
    try:
        newest = client.get("/rollbacks", {"flag": name, "limit": 1})["items"]
    except CommandError:
        # No flag can have such a name, so it was meant as an id.
        raise (unknown or CommandError(FAILED, {"code": "failed", "message": "no answer"})) from None
    if newest:
        return newest[0]
    if unknown is not None:
        raise unknown
    raise CommandError(FAILED, {"code": "not_found", "message": "no rollback was recorded yet"})


def record_text(record: Mapping[str, Any]) -> str:
    """The checklist: what was done, and each step with its tick, time, finding and link."""
    return "\n".join([*_head(record), "", *columns(_rows(record["steps"], record["time"])), "", _end(record)])


def _head(record: Mapping[str, Any]) -> Iterator[str]:
    to = record["to"] or "the caller's own default"
    label = f"  [{record['label']}]" if record["label"] else ""
    yield f"rollback {record['id']}"
    yield f"{record['flag']}: {record['from'] or 'nothing'} → {to}{label}"
    yield f"{record['time']}  by {record['actor']}: {record['reason']}"
    if record.get("link"):
        yield f"see {record['link']}"
    if record["routes"]:
        yield f"routes: {', '.join(record['routes'])}"
    if record["hash"]:
        yield f"serves {record['hash']}"
    if record.get("ungoverned"):
        yield f"UNGOVERNED: {'; '.join(record['ungoverned'])}"


def _rows(steps: list[Mapping[str, Any]], since: str) -> Iterator[tuple[str, ...]]:
    for step in steps:
        when = _after(since, step["time"]) if step["time"] else ""
        # A link has its own cell at the end: a terminal makes it one to click.
        detail = HASH.sub(r"\1…", step.get("detail", ""))
        yield MARKS[step["state"]], step["name"], when, f"{detail}  {step.get('link', '')}".rstrip()


def _after(since: str, time: str) -> str:
    """`+0.4 s`, `+3 min`, `+2 h`: what matters of a step's time is how long after the Change it came."""
    seconds = (datetime.fromisoformat(time) - datetime.fromisoformat(since)).total_seconds()
    if seconds < 60:
        return f"+{seconds:.1f} s"
    return f"+{seconds / 60:.0f} min" if seconds < 3600 else f"+{seconds / 3600:.1f} h"


def _end(record: Mapping[str, Any]) -> str:
    states = [step["state"] for step in record["steps"]]
    told = f"{states.count('done')} of {len(states)} ticked"
    if states.count("failed"):
        told += f", {states.count('failed')} failed"
    return told + ("; closed" if record["closed"] else f", {states.count('open')} still to be done")
