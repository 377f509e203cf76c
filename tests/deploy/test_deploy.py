"""What deploy/ promises, checked without a container engine: the image's build, the compose file, the health check."""

from __future__ import annotations

import fnmatch
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml

from gateway.settings import Settings
from gateway.supervisor import MARGIN_SECONDS
from tests.fleet import Fleet
from tests.journey.readme import ROOT, check

DEPLOY = ROOT / "deploy"
COMPOSE = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
SECRET = re.compile(r"(sk-[A-Za-z0-9]{8}|-----BEGIN|[0-9a-f]{32,})")


class Instruction(NamedTuple):
    """One instruction of a Dockerfile."""

    name: str
    value: str


def instructions() -> list[Instruction]:
    """The Dockerfile without comments, its continued lines joined."""
    lines = [line for line in (DEPLOY / "Dockerfile").read_text().splitlines() if not line.startswith("#")]
    joined = re.sub(r"\\\n\s*", " ", "\n".join(lines))
    return [Instruction(*line.split(maxsplit=1)) for line in joined.splitlines() if line.strip()]


def stages() -> list[list[Instruction]]:
    """The instructions from each FROM to the next."""
    found: list[list[Instruction]] = []
    for each in instructions():
        if each.name == "FROM":
            found.append([])
        if found:
            found[-1].append(each)
    return found


def values(of: Sequence[Instruction], name: str) -> list[str]:
    return [each.value for each in of if each.name == name]


def health_command() -> list[str]:
    """What the HEALTHCHECK runs."""
    (check,) = values(stages()[-1], "HEALTHCHECK")
    return json.loads(check.partition("CMD ")[2])


def is_sent(path: Path) -> bool:
    """Whether .dockerignore lets `path` (relative to the root) into the build; its last matching line decides."""
    sent = True
    for line in (ROOT / ".dockerignore").read_text().splitlines():
        pattern = line.strip().removeprefix("!")
        if not pattern or pattern.startswith("#"):
            continue
        names = [str(path), *(str(parent) for parent in path.parents if parent != Path())]
        patterns = [pattern, pattern.removeprefix("**/")]
        if any(fnmatch.fnmatchcase(name, each) for name in names for each in patterns):
            sent = line.startswith("!")
    return sent


def test_the_image_is_built_in_stages_from_pinned_images() -> None:
    """Compilers and sources stay behind; no tag moves under us."""
    default = values(instructions(), "ARG")[0].partition("=")[2]
    images = [
        value.split()[0].replace("${PYTHON_IMAGE}", default) for value in values(instructions(), "FROM")
    ]
    images += [service["image"] for service in COMPOSE["services"].values()]

    assert len(stages()) == 2
    for image in images:
        assert re.fullmatch(r"[\w./-]+:\d+\.\d+\.\d+[\w.-]*", image), image


def test_the_container_is_not_root() -> None:
    """A numeric user, so that Kubernetes can tell that it is not root."""
    user = values(stages()[-1], "USER")[-1]

    assert int(user.split(":")[0]) > 0
    assert f"useradd --uid {user.split(':')[0]} " in " ".join(values(stages()[-1], "RUN"))


def test_what_is_copied_exists_and_is_sent_to_the_build() -> None:
    """A package that the wheel needs cannot be forgotten, nor be hidden by .dockerignore."""
    copied = [
        source
        for value in values(stages()[0], "COPY")
        for source in value.split()[:-1]
        if not source.startswith("--")
    ]

    assert {"gateway", "policies", "flags", "pyproject.toml", "constraints.txt"} <= set(copied)
    for source in copied:
        assert (ROOT / source).exists(), source
        assert is_sent(Path(source)), source
    assert is_sent(Path("flags/scripts/apply.lua"))
    for unwanted in (".git", "tests/__init__.py", ".venv", "gateway/__pycache__", "gateway/http/__pycache__"):
        assert not is_sent(Path(unwanted)), unwanted


def test_the_process_is_the_containers_own() -> None:
    """Exec form throughout: signals reach the supervisor, and a stop drains."""
    last = stages()[-1]

    assert json.loads(values(last, "ENTRYPOINT")[0]) == ["pointsman"]
    assert json.loads(values(last, "CMD")[0])[0] == "serve"
    assert values(last, "STOPSIGNAL") == ["SIGTERM"]
    assert values(last, "EXPOSE") == [str(Settings(data_dir="").port)]
    assert "PYTHONDONTWRITEBYTECODE" not in " ".join(values(last, "ENV"))


def test_no_secret_stands_in_the_files() -> None:
    """Secrets come from the environment, and only from there."""
    for path in sorted(each for each in DEPLOY.rglob("*") if each.is_file()):
        assert not SECRET.search(path.read_text()), path.name
    assert not any(
        re.search(r"(KEY|TOKEN|PASSWORD|SECRET)", each.value)
        for each in instructions()
        if each.name in ("ARG", "ENV")
    )


