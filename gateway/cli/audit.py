"""The verbs about the ledger as evidence: verify, anchor, export, archive. What they find in files needs no server."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from itertools import islice
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NamedTuple

import click

from gateway.cli.client import Client, access
from gateway.cli.history import pages
from gateway.cli.options import AS_JSON, LINK, REASON, show, speaks_to_server
from gateway.cli.problem import FAILED, CommandError

if TYPE_CHECKING:
    from flags.audit import Audit
    from flags.audit import Report as Found
    from flags.walk import Walk
    from policies.recount import Recount

# As flags.walk.Anchor reads it; looked at here because usage is told before anything is read or asked.
_ANCHOR = re.compile(r"[0-9]{1,18}:[0-9a-f]{64}")
# The server goes over all that is archived once more: some 50 µs an entry.
TRIM_SECONDS = 600.0
# As flags.archive.KEPT_ENTRIES; looked at here for the same reason.
MOST_KEPT = 1_000


class _Asked(NamedTuple):
    """What an audit is to compare the ledger with, and whether it is to judge again."""

    anchor: str | None
    recompute: bool


@click.group
def audit() -> None:
    """Verify, anchor, export or archive the ledger."""


def _anchor(ctx: click.Context, param: click.Parameter, anchor: str | None) -> str | None:
    if anchor is not None and not _ANCHOR.fullmatch(anchor):
        raise click.BadParameter(
            f"found {anchor!r}, expected SIZE:ROOT, a number and 64 hex digits", ctx, param
        )
    return anchor


@audit.command
@click.argument("files", type=click.File("rb"), nargs=-1, metavar="[FILE]...")
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
    files: tuple[IO[bytes], ...], anchor: str | None, recompute: bool, as_json: bool, **where: str | None
) -> int:
    """Find any entry that was edited, removed or reordered.

    FILEs are archives in their order, then what was exported of the rest (- for stdin); without any, the live ledger is
    verified, with its objects and contents.
    """
    asked = _Asked(anchor, recompute)
    if files:
        report = _file_report(files, asked)
    else:
        report = _live_report(Client(lambda: access(where["url"], where["token"], where["data_dir"])), asked)
    show(report, report_text(report), as_json=as_json)
    return 0 if report["ok"] else FAILED


def _file_report(files: Iterable[IO[bytes]], asked: _Asked) -> dict[str, Any]:
    from flags.audit import Audit, Known  # noqa: PLC0415  # only these verbs need the ledger's code

    audit = Audit(Known(_noted(asked.anchor)))
    recount = _recount() if asked.recompute else None
    read = []
    for file in files:
        count = _taken(audit, (line.strip() for line in file if line.strip()), recount)
        audit.ends()
        read.append({"file": file.name, "entries": count, "up_to": audit.revision})
    return {**_shape(audit.report(), recount), "files": read}


def _live_report(client: Client, asked: _Asked) -> dict[str, Any]:
    """Also find an end that is missing, and what was edited beside the ledger."""
    import msgspec  # noqa: PLC0415  # only here

    from flags.audit import Audit, Known, State  # noqa: PLC0415  # only these verbs need the ledger's code
    from flags.checkpoint import BEGINNING, Checkpoint  # noqa: PLC0415
    from flags.model import ObjectKey, Position, StoredObject  # noqa: PLC0415

    state = client.get("/audit")
    head = Position(state["revision"], state["hash"])
    keys = {ObjectKey.parse(name): held for name, held in state["objects"].items()}
    objects = {key: StoredObject(key, held["document"], held["revision"]) for key, held in keys.items()}
    kept = state.get("checkpoint")
    checkpoint = BEGINNING if kept is None else msgspec.convert(kept, Checkpoint)
    audit = Audit(Known(_noted(asked.anchor), _noted(state.get("kept_anchor")), checkpoint))
    recount = _recount() if asked.recompute else None
    # What is written while we read comes after the head that we were told.
    lines = islice(pages(client, checkpoint.revision, None), max(0, head.revision - checkpoint.revision))
    _taken(audit, lines, recount)
    unreadable = state.get("unreadable", ())
    # Where they could not be read, nothing is known of them: that is one problem, not one for each.
    known = objects if objects or not unreadable else None
    return _shape(audit.report(State(head, known, state["bad_contents"])), recount, unreadable=unreadable)


def _noted(anchor: str | None) -> Any:
    from flags.audit import Anchor  # noqa: PLC0415  # only these verbs need the ledger's code

    return None if anchor is None else Anchor.parse(anchor)


def _taken(audit: Audit, lines: Iterable[bytes], recount: Recount | None) -> int:
    """How many lines the audit, and the recount where there is one, have taken."""
    count = 0
    for line in lines:
        count += 1
        audit.take(line)
        if recount is not None:
            recount.take(line)
    return count


def _recount() -> Recount:
    from policies.recount import Recount  # noqa: PLC0415  # only this option needs the judge

    return Recount()


def _shape(found: Found, recount: Recount | None, *, unreadable: Iterable[str] = ()) -> dict[str, Any]:
    """CONTRACT §6: `head` is the last entry's hash; `recomputed` counts the automatic decisions that were judged again."""
    problems = [*unreadable, *found.problems, *(recount.found if recount is not None else ())]
    return {
        "ok": not problems,
        "entries": found.entries,
        "archived": found.archived,
        "head": found.head.hash,
        "root": found.root,
        "problems": problems,
        "checks": [{"check": each.name, "ok": each.ok, "found": each.found} for each in found.checks],
        **({"recomputed": recount.recomputed} if recount is not None else {}),
    }


