"""The verbs that need no server: init writes a config file to start from, check reads one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from gateway.cli.options import AS_JSON, show
from gateway.cli.problem import FAILED, CommandError, failed

if TYPE_CHECKING:
    from gateway.config.declaration import ConfigInvalid, Declaration, Known

STARTER = Path(__file__).with_name("starter.yaml")


@click.command
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path), default="pointsman.yaml")
@AS_JSON
def init(file: Path, as_json: bool) -> None:
    """Write a commented config file (pointsman.yaml unless named); never over an existing one."""
    try:
        with file.open("x", encoding="utf-8") as new:
            new.write(STARTER.read_text(encoding="utf-8"))
    except FileExistsError:
        raise failed(f"{file} exists, and is not overwritten", mend="name another file") from None
    except OSError as error:
        raise failed(f"{file} cannot be written: {error.strerror}") from None
    show({"file": str(file)}, f"{file} written; next: pointsman serve -c {file}", as_json=as_json)


@click.command
@click.argument("file", type=click.Path(path_type=Path), required=False)
@click.option("--schema", is_flag=True, help="Print the JSON Schema of config files instead.")
@AS_JSON
def check(file: Path | None, schema: bool, as_json: bool) -> None:
    """Check a config file: exit 0 exactly when `serve -c FILE` would take it."""
    if schema:
        from gateway.config.schema import config_schema  # noqa: PLC0415  # heavy: only here

        click.echo(json.dumps(config_schema(), indent=None if as_json else 2))
        return
    if file is None:
        raise click.UsageError("Missing argument 'FILE' (or --schema).")
    declaration = loaded(file, None)
    _check_keys(file, declaration)
    warnings = [*declaration.warnings, *_not_found(declaration)]
    for warning in () if as_json else warnings:
        click.echo(f"warning: {warning}", err=True)
    found = {
        "ok": True,
        "file": str(file),
        "flags": len(declaration.flags),
        "objects": len(declaration.others),
        "warnings": warnings,
    }
    show(found, f"{file}: good, {found['flags']} flags and {found['objects']} other objects", as_json=as_json)


def loaded(file: Path, known: Known | None) -> Declaration:
    """What the file declares. Raises CommandError with all that is wrong with it."""
    from gateway.config.declaration import ConfigInvalid, Known  # noqa: PLC0415  # heavy: only here
    from gateway.config.loading import load_file  # noqa: PLC0415

    try:
        return load_file(file, known or Known())
    except ConfigInvalid as error:
        raise invalid(error) from None


def invalid(error: ConfigInvalid) -> CommandError:
    """The failure that names every problem of a file."""
    problems = [
        {"file": p.file, "line": p.line, "path": p.path, "message": p.message, "mend": p.mend}
        for p in error.problems
    ]
    first = error.problems[0]
    problem = {"code": "invalid", "message": error.message, "path": first.path, "problems": problems}
    return CommandError(FAILED, problem)


def _not_found(declaration: Declaration) -> list[str]:
    """Warnings of providers that are not installed here: where it is served, they may be."""
    from flags.model import Kind  # noqa: PLC0415  # heavy: only here
    from gateway.deciding.loading import trusted, unfound  # noqa: PLC0415

    routes = (spec for key, spec in declaration.others.items() if key.kind is Kind.ROUTE)
    return list(unfound(trusted(routes, {})))


def _check_keys(file: Path, declaration: Declaration) -> None:
    """As `serve` does before it opens the door."""
    from gateway.config.declaration import ConfigInvalid  # noqa: PLC0415  # heavy: only here
    from gateway.config.keys import read_keyring  # noqa: PLC0415

    try:
        read_keyring(str(file), declaration)
    except ConfigInvalid as error:
        raise invalid(error) from None
