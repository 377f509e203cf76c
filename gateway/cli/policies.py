"""The verb `policies`: which ones are in force and how near they are to acting, and what they would have done.

Knows documents and text; the rules stand in `policies`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any

import click

from flags.model import Kind
from gateway.cli.client import Client
from gateway.cli.figures import bar, columns
from gateway.cli.files import loaded
from gateway.cli.options import show, speaks_to_server
from gateway.cli.problem import CommandError
from policies.policy import Action, Method, MetricKind, Policy, outside_policies, policies_in
from policies.replay import Fired, Report, replay

UNREADABLE = 2
_DEEDS: Mapping[Action, str] = MappingProxyType(
    {
        Action.ROLLBACK: "rolled back {}",
        Action.PAUSE: "paused the rollout of {}",
        Action.ALERT: "raised an alert on {}",
    }
)


@click.group(invoke_without_command=True)
@speaks_to_server
def policies(client: Client, as_json: bool) -> None:
    """List all policies in force, those that ship included, with their evidence."""
    if click.get_current_context().invoked_subcommand is None:
        found = _all_of_server(client)
        bars = _bars(client)
        rows = [{**_fields(policy), "evidence": bars.get(name, [])} for name, policy in sorted(found.items())]
        show({"policies": rows}, _table(rows, found), as_json=as_json)


@policies.command
@click.option("--replay", "recording", required=True, type=click.Path(path_type=Path), metavar="FILE",
              help="Recorded outcomes, one JSON object a line (as `serve --record FILE` writes them).")  # fmt: skip
@click.option("-c", "--config", type=click.Path(path_type=Path), metavar="CONFIG",
              help="Take the policies of this config file, not the server's.")  # fmt: skip
@speaks_to_server
def test(client: Client, as_json: bool, recording: Path, config: Path | None) -> None:
    """Run the policies over recorded outcomes: what would have happened, and when. Writes nothing."""
    found = _of_server(client) if config is None else _of_file(config)
    try:
        with recording.open("rb") as lines:
            report = replay(lines, found)
    except OSError as error:
        message = f"{recording} cannot be read: {error.strerror}"
        raise CommandError(UNREADABLE, {"code": "usage", "message": message}) from None
    for line in () if as_json else report.told:
        click.echo(f"{recording}:{line.number}: {line.message}; passed over", err=True)
    show({"file": str(recording), **_document(report)}, report_text(report), as_json=as_json)


def report_text(report: Report) -> str:
    """What fired, in order; then the policies that did not, with how far they had come."""
    lines = [
        f"{report.requests} requests and {report.scores} scores in {report.seconds:.1f} s{_left_out(report)}"
    ]
    lines += [_fired(each) for each in report.fired] or ["nothing would have been done"]
    rows = [
        ("", verdict.policy, verdict.case, verdict.standing.value, bar(verdict.ratio), verdict.reason)
        for verdict in report.verdicts
    ]
    return "\n".join([*lines, *(["not fired:"] if rows else []), *columns(rows)])


def _left_out(report: Report) -> str:
    parts = [
        f"{report.malformed} lines that cannot be read" if report.malformed else "",
        f"{report.passed_over} lines of what had been taken back" if report.passed_over else "",
    ]
    told = " and ".join(filter(None, parts))
    return f" (passed over: {told})" if told else ""


def _fired(fired: Fired) -> str:
    deed = _DEEDS[fired.action].format(fired.case)
    dry = " (dry run)" if fired.dry_run else ""
    return (
        f"{_time(fired.time)}  request {fired.request}: {fired.policy} would have {deed}{dry}"
        f" after {fired.judged} of its requests\n    {fired.reason}"
    )


def _time(seconds: float) -> str:
    """RFC 3339; a record may also count from 0."""
    try:
        return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    except (ValueError, OverflowError, OSError):
        return f"{seconds:.3f}"


def _document(report: Report) -> dict[str, object]:
    return {
        "requests": report.requests,
        "scores": report.scores,
        "passed_over": report.passed_over,
        "seconds": report.seconds,
        "fired": [asdict(fired) for fired in report.fired],
        "verdicts": [
            {
                "policy": each.policy,
                "case": each.case,
                "standing": each.standing,
                "ratio": each.ratio,
                "reason": each.reason,
            }
            for each in report.verdicts
        ],
        "malformed": report.malformed,
        "problems": [{"line": line.number, "message": line.message} for line in report.told],
    }


def _of_server(client: Client) -> dict[str, Policy]:
    found = client.get("/export")
    return policies_in(found.get("policies") or {}, found.get("metrics") or {})


def _all_of_server(client: Client) -> dict[str, Policy]:
    """Those that judge, and those about what happens elsewhere (signals, drift, complaints), which no recording has."""
    found = client.get("/export")
    declared = found.get("policies") or {}
    return policies_in(declared, found.get("metrics") or {}) | outside_policies(declared)


def _of_file(path: Path) -> dict[str, Policy]:
    declaration = loaded(path, None)
    told = {
        kind: {key.name: spec for key, spec in declaration.others.items() if key.kind is kind}
        for kind in (Kind.POLICY, Kind.METRIC)
    }
    return policies_in(told[Kind.POLICY], told[Kind.METRIC])


def _bars(client: Client) -> dict[str, list[dict[str, Any]]]:
    """By policy, the verdicts that the server gives now; none from one that cannot tell."""
    try:
        cases = client.get("/evidence")["cases"]
    except CommandError as error:
        if error.problem.get("code") not in ("not_found", "unavailable"):
            raise
        return {}
    found: dict[str, list[dict[str, Any]]] = {}
    for case in cases:
        for verdict in case["policies"]:
            told = {name: verdict[name] for name in ("standing", "ratio", "reason")}
            found.setdefault(verdict["policy"], []).append({"case": case["case"], **told})
    return found


def _fields(policy: Policy) -> dict[str, object]:
    """A policy as a config file has it, and whether it ships."""
    document: dict[str, object] = {
        "name": policy.name,
        "metric": policy.metric.name,
        "limit": policy.limit,
        "times_safe": policy.times_safe,
        "quantile": policy.quantile if policy.metric.kind is MetricKind.SECONDS else None,
        "action": policy.action,
        "layer": policy.layer,
        "routes": None if policy.routes is None else sorted(policy.routes),
        "except": sorted(policy.but),
        "method": policy.method,
        "cooldown_seconds": policy.cooldown_seconds,
        "dry_run": policy.dry_run,
        "shipped": policy.shipped,
    }
    if policy.metric.kind is MetricKind.EVENT:
        del document["method"]
        return document | ({} if policy.limit is None else {"window_seconds": policy.window_seconds})
    if policy.method is Method.EVIDENCE:
        return document | {"alpha": policy.alpha}
    return document | {"window_seconds": policy.window_seconds, "min_count": policy.min_count}


def _table(rows: Sequence[Mapping[str, Any]], found: Mapping[str, Policy]) -> str:
    return "\n".join(columns(_row(row, found[row["name"]]) for row in rows))


def _row(row: Mapping[str, Any], policy: Policy) -> tuple[str, ...]:
    nearest = max(row["evidence"], key=lambda each: float(each["ratio"]), default=None)
    where = "all routes" if policy.routes is None else ", ".join(sorted(policy.routes))
    but = f" but {', '.join(sorted(policy.but))}" if policy.but else ""
    return (
        policy.name,
        policy.metric.name,
        _bound(policy),
        policy.action.value,
        where + but,
        ", ".join(
            word for word, holds in (("shipped", policy.shipped), ("dry run", policy.dry_run)) if holds
        ),
        f"{bar(nearest['ratio'])} {nearest['case']}" if nearest else "",
    )


def _bound(policy: Policy) -> str:
    limit = "" if policy.limit is None else f"limit {policy.limit:g}"
    if policy.metric.kind is MetricKind.EVENT:
        return limit and f"{policy.limit:g} people in {policy.window_seconds:g} s"
    if limit and policy.metric.kind is MetricKind.SECONDS:
        limit = f"p{policy.quantile * 100:g} at most {policy.limit:g} s"
    times = "" if policy.times_safe is None else f"{policy.times_safe:g} × safe"
    return ", ".join(filter(None, (limit, times)))
