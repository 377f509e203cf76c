"""The options that every verb has: where the server is, who asks, and how to answer. Knows no verb."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

import click

from gateway.checking import seconds
from gateway.cli.client import Client, access

Result = TypeVar("Result")

AS_JSON = click.option("--json", "as_json", is_flag=True, help="Answer with one JSON document on stdout.")
DATA_DIR = click.option("--data-dir", metavar="D", help="Where a local server keeps its state (and indexes).")


def _not_blank(ctx: click.Context, param: click.Parameter, reason: str | None) -> str | None:
    if reason is not None and not reason.strip():
        raise click.BadParameter("it is blank; say why, for those who read the ledger later", ctx, param)
    return reason


def two_decimals(ctx: click.Context, param: click.Parameter, percent: float | None) -> float | None:
    """A share is an exact part of 10,000."""
    if percent is not None and abs(round(percent, 2) - percent) > 1e-9:
        raise click.BadParameter(f"found {percent}, expected two decimals at most", ctx, param)
    return percent


def _percentages(ctx: click.Context, param: click.Parameter, text: str | None) -> list[float] | None:
    if text is None:
        return None
    try:
        steps = [float(each) for each in text.split(",")]
    except ValueError:
        raise click.BadParameter(
            f"found {text!r}, expected percentages such as 1,5,25,100", ctx, param
        ) from None
    for step in steps:
        two_decimals(ctx, param, step)
    if not all(low < high for low, high in zip((0.0, *steps), (*steps, 100.01), strict=True)):
        raise click.BadParameter(f"found {text}, expected rising percentages, up to 100", ctx, param)
    return steps


def _duration(ctx: click.Context, param: click.Parameter, text: str | None) -> float | None:
    if text is None:
        return None
    found = seconds(text)
    if isinstance(found, str):
        try:
            found = float(found)
        except ValueError:
            found = -1.0
    if not isinstance(found, float) or not 0 <= found < math.inf:
        raise click.BadParameter(f"found {text!r}, expected a duration such as 90s, 10m or 1h", ctx, param)
    return found


REASON = click.option(
    "--reason", callback=_not_blank, required=True, metavar="R", help="Why, for the ledger."
)
OPTIONAL_REASON = click.option("--reason", callback=_not_blank, metavar="R", help="Why, for the ledger.")
PERCENT = click.option(
    "--percent",
    type=click.FloatRange(0, 100),
    callback=two_decimals,
    metavar="P",
    help="The candidate's users.",
)
STEPS = click.option(
    "--steps",
    callback=_percentages,
    metavar="P,P,…",
    help="Have automation raise it: 1,5,25,100; then all get it.",
)
HOLD = click.option(
    "--hold",
    "hold_seconds",
    callback=_duration,
    metavar="10m",
    help="How long each step lasts at least; 10m where you do not say.",
)
MIN_REQUESTS = click.option(
    "--min-requests",
    type=click.IntRange(min=0),
    metavar="N",
    help="The candidate's requests that each step needs; 100 where you do not say.",
)
ANYWAY = click.option("--anyway", is_flag=True, help="Even where the index that is served then does not fit.")
OVERRIDE = click.option(
    "--override",
    is_flag=True,
    help="As an admin, past the promotion rules; takes a --reason and is told to all.",
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
        if options.get("override") and not options.get("reason"):
            raise click.UsageError("--override takes a --reason, for those who read the ledger later")
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
    """Print the document, or the text for people: none of it is an order to their terminal, whoever wrote it."""
    click.echo(json.dumps(document, ensure_ascii=False) if as_json else harmless(text))


def harmless(text: str) -> str:
    """`text` without control codes and what turns the direction of writing; lines and tabs stay."""
    return "".join(each if each.isprintable() or each in "\n\t" else " " for each in text)
