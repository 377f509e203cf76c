"""The verbs about whole config files and a running store: apply, diff, export."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gateway.cli.client import Client
from gateway.cli.files import loaded
from gateway.cli.options import LINK, OPTIONAL_REASON, OVERRIDE, WAIT, show, speaks_to_server
from gateway.cli.problem import REFUSED, CommandError, failed, tell

if TYPE_CHECKING:
    from flags.model import ObjectKey, StoredObject
    from gateway.config.declaration import Declaration, Known

# `diff --exit-code`, as the contract has it.
DIFFERENCES = 4
FILE = click.option("--file", "-f", type=click.Path(path_type=Path), required=True, metavar="FILE")
PRUNE = click.option("--prune", is_flag=True, help="Remove what the file lacks.")
RESET = click.option("--reset-state", is_flag=True, help="Also set what is served, as the file has it.")


@click.command
@FILE
@click.option("--dry-run", is_flag=True, help="Only tell what would be written: a plan to review.")
@click.option("--format", "form", type=click.Choice(["text", "md"]), default="text", help="The plan's.")
@PRUNE
@RESET
@OPTIONAL_REASON
@LINK
@OVERRIDE
@WAIT
@speaks_to_server
def apply(client: Client, as_json: bool, file: Path, wait_seconds: float, form: str, **body: Any) -> int:
    """Write what FILE declares: content, never what is operated (unless --reset-state)."""
    if form == "md" and not body["dry_run"]:
        raise click.UsageError("--format md is for the plan: --dry-run --format md")
    body["reason"] = body["reason"] or f"apply -f {file}"
    done = send(client, _declaration(client, file), wait_seconds=wait_seconds, **body)
    if body["dry_run"]:
        from gateway.cli.plans import plan_of, plan_text  # noqa: PLC0415  # only here

        done = plan_of(done)
        show(done, plan_text(done, form), as_json=as_json)
        return 0
    for line in () if as_json else [*done["warnings"], *done["notes"]]:
        click.echo(f"warning: {line}", err=True)
    show(done, applied_text(done), as_json=as_json)
    return not_confirmed(done, as_json=as_json)


def send(client: Client, declaration: Declaration, *, wait_seconds: float, **body: Any) -> Mapping[str, Any]:
    """Ask the server to write a declaration; what it says of it."""
    sent = {"declaration": declaration.document(), "wait_seconds": wait_seconds, **body}
    done: Mapping[str, Any] = client.post("/apply", sent, wait_seconds=wait_seconds)
    return done


def not_confirmed(done: Mapping[str, Any], *, as_json: bool) -> int:
    """Exit 1, told, where a worker did not follow in time."""
    if not done["missing"]:
        return 0
    message = f"the change stands, but these workers have not confirmed it: {', '.join(done['missing'])}"
    return tell(failed(message, code="not_acknowledged"), as_json=as_json)


@click.command
@click.argument("names", nargs=-1, metavar="[FLAG V V]")
@click.option("--file", "-f", type=click.Path(path_type=Path), metavar="FILE")
@click.option("--exit-code", is_flag=True, help="Exit 4 where there are differences.")
@PRUNE
@RESET
@speaks_to_server
def diff(
    client: Client, as_json: bool, names: tuple[str, ...], file: Path | None, exit_code: bool, **body: Any
) -> int:
    """Show where FILE and the store differ, what is operated included; or how two versions of FLAG differ.

    \b
    pointsman diff -f pointsman.yaml
    pointsman diff support-bot.prompt v6 v7
    """
    if file is None and names:
        return _diff_versions(client, names, as_json=as_json, exit_code=exit_code)
    if file is None or names:
        raise click.UsageError("expected --file FILE, or FLAG and two versions of it")
    found = client.post("/diff", {"declaration": _declaration(client, file).document(), **body})
    show(found, diff_text(found), as_json=as_json)
    return DIFFERENCES if exit_code and found["differences"] else 0


def _diff_versions(client: Client, names: tuple[str, ...], *, as_json: bool, exit_code: bool) -> int:
    from gateway.cli.versions import diff_versions  # noqa: PLC0415  # of another kind: only where it is asked for

    return DIFFERENCES if diff_versions(client, names, as_json=as_json) and exit_code else 0


@click.command
@click.option("--format", "form", type=click.Choice(["pointsman", "flagd"]), default="pointsman")
@click.option("--patch", is_flag=True, help="A diff that brings what is operated into the config FILE.")
@click.option("--file", "-f", type=click.Path(path_type=Path), metavar="FILE", help="The file for --patch.")
@speaks_to_server
def export(client: Client, as_json: bool, form: str, patch: bool, file: Path | None) -> None:
    """Print everything as a config file (YAML), or its flags as a flagd file (JSON)."""
    if file is not None and not patch:
        raise click.UsageError(
            "--file is the file for --patch; to write an export, use: pointsman export > FILE"
        )
    if patch:
        if file is None:
            raise click.UsageError("--patch needs the config file that it is to change: --patch --file FILE")
        if form != "pointsman":
            raise click.UsageError("--patch changes a config file of --format pointsman")
        text = _patch(client, file)
        if as_json:
            show({"file": str(file), "patch": text}, "", as_json=True)
        else:
            # To the byte: an empty line more is no part of a patch.
            click.echo(text, nl=False)
        return
    document = client.get("/export", {"format": form})
    if form == "flagd" and not as_json:
        click.echo(json.dumps(document, indent=2, ensure_ascii=False))
        for line in _not_in_flagd(client):
            click.echo(f"not in the file: {line}", err=True)
        return
    show(document, "" if as_json else _yaml(document), as_json=as_json)


def _not_in_flagd(client: Client) -> list[str]:
    from gateway.importing.flagd_losses import losses  # noqa: PLC0415  # heavy: only here

    return losses(_objects(client))


def _declaration(client: Client, file: Path) -> Declaration:
    """The file, checked here (so that errors name its lines) against what the store has."""
    return loaded(file, known_to(client))


def known_to(client: Client) -> Known:
    """What the store has, and a file may refer to."""
    from gateway.declaring.declarations import known_in  # noqa: PLC0415  # heavy: only here

    return known_in(_objects(client))


def _objects(client: Client) -> dict[ObjectKey, StoredObject]:
    from flags.model import ObjectKey, StoredObject  # noqa: PLC0415  # heavy: only here

    held = {ObjectKey.parse(name): each for name, each in client.get("/audit")["objects"].items()}
    return {key: StoredObject(key, each["document"], each["revision"]) for key, each in held.items()}


def _patch(client: Client, file: Path) -> str:
    from flags.change import View  # noqa: PLC0415  # heavy: only here
    from flags.errors import Refused  # noqa: PLC0415
    from flags.model import START  # noqa: PLC0415
    from gateway.config.patching import patch  # noqa: PLC0415
    from gateway.declaring.declarations import known_in  # noqa: PLC0415

    objects = _objects(client)
    declaration = loaded(file, known_in(objects))
    try:
        # Not `read_text`, which makes another text of one whose lines end in \r\n.
        return patch(file.read_bytes().decode("utf-8-sig"), str(file), declaration, View(START, "", objects))
    except Refused as refused:
        problem = {"code": "refused", "message": str(refused), "mend": refused.mend, "rule": refused.rule}
        raise CommandError(REFUSED, problem) from None


def _yaml(document: Mapping[str, Any]) -> str:
    from gateway.config.export import yaml_text  # noqa: PLC0415  # heavy: only here

    return yaml_text(document).rstrip("\n")


def applied_text(done: Mapping[str, Any]) -> str:
    """One line for each object, then how it went."""
    if not done["changed"]:
        return f"nothing to change (revision {done['revision']})"
    lines = [f"{each['action']:>6}  {each['object']}" for each in done["writes"]]
    told = f"{done['acknowledged']} of {done['workers']} workers follow"
    head = f"{len(lines)} objects written, {told} after {done['milliseconds']:.0f} ms"
    return "\n".join([*lines, f"{head} (revision {done['revision']})"])


def diff_text(found: Mapping[str, Any]) -> str:
    """`-` what the file has, `+` what the store has."""
    if not found["differences"]:
        return f"no differences (revision {found['revision']})"
    lines = []
    for each in found["differences"]:
        lines.append(" ".join(filter(None, (each["object"], each["path"]))))
        for sign, side in (("-", "file"), ("+", "state")):
            if each[side] is not None:
                lines.append(f"  {sign} {side}: {_short(each[side])}")
    return "\n".join(lines)


def _short(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 100 else f"{text[:97]}..."
