"""What a judge says. Nouns only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

import msgspec

from flags.model import NOTHING, Document


class Standing(StrEnum):
    """healthy: enough was seen and the metric is within its bound; undecided: not enough, either way."""

    HEALTHY = "healthy"
    UNDECIDED = "undecided"
    BREACHED = "breached"


class Ruling(msgspec.Struct, frozen=True):
    """What weighing an exhibit gave: the numbers of a verdict. The ledger keeps it beside the exhibit.

    `log_e` has ln E of each test, by the test's name; `log_needed` what each alternative must reach.
    """

    standing: Standing
    ratio: float
    log_e: Mapping[str, float]
    log_needed: float
    objects: bool


@dataclass(frozen=True, slots=True)
class Verdict:
    """One policy's view of one case.

    `ratio` is the evidence as a bar towards the brake: 1 pulls it. `objects`: too doubtful for a rollout's next
    step. `reason` has the numbers in words, `evidence` what the ledger keeps, enough to recompute the verdict.
    """

    policy: str
    case: str
    standing: Standing
    ratio: float
    reason: str
    objects: bool = False
    evidence: Document = field(default_factory=lambda: NOTHING)
