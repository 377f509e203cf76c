"""The verbs that change what is served. Each is one call of the operators' API; no rule is known here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import click

from gateway.cli.client import Client
from gateway.cli.options import LINK, OPTIONAL_REASON, REASON, WAIT, show, speaks_to_server
from gateway.cli.problem import FAILED, CommandError, failed, tell

STEERING = ("pause", "resume", "promote", "abort")


@click.command
@click.argument("flag")
@click.argument("variant")
@click.option("--safe", metavar="V", help="Also make V the version that a rollback lands on.")
@OPTIONAL_REASON
@LINK
@WAIT
@speaks_to_server
def switch(client: Client, as_json: bool, flag: str, variant: str, **body: Any) -> int:
    """Serve VARIANT of FLAG to all, at once."""
    return _do(client, _path(flag, "switch"), {"variant": variant, **body}, as_json=as_json)


@click.command
@click.argument("name", metavar="FLAG|ROUTE")
@click.option("--to", metavar="V", help="Make V the safe version first.")
@REASON
@LINK
@WAIT
@speaks_to_server
def rollback(client: Client, as_json: bool, name: str, **body: Any) -> int:
    """Serve the safe version alone, on every worker.

    For a ROUTE, the one of its flags is rolled back that has something to go back from: the pipeline,
    else the one that changed last.
    """
    try:
        return _do(client, _path(name, "rollback"), body, as_json=as_json)
    except CommandError as refused:
        if refused.problem.get("code") != "not_found" or "variant" in str(refused):
            raise
        no_flag = refused
    try:
        return _do(client, _path(name, "rollback", kind="routes"), body, as_json=as_json)
    except CommandError as refused:
        if refused.problem.get("code") == "not_found" and refused.problem["message"].startswith("route"):
            message = f"{no_flag}; {refused}"
            raise CommandError(FAILED, {**refused.problem, "message": message}) from None
        raise


@click.command
@click.argument("flag")
@click.argument("variant")
@REASON
@LINK
@WAIT
@speaks_to_server
def withdraw(client: Client, as_json: bool, flag: str, variant: str, **body: Any) -> int:
    """Take VARIANT of FLAG out of service: who would get it gets the safe version."""
    return _do(
        client, f"/flags/{quote(flag, safe='')}/withdraw", {"variant": variant, **body}, as_json=as_json
    )


@click.command
@click.argument("flag")
@click.argument("variant")
@REASON
@LINK
@WAIT
@speaks_to_server
def restore(client: Client, as_json: bool, flag: str, variant: str, **body: Any) -> int:
    """Put the withdrawn VARIANT of FLAG back."""
    return _do(
        client, f"/flags/{quote(flag, safe='')}/restore", {"variant": variant, **body}, as_json=as_json
    )


@click.command
@click.argument("first", metavar="FLAG|pause|resume|promote|abort")
@click.argument("second", metavar="VARIANT|FLAG")
@click.option("--percent", type=click.FloatRange(0, 100), metavar="P", help="The candidate's users.")
@click.option("--steps", hidden=True)
@click.option("--hold", hidden=True)
@click.option("--min-requests", hidden=True)
@OPTIONAL_REASON
@LINK
@WAIT
@speaks_to_server
def rollout(client: Client, as_json: bool, first: str, second: str, **options: Any) -> int:
    """Give VARIANT of FLAG a percentage of the users, or steer the rollout that runs.

    \b
    pointsman rollout support-bot.prompt v7 --percent 10
    pointsman rollout promote support-bot.prompt
    """
    asked = [f"--{name.replace('_', '-')}" for name in ("steps", "hold", "min_requests") if options.pop(name)]
    if asked:
        raise click.UsageError(f"{', '.join(asked)}: automatic steps are not built yet; use --percent")
    if options["percent"] is None and first in STEERING:
        flag, body = second, {"action": first, **options}
    elif options["percent"] is None:
        raise click.UsageError(f"missing --percent (or: pointsman rollout {'|'.join(STEERING)} {first})")
    else:
        flag, body = first, {"variant": second, **options}
    return _do(client, _path(flag, "rollout"), body, as_json=as_json)


@click.command
@click.argument("object_key", metavar="OBJECT")
@click.option(
    "--to-revision", type=click.IntRange(min=1), required=True, metavar="N", help="See `pointsman log`."
)
@REASON
@LINK
@WAIT
@speaks_to_server
def revert(client: Client, as_json: bool, object_key: str, **body: Any) -> int:
    """Make OBJECT (flag/…, route/…, policy/…, upstream/…) again what it was as of a revision."""
    return _do(client, "/revert", {"object": object_key, **body}, as_json=as_json)


def _path(name: str, verb: str, *, kind: str = "flags") -> str:
    return f"/{kind}/{quote(name, safe='')}/{verb}"


def _do(client: Client, path: str, body: Mapping[str, Any], *, as_json: bool) -> int:
    """Ask for it, tell what came of it; exit 1 where a worker did not follow in time."""
    done = client.post(path, body, wait_seconds=body["wait_seconds"])
    show(done, sentence(done), as_json=as_json)
    if done["missing"]:
        names = ", ".join(done["missing"])
        message = f"the change stands, but these workers have not confirmed it: {names}"
        return tell(failed(message, code="not_acknowledged"), as_json=as_json)
    return 0


def sentence(done: Mapping[str, Any]) -> str:
    """`support-bot.prompt: v7 → v6, all 2 workers switched in 12 ms (revision 42)`."""
    where, to = done["flag"], done["to"] or "the caller's own default"
    if not done["changed"]:
        return f"{where}: nothing to change, it is so already (revision {done['revision']})"
    moved = f"{done['from']} → {to}" if done["from"] != done["to"] else str(to)
    shared = f"; routes: {', '.join(done['routes'])}" if len(done["routes"]) > 1 else ""
    told = f"{fleet(done)} in {done['milliseconds']:.0f} ms (revision {done['revision']})"
    return f"{where}: {moved}, {told}{shared}"


def fleet(done: Mapping[str, Any]) -> str:
    """How many workers follow."""
    have, all_of_them = done["acknowledged"], done["workers"]
    if have < all_of_them:
        return f"{have} of {all_of_them} workers switched"
    if all_of_them == 1:
        return "the one worker switched"
    return f"all {all_of_them} workers switched"
