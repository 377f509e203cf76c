"""`pointsman top`: every route, layer and version on one screen, drawn anew each second. Reads, and changes nothing."""

from __future__ import annotations

import os
import sys
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import click

from gateway.cli import figures
from gateway.cli.client import Client
from gateway.cli.history import entry_text
from gateway.cli.options import show, speaks_to_server
from gateway.cli.problem import CommandError
from gateway.cli.terminal import Line, has_colours, is_live, watch

EVERY_SECONDS = 1.0
# What a brake, or somebody's hand on it, writes into the ledger.
BRAKES = frozenset({"rollback", "withdraw", "rollout.pause", "alert"})
# So far back the ledger is read for them, and so many fit below the figures.
LOOK_BACK, SHOWN = 500, 8
BRAKES_MINUTES = 15


@click.command
@click.option("--once", is_flag=True, help="Print it once and end, as it does where there is no terminal.")
@click.option(
    "--minutes",
    type=click.IntRange(1, 360),
    default=5,
    show_default=True,
    metavar="M",
    help="The span that the figures are of.",
)
@speaks_to_server
def top(client: Client, as_json: bool, once: bool, minutes: int) -> None:
    """Watch routes, layers and versions: figures, evidence, rollbacks. `q` ends it."""
    watched = Watched(client, minutes)
    if as_json:
        found, brakes = watched.look()
        show({**found, "brakes": [*brakes]}, "", as_json=True)
    elif once or not is_live(sys.stdout, os.environ):
        show(None, "\n".join(line.text for line in watched.lines()), as_json=False)
    else:
        # Where no server is, that is told on the ordinary screen.
        watched.lines()
        watch(watched.lines, sys.stdout, every_seconds=EVERY_SECONDS, colours=has_colours(os.environ))


class Watched:
    """The server's figures. What changes here: the revision read to, the brakes since, and the last picture."""

    def __init__(self, client: Client, minutes: int) -> None:
        self._client, self._minutes = client, minutes
        self._seen: int | None = None
        self._brakes: deque[Mapping[str, Any]] = deque(maxlen=SHOWN)
        self._last: list[Line] | None = None

    def look(self) -> tuple[dict[str, Any], Sequence[Mapping[str, Any]]]:
        """The status with its gauges, and the brakes of the last minutes."""
        found: dict[str, Any] = self._client.get("/status", {"minutes": self._minutes})
        self._follow(found["revision"], degraded=found["degraded"])
        oldest = datetime.now(tz=UTC) - timedelta(minutes=max(self._minutes, BRAKES_MINUTES))
        return found, [each for each in self._brakes if datetime.fromisoformat(each["time"]) >= oldest]

    def lines(self) -> list[Line]:
        """The picture; while the server does not answer the last one, saying so."""
        try:
            found, brakes = self.look()
        except CommandError as error:
            if self._last is None or error.problem.get("code") != "no_server":
                raise
            return [Line(f"{error}: these are the last figures", "bad"), *self._last]
        self._last = screen(found, brakes)
        return self._last

    def _follow(self, revision: int, *, degraded: bool) -> None:
        if degraded:
            return
        try:
            self._read_on(revision)
        except CommandError as error:
            # The figures are told without the store; the ledger follows when it is back.
            if error.problem.get("code") != "store_unavailable":
                raise

    def _read_on(self, revision: int) -> None:
        following = max(0, revision - LOOK_BACK) if self._seen is None else self._seen
        while following is not None:
            page = self._client.get("/log", {"after": following, "limit": LOOK_BACK})
            self._brakes.extend(entry for entry in page["entries"] if entry["action"] in BRAKES)
            self._seen = page["entries"][-1]["revision"] if page["entries"] else following
            following = page["next"]


def screen(found: Mapping[str, Any], brakes: Iterable[Mapping[str, Any]]) -> list[Line]:
    """All of it as lines: the fleet, then routes with their layers and versions, then the brakes."""
    span = f"{found['minutes']} min"
    rows = [("", *figures.HEADINGS), *_rows(found)]
    # Before them stands the layer's name.
    heading, *table = figures.columns(rows, right=[place + 1 for place in figures.NUMBERS])
    following = iter(table)
    switched = [Line(text, "doubt") for text in figures.switches(found["switches"])]
    switched += [Line(text, "faint") for text in figures.decided_by(found["decided_by"])]
    lines = [_fleet(found), *switched, Line(heading, "faint")]
    for route, gauges in found["gauges"].items():
        lines.append(Line(f"{route}  {figures.summary(gauges, span)}", "head"))
        lines += [_version_line(next(following), version) for version in _versions(gauges)]
        lines += [Line(f"  {text}", "bad") for text in figures.breakers(gauges["breakers"])]
        layers = found["routes"].get(route, {})
        lines += [Line(f"  {text}", "faint") for text in figures.pinned(layers)]
        lines += [Line(f"  {text}", "doubt") for text in figures.rollouts(layers)]
        lines += [Line(f"  {text}", "doubt") for text in figures.alarms(gauges["evidence"])]
    told = [Line(entry_text(entry), "bad") for entry in brakes]
    return [*lines, *([Line(""), Line("brakes", "head")] if told else []), *told]


def _fleet(found: Mapping[str, Any]) -> Line:
    alive = sum(worker["alive"] for worker in found["workers"])
    workers = f"{alive} worker{'' if alive == 1 else 's'}"
    brake = figures.local_brake(found["diverted"])
    text = f"pointsman {found['namespace']}  revision {found['revision']}, {workers} alive"
    if found["degraded"]:
        return Line(f"{text}, DEGRADED: the store does not answer{brake}", "bad")
    return Line(f"{text}{brake}", "bad" if brake else "head")


def _rows(found: Mapping[str, Any]) -> list[tuple[str, ...]]:
    rows = []
    for gauges in found["gauges"].values():
        for layer, told in gauges["layers"].items():
            for place, version in enumerate(told["versions"]):
                rows.append((f"  {'' if place else layer}", *figures.version_row(version)))
    return rows


def _versions(gauges: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [version for told in gauges["layers"].values() for version in told["versions"]]


def _version_line(text: str, version: Mapping[str, Any]) -> Line:
    nearest = figures.nearest(version["evidence"])
    if nearest is not None and (style := _alarm(nearest)):
        return Line(text, style)
    if version["role"] in ("served", "candidate"):
        return Line(text, "good" if version["requests"] else "")
    return Line(text, "faint")


def _alarm(bar: Mapping[str, Any]) -> str:
    if bar["standing"] == "breached":
        return "bad"
    return "doubt" if bar["ratio"] >= figures.DOUBTFUL else ""
