"""The steps of a rollout that automation moves: what was asked for, checked. Knows no flag and no clock."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from flags.codec import check_steps
from flags.errors import Invalid
from flags.model import Rollout

# A step lasts ten minutes where nobody said: long enough for people to complain before everybody has it.
HOLD_SECONDS = 600.0
# So many of the candidate's requests find a version that fails twenty times in a hundred (notes/evidence.md).
MIN_REQUESTS = 100
# More steps than anybody watches; bounds what a flag's document holds.
MAX_STEPS = 100


@dataclass(frozen=True, slots=True)
class Schedule:
    """Rising percentages, each held for some seconds and until the candidate has served some requests.

    Raises Invalid for percentages that do not rise, or are no shares with two decimals, and for odd numbers else.
    """

    steps: Sequence[float]
    hold_seconds: float = HOLD_SECONDS
    min_requests: int = MIN_REQUESTS

    def __post_init__(self) -> None:
        if not 1 <= len(self.steps) <= MAX_STEPS:
            raise Invalid("steps", f"expected 1 to {MAX_STEPS} percentages, found {len(self.steps)}")
        check_steps(self.steps, "steps")
        if not 0 <= self.hold_seconds < math.inf:
            raise Invalid("hold_seconds", f"expected seconds from 0 on, found {self.hold_seconds}")
        if self.min_requests < 0:
            raise Invalid("min_requests", f"expected a number from 0 on, found {self.min_requests}")

    def first(self, variant: str) -> Rollout:
        """The rollout of `variant` at its first step."""
        steps = tuple(round(step, 2) for step in self.steps)
        return Rollout(
            variant,
            steps[0],
            0,
            steps=steps,
            hold_seconds=self.hold_seconds,
            min_requests=self.min_requests,
        )

    def __str__(self) -> str:
        steps = ",".join(f"{step:g}" for step in self.steps)
        return f"--steps {steps} --hold {self.hold_seconds:g}s --min-requests {self.min_requests}"