def report_text(report: Mapping[str, Any]) -> str:
    """What was found, in words: the files, each check, the verdict."""
    files = [f"{each['file']}: {each['entries']} entries" for each in report.get("files", ())]
    checks = [
        f"  {'ok' if each['ok'] else 'BROKEN':<7} {each['check']}: {each['found']}"
        for each in report["checks"]
    ]
    if report["ok"]:
        again = f"; {report['recomputed']} automatic decisions recomputed" if "recomputed" in report else ""
        anchor = f"{report['entries']}:{report['root']}"
        return "\n".join(
            [*files, *checks, f"{report['entries']} entries hold together{again}; anchor {anchor}"]
        )
    lines = [f"the ledger does NOT hold ({report['entries']} entries)", *map(str, report["problems"])]
    return "\n".join([*files, *checks, *lines])


@audit.command
@speaks_to_server
def anchor(client: Client, as_json: bool) -> None:
    """Print the ledger's present SIZE:ROOT.

    Note it where the ledger's keeper cannot write: `audit verify --anchor` holds the ledger to it.
    """
    found = client.get("/audit/anchor")
    show({name: found[name] for name in ("anchor", "size", "root")}, found["anchor"], as_json=as_json)


@audit.command
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False), required=False)
@speaks_to_server
def export(client: Client, as_json: bool, file: Path | None) -> None:
    """Write the ledger as JSON lines, to the byte.

    To FILE or stdout; its SIZE:ROOT to stderr. A FILE that holds the beginning of the ledger is verified and gone on
    with, so the same command can run every night.
    """
    from gateway.cli.archives import exported, printed  # noqa: PLC0415  # only these verbs need the ledger's code

    if file is None:
        walk = printed(client)
        click.echo(f"{walk.anchor}", err=True)
        return
    before, walk = exported(client, file)
    done = {
        "file": str(file),
        "entries": walk.tree.size,
        "new": walk.tree.size - before,
        "anchor": str(walk.anchor),
    }
    show(done, f"{file}: {done['new']} new entries", as_json=as_json)
    click.echo(f"{walk.anchor}", err=True)


@audit.command
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--before", metavar="DATE", help="Archive what is older: 2026-01-31, or with a time (UTC).")
@click.option("--keep", type=click.IntRange(min=MOST_KEPT), metavar="N", help="Archive all but the newest N.")
@REASON
@LINK
@speaks_to_server
def archive(
    client: Client,
    as_json: bool,
    file: Path,
    before: str | None,
    keep: int | None,
    **told: str | None,
) -> None:
    """Move the oldest entries to FILE. It takes an admin.

    FILE is written and verified, and only then are they taken out of the ledger. The newest 1,000 stay, and whatever
    open rollbacks and notices still need.
    """
    from gateway.cli.archives import Bound, instant, written  # noqa: PLC0415  # only here

    if (before is None) == (keep is None):
        raise click.UsageError("expected one of --before DATE and --keep N")
    try:
        bound = Bound(keep, None if before is None else instant(before))
    except ValueError:
        raise click.BadParameter(
            f"found {before!r}, expected a date such as 2026-01-31", param_hint="--before"
        ) from None
    info = client.get("/audit/anchor")
    walk = written(client, file, info, bound)
    if walk is None:
        done: dict[str, Any] = {"file": None, "archived": 0, "revision": None}
        show(done, "nothing to archive: what is old enough is archived, or still needed", as_json=as_json)
        return
    answer = _trimmed(client, file, walk, told)
    count = answer["last"] - answer["first"] + 1
    done = {"file": str(file), "archived": count, "anchor": str(walk.anchor), **answer}
    text = f"{file}: revisions {answer['first']} to {answer['last']}, no longer in the ledger; anchor {walk.anchor}"
    show(done, text, as_json=as_json)


def _trimmed(client: Client, file: Path, walk: Walk, told: Mapping[str, str | None]) -> dict[str, Any]:
    """What the server says of taking out what the file holds. Raises CommandError, which says that the file stays."""
    body = {"upto": walk.position.revision, "hash": walk.position.hash, "anchor": str(walk.anchor)}
    try:
        sent = {**body, "file": file.name, **told}
        answer: dict[str, Any] = client.post("/audit/trim", sent, wait_seconds=TRIM_SECONDS)
    except CommandError as error:
        message = f"{error.problem.get('message', 'failed')} ({file} holds a verified copy of what was to go)"
        raise CommandError(error.exit_code, {**error.problem, "message": message}) from None
    return answer
