"""`pointsman keys`: make, list, rotate and revoke apps' keys and operators' tokens. No rule is known here."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any
from urllib.parse import quote

import click

from gateway.cli.client import Client
from gateway.cli.figures import columns
from gateway.cli.options import LINK, OPTIONAL_REASON, WAIT, show, speaks_to_server
from gateway.cli.problem import failed, tell

ROLES = ("viewer", "operator", "approver", "admin")
_SECONDS_OF = (("s", 1), ("m", 60), ("h", 3600), ("d", 86_400))


def _lasting(ctx: click.Context, param: click.Parameter, text: str | None) -> float | None:
    if text is None:
        return None
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd]?)", text)
    if found is None:
        raise click.BadParameter(f"found {text!r}, expected a duration such as 90d, 24h or 30m", ctx, param)
    return float(found[1]) * dict(_SECONDS_OF).get(found[2], 1)


@click.group
def keys() -> None:
    """Make and end apps' keys and operators' tokens. It takes an admin."""


@keys.command
@click.argument("name")
@click.option(
    "--role", type=click.Choice(ROLES), help="An operator's token with this role; else an app's key."
)
@click.option("--routes", metavar="R,R,…", help="The routes that the app may use; all, where you do not say.")
@click.option("--pin", is_flag=True, help="The app may pin versions.")
@click.option(
    "--flags-only", is_flag=True, help="It reads flags (OFREP) and uses no route: for a key in a web page."
)
@click.option(
    "--expires",
    "expires_seconds",
    callback=_lasting,
    metavar="90d",
    help="How long it holds; for ever, else.",
)
@OPTIONAL_REASON
@LINK
@WAIT
@speaks_to_server
def create(client: Client, as_json: bool, name: str, routes: str | None, **body: Any) -> int:
    """Make a key called NAME. It is told once, and kept by nobody: put it where it belongs at once."""
    listed = None if routes is None else [each.strip() for each in routes.split(",") if each.strip()]
    told = client.post("/keys", {"name": name, "routes": listed, **body}, wait_seconds=body["wait_seconds"])
    return _told(told, told["key"], as_json=as_json)


@keys.command
@click.argument("name")
@click.option(
    "--grace",
    "grace_seconds",
    callback=_lasting,
    default="0",
    show_default=True,
    metavar="24h",
    help="How long the old secret still holds.",
)
@OPTIONAL_REASON
@LINK
@WAIT
@speaks_to_server
def rotate(client: Client, as_json: bool, name: str, **body: Any) -> int:
    """Give the key NAME a new secret, told once."""
    told = client.post(_path(name, "rotate"), body, wait_seconds=body["wait_seconds"])
    return _told(told, told["key"], as_json=as_json)


@keys.command
@click.argument("name")
@OPTIONAL_REASON
@LINK
@WAIT
@speaks_to_server
def revoke(client: Client, as_json: bool, name: str, **body: Any) -> int:
    """End the key NAME: it opens nothing any more."""
    told = client.post(_path(name, "revoke"), body, wait_seconds=body["wait_seconds"])
    return _told(told, f"{name} is revoked (revision {told['revision']})", as_json=as_json)


@keys.command("list")
@speaks_to_server
def list_keys(client: Client, as_json: bool) -> int:
    """List the keys that were made here, without their secrets."""
    found = client.get("/keys")
    show(found, "\n".join(_lines(found)), as_json=as_json)
    return 0


def _path(name: str, verb: str) -> str:
    return f"/keys/{quote(name, safe='')}/{verb}"


def _told(told: Mapping[str, Any], text: str, *, as_json: bool) -> int:
    """The key alone on stdout, so that a script may take it; what is to be known beside it on stderr."""
    show(told, text, as_json=as_json)
    if told.get("note") and not as_json:
        click.echo(told["note"], err=True)
    if told["missing"]:
        message = f"the change stands, but these workers have not confirmed it: {', '.join(told['missing'])}"
        return tell(failed(message, code="not_acknowledged"), as_json=as_json)
    return 0


def _lines(found: Mapping[str, Any]) -> Iterator[str]:
    rows = list(_rows(found["keys"]))
    if rows:
        yield from columns([("NAME", "WHAT", "MAY USE", "MADE BY", "MADE AT", "EXPIRES"), *rows])
    else:
        yield "no keys were made here: pointsman keys create NAME"
    if found["elsewhere"]:
        yield f"{found['elsewhere']} more in the environment or the key file, which are changed there"


def _rows(found: Iterable[Mapping[str, Any]]) -> Iterator[tuple[str, ...]]:
    for key in found:
        app = key["kind"] == "app"
        routes = "all routes" if key["routes"] is None else ", ".join(key["routes"]) or "flags only"
        may = routes + (", may pin" if key["pin"] else "") if app else ""
        until = "never" if key["expires_at"] is None else key["expires_at"]
        expires = f"{until} (expired)" if key["expired"] else until
        yield (key["name"], "app" if app else key["role"], may, key["created_by"], key["created_at"], expires)
