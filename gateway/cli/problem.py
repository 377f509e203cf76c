"""What a command tells when it did not do what it was asked. Knows no server and no verb."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from typing import Any

FAILED, REFUSED = 1, 3


class CommandError(Exception):
    """Raised to end a command with an exit code and a problem (the fields of the API's `error`)."""

    def __init__(self, exit_code: int, problem: Mapping[str, Any]) -> None:
        super().__init__(problem.get("message", ""))
        self.exit_code = exit_code
        self.problem = problem


def failed(
    message: str, *, code: str = "failed", mend: str | None = None, path: str | None = None
) -> CommandError:
    """A plain failure (exit 1)."""
    problem = {"code": code, "message": message, "path": path, "mend": mend}
    return CommandError(FAILED, {name: value for name, value in problem.items() if value is not None})


def tell(error: CommandError, *, as_json: bool) -> int:
    """Print the problem to standard error, as JSON or in words; its exit code."""
    print(json.dumps({"error": error.problem}) if as_json else words(error.problem), file=sys.stderr)
    return error.exit_code


def words(problem: Mapping[str, Any]) -> str:
    """The problem in one or two lines."""
    path = problem.get("path")
    # Several problems each name their own place.
    where = f"{path}: " if path and "problems" not in problem else ""
    lines = [f"pointsman: {where}{problem.get('message', 'failed')}"]
    if problem.get("mend"):
        lines.append(f"  → {problem['mend']}")
    return "\n".join(lines)
