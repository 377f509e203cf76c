"""The verb changelog: a flag's history field by field, as YAML or Markdown. It reads, and changes nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import quote

import click

from gateway.cli.client import Client
from gateway.cli.markdown import code, link, table, value
from gateway.cli.options import show, speaks_to_server

PAGE = 500
# As long as the ledger takes a reason.
MAX_RATIONALE = 2_000


@click.command
@click.argument("flag")
@click.option("--format", "form", type=click.Choice(["yaml", "md"]), default="yaml", show_default=True)
@speaks_to_server
def changelog(client: Client, as_json: bool, flag: str, form: str) -> None:
    """Print what changed of FLAG: version, author, each field before and after, and why; oldest first."""
    archived, entries = 0, []
    for page in _pages(client, flag):
        archived = page["archived"]
        entries += page["entries"]
    if archived:
        told = f"changes up to revision {archived} are in archives (pointsman log shows which)"
        click.echo(f"note: {told}", err=True)
    text = "" if as_json else _yaml(entries) if form == "yaml" else changelog_md(flag, entries)
    show(entries, text, as_json=as_json)


def _pages(client: Client, flag: str) -> Iterator[Mapping[str, Any]]:
    after: int | None = 0
    while after is not None:
        page = client.get(f"/flags/{quote(flag, safe='')}/changelog", {"after": after, "limit": PAGE})
        yield page
        after = page["next"]


def _yaml(entries: Sequence[Mapping[str, Any]]) -> str:
    import yaml  # noqa: PLC0415  # only here

    # Escapes what a terminal would obey, and quotes what YAML would take for a date or a number.
    found: str = yaml.safe_dump(list(entries), sort_keys=False, allow_unicode=False, width=120)
    return found.rstrip("\n")


def changelog_md(flag: str, entries: Sequence[Mapping[str, Any]]) -> str:
    """A heading and a table for each entry."""
    return "\n\n".join([f"# Change log of {code(flag)}", *map(_entry_md, entries)])


def _entry_md(entry: Mapping[str, Any]) -> str:
    head = f"## {code(entry['version'] or 'nothing')}, {entry['timestamp']}"
    who = f"{code(entry['action'])} by {code(entry['author'])}, revision {entry['revision']}:"
    why = f"{who} {code(entry['rationale'], limit=MAX_RATIONALE)}{link(entry['link'])}"
    rows = [
        (code(each["field"]), value(each["old_value"]), value(each["new_value"])) for each in entry["changes"]
    ]
    return f"{head}\n\n{why}\n\n{table(('field', 'old', 'new'), rows)}"
