"""The options that every verb has: where the server is, who asks, and how to answer. Knows no verb."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

import click

from gateway.cli.client import Client, access

Result = TypeVar("Result")

AS_JSON = click.option("--json", "as_json", is_flag=True, help="Answer with one JSON document on stdout.")
DATA_DIR = click.option("--data-dir", metavar="D", help="Where a local server keeps its state.")


def _not_blank(ctx: click.Context, param: click.Parameter, reason: str | None) -> str | None:
    if reason is not None and not reason.strip():
        raise click.BadParameter("it is blank; say why, for those who read the ledger later", ctx, param)
    return reason


def _two_decimals(ctx: click.Context, param: click.Parameter, percent: float | None) -> float | None:
    # A rollout is an exact part of 10,000.
    if percent is not None and abs(round(percent, 2) - percent) > 1e-9:
        raise click.BadParameter(f"found {percent}, expected two decimals at most", ctx, param)
    return percent


REASON = click.option(
    "--reason", callback=_not_blank, required=True, metavar="R", help="Why, for the ledger."
)
OPTIONAL_REASON = click.option("--reason", callback=_not_blank, metavar="R", help="Why, for the ledger.")
PERCENT = click.option(
    "--percent",
    type=click.FloatRange(0, 100),
    callback=_two_decimals,
    metavar="P",
    help="The candidate's users.",
)
LINK = click.option("--link", metavar="URL", help="Where more stands, for the ledger.")
WAIT = click.option(
    "--wait",
    "wait_seconds",
    type=click.FloatRange(0, 60),
    default=5.0,
    show_default=True,
    metavar="S",
    help="Seconds to wait for all workers.",
)


def speaks_to_server(command: Callable[..., Result]) -> Callable[..., Result]:
    """Adds --url, --token, --data-dir and --json; the command gets `client` and `as_json`."""

    # The options are click's by name, so their types are its business.
    @wraps(command)
    def run(url: str | None, token: str | None, data_dir: str | None, **options: Any) -> Result:
        return command(client=Client(lambda: access(url, token, data_dir)), **options)

    for option in (
        AS_JSON,
        DATA_DIR,
        click.option("--token", envvar="POINTSMAN_TOKEN", metavar="T", help="Operator's token."),
        click.option("--url", envvar="POINTSMAN_URL", metavar="URL", help="The server; else the local one."),
    ):
        run = option(run)
    return run


def show(document: object, text: str, *, as_json: bool) -> None:
    """Print the document, or the text for people."""
    click.echo(json.dumps(document, ensure_ascii=False) if as_json else text)
