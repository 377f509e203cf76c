"""Counts as whom providers answered, by release and target, until somebody takes the counts. Knows no store and no rule.

One look-up and one addition for an answer; the names themselves were read by the taps.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from policies.outcome import Outcome, Release

# Different (releases, names) between two takings. A provider that reports a new name with every answer fills no memory.
DIFFERENT = 1000

MODEL, FINGERPRINT = "model", "fingerprint"
KINDS = (MODEL, FINGERPRINT)

Told: TypeAlias = tuple[str, str | None, str | None]


@dataclass(frozen=True, slots=True)
class Reported:
    """What one target reported for one release, and on how many answers: names by kind."""

    release: Release
    target: str
    answers: int
    names: Mapping[str, Mapping[str, int]] = field(default_factory=dict)


class Names:
    """The counts of one process. What changes here: all of them."""

    __slots__ = ("_counts",)

    def __init__(self) -> None:
        self._counts: dict[tuple[tuple[Release, ...], Told], int] = {}

    def __repr__(self) -> str:
        return f"<Names {len(self._counts)} different>"

    def note(self, outcomes: Sequence[Outcome]) -> None:
        """Count what these answers report; what is more than can be held is passed over."""
        counts = self._counts
        for each in outcomes:
            if each.reported is None:
                continue
            key = each.releases, each.reported
            held = counts.get(key)
            if held is not None:
                counts[key] = held + 1
            elif len(counts) < DIFFERENT:
                counts[key] = 1

    @property
    def flags(self) -> set[str]:
        """The flags of all releases that were counted since the last `take`."""
        return {release.flag for releases, _ in self._counts for release in releases}

    def take(self, models: Mapping[str, object]) -> list[Reported]:
        """All since the last call, by release of the flags in `models` (those that decide the model) and target."""
        taken, self._counts = self._counts, {}
        found: dict[tuple[Release, str], Reported] = {}
        for (releases, (target, *names)), answers in taken.items():
            release = next((each for each in releases if each.flag in models), None)
            if release is None:
                continue
            held = found.get((release, target)) or Reported(release, target, 0)
            found[release, target] = _added(held, names, answers)
        return [*found.values()]


def _added(held: Reported, names: Sequence[str | None], answers: int) -> Reported:
    counts = {kind: dict(held.names.get(kind, {})) for kind in KINDS}
    for kind, name in zip(KINDS, names, strict=True):
        if name is not None:
            counts[kind][name] = counts[kind].get(name, 0) + answers
    return Reported(held.release, held.target, held.answers + answers, counts)
