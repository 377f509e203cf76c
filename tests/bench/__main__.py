"""`python -m tests.bench [NAME…] [--quick] [--json FILE]`: runs the benchmarks and prints tables. Asserts nothing.

A benchmark is a module `bench_NAME` here. One whose `run` takes our Options returns a Section; any other is run as a
program of its own, and what it prints is passed on.
"""

from __future__ import annotations

import argparse
import importlib
import inspect
import json
import os
import platform
import shutil
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType

from tests.bench.options import Options, cores_apart
from tests.bench.report import Section

PREFIX = "bench_"
FOLDER = Path(__file__).parent
# A program of its own that takes longer is broken: a whole run is to end within ten minutes.
PROGRAM_SECONDS = 180.0


def names() -> list[str]:
    """All benchmarks that lie here."""
    return sorted(file.stem.removeprefix(PREFIX) for file in FOLDER.glob(f"{PREFIX}*.py"))


def parse(argv: list[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description="Ratios measured in one run.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"one of {', '.join(names())}; none: all")
    parser.add_argument("--quick", action="store_true", help="under a minute; the figures are coarse")
    parser.add_argument("--full", action="store_true", help="judging with all its runs: half an hour")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every sample there")
    parser.add_argument(
        "--litellm", default=os.environ.get("BENCH_LITELLM"), help="executable of a litellm[proxy]"
    )
    parser.add_argument(
        "--lab", type=Path, help="folder of load.c and mock_upstream.c to use in place of ours"
    )
    options = parser.parse_args(argv)
    unknown = sorted(set(options.names) - set(names()))
    if unknown:
        parser.error(f"no benchmark {', '.join(unknown)}; there are {', '.join(names())}")
    return options


def run(name: str, options: Options) -> Section | str:
    """One benchmark's Section, or what its program printed."""
    module = importlib.import_module(f"tests.bench.{PREFIX}{name}")
    if takes_options(module):
        found = module.run(options)
        assert isinstance(found, Section)
        return found
    command = [sys.executable, "-m", f"tests.bench.{PREFIX}{name}", *(["--quick"] if options.quick else [])]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PROGRAM_SECONDS, check=False)
    return done.stdout + (f"\nended with {done.returncode}: {done.stderr[-1500:]}" if done.returncode else "")


def takes_options(module: ModuleType) -> bool:
    """Whether the module's `run` is one of ours."""
    function = getattr(module, "run", None)
    return function is not None and "options" in inspect.signature(function).parameters


def header(argv: list[str], options: Options) -> str:
    """What was run, on what."""
    cores = f"gateway on core {options.gateway_cpu}, load and upstream on core {options.load_cpu}"
    return "\n".join(
        (
            f"$ python -m tests.bench {' '.join(argv)}".rstrip(),
            f"Python {platform.python_version()}, {os.cpu_count()} cores, {platform.release()};"
            f" {cores if cores_apart(options) else 'only one core to run on'}",
            f"Load of the machine before (1, 5, 15 minutes): {', '.join(f'{load:.2f}' for load in os.getloadavg())}",
            "Medians, with the least and the greatest in brackets; rounds interleaved.",
        )
    )


def litellm_proxy(named: str | None) -> str | None:
    """The executable of a litellm[proxy]: one beside the bare library has no server, so it must be named."""
    return shutil.which(named) if named else None


def main(argv: list[str]) -> int:
    if not sys.platform.startswith("linux"):
        print("the benchmarks read /proc: they need Linux", file=sys.stderr)
        return 1
    arguments = parse(argv)
    options = Options(
        quick=arguments.quick,
        full=arguments.full,
        lab=arguments.lab.resolve() if arguments.lab else None,
        litellm=litellm_proxy(arguments.litellm),
    )
    print(header(argv, options), flush=True)
    samples: dict[str, object] = {}
    for name in arguments.names or names():
        began = time.monotonic()
        found = run(name, options)
        print(f"\n## {name} ({time.monotonic() - began:.0f} s)\n", flush=True)
        if isinstance(found, Section):
            samples[name] = found.samples
            print("\n\n".join(str(table) for table in found.tables), flush=True)
        else:
            print(found, flush=True)
    if arguments.json:
        arguments.json.write_text(json.dumps(samples, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
