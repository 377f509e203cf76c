"""The verb for notices: list them, send dead ones again, try a channel. Each is one call of the operators' API."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import quote

import click

from gateway.cli.client import Client
from gateway.cli.figures import columns, to_the_second
from gateway.cli.options import show, speaks_to_server
from gateway.cli.problem import failed

LIMIT = click.option(
    "--limit",
    type=click.IntRange(1, 1000),
    default=50,
    show_default=True,
    help="So many of each state at most.",
)
HEAD = ("STATE", "AT", "CHANNEL", "TRIES", "ID")
# The columns that are numbers.
RIGHT = (3,)
# What a delivery is about stands below it: beside it, no terminal would be wide enough.
BELOW = " " * 7
# A test is looked for this often while it is waited for.
LOOK_SECONDS = 0.2


class _Listing(click.Group):
    """`notices` with a subcommand, else `notices list`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Without a subcommand's name the whole line is `list`'s."""
        options = not args or (args[0].startswith("-") and args[0] not in ctx.help_option_names)
        return super().parse_args(ctx, ["list", *args] if options else args)


@click.group(cls=_Listing)
def notices() -> None:
    """What people are told, by Slack, webhooks and mail; without a command: list."""


@notices.command("list")
@LIMIT
@speaks_to_server
def listed(client: Client, as_json: bool, limit: int) -> None:
    """What waits, what was told lately, and what is dead."""
    found = client.get("/notices", {"limit": limit})
    show(found, table_text(found, [*found["due"], *found["told"], *found["dead"]]), as_json=as_json)


@notices.command()
@LIMIT
@speaks_to_server
def dead(client: Client, as_json: bool, limit: int) -> None:
    """What could not be told in a day, with the last reason."""
    found = client.get("/notices", {"limit": limit})
    show(found["dead"], table_text(found, found["dead"]), as_json=as_json)


@notices.command("show")
@click.argument("event", metavar="ID")
@speaks_to_server
def shown(client: Client, as_json: bool, event: str) -> None:
    """How far one event is, by channel. ID is its Change's (a rollback's too)."""
    found = client.get(f"/notices/{quote(event, safe='')}")
    text = f"told with {found['merged']}" if found["merged"] else "\n".join(_lines(found["receipts"]))
    show(found, text, as_json=as_json)


@notices.command()
@click.argument("event", metavar="ID", required=False)
@click.option("--all", "every", is_flag=True, help="All that are dead.")
@speaks_to_server
def resend(client: Client, as_json: bool, event: str | None, every: bool) -> None:
    """Try again what is dead: of one event, or --all."""
    if (event is None) != every:
        raise click.UsageError("name one event (pointsman notices dead lists them), or say --all")
    path = "/notices/resend" if event is None else f"/notices/{quote(event, safe='')}/resend"
    found = client.post(path, {})
    show(found, f"{found['changed']} to be tried again", as_json=as_json)


@notices.command()
@click.argument("event", metavar="ID")
@speaks_to_server
def drop(client: Client, as_json: bool, event: str) -> None:
    """Give up what is dead of one event, for good."""
    found = client.post(f"/notices/{quote(event, safe='')}/drop", {})
    show(found, f"{found['changed']} dropped", as_json=as_json)


@notices.command()
@click.argument("channel")
@click.option(
    "--wait", "wait_seconds", type=click.FloatRange(0, 60), default=10.0, show_default=True, metavar="S"
)
@speaks_to_server
def test(client: Client, as_json: bool, channel: str, wait_seconds: float) -> None:
    """Send a test by one channel. Exit 1: it was not taken in time."""
    sent = client.post("/notices/test", {"channel": channel})
    until = time.monotonic() + wait_seconds
    while True:
        found = client.get(f"/notices/{sent['id']}")
        receipt = next((each for each in found["receipts"] if each["channel"] == channel), None)
        tried = receipt is not None and (receipt["state"] != "due" or receipt["found"])
        if tried or time.monotonic() >= until:
            break
        time.sleep(LOOK_SECONDS)
    if receipt is None or receipt["state"] != "told":
        why = receipt["found"] if receipt is not None and receipt["found"] else "it was not tried in time"
        raise failed(
            f"channel {channel}: {why}", code="not_told", mend="it is tried again; pointsman notices list"
        )
    show({**sent, **receipt}, f"{channel}: {receipt['found']}", as_json=as_json)


def table_text(found: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> str:
    """One delivery a line, and how many there are in all."""
    counts = f"{found['waiting']} waiting, {found['dead_letters']} dead"
    return "\n".join([*(_lines(rows) if rows else []), counts])


def _lines(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    head, *lines = columns([HEAD, *map(_row, rows)], RIGHT)
    yield head
    for line, row in zip(lines, rows, strict=True):
        yield line
        yield BELOW + _what(row)


def _row(row: Mapping[str, Any]) -> tuple[str, ...]:
    return (row["state"], to_the_second(row["at"]), row["channel"], str(row["attempts"]), row["id"])


def _what(row: Mapping[str, Any]) -> str:
    what = f"{row['kind']}: {row['title']}" + (f" (and {row['more']} more)" if row["more"] else "")
    return f"{what}: {row['found']}" if row["state"] != "told" and row["found"] else what
