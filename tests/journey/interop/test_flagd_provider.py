"""What we export is read by flagd's own provider in an environment of its own, and answered as we answer it."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.fleet import Fleet
from tests.journey.interop import scene, tools

pytestmark = [pytest.mark.full, pytest.mark.timeout(300)]
HERE = Path(__file__).parent
USERS = 100
# type, flag, fallback: each is asked for by every user.
FLAGS = (
    ("boolean", "new-greeting", False),
    ("string", "colour", ""),
    ("integer", "limit", 0),
    ("float", "ratio", 0.0),
    ("object", "theme", {}),
    ("boolean", "undecided", True),
    ("string", "coin", ""),
    ("object", "support-bot.prompt", {}),
)


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Python that has flagd's provider."""
    return tools.python_with(tmp_path_factory.mktemp("flagd") / "env", tools.FLAGD_PACKAGES)


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    with scene.fleet(tmp_path_factory.mktemp("fleet")) as running:
        yield running


def contexts() -> list[tuple[str | None, dict[str, Any]]]:
    """Users with and without a plan, and nobody at all."""
    users: list[tuple[str | None, dict[str, Any]]] = [
        (f"user-{number}", {"plan": "gold"} if number % 3 == 0 else {}) for number in range(USERS)
    ]
    return [*users, (None, {})]


def by_flagd(python: Path, file: Path, questions: list[Any]) -> list[Any]:
    """What flagd's provider answers from `file`."""
    done = subprocess.run(
        [str(python), str(HERE / "flagd_client.py"), str(file)],
        input="".join(json.dumps(question) + "\n" for question in questions),
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def by_us(fleet: Fleet, questions: list[Any]) -> list[Any]:
    """What the fleet answers, in the same form."""
    answers = []
    with httpx.Client(base_url=fleet.url, verify=False) as client:
        for _, flag, fallback, key, attributes in questions:
            context = {**attributes, **({"targetingKey": key} if key else {})}
            told = client.post(f"/ofrep/v1/evaluate/flags/{flag}", json={"context": context}).json()
            answers.append([told.get("value", fallback), told.get("variant") or None, told.get("errorCode")])
    return answers


@pytest.mark.parametrize("withdrawn", [False, True])
def test_flagds_provider_answers_our_export_as_we_do(
    python: Path, fleet: Fleet, tmp_path: Path, withdrawn: bool
) -> None:
    """With a rollout on its way, and with versions withdrawn."""
    if withdrawn:
        fleet.json("rollback", "support-bot.prompt", "--reason", "it forgets")
        fleet.json("rollback", "coin", "--reason", "it is bent")
    questions = [[*flag, *context] for flag in FLAGS for context in contexts()]

    (tmp_path / "flags.json").write_text(fleet.command("export", "--format", "flagd").stdout)
    theirs = by_flagd(python, tmp_path / "flags.json", questions)

    ours = by_us(fleet, questions)
    differ = [
        (question, they, we) for question, they, we in zip(questions, theirs, ours, strict=True) if they != we
    ]
    assert differ == []
