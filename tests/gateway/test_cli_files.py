"""The file that `init` writes: what it says, and what it only proposes, is taken by the real `check`."""

from __future__ import annotations

import re
from pathlib import Path

import yaml
from click.testing import CliRunner

from gateway.cli import cli
from gateway.cli.files import STARTER

# A comment that is YAML: `# key: …`, `# key:`, or a deeper line of it; not a sentence, and not the head of the file.
PROPOSED = re.compile(r"^( *)# ((?: *)[\w.-]+: *(?:\{.*|[\w/.:]+)?)$")


def proposed(text: str) -> str:
    """The file with all its proposals taken up."""
    return "\n".join(PROPOSED.sub(r"\1\2", line) for line in text.splitlines())


def checked(path: Path, text: str) -> tuple[int, str]:
    """What `check` says of `text`: exit code and output."""
    path.write_text(text)
    done = CliRunner().invoke(cli, ["check", str(path)])
    return done.exit_code, done.output


def test_it_is_taken_as_it_is(tmp_path: Path) -> None:
    """Whoever writes it can serve it at once."""
    path = tmp_path / "pointsman.yaml"

    code, output = checked(path, STARTER.read_text())

    assert (code, output) == (0, f"{path}: good, 3 flags and 2 other objects\n")


def test_what_it_proposes_is_taken(tmp_path: Path) -> None:
    """Providers, layers, rollout, rules, price, metrics, policies, notices: a comment that is YAML is right without its mark."""
    text = proposed(STARTER.read_text())
    found = yaml.safe_load(text)
    (tmp_path / "suite.yaml").write_text("tests: [{assert: [{type: contains, value: order}]}]\n")

    code, output = checked(tmp_path / "pointsman.yaml", text)

    assert code == 0, output
    assert {"soak", "rollout", "promotion"} <= set(found["flags"]["support-bot.prompt"])
    assert set(found["metrics"]) == {"helpful", "stars"}
    assert set(found["policies"]) == {"errors", "slow", "cost", "first-word", "helpful"}
    assert set(found["notify"]) == {"team", "audit", "log"}
    assert set(found["signals"]) == {"alertmanager"}
    assert {"openai", "claude"} <= set(found["upstreams"])
    assert {"patient", "own"} <= set(found["flags"]["support-bot.model"]["variants"])
    assert {f"support-bot.{layer}" for layer in ("index", "retriever", "pipeline")} <= set(found["flags"])
