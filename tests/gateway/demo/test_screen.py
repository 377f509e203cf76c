"""The demo's two screens: a terminal's table, and lines for everything else."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from gateway.demo.screen import LiveScreen, PlainScreen, make_screen, style_of
from gateway.demo.tally import Picture, Row

PICTURE = Picture(
    (("v7", 0.75), ("v6", 0.25)),
    30.0,
    (Row("v6", 10, 0, 0.06, 0.1), Row("v7", 30, 12, 0.35, 0.4)),
    (("v6", 70, 0), ("v7", 30, 12)),
)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_without_a_terminal_there_are_lines_and_no_control_characters() -> None:
    """One line of figures a second, however often they are drawn."""
    out, now = io.StringIO(), [100.0]
    screen = make_screen(out, lambda: now[0])
    for tenth in range(25):
        now[0] = 100.0 + tenth / 10
        screen.draw(PICTURE)
    screen.say("[bold]as it is[/bold]")
    screen.close()

    *figures, said = out.getvalue().splitlines()
    assert isinstance(screen, PlainScreen)
    assert len(figures) == 3
    assert "v7 serves 75%, v6 serves 25%, 30 req/s" in figures[0]
    assert "v7: 40.0% errors, p50 350 ms, p95 400 ms" in figures[0]
    assert said == "[bold]as it is[/bold]"
    assert all(character.isprintable() for line in figures for character in line)


def test_a_terminal_shows_a_table() -> None:
    """The versions with their shares, errors and times; lines of the story stand above it."""
    out = Terminal()
    screen = LiveScreen(Console(file=out, width=100, force_terminal=True))
    screen.say("  $ pointsman rollback support-bot.prompt")
    screen.draw(PICTURE)
    screen.close()
    screen.close()

    shown = out.getvalue()
    for expected in ("pointsman rollback support-bot.prompt", "v7 serves 75%", "40.0%", "350 ms", "400 ms"):
        assert expected in shown


def test_a_dumb_terminal_gets_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    """TERM=dumb cannot move a cursor."""
    monkeypatch.setenv("TERM", "dumb")

    assert isinstance(make_screen(Terminal(), lambda: 0.0), PlainScreen)


def test_what_was_typed_what_the_machine_did_and_what_failed_stand_out() -> None:
    """The rest is plain."""
    styles = [
        style_of(line)
        for line in (
            "  $ pointsman status",
            "  policy/error-brake withdrew v7:",
            "  FAIL users saw 2 failures",
            "Summary",
        )
    ]

    assert styles == ["bold cyan", "bold green", "bold red", ""]
