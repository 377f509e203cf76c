"""The house's rules that a linter does not know: who may import whom, and what must never be imported."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
# Each room may import itself and those to its right.
ROOMS = ("gateway", "policies", "flags")


def modules(room: str) -> Iterator[Path]:
    return (ROOT / room).rglob("*.py")


def imported(path: Path) -> set[str]:
    """The top-level packages that a module names in any import, at its top or within."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.split(".")[0])
    return found


@pytest.mark.parametrize("room", ROOMS)
def test_imports_go_one_way(room: str) -> None:
    forbidden = set(ROOMS[: ROOMS.index(room)])

    assert {
        str(path): imported(path) & forbidden for path in modules(room) if imported(path) & forbidden
    } == {}


@pytest.mark.parametrize("room", ROOMS)
def test_a_module_says_what_it_is_for_and_stays_readable(room: str) -> None:
    for path in modules(room):
        text = path.read_text()
        assert ast.get_docstring(ast.parse(text)), f"{path} has no docstring"
        assert text.count("\n") < 400, f"{path} is a house of its own"


@pytest.mark.parametrize("entry", ["gateway.cli", "gateway.worker", "gateway.supervisor"])
def test_neither_command_line_nor_native_path_imports_litellm(entry: str) -> None:
    code = f"import sys, {entry}; sys.exit('litellm' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False, timeout=60).returncode == 0
