"""Finds processes that should have ended, by a mark in their environment, which children inherit."""

from __future__ import annotations

import time
from pathlib import Path

# A worker that lost its supervisor notices at once; a loaded machine may take longer.
END_SECONDS = 5.0


def left(mark: str) -> list[str]:
    """The command lines of processes with `mark` that do not end by themselves (none where there is no /proc)."""
    deadline = time.monotonic() + END_SECONDS
    while (found := _marked(mark)) and time.monotonic() < deadline:
        time.sleep(0.05)
    return found


def _marked(mark: str) -> list[str]:
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if mark.encode() in (entry / "environ").read_bytes():
                found.append((entry / "cmdline").read_bytes().replace(b"\0", b" ").decode())
        except OSError:
            continue  # it ended, or is another user's
    return found
