"""The README as tests read it: its text and its blocks of code."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

from tests.fleet import COMMAND

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()


def blocks(language: str, *titles: str) -> list[str]:
    """The blocks of code in this language, in order; those of these sections, where some are named."""
    text = "\n".join(part for title, part in sections() if not titles or title in titles)
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def sections() -> list[tuple[str, str]]:
    """Each section's title and text; what stands before the first has none."""
    return [(part.split("\n")[0], part) for part in f"\n{README}".split("\n## ")]


# The sections whose commands are run by a journey of their own.
RULEBOOK = (
    "Who may",
    "Versions with a life",
    "Evals",
    "A rollback that an auditor would sign",
    "Telling people",
    "Signals, complaints and drift",
    "Records, and CI",
)
EVERYONE = (
    "Flags for apps and services",
    "The gateway's own switches",
    "Decisions from elsewhere",
    "flagd files",
)


def commands(*titles: str) -> list[str]:
    """The command lines of these sections, without the program's name; of all that no journey of their own runs, where
    none is named."""
    others = [title for title, _ in sections() if title not in (*RULEBOOK, *EVERYONE)]
    return [
        line.removeprefix("pointsman ")
        for block in blocks("sh", *(titles or others))
        for line in block.splitlines()
        if line.startswith("pointsman ") and not line.startswith(("pointsman serve", "pointsman demo"))
    ]


def check(path: Path) -> subprocess.CompletedProcess[str]:
    """What `pointsman check` says of a config file."""
    command = [*COMMAND, "check", str(path)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def merged(document: dict[str, Any], more: dict[str, Any]) -> dict[str, Any]:
    """Both documents in one, as a reader would put them together."""
    both = {**document}
    for name, value in more.items():
        inner = isinstance(value, dict) and isinstance(document.get(name), dict)
        both[name] = merged(document[name], value) if inner else value
    return both
