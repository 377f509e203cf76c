"""What these journeys need beside Python: Node, packages, a browser. Says what is missing. Knows no flag."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

# The newest at the time of writing; each test installs exactly these into a folder of its own.
SERVER_PACKAGES = (
    "@openfeature/core@1.12.0",
    "@openfeature/server-sdk@1.23.0",
    "@openfeature/ofrep-core@0.1.4",
    "@openfeature/ofrep-provider@0.1.3",
)
WEB_PACKAGES = (
    "@openfeature/core@1.12.0",
    "@openfeature/web-sdk@1.10.0",
    "@openfeature/ofrep-core@2.3.0",
    "@openfeature/ofrep-web-provider@0.4.3",
)
FLAGD_PACKAGES = ("openfeature-provider-flagd==0.6.1",)
# A registry that takes longer does not answer.
INSTALL_SECONDS = 180
HERE = Path(__file__).parent
# Stands for somebody else's site: the browser is told that it lies on this machine.
FOREIGN_HOST = "app.test"


def missing(*programs: str) -> str:
    """The first of `programs` that is not on this machine, in words; nothing where all are there."""
    for program in programs:
        if shutil.which(program) is None:
            return f"needs {program}, which is not installed"
    return ""


def no_event_source() -> str:
    """In words, that this Node has no EventSource; nothing where it has one."""
    if absent := missing("node", "npm"):
        return absent
    shown = subprocess.run(
        ["node", "--experimental-eventsource", "-p", "typeof EventSource"],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    return (
        ""
        if shown.stdout.strip() == "function"
        else "needs a Node with --experimental-eventsource (20.18 on)"
    )


def installed(folder: Path, packages: Sequence[str]) -> Path:
    """`folder` with `packages` in its `node_modules` and the client beside them; a skip where they cannot be had."""
    (folder / "package.json").write_text('{"private": true}')
    _run(["npm", "install", "--no-audit", "--no-fund", "--no-package-lock", "--ignore-scripts",
          "--save-exact", *packages], folder, packages)  # fmt: skip
    shutil.copy(HERE / "client.mjs", folder)
    return folder


def python_with(folder: Path, packages: Sequence[str]) -> Path:
    """The Python of a new virtual environment with `packages`; a skip where they cannot be had."""
    subprocess.run(
        [shutil.which("python3") or "python3", "-m", "venv", folder], check=True, timeout=INSTALL_SECONDS
    )
    python = folder / "bin" / "python"
    _run(
        [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *packages],
        folder,
        packages,
    )
    return python


def _run(command: Sequence[str], folder: Path, packages: Sequence[str]) -> None:
    try:
        done = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, timeout=INSTALL_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        pytest.skip(f"needs {', '.join(packages)}: the registry does not answer")
    if done.returncode:
        pytest.skip(f"needs {', '.join(packages)}: {done.stderr.strip()[-300:]}")


def in_node(port: int) -> Sequence[str]:
    """The command that runs the client in Node, told what to do at `port`."""
    return ("node", "--experimental-eventsource", "client.mjs", f"http://127.0.0.1:{port}")


def in_browser(profile: Path, host: str) -> Callable[[int], Sequence[str]]:
    """The command that opens the client's page as one of `host`, in a browser that nobody used before."""
    # The browser refuses to run as root in its own cage.
    root = ("--no-sandbox",) if os.geteuid() == 0 else ()
    options = (
        "--headless", "--disable-gpu", "--disable-quic", "--disable-dev-shm-usage", "--no-first-run",
        "--disable-background-networking", "--disable-component-update", "--disable-sync",
        f"--host-resolver-rules=MAP {FOREIGN_HOST} 127.0.0.1", f"--user-data-dir={profile}",
    )  # fmt: skip
    return lambda port: ("chromium", *root, *options, f"http://{host}:{port}/")
