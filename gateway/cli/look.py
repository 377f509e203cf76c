"""The verbs that look: status, explain, workers. They change nothing."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any
from urllib.parse import quote

import click

from gateway.cli import figures
from gateway.cli.client import Client
from gateway.cli.options import show, speaks_to_server
from gateway.cli.problem import FAILED, CommandError

# Of a value, so that a version stays one line; `explain` shows all of it.
VALUE_CHARACTERS = 40
# Of the flags that no route uses: a screen.
FLAGS_SHOWN = 40
# What an app gets that names a default in its own code.
DEFAULT = "the caller's own default"


@click.command
@click.argument("name", required=False, metavar="[ROUTE|FLAG]")
@speaks_to_server
def status(client: Client, as_json: bool, name: str | None) -> None:
    """Show what is served: of all routes, of one, or of one flag."""
    if name is not None:
        flag = _flag(client, name)
        if flag is not None:
            show(flag, flag_text(flag), as_json=as_json)
            return
    found = client.get("/status")
    if name is not None:
        if name not in found["routes"]:
            raise _unknown(name, found["routes"])
        found = {**found, **{part: {name: found[part][name]} for part in ("routes", "gauges")}, "flags": {}}
    show(found, status_text(found), as_json=as_json)


@click.command
@speaks_to_server
def workers(client: Client, as_json: bool) -> None:
    """Show the workers and how far each has come."""
    found = client.get("/workers")
    show(found, workers_text(found["workers"]), as_json=as_json)


@click.command
@click.argument("name", metavar="ROUTE|FLAG")
@click.option("--context", "-c", multiple=True, metavar="K=V", help="An attribute; V may be JSON.")
@click.option("--key", metavar="K", help="The targeting key (as --context targetingKey=K).")
@click.option("--pin", multiple=True, metavar="FLAG=V", help="As the header x-pointsman-pin.")
@speaks_to_server
def explain(
    client: Client, as_json: bool, name: str, context: Sequence[str], key: str | None, pin: Sequence[str]
) -> None:
    """Say what ROUTE or FLAG gives to a context, and why.

    \b
    pointsman explain support-bot --key user-7
    pointsman explain new-greeting --key user-7 --context plan=gold

    Of a route it is the version of each layer; of a flag its value, as an app gets it that evaluates the flag by
    OFREP or by a provider.
    """
    attributes = {attribute: _value(text) for attribute, text in _pairs("--context", context)}
    named = attributes.pop("targetingKey", None)
    asked = {
        "targeting_key": key if key is not None or named is None else str(named),
        "attributes": attributes,
    }
    pins = dict(_pairs("--pin", pin))
    route = _found(client, "/explain", {"route": name, "pins": pins, **asked})
    # Where there is a route of all names it answers for a flag's name as well.
    if route is not None and route["route"] == name:
        show(route, explain_text(route), as_json=as_json)
        return
    flag = _found(client, f"/flags/{quote(name, safe='')}/explain", {"pin": pins.get(name), **asked})
    others = [each for each in pins if each != name]
    if flag is not None and others:
        raise click.UsageError(f"--pin: {others[0]} is another flag than {name}")
    found = flag or route
    if found is None:
        raise _unknown(name, client.get("/status")["routes"])
    show(found, explain_flag_text(found) if flag else explain_text(found), as_json=as_json)


def status_text(found: Mapping[str, Any]) -> str:
    """Routes with their layers, then the workers."""
    alive = sum(worker["alive"] for worker in found["workers"])
    degraded = ", DEGRADED: the store does not answer" if found["degraded"] else ""
    brake = figures.local_brake(found["diverted"])
    lines = [
        f"revision {found['revision']}, {alive} worker{'' if alive == 1 else 's'} alive{degraded}{brake}",
        *figures.switches(found["switches"]),
        *figures.decided_by(found["decided_by"]),
    ]
    rows = [
        (
            "",
            layer,
            state["flag"],
            "disabled" if state["served"] is None else f"serves {state['served']}{_pinned(state)}",
            f"safe {state['safe']}",
            "; ".join(
                text
                for text in (
                    f"{figures.rollout(state['rollout'])}{figures.resting(state)}",
                    figures.shadow(state["shadow"]),
                )
                if text
            ),
        )
        for route, layers in found["routes"].items()
        for layer, state in layers.items()
    ]
    table = iter(figures.columns(rows))
    span = f"{found['minutes']} min"
    for route, layers in found["routes"].items():
        gauges = found["gauges"].get(route)
        lines.append(_route_line(route, layers, gauges, span))
        lines.extend(each for layer in layers for each in (next(table), *_versions(gauges, layer)))
        if gauges is not None:
            lines += [f"  {text}" for text in figures.breakers(gauges["breakers"])]
            lines += [f"  {text}" for text in figures.alarms(gauges["evidence"])]
    return "\n".join([*lines, *_others_text(found["flags"])])


def _others_text(flags: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """The flags that no route uses, one a line; of very many the first."""
    if not flags:
        return []
    rows = [
        (
            "",
            key,
            f"serves {state['served'] or DEFAULT}" if state["enabled"] else "disabled",
            "" if state["safe"] is None else f"safe {state['safe']}",
            figures.rollout(state["rollout"]),
        )
        for key, state in [*flags.items()][:FLAGS_SHOWN]
    ]
    more = len(flags) - FLAGS_SHOWN
    rest = [f"  and {more} more: pointsman status --json"] if more > 0 else []
    return ["flags that no route uses", *figures.columns(rows), *rest]


def _pinned(state: Mapping[str, Any]) -> str:
    return f" (pinned by pipeline {state['pinned_by']})" if state["pinned_by"] else ""


def _route_line(route: str, layers: Mapping[str, Any], gauges: Mapping[str, Any] | None, span: str) -> str:
    if not layers:
        return f"{route}  (no flags)"
    return route if gauges is None else f"{route}  {figures.summary(gauges, span)}"


def _versions(gauges: Mapping[str, Any] | None, layer: str) -> list[str]:
    """A layer's versions under headings; none where there was neither request nor score and nothing against them."""
    found = gauges["layers"].get(layer) if gauges is not None else None
    told = ("requests", "scores", "evidence")
    if found is None or not any(each[name] for each in found["versions"] for name in told):
        return []
    rows = [figures.HEADINGS, *(figures.version_row(each) for each in found["versions"])]
    return [f"        {line}" for line in figures.columns(rows, right=figures.NUMBERS)]


