"""The verbs about the life of versions: look at them, compare two, approve, reject, deprecate. No rule is known here."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

import click

from gateway.cli import version_text
from gateway.cli.client import Client
from gateway.cli.options import LINK, OPTIONAL_REASON, REASON, WAIT, show, speaks_to_server
from gateway.cli.terminal import RESET, STYLES, Line, has_colours, is_live
from gateway.versions.visible import visible

_HASH = re.compile("[0-9a-f]{64}")


def _whole_hash(ctx: click.Context, param: click.Parameter, found: str | None) -> str | None:
    # Of a shorter one, somebody who wants to can make another content.
    if found is not None and not _HASH.fullmatch(found):
        told = f"found {found!r}, expected all 64 hex digits, as `pointsman lifecycle show` has them"
        raise click.BadParameter(told, ctx, param)
    return found


HASH = click.option(
    "--hash",
    "seen",
    callback=_whole_hash,
    metavar="H",
    help="Only if the content is this one; else the one that VARIANT has now.",
)


@click.command
@click.argument("flag")
@speaks_to_server
def versions(client: Client, as_json: bool, flag: str) -> None:
    """List the versions of FLAG, the newest first: stage, eval, approvals, who made them."""
    found = client.get(_path(flag))
    _tell(found, version_text.table(found), as_json=as_json)


@click.group
def lifecycle() -> None:
    """Show where in their life versions are, and what they lack."""


@lifecycle.command("show")
@click.argument("flag")
@click.argument("variant", required=False)
@speaks_to_server
def show_lifecycle(client: Client, as_json: bool, flag: str, variant: str | None) -> None:
    """Show what versions lack, rule by rule.

    With the command that mends it, and why the last known good version is that one. With VARIANT also its content.
    """
    found = client.get(_path(flag) if variant is None else _path(flag, variant))
    lines = version_text.lives(found) if variant is None else version_text.life(found)
    _tell(found, lines, as_json=as_json)


@click.command
@click.argument("flag")
@click.argument("variant")
@HASH
@OPTIONAL_REASON
@LINK
@WAIT
@speaks_to_server
def approve(client: Client, as_json: bool, flag: str, variant: str, seen: str | None, **body: Any) -> None:
    """Approve VARIANT of FLAG: its content as it is now, and no other under this name. Nobody approves their own."""
    path = _path(flag, variant)
    sent = {"hash": seen or client.get(path)["hash"], **body}
    _say(client, f"{path}/approve", sent, as_json=as_json, what="approved")


@click.command
@click.argument("flag")
@click.argument("variant")
@REASON
@LINK
@WAIT
@speaks_to_server
def reject(client: Client, as_json: bool, flag: str, variant: str, **body: Any) -> None:
    """Take all approvals of VARIANT away, until somebody approves it anew."""
    _say(client, f"{_path(flag, variant)}/reject", body, as_json=as_json, what="rejected")


@click.command
@click.argument("flag")
@click.argument("variant")
@click.option("--undo", is_flag=True, help="It may be gone to again.")
@OPTIONAL_REASON
@LINK
@WAIT
@speaks_to_server
def deprecate(client: Client, as_json: bool, flag: str, variant: str, undo: bool, **body: Any) -> None:
    """Say that VARIANT is not to be gone to any more; what is served stays."""
    if not undo and body["reason"] is None:
        raise click.UsageError("Missing option '--reason'.")
    what = "no longer deprecated" if undo else "deprecated"
    sent = {"undo": undo, **body}
    _say(client, f"{_path(flag, variant)}/deprecate", sent, as_json=as_json, what=what)


def diff_versions(client: Client, names: Sequence[str], *, as_json: bool) -> bool:
    """Show how two versions differ; `names` are the flag and the two. Whether they do. Raises UsageError."""
    if len(names) != 3:
        raise click.UsageError(f"expected FLAG and two versions of it, found: {' '.join(names)}")
    flag, before, after = names
    found = client.get(f"{_path(flag, before)}/diff/{quote(after, safe='')}")
    _tell(found, version_text.difference(found), as_json=as_json)
    return not found["same"]


def _say(client: Client, path: str, body: Mapping[str, Any], *, as_json: bool, what: str) -> None:
    done = client.post(path, body, wait_seconds=body["wait_seconds"])
    _tell(done, version_text.said(done, what), as_json=as_json)
    for warning in () if as_json else done["warnings"]:
        click.echo(f"warning: {visible(warning)}", err=True)


def _tell(document: object, lines: Sequence[Line], *, as_json: bool) -> None:
    """Print the document, or the lines: coloured on a terminal, and with nothing in them that no eye sees."""
    colours = is_live(sys.stdout, os.environ) and has_colours(os.environ)
    show(
        document,
        "" if as_json else "\n".join(_painted(line, colours=colours) for line in lines),
        as_json=as_json,
    )


def _painted(line: Line, *, colours: bool) -> str:
    on = dict(STYLES).get(line.style, "") if colours else ""
    return f"{on}{visible(line.text)}{RESET if on else ''}"


def _path(flag: str, variant: str | None = None) -> str:
    path = f"/flags/{quote(flag, safe='')}/versions"
    return path if variant is None else f"{path}/{quote(variant, safe='')}"
