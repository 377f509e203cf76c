"""Shows the story and the figures: a live table on a terminal, plain lines anywhere else. Knows no server."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Protocol, TextIO

from rich.console import Console
from rich.live import Live
from rich.table import Table

from gateway.demo.tally import Picture

# Plain lines are read later, by people or machines: one line of figures a second is enough.
LINE_EVERY_SECONDS = 1.0
# An error share that a person should see at once.
ALARMING = 0.05


class Screen(Protocol):
    """Where the show is shown."""

    def say(self, line: str) -> None:
        """One line that stays."""
        ...

    def draw(self, picture: Picture) -> None:
        """The figures as they are now."""
        ...

    def close(self) -> None:
        """Leave the terminal as it was. Idempotent."""
        ...


def make_screen(out: TextIO, clock: Callable[[], float]) -> Screen:
    """A live one on a terminal that can, else plain lines."""
    if out.isatty() and os.environ.get("TERM") != "dumb":
        return LiveScreen(Console(file=out))
    return PlainScreen(out, clock)


class PlainScreen:
    """Lines of text without any control character. What changes here: when the next figures are due."""

    def __init__(self, out: TextIO, clock: Callable[[], float]) -> None:
        self._out, self._clock = out, clock
        self._began = clock()
        self._due = self._began

    def say(self, line: str) -> None:
        """One line, at once."""
        self._out.write(f"{line}\n")
        self._out.flush()

    def draw(self, picture: Picture) -> None:
        """One line of figures, where one is due."""
        now = self._clock()
        if now < self._due or not picture.recent:
            return
        self._due = now + LINE_EVERY_SECONDS
        self.say(f"  {now - self._began:5.1f} s  {figures(picture)}")

    def close(self) -> None:
        """Nothing to give back."""


class LiveScreen:
    """A table that is drawn again in place, under the lines of the story."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live = Live(console=console, auto_refresh=False)
        self._live.start()

    def say(self, line: str) -> None:
        """One line above the table."""
        self._console.print(line, markup=False, highlight=False, soft_wrap=True, style=style_of(line))

    def draw(self, picture: Picture) -> None:
        """The table anew."""
        self._live.update(table(picture), refresh=True)

    def close(self) -> None:
        """Leave the last table where it stands."""
        self._live.stop()


def figures(picture: Picture) -> str:
    """`v7 serves, 30 req/s | v7: 41.2 % errors, p50 350 ms, p95 420 ms`."""
    versions = (
        f"{row.version}: {row.error_share:.1%} errors, p50 {row.p50 * 1000:.0f} ms, p95 {row.p95 * 1000:.0f} ms"
        for row in picture.recent
    )
    return " | ".join([f"{serving(picture)}, {picture.rate:.0f} req/s", *versions])


def serving(picture: Picture) -> str:
    """Who serves, with shares where it is more than one."""
    if not picture.serving:
        return "nobody serves"
    if len(picture.serving) == 1:
        return f"{picture.serving[0][0]} serves"
    return ", ".join(f"{version} serves {share:.0%}" for version, share in picture.serving)


def table(picture: Picture) -> Table:
    """The figures of the last seconds with the totals."""
    drawn = Table(title=f"support-bot: {serving(picture)}, {picture.rate:.0f} requests/s", title_style="bold")
    drawn.add_column("version")
    for name in ("serves now", "errors now", "p50", "p95", "requests", "errors"):
        drawn.add_column(name, justify="right")
    now = {row.version: row for row in picture.recent}
    share = dict(picture.serving)
    for version, requests, errors in picture.totals:
        row = now.get(version)
        drawn.add_row(
            version,
            f"{share[version]:.0%}" if version in share else "",
            f"{row.error_share:.1%}" if row else "",
            f"{row.p50 * 1000:.0f} ms" if row else "",
            f"{row.p95 * 1000:.0f} ms" if row else "",
            str(requests),
            str(errors),
            style="red" if row and row.error_share >= ALARMING else "green" if version in share else "dim",
        )
    return drawn


def style_of(line: str) -> str:
    """Commands stand out; so does what the machine did, and what failed."""
    if line.startswith("  $ "):
        return "bold cyan"
    if line.startswith("  policy/"):
        return "bold green"
    return "bold red" if line.startswith("  FAIL") else ""
