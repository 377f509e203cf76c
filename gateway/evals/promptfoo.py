"""Runs an installed promptfoo on a config, and takes its result. Knows its command line and its files, not its insides.

promptfoo reaches the gateway as it reaches OpenAI: OPENAI_BASE_URL and OPENAI_API_KEY are set for it. The version is
pinned by its provider's headers, which the config must say itself, since promptfoo takes no headers from outside:

    providers:
      - id: openai:chat:ROUTE
        config: {headers: {x-pointsman-pin: "{{env.POINTSMAN_PIN}}"}}

POINTSMAN_PIN (`flag=variant`) and POINTSMAN_ROUTE are set for it. A config that does not name POINTSMAN_PIN is not run,
since what it measured would be whatever is served. It gets a home of its own for the time of the run, and tells nobody.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from urllib.parse import urlsplit

from flags.errors import FlagError, Invalid
from gateway.evals.folder import Folder
from gateway.evals.promptfoo_results import results_in
from policies.evals.gate import Thresholds, gate
from policies.evals.report import Report
from policies.evals.result import CaseResult
from policies.evals.verdict import brief

# A large suite at four cases at once; whoever needs more gives it.
TIMEOUT_SECONDS = 1800.0
# Between being asked to end and being ended.
GRACE_SECONDS = 5.0
# Some 60,000 results.
OUT_BYTES_MAX = 256 << 20
# Of what it printed, the end: there stands what went wrong.
PRINTED_BYTES = 4_000
PIN, ROUTE = "POINTSMAN_PIN", "POINTSMAN_ROUTE"
# 0: all passed; 100: some failed. Anything else is no run.
RAN = frozenset({0, 100})
QUIET: Mapping[str, str] = MappingProxyType(
    {
        "PROMPTFOO_DISABLE_TELEMETRY": "1",
        "PROMPTFOO_DISABLE_UPDATE": "1",
        "PROMPTFOO_DISABLE_REMOTE_GENERATION": "true",
        "PROMPTFOO_DISABLE_SHARING": "1",
        "PROMPTFOO_SELF_HOSTED": "1",
        # A self-hosted promptfoo leaves `{{env.…}}` as it stands, and so would send no pin.
        "PROMPTFOO_DISABLE_TEMPLATE_ENV_VARS": "false",
        "NO_UPDATE_NOTIFIER": "1",
        "NO_COLOR": "1",
    }
)
# Its own thresholds and exit codes would judge twice, and a real provider's key is not for this.
_NOT_PASSED_ON = re.compile(r"PROMPTFOO_.*|POINTSMAN_.*|OPENAI_.*|NO_PROXY", re.IGNORECASE)
_NAMED = re.compile(r"file://([\w./-]+\.(?:ya?ml|json))")
_OLD_NODE = re.compile(r"[^\n]*supported Node\.js[^\n]*|[^\n]*Unsupported engine[^\n]*", re.IGNORECASE)
# Without a key promptfoo refuses to ask; a keyless gateway does not look at it.
_NO_KEY = "none"


class NotRun(FlagError):
    """Raised when promptfoo could not evaluate: it is missing, too old, took too long, or left no result."""


@dataclass(frozen=True, slots=True)
class Target:
    """Whom promptfoo asks: the gateway's `url` (without /v1), an app's key, a route, and a version by its content's hash."""

    url: str
    flag: str
    variant: str
    hash: str = ""
    route: str = ""
    key: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Tool:
    """How promptfoo is run: in which environment, whether npx may fetch it, and for how long at most."""

    environ: Mapping[str, str] = field(repr=False)
    npx: bool = False
    timeout_seconds: float = TIMEOUT_SECONDS


def run_promptfoo(
    config: Path,
    target: Target,
    tool: Tool,
    *,
    thresholds: Thresholds,
    started: str,
    clock: Callable[[], float] = time.monotonic,
) -> Report:
    """What promptfoo found. Blocks until it ends or its time is up. Raises Invalid for the config, NotRun for the rest.

    `started` is RFC 3339. Which versions answered promptfoo does not say: the pin is the config's to pass on, and the
    gateway answers 400 to a wrong one, never with another version.
    """
    suite_hash = _checked(config)
    begin = clock()
    with tempfile.TemporaryDirectory(prefix="promptfoo-", ignore_cleanup_errors=True) as home:
        out = Path(home, "out.json")
        printed = _run([*_command(tool), *_arguments(config, out)], _environment(target, tool, home), tool)
        results = _results(_read(out, printed))
    return Report(
        target.flag,
        target.variant,
        target.hash,
        config.name,
        suite_hash,
        results,
        gate(results, thresholds),
        thresholds,
        started,
        clock() - begin,
        repeat=max(each.repeat for each in results),
        by="promptfoo",
    )