def flag_text(flag: Mapping[str, Any]) -> str:
    """A flag with its versions, one a line."""
    layer = f" ({flag['layer']})" if flag["layer"] else ""
    # A flag may also serve nothing of its own, which is no accident.
    default = flag["served"] or DEFAULT
    state = f"serves {default}" if flag["enabled"] else "disabled"
    routes = f", routes: {', '.join(flag['routes'])}" if flag["routes"] else ""
    moving = [text for text in (figures.rollout(flag["rollout"]), figures.shadow(flag["shadow"])) if text]
    lines = [
        f"{flag['key']}{layer}: {state}, safe {flag['safe']}"
        f"{''.join(f', {text}' for text in moving)} (revision {flag['revision']}{routes})"
    ]
    good = flag["last_known_good"]
    lines.append(f"  last known good: {good['variant'] or 'none'} ({good['reason']})")
    if flag["ungoverned"]:
        lines.append(f"  {flag['safe']} is safe, UNGOVERNED: {'; '.join(flag['ungoverned'])}")
    rows = [
        (
            "",
            name,
            *(() if flag["layer"] else (_shown(variant),)),
            _marks(flag, name),
            f"generation {variant['generation']}",
            variant["hash"][:12],
            variant["lifecycle"],
        )
        for name, variant in flag["variants"].items()
    ]
    seen = [each for each in flag["gauges"] if each["requests"] or each["evidence"] or each["scores"]]
    told = [("", *figures.HEADINGS), *(("", *figures.version_row(each)) for each in seen)] if seen else []
    right = [place + 1 for place in figures.NUMBERS]
    return "\n".join([*lines, *figures.columns(rows), *figures.columns(told, right)])


