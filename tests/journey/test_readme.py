"""What the README and the changelog say is so: commands, options, config, code, links and names."""

from __future__ import annotations

import ast
import re
import shlex
from pathlib import Path

import click
import pytest

from gateway.cli import VERBS, cli
from gateway.cli.problem import CommandError
from gateway.settings import Settings
from tests.journey.readme import README, ROOT, blocks, check

COMMAND_LINES = [
    line
    for block in blocks("sh")
    for line in block.splitlines()
    if line.startswith("pointsman ")
]  # fmt: skip


def test_it_begins_with_what_it_is_and_the_two_commands() -> None:
    """One sentence, then `make demo` and `make test`, and both are targets of the Makefile."""
    _, title, sentence, commands, *_ = ["", *re.split(r"\n\n+", README)]

    assert title == "# Pointsman"
    assert sentence.count(". ") == 0
    assert [line.split()[:2] for line in commands.splitlines()] == [["make", "demo"], ["make", "test"]]


def test_every_make_target_exists() -> None:
    """What it tells to type, the Makefile knows."""
    targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)

    told = re.findall(r"^    make ([\w-]+)", README, re.MULTILINE) + re.findall(r"`make ([\w-]+)`", README)

    assert {"demo", "test", "check", "bench"} <= set(told) <= set(targets)


def test_its_table_has_exactly_the_commands_that_exist() -> None:
    """A new command is missed here until the README names it."""
    table = re.findall(r"^\| `(\w+)` \|", README, re.MULTILINE)

    assert table == list(VERBS)


@pytest.mark.parametrize("line", COMMAND_LINES)
def test_every_command_line_is_understood(line: str) -> None:
    """Its verb exists, and so does each option; nothing is run."""
    _, verb, *arguments = shlex.split(line)
    command = cli.get_command(click.Context(cli), verb)

    assert command is not None
    try:
        command.make_context(verb, arguments)
    except click.UsageError as error:  # pragma: no cover - only where the README is wrong
        pytest.fail(f"{line}: {error.format_message()}")
    except CommandError:
        pass  # understood; a server is missing


def test_its_config_is_taken(tmp_path: Path) -> None:
    """The real `check` says so."""
    for number, block in enumerate(blocks("yaml")):
        path = tmp_path / f"{number}.yaml"
        path.write_text(block)

        checked = check(path)

        assert (checked.returncode, checked.stderr) == (0, "")


def test_its_code_compiles_and_names_a_route_of_its_config() -> None:
    """The app's snippet asks for the route that the config declares, on the default port."""
    (snippet,) = blocks("python")
    (config,) = blocks("yaml")
    strings = {node.value for node in ast.walk(ast.parse(snippet)) if isinstance(node, ast.Constant)}

    assert f"http://{Settings(data_dir='').host}:{Settings(data_dir='').port}/v1" in strings
    assert "support-bot" in strings
    assert "\nroutes:\n  support-bot:" in config


def test_its_links_lead_somewhere() -> None:
    """Every file that it names is there."""
    linked = re.findall(r"\]\(([^)#:]+)\)", README) + re.findall(r"`((?:deploy|\.ci)/[\w./-]+)`", README)

    assert linked
    assert [path for path in linked if not (ROOT / path).exists()] == []


def test_the_changelog_has_an_unreleased_part() -> None:
    """Keep a Changelog: `Unreleased` comes first, and only the known kinds of change stand in it."""
    changelog = (ROOT / "CHANGELOG.md").read_text()
    first = re.search(r"^## (.*)$", changelog, re.MULTILINE)

    assert first is not None
    assert first[1] == "[Unreleased]"
    kinds = set(re.findall(r"^### (.*)$", changelog, re.MULTILINE))
    assert kinds <= {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}
