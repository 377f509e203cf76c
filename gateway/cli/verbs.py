"""The verbs that change what is served. Each is one call of the operators' API; no rule is known here."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any
from urllib.parse import quote

import click

from gateway.cli.client import Client
from gateway.cli.options import (
    ANYWAY,
    HOLD,
    LINK,
    MIN_REQUESTS,
    OPTIONAL_REASON,
    OVERRIDE,
    PERCENT,
    REASON,
    STEPS,
    WAIT,
    show,
    speaks_to_server,
    two_decimals,
)
from gateway.cli.problem import FAILED, CommandError, failed, tell
from gateway.cli.rollbacks import Brake

# What each step of a rollout is told as.
STEERING: Mapping[str, str] = MappingProxyType(
    {
        "pause": "the rollout of {to} is paused",
        "resume": "the rollout of {to} runs again",
        "promote": "{to} is served to all",
        "abort": "the rollout of {from} is over, {to} is served to all",
    }
)


@click.command
@click.argument("flag")
@click.argument("variant")
@click.option("--safe", metavar="V", help="Also make V the version that a rollback lands on.")
@OPTIONAL_REASON
@LINK
@OVERRIDE
@WAIT
@speaks_to_server
def switch(client: Client, as_json: bool, flag: str, variant: str, **body: Any) -> int:
    """Serve VARIANT of FLAG to all, at once.

    The gateway's own switches are flags as well, `on` or `off`: gateway.cache, gateway.shadow, gateway.judge,
    gateway.keep-alive, gateway.content-logging, gateway.shield, gateway.retrieval, gateway.retries.
    """
    return deed(client, _path(flag, "switch"), {"variant": variant, **body}, as_json=as_json)


def _only_one(ctx: click.Context, param: click.Parameter, names: tuple[str, ...]) -> str:
    if len(names) != 1:
        raise click.UsageError(
            f"rollback takes one FLAG or ROUTE; found {len(names)}: {' '.join(names)}", ctx
        )
    return names[0]


@click.command(cls=Brake)
# Eager, so that who writes two names is told of that, and not of a missing --reason.
@click.argument("name", metavar="FLAG|ROUTE", nargs=-1, required=True, is_eager=True, callback=_only_one)
@click.option("--to", metavar="V", help="Make V the safe version first.")
@ANYWAY
@REASON
@LINK
@OVERRIDE
@WAIT
@speaks_to_server
def rollback(client: Client, as_json: bool, name: str, **body: Any) -> int:
    """Serve the safe version alone, on every worker.

    For a ROUTE, the one of its flags is rolled back that has something to go back from: the pipeline,
    else the one that changed last. A targeting rule goes on choosing: the answer names the versions that it
    may still serve, to be taken out by `pointsman withdraw`. What came of it:

    \b
    pointsman rollback show [ID|FLAG]
    pointsman rollback tick ID STEP --link URL
    """
    try:
        return deed(client, _path(name, "rollback"), body, as_json=as_json)
    except CommandError as refused:
        if not str(refused).startswith(f'flag "{name}" does not exist'):
            raise
        no_flag = refused
    try:
        return deed(client, _path(name, "rollback", kind="routes"), body, as_json=as_json)
    except CommandError as refused:
        if refused.problem.get("code") != "not_found":
            raise
        raise CommandError(FAILED, {**refused.problem, "message": f"{no_flag}; {refused}"}) from None


@click.command
@click.argument("flag")
@click.argument("variant")
@ANYWAY
@REASON
@LINK
@WAIT
@speaks_to_server
def withdraw(client: Client, as_json: bool, flag: str, variant: str, **body: Any) -> int:
    """Take VARIANT of FLAG out of service: who would get it gets the safe version."""
    sent = {"variant": variant, **body}
    what = "{from} is withdrawn, {to} answers for it"
    return deed(client, _path(flag, "withdraw"), sent, as_json=as_json, what=what)


@click.command
@click.argument("flag")
@click.argument("variant")
@REASON
@LINK
@WAIT
@speaks_to_server
def restore(client: Client, as_json: bool, flag: str, variant: str, **body: Any) -> int:
    """Put the withdrawn VARIANT of FLAG back.

    A rollback leaves the flag's own choice as it was: a VARIANT that was served to all before it is served
    to all again as soon as it is restored. To bring it back to some first: switch to the safe version, then
    restore, then rollout.
    """
    sent = {"variant": variant, **body}
    return deed(client, _path(flag, "restore"), sent, as_json=as_json, what=_restored)


def _restored(done: Mapping[str, Any]) -> str:
    again = " and is served again to all" if done.get("served") == done["to"] else ""
    released = "; its quarantine is lifted" if done.get("released") else ""
    return "{to} is restored" + again + released


@click.command
@click.argument("first", metavar="FLAG|pause|resume|promote|abort")
@click.argument("second", metavar="VARIANT|FLAG")
@PERCENT
@STEPS
@HOLD
@MIN_REQUESTS
@OPTIONAL_REASON
@LINK
@OVERRIDE
@WAIT
@speaks_to_server
def rollout(client: Client, as_json: bool, first: str, second: str, **options: Any) -> int:
    """Give VARIANT of FLAG a percentage of the users, or steer the rollout that runs.

    \b
    pointsman rollout support-bot.prompt v7 --percent 10
    pointsman rollout support-bot.prompt v7 --steps 1,5,25,100 --hold 10m --min-requests 200
    pointsman rollout promote support-bot.prompt

    With --steps the percentage rises by itself as long as no policy objects; after the last step all get VARIANT.
    """
    share = _share_of(options)
    if share is None and first in STEERING:
        flag, body, what = second, {"action": first, **options}, STEERING[first]
    elif share is None:
        missing = "missing --percent or --steps"
        raise click.UsageError(f"{missing} (or: pointsman rollout {'|'.join(STEERING)} {first})")
    else:
        flag, body, what = first, {"variant": second, **options}, share
    return deed(client, _path(flag, "rollout"), body, as_json=as_json, what=what)


def _share_of(options: Mapping[str, Any]) -> str | None:
    """What the candidate gets, in words; None where nothing is said of it."""
    percent, steps = options["percent"], options["steps"]
    if percent is not None and steps is not None:
        raise click.UsageError("--percent is by hand and --steps by automation; give one of them")
    if steps is None and (options["hold_seconds"], options["min_requests"]) != (None, None):
        raise click.UsageError("--hold and --min-requests go with --steps")
    if steps is not None:
        # After the last step all get it.
        rest = ", ".join(f"{step:g}" for step in (*steps[1:], *([100] if steps[-1] < 100 else [])))
        then = f" (then {rest} %)" if rest else ""
        return f"{{to}} gets {steps[0]:g} %{then}, the others {{from}}"
    return None if percent is None else f"{{to}} gets {percent:g} %, the others {{from}}"


@click.command
@click.argument("flag")
@click.argument("variant", required=False)
@click.option(
    "--percent", type=click.FloatRange(0, 100), callback=two_decimals, metavar="P", help="Of the requests."
)
@click.option("--off", is_flag=True, help="End the shadow that there is.")
@OPTIONAL_REASON
@LINK
@WAIT
@speaks_to_server
def shadow(
    client: Client,
    as_json: bool,
    flag: str,
    variant: str | None,
    percent: float | None,
    off: bool,
    **body: Any,
) -> int:
    """Send VARIANT of FLAG a copy of a share of the requests, whose answers nobody sees.

    \b
    pointsman shadow support-bot.prompt v7 --percent 5
    pointsman shadow support-bot.prompt --off
    """
    if off in (variant is not None, percent is not None):
        raise click.UsageError("expected VARIANT and --percent P, or --off")
    what = "no copies are sent any more" if off else f"{{to}} is sent a copy of {percent:g} % of the requests"
    sent = {"variant": variant, "percent": percent, **body}
    return deed(client, _path(flag, "shadow"), sent, as_json=as_json, what=what)


@click.command
@click.argument("object_key", metavar="OBJECT")
@click.option(
    "--to-revision", type=click.IntRange(min=1), required=True, metavar="N", help="See `pointsman log`."
)
@REASON
@LINK
@OVERRIDE
@WAIT
@speaks_to_server
def revert(client: Client, as_json: bool, object_key: str, **body: Any) -> int:
    """Make OBJECT (flag/…, route/…, policy/…, upstream/…) again what it was as of a revision."""
    sent = {"object": object_key, **body}
    what = f"is again as of revision {body['to_revision']}"
    return deed(client, "/revert", sent, as_json=as_json, what=what)


def _path(name: str, verb: str, *, kind: str = "flags") -> str:
    return f"/{kind}/{quote(name, safe='')}/{verb}"


def deed(
    client: Client,
    path: str,
    body: Mapping[str, Any],
    *,
    as_json: bool,
    what: str | Callable[[Mapping[str, Any]], str] = "{from} → {to}",
) -> int:
    """Ask for it, tell what came of it; exit 1 where a worker did not follow in time."""
    done = client.post(path, body, wait_seconds=body["wait_seconds"])
    show(done, sentence(done, what if isinstance(what, str) else what(done)), as_json=as_json)
    for line in () if as_json else told_loudly(done):
        click.echo(line, err=True)
    if done["missing"]:
        message = f"the change stands, but these workers have not confirmed it: {', '.join(done['missing'])}"
        return tell(failed(message, code="not_acknowledged"), as_json=as_json)
    return 0


def told_loudly(done: Mapping[str, Any]) -> Iterator[str]:
    """What must not be overlooked: warnings, and what a version was let through without."""
    yield from (f"warning: {warning}" for warning in done.get("warnings", ()))
    yield from (f"UNGOVERNED: {lacking}" for lacking in done.get("ungoverned", ()))


def sentence(done: Mapping[str, Any], what: str = "{from} → {to}") -> str:
    """`support-bot.prompt: v7 → v6, all 2 workers switched in 12 ms (revision 42)`."""
    named = {**done, "to": done["to"] or "the caller's own default", "from": done["from"] or "nothing"}
    if not done["changed"]:
        return (
            f"{done['flag']}: it is so already (revision {done['revision']}, {fleet(done)}){_targeted(done)}"
        )
    shared = f"; routes: {', '.join(done['routes'])}" if len(done["routes"]) > 1 else ""
    told = f"{fleet(done)} in {done['milliseconds']:.0f} ms (revision {done['revision']})"
    return f"{done['flag']}: {what.format_map(named)}, {told}{shared}{_targeted(done)}"


def _targeted(done: Mapping[str, Any]) -> str:
    """What a rollback left to the targeting rule, and how to end that too."""
    names = done.get("targeted")
    if not names:
        return ""
    told = f"\nthe targeting rule may still serve {', '.join(names)}"
    return f"{told}\n  → pointsman withdraw {done['flag']} {names[0]} --reason …"


def fleet(done: Mapping[str, Any]) -> str:
    """How many workers follow."""
    have, all_of_them = done["acknowledged"], done["workers"]
    if have < all_of_them:
        return f"{have} of {all_of_them} workers switched"
    return "the one worker switched" if all_of_them == 1 else f"all {all_of_them} workers switched"
