"""Judges every automatic decision again, from the ledger's entries alone. Knows no store and no server."""

from __future__ import annotations

from dataclasses import dataclass, field

from flags.audit import MAX_PROBLEMS
from flags.errors import LedgerBroken
from flags.ledger import Entry, entry_from
from policies.incidents.incident import FORMULA
from policies.judge import doubt

# Whose decisions rest on evidence: the actor is this and the policy's name.
ACTOR_PREFIX = "policy/"
# What no policy does without evidence.
ROLLBACK = "rollback"


@dataclass(slots=True)
class Recount:
    """A recount under way: `take` each entry, then read what was found. What changes here: count and problems."""

    recomputed: int = 0
    problems: list[str] = field(default_factory=list)
    suppressed: int = 0

    def take(self, text: bytes) -> None:
        """Recompute the next entry, where it is an automatic decision; what cannot be read is the audit's business."""
        try:
            entry = entry_from(text)
        except LedgerBroken:
            return
        if not entry.actor.startswith(ACTOR_PREFIX) or (entry.evidence is None and entry.action != ROLLBACK):
            return
        if entry.evidence is not None and entry.evidence.get("formula") == FORMULA:
            return  # what was told from outside has no counts to judge again
        self.recomputed += 1
        problem = _problem(entry)
        if problem is None:
            return
        if len(self.problems) < MAX_PROBLEMS:
            what = f"the {entry.action} of {entry.object} by {entry.actor}"
            self.problems.append(f"revision {entry.revision}, {what}: {problem}")
        else:
            self.suppressed += 1

    @property
    def found(self) -> list[str]:
        """The problems, and how many more there were."""
        more = [f"and {self.suppressed} more decisions that are not reproduced"] if self.suppressed else []
        return [*self.problems, *more]


def _problem(entry: Entry) -> str | None:
    if entry.evidence is None:
        return "it has no evidence"
    found = doubt(entry.evidence)
    if found is not None:
        return found
    policy, flag = entry.evidence["policy"]["name"], entry.evidence["case"]["flag"]
    if entry.actor != ACTOR_PREFIX + policy:
        return f"its evidence is that of the policy {policy}"
    if flag is not None and entry.object != f"flag/{flag}":
        return f"its evidence is about flag/{flag}"
    return None