def _checked(config: Path) -> str:
    """The hash of the config and of the YAML and JSON that it names. Raises Invalid for one that pins nothing."""
    folder = Folder(config.parent)
    texts = [folder.text(folder.path / config.name)]
    if not texts[0].strip():
        raise Invalid(config.name, "there is nothing in this file")
    texts += [
        folder.text(file) for name in sorted(set(_NAMED.findall(texts[0]))) for file in folder.found(name)
    ]
    if not any(PIN in text for text in texts):
        raise Invalid(
            config.name,
            f"its provider pins no version: {PIN} is not in it",
            mend=f'give the provider config.headers: {{x-pointsman-pin: "{{{{env.{PIN}}}}}"}}',
        )
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()


def _command(tool: Tool) -> list[str]:
    path = tool.environ.get("PATH", os.defpath)
    if tool.npx:
        npx = shutil.which("npx", path=path)
        if npx is None:
            raise NotRun("npx is not on PATH", mend="install Node.js (22 or newer), which brings it")
        return [npx, "--yes", "promptfoo@latest"]
    found = shutil.which("promptfoo", path=path)
    if found is None:
        raise NotRun("promptfoo is not on PATH", mend="npm install -g promptfoo, or let npx fetch it: --npx")
    return [found]


def _arguments(config: Path, out: Path) -> list[str]:
    quiet = ["--no-cache", "--no-table", "--no-progress-bar"]
    return ["eval", "-c", str(config.resolve()), "-o", str(out), *quiet]


def _environment(target: Target, tool: Tool, home: str) -> dict[str, str]:
    passed_on = {name: value for name, value in tool.environ.items() if not _NOT_PASSED_ON.fullmatch(name)}
    base = f"{target.url.rstrip('/')}/v1"
    key = target.key or _NO_KEY
    ours = {"OPENAI_BASE_URL": base, "OPENAI_API_BASE_URL": base, "OPENAI_API_KEY": key}
    ours |= {PIN: f"{target.flag}={target.variant}", ROUTE: target.route}
    # A proxy knows nothing of a server on this machine.
    direct = [tool.environ.get("NO_PROXY", ""), urlsplit(target.url).hostname or ""]
    ours["NO_PROXY"] = ",".join(each for each in direct if each)
    # npx keeps its downloads under the real home, or it would fetch a gigabyte each time.
    cache = {"npm_config_cache": str(Path(tool.environ.get("HOME", home), ".npm"))} if tool.npx else {}
    return {**passed_on, **QUIET, **cache, **ours, "HOME": home, "PROMPTFOO_CONFIG_DIR": home}


def _run(command: list[str], environment: Mapping[str, str], tool: Tool) -> str:
    """What it printed at the end. Raises NotRun when it does not start, takes too long, or ends as no run does."""
    with tempfile.TemporaryFile() as printed:
        try:
            process = subprocess.Popen(  # noqa: S603  # the operator's own tool, no shell
                command,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=printed,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        except OSError as error:
            raise NotRun(f"{command[0]} does not start: {error.strerror or error}") from None
        try:
            code = process.wait(tool.timeout_seconds)
        except subprocess.TimeoutExpired:
            raise NotRun(
                f"promptfoo took longer than {tool.timeout_seconds:g} s",
                mend="give it more time, or split the suite",
            ) from None
        finally:
            _end(process)
        printed.seek(max(0, printed.tell() - PRINTED_BYTES))
        text = printed.read(PRINTED_BYTES).decode("utf-8", "replace")
    if code in RAN:
        return text
    old = _OLD_NODE.search(text)
    if old:
        raise NotRun(
            f"Node.js is too old for this promptfoo: {old[0].strip()[:300]}",
            mend="install Node.js 22 or newer",
        )
    raise NotRun(f"promptfoo ended with code {code}: {_tail(text)}")


def _end(process: subprocess.Popen[bytes]) -> None:
    """Whatever of it still runs ends: it, and what it started, are one process group of our making."""
    _signal(process, signal.SIGTERM)
    with suppress(subprocess.TimeoutExpired):
        process.wait(GRACE_SECONDS)
    # Its own children, too, which may not have listened.
    _signal(process, signal.SIGKILL)
    process.wait()


def _signal(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    try:
        os.killpg(process.pid, number)
    except (ProcessLookupError, PermissionError):
        # All of it has ended already.
        return


def _read(out: Path, printed: str) -> bytes:
    try:
        with out.open("rb") as file:
            data = file.read(OUT_BYTES_MAX + 1)
    except OSError:
        raise NotRun(f"promptfoo wrote no result: {_tail(printed)}") from None
    if len(data) > OUT_BYTES_MAX:
        raise NotRun(f"promptfoo's result is larger than {OUT_BYTES_MAX >> 20} MiB", mend="split the suite")
    return data


def _results(data: bytes) -> list[CaseResult]:
    try:
        return results_in(data)
    except Invalid as error:
        raise NotRun(error.message) from None


def _tail(text: str) -> str:
    return brief(" ".join(text.split())[-400:]) or "it printed nothing"
