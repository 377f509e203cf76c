"""What the README and the changelog say is so: commands, options, config, code, links and names."""

from __future__ import annotations

import ast
import functools
import re
import shlex
from pathlib import Path

import click
import pytest
import yaml

from flags.model import Soak
from gateway import telemetry
from gateway.cli import VERBS, cli
from gateway.cli.problem import CommandError
from gateway.settings import Settings
from policies.policy import ALPHA, SHIPPED
from tests.journey.readme import README, ROOT, blocks, check, merged

COMMAND_LINES = [
    line
    for block in blocks("sh")
    for line in block.splitlines()
    if line.startswith("pointsman ")
]  # fmt: skip


# The one block of YAML that is not ours to read.
(SCRAPE,) = (each for each in blocks("yaml") if each.startswith("scrape_configs"))


def section(title: str) -> str:
    """What stands under a heading."""
    return README.split(f"\n## {title}\n")[1].split("\n## ")[0]


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
    table = re.findall(r"^\| `(\w+)` \|", section("Commands"), re.MULTILINE)

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
    """The real `check` says so: of the config by itself, with the policies, and with all that later sections add."""
    config, policies, *later = [each for each in blocks("yaml") if each != SCRAPE]
    whole = functools.reduce(merged, (yaml.safe_load(text) for text in [config, *later]))
    (tmp_path / "suites").mkdir()
    (tmp_path / "suites" / "support.yaml").write_text(blocks("yml")[0])
    for number, text in enumerate([config, config + policies, yaml.safe_dump(whole)]):
        path = tmp_path / f"{number}.yaml"
        path.write_text(text)

        checked = check(path)

        # The module of a reader's own is not here, and `check` says so.
        told = [line for line in checked.stderr.splitlines() if "our_flags" not in line]
        assert (checked.returncode, told) == (0, [])


def test_it_names_the_policies_that_ship() -> None:
    """All of them, and no other; the only one with a limit is the one that it says has one."""
    told = section("The machine's brake")
    rows = re.findall(r"^\| (`.*?) \|", told, re.MULTILINE)

    assert re.findall(r"`(\w+)`", " ".join(rows)) == [
        "errors", "latency", "ttft", "cost", "accuracy", "hallucination",
    ]  # fmt: skip
    assert {policy.name for policy in SHIPPED} == {
        "errors",
        "latency",
        "ttft",
        "cost",
        "accuracy",
        "hallucination",
    }
    assert [policy.name for policy in SHIPPED if policy.limit is not None] == ["errors"]
    assert f"`alpha: {ALPHA}`" in told


def test_its_soak_is_the_usual_one() -> None:
    """A flag that says nothing has what the README shows."""
    told = re.search(r"`soak: (\{.*?\})`", README)

    assert told is not None
    assert yaml.safe_load(told[1]) == {"seconds": Soak().seconds, "requests": Soak().requests}


def test_its_scrape_config_asks_the_gateway() -> None:
    """The default address; Prometheus' own default path is ours, and it sends a token as we read it."""
    (job,) = yaml.safe_load(SCRAPE)["scrape_configs"]

    assert job["static_configs"] == [
        {"targets": [f"{Settings(data_dir='').host}:{Settings(data_dir='').port}"]}
    ]
    assert "metrics_path" not in job
    assert set(job["authorization"]) == {"credentials_file"}


def test_what_it_exports_turns_telemetry_on() -> None:
    """The variable that it names is the one that is read."""
    exported = dict(re.findall(r"^export (OTEL_\w+)=(\S+)$", "\n".join(blocks("sh")), re.MULTILINE))

    assert telemetry.wanted(exported) == telemetry.Wanted(traces=True, metrics=True)


def test_its_code_compiles_and_names_a_route_of_its_config() -> None:
    """The app's snippet asks for the route that the config declares, on the default port."""
    snippet, feedback = blocks("python", "First use", "Feedback")
    config = blocks("yaml")[0]
    compile(snippet + feedback, "README.md", "exec")
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
