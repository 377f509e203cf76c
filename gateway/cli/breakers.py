"""The verb for breakers: show them, and force one. Each is one call of the operators' API; no rule is known here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import quote

import click

from gateway.cli.client import Client
from gateway.cli.figures import columns
from gateway.cli.options import LINK, REASON, WAIT, show, speaks_to_server
from gateway.cli.problem import FAILED, CommandError
from gateway.cli.verbs import deed

FORCES = ("open", "off", "auto")


class _Either(click.Group):
    """`breakers force …`, else `breakers [ROUTE]`: a route may be called anything but a verb."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Without a subcommand's name the whole line is `show`'s, its options too."""
        named = bool(args) and (args[0] in self.commands or args[0] in ctx.help_option_names)
        return super().parse_args(ctx, args if named else ["show", *args])

    def list_commands(self, ctx: click.Context) -> list[str]:
        """What help names."""
        return ["force"]


@click.group(cls=_Either)
def breakers() -> None:
    """Show the breakers of all workers, or of one route: pointsman breakers [ROUTE].

    \b
    pointsman breakers force ROUTE TARGET open|off|auto --reason R
    """


@breakers.command("show", hidden=True)
@click.argument("route", required=False)
@speaks_to_server
def table(client: Client, as_json: bool, route: str | None) -> None:
    """Show the breakers of all workers, or of one route."""
    found = client.get("/breakers")
    if route is not None:
        rows = [row for row in found["breakers"] if row["route"] == route]
        if not rows:
            _exists(client, route)
        found = {**found, "breakers": rows}
    show(found, table_text(found), as_json=as_json)


def _exists(client: Client, route: str) -> None:
    """Raises CommandError for an unknown route; one that nobody has asked yet has no breakers, and is none."""
    known = client.get("/status")["routes"]
    if route not in known:
        message = f'there is no route "{route}" (routes: {", ".join(known) or "none"})'
        raise CommandError(FAILED, {"code": "not_found", "message": message})


@breakers.command("force")
@click.argument("route")
@click.argument("target")
@click.argument("state", type=click.Choice(FORCES), metavar="|".join(FORCES))
@REASON
@LINK
@WAIT
@speaks_to_server
def force(client: Client, as_json: bool, route: str, **body: Any) -> int:
    """Force the breaker of TARGET (upstream/model) for ROUTE, on every worker.

    open: nobody asks it; off: everybody does, whatever happens; auto: it decides by itself again.
    """
    what = f"breaker of {body['target']}: {{from}} → {{to}}"
    return deed(client, f"/routes/{quote(route, safe='')}/breakers", body, as_json=as_json, what=what)


def table_text(found: Mapping[str, Any]) -> str:
    """One breaker a line."""
    rows = list(_rows(found["breakers"]))
    lines = columns([("ROUTE", "TARGET", "STATE", "FAILED/CALLS 30 s", "RETRY IN", "WORKER"), *rows])
    if not rows:
        lines = ["no breakers: no target was asked yet"]
    if found["degraded"]:
        lines.append("DEGRADED: the store does not answer; these are the breakers of one worker")
    return "\n".join(lines)


def _rows(found: Iterable[Mapping[str, Any]]) -> Iterable[tuple[str, ...]]:
    for row in found:
        retry = row["retry_in_seconds"]
        state = row["state"] + (", limited" if row["limited"] else "")
        slow = f" ({row['slow']} slow)" if row["slow"] else ""
        yield (
            row["route"],
            row["target"],
            state,
            f"{row['failures']}/{row['calls']}{slow}",
            "" if retry is None else f"{retry:.0f} s",
            row["worker"],
        )
