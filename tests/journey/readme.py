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
