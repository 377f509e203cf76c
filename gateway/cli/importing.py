"""The verb that brings another program's file here: import. Knows no format; gateway.importing reads them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gateway.cli.client import Client
from gateway.cli.declare import applied_text, known_to, not_confirmed, send
from gateway.cli.files import invalid
from gateway.cli.options import OPTIONAL_REASON, WAIT, show, speaks_to_server
from gateway.cli.problem import FAILED, CommandError, failed

if TYPE_CHECKING:
    from flags.model import Json
    from gateway.config.declaration import Declaration, Known
    from gateway.config.files import Source
    from gateway.importing.report import Report


@click.command("import")
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--format", "form", type=click.Choice(["litellm", "flagd"]), help="Guessed where you do not say."
)
@click.option(
    "--out", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE", help="Write it there."
)
@click.option("--apply", "applies", is_flag=True, help="Also write it to the server, as `apply` does.")
@OPTIONAL_REASON
@WAIT
@speaks_to_server
def import_file(
    client: Client,
    as_json: bool,
    file: Path,
    form: str | None,
    out: Path | None,
    *,
    applies: bool,
    reason: str | None,
    wait_seconds: float,
) -> int:
    """Make a config of ours (YAML on stdout) of a LiteLLM or flagd FILE; what was taken and what was not goes to stderr."""
    document, report = _imported(_source(file), form)
    declaration = _declared(document, known_to(client) if applies else _known_by(document))
    _write(out, document)
    done = None
    if applies:
        reason = reason or f"import {file}"
        done = send(client, declaration, reason=reason, wait_seconds=wait_seconds, link=None)
    _show(document, report, done, out, as_json=as_json)
    return not_confirmed(done, as_json=as_json) if done else 0


def _source(file: Path) -> Source:
    from gateway.config.declaration import ConfigInvalid, Problem  # noqa: PLC0415  # heavy: only here
    from gateway.config.files import read_source  # noqa: PLC0415
    from gateway.config.places import Unreadable  # noqa: PLC0415

    try:
        source = read_source(file, str(file))
        faults = source.faults
    except Unreadable as error:
        faults = (error.fault,)
    if faults:
        problems = tuple(Problem(str(file), each.line, each.path, each.message, each.mend) for each in faults)
        raise invalid(ConfigInvalid(problems))
    return source


def _imported(source: Source, form: str | None) -> tuple[Mapping[str, Json], Report]:
    from gateway.config.declaration import ConfigInvalid, Problem  # noqa: PLC0415  # heavy: only here
    from gateway.config.places import line_of  # noqa: PLC0415
    from gateway.importing.flagd import from_flagd, looks_like_flagd  # noqa: PLC0415
    from gateway.importing.litellm import from_litellm, looks_like_litellm  # noqa: PLC0415
    from gateway.importing.report import Malformed  # noqa: PLC0415

    document = source.value
    flagd = form == "flagd" or (form is None and looks_like_flagd(document))
    if form is None and not flagd and not looks_like_litellm(document):
        message = f"{source.name}: this is no LiteLLM config: it has no model_list; and no flagd file"
        raise failed(
            message,
            mend="say what it is: --format litellm or flagd; our own files are taken by `pointsman apply`",
        )
    try:
        return from_flagd(document) if flagd else from_litellm(document, os.environ.get)
    except Malformed as error:
        problems = tuple(
            Problem(source.name, line_of(source.root, each.path), each.path, each.message, each.mend)
            for each in error.problems
        )
        raise invalid(ConfigInvalid(problems)) from None


def _known_by(document: Mapping[str, Json]) -> Known:
    """What the result refers to without declaring it: a flagd file has flags only."""
    from gateway.config.declaration import Known  # noqa: PLC0415  # heavy: only here
    from gateway.importing.flagd import upstreams_named  # noqa: PLC0415

    return Known(upstreams=frozenset() if "upstreams" in document else upstreams_named(document))


def _declared(document: Mapping[str, Json], known: Known) -> Declaration:
    """What the result declares; that it can be taken is known before anybody sees it."""
    from gateway.config.declaration import ConfigInvalid  # noqa: PLC0415  # heavy: only here
    from gateway.config.loading import declaration_from  # noqa: PLC0415

    try:
        return declaration_from(dict(document), known, name="the result")
    except ConfigInvalid as error:
        raise invalid(error) from None


def _write(out: Path | None, document: Mapping[str, Json]) -> None:
    if out is None:
        return
    from gateway.config.export import yaml_text  # noqa: PLC0415  # heavy: only here

    try:
        with out.open("x", encoding="utf-8") as new:
            new.write(yaml_text(document))
    except FileExistsError:
        raise failed(f"{out} exists, and is not overwritten", mend="name another file") from None
    except OSError as error:
        raise CommandError(
            FAILED, {"code": "failed", "message": f"{out} cannot be written: {error.strerror}"}
        ) from None


def _show(
    document: Mapping[str, Json],
    report: Report,
    done: Mapping[str, Any] | None,
    out: Path | None,
    *,
    as_json: bool,
) -> None:
    import msgspec  # noqa: PLC0415  # heavy: only here

    from gateway.config.export import yaml_text  # noqa: PLC0415

    found = {"config": document, "report": msgspec.to_builtins(report)}
    found |= {"file": str(out)} if out else {}
    found |= {"applied": dict(done)} if done is not None else {}
    if not as_json:
        told = f"{out} written; next: pointsman serve -c {out}" if out else ""
        lines = [report.text(), told, applied_text(done) if done is not None else ""]
        click.echo("\n".join(filter(None, lines)), err=True)
    if as_json or not out:
        show(found, "" if as_json else yaml_text(document).rstrip("\n"), as_json=as_json)
