"""The README as tests read it: its text and its blocks of code."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

from tests.fleet import COMMAND

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    """The blocks of code in this language, in order."""
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


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


def commands(*titles: str) -> list[str]:
    """The command lines of these sections, without the program's name; of all but the rulebook's, where none is named."""
    text = "\n".join(
        part
        for part in README.split("\n## ")[1:]
        if (part.split("\n")[0] in titles if titles else part.split("\n")[0] not in RULEBOOK)
    )
    shells = re.findall(r"^```sh\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return [
        line.removeprefix("pointsman ")
        for block in shells
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
