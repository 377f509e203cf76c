"""The verbs that look back: log and audit. They read the ledger, here or in a file, and change nothing."""

from __future__ import annotations

import re
import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import IO, TYPE_CHECKING, Any, NamedTuple

import click
import msgspec

from gateway.cli.client import Client, access
from gateway.cli.options import AS_JSON, show, speaks_to_server
from gateway.cli.problem import FAILED, CommandError, failed

if TYPE_CHECKING:
    from policies.recount import Recount

PAGE = 500
# A server that restarts is back within a second or two.
AGAIN_SECONDS, TRIES = 1.0, 30
# As flags.audit.Anchor reads it; looked at here because usage is told before anything is read or asked.
_ANCHOR = re.compile(r"[0-9]{1,18}:[0-9a-f]{64}")


class _Page(msgspec.Struct):
    entries: list[msgspec.Raw]
    next: int | None


class _Asked(NamedTuple):
    """What an audit is to compare the ledger with, and whether it is to judge again."""

    anchor: str | None
    recompute: bool


@click.command
@click.option("--follow", "-f", is_flag=True, help="Stay, and print every new Change.")
@click.option("--flag", metavar="F", help="Only the Changes of this flag.")
@click.option("--after", type=click.IntRange(min=0), default=0, metavar="N", help="Only after revision N.")
@click.option("--last", "-n", type=click.IntRange(min=0), metavar="N", help="Only the newest N.")
@speaks_to_server
def log(client: Client, as_json: bool, follow: bool, flag: str | None, after: int, last: int | None) -> None:
    """Print the ledger, oldest first; with --json one entry a line."""
    seen = after

    def noted() -> Iterator[bytes]:
        nonlocal seen
        for entry in pages(client, after, flag):
            seen = max(seen, msgspec.json.decode(entry)["revision"])
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
    return flag is None or msgspec.json.decode(entry)["object"] == f"flag/{flag}"


def print_entry(entry: bytes, *, as_json: bool) -> None:
    """One entry, as it stands in the ledger or in words, at once."""
    click.echo(entry.decode() if as_json else entry_text(msgspec.json.decode(entry)))


def entry_text(entry: Mapping[str, Any]) -> str:
    """`42  2026-01-02T03:04:05Z  alice  rollback  flag/support-bot.prompt: wrong answers`."""
    link = f" <{entry['link']}>" if entry["link"] else ""
    who = f"{entry['actor']}  {entry['action']}"
    return f"{entry['revision']:>6}  {entry['time']}  {who}  {entry['object']}: {entry['reason']}{link}"


@click.group
def audit() -> None:
    """Verify the ledger."""


def _anchor(ctx: click.Context, param: click.Parameter, anchor: str | None) -> str | None:
    if anchor is not None and not _ANCHOR.fullmatch(anchor):
        raise click.BadParameter(
            f"found {anchor!r}, expected SIZE:ROOT, a number and 64 hex digits", ctx, param
        )
    return anchor


@audit.command
@click.argument("file", type=click.File("rb"), required=False)
@click.option(
    "--anchor",
    metavar="SIZE:ROOT",
    callback=_anchor,
    help="A size and root noted earlier; the ledger must contain it.",
)
@click.option(
    "--recompute", is_flag=True, help="Also judge every automatic decision again from its evidence."
)
@click.option("--url", envvar="POINTSMAN_URL", metavar="URL", help="The server, where no FILE is given.")
@click.option("--token", envvar="POINTSMAN_TOKEN", metavar="T", help="Operator's token.")
@click.option("--data-dir", metavar="D", help="Where a local server keeps its state.")
@AS_JSON
def verify(
    file: IO[bytes] | None, anchor: str | None, recompute: bool, as_json: bool, **where: str | None
) -> int:
    """Find any entry that was edited, removed or reordered; FILE is from `log --json` (- for stdin)."""
    asked = _Asked(anchor, recompute)
    if file is not None:
        report = _report((line.strip() for line in file if line.strip()), asked)
    else:
        report = _live_report(Client(lambda: access(where["url"], where["token"], where["data_dir"])), asked)
    show(report, report_text(report), as_json=as_json)
    return 0 if report["ok"] else FAILED


def _report(lines: Iterable[bytes], asked: _Asked, **state: Any) -> dict[str, Any]:
    """CONTRACT §6: `head` is the last entry's hash; `recomputed` counts the automatic decisions that were judged again."""
    from flags.audit import verify as verified  # noqa: PLC0415  # only this verb needs the ledger's code
    from flags.errors import FlagError  # noqa: PLC0415

    recount = _recount() if asked.recompute else None
    try:
        found = verified(_taken(lines, recount), anchor=asked.anchor, **state)
    except FlagError as error:
        raise failed(str(error), mend=error.mend) from None
    problems = [*found.problems, *(recount.found if recount is not None else ())]
    return {
        "ok": not problems,
        "entries": found.entries,
        "head": found.head.hash,
        "root": found.root,
        "problems": problems,
        **({"recomputed": recount.recomputed} if recount is not None else {}),
    }


def _recount() -> Recount:
    from policies.recount import Recount  # noqa: PLC0415  # only this option needs the judge

    return Recount()


def _taken(lines: Iterable[bytes], recount: Recount | None) -> Iterator[bytes]:
    """The lines as they are, each shown to the recount on its way."""
    for line in lines:
        if recount is not None:
            recount.take(line)
        yield line


def _live_report(client: Client, asked: _Asked) -> dict[str, Any]:
    """Also find an end that is missing, and objects that were edited beside the ledger."""
    from flags.model import ObjectKey, Position, StoredObject  # noqa: PLC0415

    state = client.get("/audit")
    head = Position(state["revision"], state["hash"])
    keys = {ObjectKey.parse(name): held for name, held in state["objects"].items()}
    objects = {key: StoredObject(key, held["document"], held["revision"]) for key, held in keys.items()}
    # What is written while we read comes after the head that we were told.
    lines = islice(pages(client, 0, None), head.revision)
    return _report(lines, asked, head=head, objects=objects, bad_contents=state["bad_contents"])


def report_text(report: Mapping[str, Any]) -> str:
    """What was found, in words."""
    if report["ok"]:
        again = f"; {report['recomputed']} automatic decisions recomputed" if "recomputed" in report else ""
        return (
            f"{report['entries']} entries hold together{again}; anchor {report['entries']}:{report['root']}"
        )
    return "\n".join(
        [f"the ledger does NOT hold ({report['entries']} entries)", *map(str, report["problems"])]
    )