@pytest.mark.parametrize("variable", ["POINTSMAN_APP_KEYS", "POINTSMAN_OPERATOR_TOKENS", "VALKEY_PASSWORD"])
def test_compose_refuses_to_start_without(variable: str) -> None:
    """`${NAME:?…}`: compose itself stops and says what is missing, wherever the name stands."""
    uses = re.findall(rf"\$\{{{variable}(.*?)\}}", (DEPLOY / "compose.yaml").read_text())

    assert uses
    assert all(use.startswith(":?") for use in uses)


def test_compose_opens_nothing_but_loopback() -> None:
    """The gateway is published on 127.0.0.1 alone, the store nowhere."""
    gateway, store = COMPOSE["services"]["gateway"], COMPOSE["services"]["valkey"]

    assert all(str(port).startswith("127.0.0.1:") for port in gateway["ports"])
    assert "ports" not in store
    assert COMPOSE["networks"]["store"]["internal"] is True
    assert store["networks"] == ["store"]


def test_compose_keeps_what_was_acknowledged() -> None:
    """The store writes each change to its volume first, forgets nothing, and is healthy before the gateway starts."""
    gateway, store = COMPOSE["services"]["gateway"], COMPOSE["services"]["valkey"]
    command = " ".join(store["command"])

    assert "--appendonly yes --appendfsync always" in command
    assert "--maxmemory-policy noeviction" in command
    assert "--requirepass" in command
    assert "store:/data" in store["volumes"]
    assert store["healthcheck"]["test"]
    assert gateway["depends_on"]["valkey"]["condition"] == "service_healthy"
    assert {service["restart"] for service in COMPOSE["services"].values()} == {"unless-stopped"}


def test_compose_gives_streams_time_to_end() -> None:
    """The grace period is longer than the drain and what the supervisor adds to it."""
    grace = int(COMPOSE["services"]["gateway"]["stop_grace_period"].removesuffix("s"))

    assert grace > Settings(data_dir="").drain_seconds + MARGIN_SECONDS


def test_the_mounted_config_is_there_and_is_taken() -> None:
    """The sample config passes the real `check`, and `serve` is told its place in the container."""
    gateway = COMPOSE["services"]["gateway"]
    source, target, mode = next(volume for volume in gateway["volumes"] if volume.startswith("./")).split(":")

    checked = check(DEPLOY / source)

    assert (checked.returncode, checked.stderr) == (0, "")
    assert target in gateway["command"]
    assert mode == "ro"


def test_the_served_command_line_is_understood() -> None:
    """Image and compose start `serve` by options that it has."""
    from gateway.cli.run import serve  # noqa: PLC0415 - a command, not a module

    for command in (json.loads(values(stages()[-1], "CMD")[0]), COMPOSE["services"]["gateway"]["command"]):
        assert command[0] == "serve"
        parsed = serve.make_context("serve", list(command[1:]))
        assert parsed.params["port"] == Settings(data_dir="").port
        assert parsed.params["host"] == "0.0.0.0"


def test_the_health_check_tells_a_serving_gateway_from_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The very command of the image, on the config of the compose file: 0 where `/readyz` is 200, else not."""
    monkeypatch.setenv("OPENAI_API_KEY", "unused")
    python, *arguments = health_command()
    with Fleet(tmp_path, (DEPLOY / "pointsman.yaml").read_text(), workers=1) as fleet:
        port = fleet.url.rpartition(":")[2]
        here = [sys.executable, *(argument.replace("4000", port) for argument in arguments)]
        healthy = subprocess.run(here, capture_output=True, timeout=20, check=False)
    stopped = subprocess.run(here, capture_output=True, timeout=20, check=False)

    assert python == "python"
    assert healthy.returncode == 0, healthy.stderr
    assert stopped.returncode == 1


def test_docker_compose_takes_the_file() -> None:
    """The real client's opinion, where there is one."""
    docker = shutil.which("docker")
    if (
        docker is None
        or subprocess.run([docker, "compose", "version"], capture_output=True, check=False).returncode
    ):
        pytest.skip("needs docker with the compose plugin")
    names = ("POINTSMAN_APP_KEYS", "POINTSMAN_OPERATOR_TOKENS", "VALKEY_PASSWORD", "OPENAI_API_KEY")
    needed = dict.fromkeys(names, "a-name:0123456789")
    command = [docker, "compose", "-f", str(DEPLOY / "compose.yaml"), "config", "--quiet"]

    complete = subprocess.run(
        command, env={**os.environ, **needed}, capture_output=True, text=True, check=False
    )
    without = subprocess.run(
        command,
        env={name: value for name, value in os.environ.items() if name not in needed},
        capture_output=True,
        text=True,
        check=False,
    )

    assert complete.returncode == 0, complete.stderr
    assert without.returncode != 0
