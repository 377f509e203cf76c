"""A screen that is drawn again in place, as `watch` does it, and a terminal left as it was found. Knows no picture.

Only the standard library, and of that what POSIX has: a command that must start at once imports nothing heavy.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple, TextIO

# xterm's control sequences: the alternate screen, the cursor, and colours.
ENTER, LEAVE = "\x1b[?1049h\x1b[?25l", "\x1b[?25h\x1b[?1049l"
HOME, TO_END_OF_LINE, TO_END = "\x1b[H", "\x1b[K", "\x1b[J"
RESET = "\x1b[0m"
STYLES: tuple[tuple[str, str], ...] = (
    ("head", "\x1b[1m"),
    ("good", "\x1b[32m"),
    ("doubt", "\x1b[33m"),
    ("bad", "\x1b[31m"),
    ("faint", "\x1b[2m"),
)


class Line(NamedTuple):
    """One line and how it looks (a name in STYLES, "" for plain)."""

    text: str
    style: str = ""


def is_live(out: TextIO, environ: Mapping[str, str]) -> bool:
    """Whether a picture can be drawn again in place."""
    return out.isatty() and environ.get("TERM", "dumb") != "dumb"


def has_colours(environ: Mapping[str, str]) -> bool:
    """https://no-color.org: any value that is not empty."""
    return not environ.get("NO_COLOR")


def frame(lines: Sequence[Line], columns: int, rows: int, *, colours: bool) -> str:
    """What to write for `lines`: cut to the screen, the rest of which is cleared. No line feed at the end: it would scroll."""
    styles = dict(STYLES) if colours else {}
    drawn = []
    for line in _fitting(lines, rows):
        text = line.text if len(line.text) <= columns else f"{line.text[: max(0, columns - 1)]}…"
        on = styles.get(line.style, "")
        drawn.append(f"{on}{text}{RESET if on else ''}{TO_END_OF_LINE}")
    return HOME + "\r\n".join(drawn) + TO_END


def _fitting(lines: Sequence[Line], rows: int) -> Sequence[Line]:
    if len(lines) <= rows:
        return lines
    return [*lines[: max(0, rows - 1)], Line(f"… {len(lines) - rows + 1} more lines", "faint")]


def watch(picture: Callable[[], Sequence[Line]], out: TextIO, *, every_seconds: float, colours: bool) -> None:
    """Draw `picture` every so many seconds, and anew when the window changes, until `q` or Ctrl-C."""
    with _taken(out) as wait:
        lines = picture()
        while True:
            size = os.get_terminal_size(out.fileno())
            out.write(frame(lines, size.columns, size.lines, colours=colours))
            out.flush()
            pressed, resized = wait(every_seconds)
            if pressed:
                return
            # A new size shows the same figures at once; they are not asked for anew at every step of a drag.
            if not resized:
                lines = picture()


@contextlib.contextmanager
def _taken(out: TextIO) -> Iterator[Callable[[float], tuple[bool, bool]]]:
    """The terminal, with the alternate screen shown and keys unechoed; all of it is given back in any case.

    What is yielded waits at most so many seconds: (whether `q` was pressed, whether the window has changed).
    """
    woken, wake = os.pipe()
    os.set_blocking(wake, False)
    os.set_blocking(woken, False)
    # A signal ends no sleep in Python, but select sees the byte that it leaves here.
    earlier_fd = signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    earlier = {
        signal.SIGWINCH: signal.signal(signal.SIGWINCH, lambda *_: None),
        signal.SIGTERM: signal.signal(signal.SIGTERM, _stop),
        signal.SIGHUP: signal.signal(signal.SIGHUP, _stop),
    }
    try:
        with _keys_unechoed():
            out.write(ENTER)
            out.flush()
            try:
                yield lambda seconds: _waited(woken, seconds)
            finally:
                out.write(LEAVE)
                out.flush()
    finally:
        for number, handler in earlier.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(earlier_fd)
        os.close(woken)
        os.close(wake)


def _stop(number: int, _: object) -> None:
    raise SystemExit(128 + number)


def _waited(woken: int, seconds: float) -> tuple[bool, bool]:
    watched = [woken, *([sys.stdin] if sys.stdin.isatty() else [])]
    ready, _, _ = select.select(watched, [], [], seconds)
    pressed = sys.stdin in ready and b"q" in os.read(sys.stdin.fileno(), 64).lower()
    changed = woken in ready and signal.SIGWINCH in os.read(woken, 64)
    return pressed, changed


@contextlib.contextmanager
def _keys_unechoed() -> Iterator[None]:
    """Keys come at once and are not shown; Ctrl-C stays Ctrl-C. Nothing to do where no person types."""
    if not sys.stdin.isatty():
        yield
        return
    import termios  # noqa: PLC0415  # POSIX only
    import tty  # noqa: PLC0415

    before = termios.tcgetattr(sys.stdin)
    try:
        tty.setcbreak(sys.stdin)
        yield
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)