def workers_text(found: Sequence[Mapping[str, Any]]) -> str:
    """One worker a line."""
    rows = [
        (
            w["id"],
            f"revision {w['revision']}",
            "alive" if w["alive"] else f"silent for {w['age_seconds']:.0f} s",
        )
        for w in found
    ]
    return "\n".join(figures.columns(rows)) or "no workers"


def explain_text(found: Mapping[str, Any]) -> str:
    """One layer a line: version, then the reason in words."""
    rows = [
        (layer, f"{told['flag']} = {told['variant']}", told["reason"], told["why"])
        for layer, told in found["layers"].items()
    ]
    whom = "a request without a key" if found["targeting_key"] is None else found["targeting_key"]
    head = f"{found['route']} for {whom} (revision {found['revision']})"
    return "\n".join([head, *figures.columns(rows)])


def explain_flag_text(found: Mapping[str, Any]) -> str:
    """The value and the variant, then the reason in words, and the condition that held."""
    whom = "a context without a key" if found["targeting_key"] is None else found["targeting_key"]
    default = found["variant"] is None
    rows = [
        ("value", DEFAULT if default else json.dumps(found["value"], ensure_ascii=False)),
        ("variant", "none" if default else found["variant"]),
        ("reason", f"{found['reason']}{': ' + found['error_code'] if found['error_code'] else ''}"),
        ("why", found["why"]),
    ]
    if found["condition"] is not None:
        rows.append(("condition", json.dumps(found["condition"], ensure_ascii=False)))
    head = f"{found['flag']} for {whom} (revision {found['revision']})"
    return "\n".join([head, *figures.columns([("", *row) for row in rows])])


def _flag(client: Client, name: str) -> dict[str, Any] | None:
    return _unless_missing(lambda: client.get(f"/flags/{quote(name, safe='')}"))


def _found(client: Client, path: str, body: Mapping[str, object]) -> dict[str, Any] | None:
    return _unless_missing(lambda: client.post(path, body))


def _unless_missing(ask: Callable[[], dict[str, Any]]) -> dict[str, Any] | None:
    try:
        return ask()
    except CommandError as refused:
        if refused.problem.get("code") == "not_found":
            return None
        raise


def _unknown(name: str, routes: Iterable[str]) -> CommandError:
    known = ", ".join(routes) or "none"
    message = f'there is no flag and no route "{name}" (routes: {known})'
    return CommandError(FAILED, {"code": "not_found", "message": message})


def _shown(variant: Mapping[str, Any]) -> str:
    """The value of a flag without a layer, as far as it fits beside the rest."""
    if "value" not in variant:
        return ""
    text = json.dumps(variant["value"], ensure_ascii=False)
    return text if len(text) <= VALUE_CHARACTERS else f"{text[:VALUE_CHARACTERS]}…"


def _marks(flag: Mapping[str, Any], name: str) -> str:
    candidate = flag["rollout"] and flag["rollout"]["variant"] == name
    marks = [
        word
        for word, holds in (
            ("served", flag["served"] == name),
            ("safe", flag["safe"] == name),
            ("candidate", candidate),
            ("shadowed", flag["shadow"] and flag["shadow"]["variant"] == name),
            ("withdrawn", name in flag["withdrawn"]),
        )
        if holds
    ]
    return ", ".join(marks)


def _pairs(option: str, texts: Sequence[str]) -> list[tuple[str, str]]:
    pairs = []
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise click.UsageError(f"{option}: found {text!r}, expected name=value")
        pairs.append((name, value))
    return pairs


def _value(text: str) -> object:
    """JSON where it is JSON (30, true, ["a"]), else the text itself."""
    try:
        value: object = json.loads(text)
    except ValueError:
        return text
    return value
