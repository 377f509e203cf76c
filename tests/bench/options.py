"""How one run of the benchmarks was asked for. Knows no benchmark."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

# Where the repository lies: the gateway under test is started with it on its path, from any directory.
ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, slots=True)
class Options:
    """What every benchmark reads. A quick run shows that all works, and its figures are coarse."""

    quick: bool = False
    # As many runs as the simulations of judging need for two digits: some half an hour.
    full: bool = False
    # A folder with load.c and mock_upstream.c, cheaper than ours; None: the ones in Python.
    lab: Path | None = None
    # The `litellm` executable of an installed litellm[proxy]; None: that row is left out.
    litellm: str | None = None
    gateway_cpu: int = 0
    load_cpu: int = 1

    @property
    def rounds(self) -> int:
        """Rounds that count; one more warms up."""
        return 2 if self.quick else 5

    @property
    def seconds(self) -> float:
        """How long one gateway is loaded in one round."""
        return 0.5 if self.quick else 2.0


def is_quick(argv: Sequence[str]) -> bool:
    """Whether a benchmark that is a program of its own was asked for a quick run."""
    return "--quick" in argv


def cores_apart(options: Options) -> bool:
    """Whether this machine has the two cores that the figures need to be comparable."""
    return {options.gateway_cpu, options.load_cpu} <= os.sched_getaffinity(0)
