"""Who compares meanings and who judges: the one seam of evals to the world. Knows no route and no model."""

from __future__ import annotations

from typing import Protocol

from flags.errors import FlagError


class GraderAway(FlagError):
    """Raised when nobody can compare or judge: none is named, or it does not answer. The assertion is not evaluated."""


class Grader(Protocol):
    """An embeddings upstream and a judge route."""

    async def similarity(self, a: str, b: str) -> float:
        """The cosine of the two texts' vectors (-1 to 1). Raises GraderAway."""
        ...

    async def ask(self, instruction: str, material: str) -> str:
        """What the judge says to `material` (JSON) under `instruction` (the system's message). Raises GraderAway."""
        ...


class NoGrader:
    """Where neither judge nor embeddings are named: assertions that need one are not evaluated."""

    async def similarity(self, a: str, b: str) -> float:
        """Raises GraderAway, always."""
        raise GraderAway("nothing compares meanings here", mend="name an embeddings upstream: `embedding:`")

    async def ask(self, instruction: str, material: str) -> str:
        """Raises GraderAway, always."""
        raise GraderAway("nobody judges here", mend="name a judge route: `judge:`")
