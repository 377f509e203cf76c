"""Looking back: log, and the pages of the ledger that others read too. Changes nothing."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Mapping
from typing import Any

import click
import msgspec

from gateway.cli.client import Client
from gateway.cli.options import harmless, speaks_to_server
from gateway.cli.problem import CommandError, failed
from policies.governance.changelog import belongs

PAGE = 500
# A server that restarts is back within a second or two.
AGAIN_SECONDS, TRIES = 1.0, 30


class _Page(msgspec.Struct):
    entries: list[msgspec.Raw]
    next: int | None


@click.command
@click.option("--follow", "-f", is_flag=True, help="Stay, and print every new Change.")
@click.option("--flag", metavar="F", help="Only what was done to this flag and its versions.")
@click.option("--after", type=click.IntRange(min=0), default=0, metavar="N", help="Only after revision N.")
@click.option("--last", "-n", type=click.IntRange(min=0), metavar="N", help="Only the newest N.")
@speaks_to_server
def log(client: Client, as_json: bool, follow: bool, flag: str | None, after: int, last: int | None) -> None:
    """Print the ledger, oldest first; with --json one entry a line."""
    seen = after

    def noted() -> Iterator[bytes]:
        nonlocal seen
        for entry in pages(client, after, flag):
            revision = msgspec.json.decode(entry)["revision"]
            if flag is None and seen == after and revision > after + 1:
                told = (
                    f"revisions {after + 1} to {revision - 1} are in archives; an `archive` entry tells where"
                )
                click.echo(f"note: {told}", err=True)
            seen = max(seen, revision)
            yield entry

    for entry in noted() if last is None else deque(noted(), maxlen=last):
        print_entry(entry, as_json=as_json)
    if follow:
        _follow(client, seen, flag, as_json=as_json)


def pages(client: Client, after: int, flag: str | None) -> Iterator[bytes]:
    """All entries after a revision, to the byte as they were hashed."""
    following: int | None = after
    while following is not None:
        query = {"after": following, "limit": PAGE, "flag": flag}
        try:
            page = msgspec.json.decode(client.page("/log", query), type=_Page)
        except msgspec.MsgspecError as error:
            raise failed(f"the server's answer is no page of a ledger: {error}") from None
        yield from (bytes(entry) for entry in page.entries)
        following = page.next


def _follow(client: Client, seen: int, flag: str | None, *, as_json: bool) -> None:
    tries = 0
    while True:
        try:
            for name, revision, data in client.events(seen):
                tries, seen = 0, revision
                if name == "change" and _is_of(data, flag):
                    print_entry(data, as_json=as_json)
        except CommandError as error:
            if error.problem.get("code") != "no_server" or tries >= TRIES:
                raise
        # The server ended or restarts: go on after what was seen.
        tries += 1
        time.sleep(AGAIN_SECONDS)


def _is_of(entry: bytes, flag: str | None) -> bool:
    return flag is None or belongs(msgspec.json.decode(entry)["object"], flag)


def print_entry(entry: bytes, *, as_json: bool) -> None:
    """One entry, as it stands in the ledger or in words, at once."""
    click.echo(entry.decode() if as_json else entry_text(msgspec.json.decode(entry)))


def entry_text(entry: Mapping[str, Any]) -> str:
    """`42  2026-01-02T03:04:05Z  alice  rollback  flag/support-bot.prompt: wrong answers`."""
    link = f" <{entry['link']}>" if entry["link"] else ""
    who = f"{entry['actor']}  {entry['action']}"
    # One line, whatever somebody wrote as a reason.
    reason = " ".join(entry["reason"].split())
    return harmless(f"{entry['revision']:>6}  {entry['time']}  {who}  {entry['object']}: {reason}{link}")
