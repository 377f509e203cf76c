"""A candidate on trial and the machine's brake: what is tried, and what came of it. Pure: facts in, figures out."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from gateway.demo.tally import Sample


@dataclass(frozen=True, slots=True)
class Trial:
    """A candidate that will go wrong.

    `bad` tells one of its bad answers; `rated`: users say what they think; `aside`: what else one should know.
    """

    flag: str
    candidate: str
    fault: str
    praise: str
    bad: Callable[[Sample], bool]
    rated: bool = False
    aside: str = ""

    @property
    def command(self) -> str:
        """What the operator types to try it."""
        return f'pointsman rollout {self.flag} {self.candidate} --percent 10 --reason "{self.praise}"'

    def tried(self, sample: Sample) -> bool:
        """Whether the candidate was asked for this answer: it answered, or the shield answered in its place."""
        return sample.shielded or self.candidate in {sample.prompt, sample.model}


@dataclass(frozen=True, slots=True)
class Pulled:
    """How the machine pulled the brake; moments in seconds of the samples' clock.

    `began`: the rollout was typed; `withdrawn`: the Change stood in the ledger; `everywhere`: every worker
    had acknowledged it; `ended`: the story went on.
    """

    trial: Trial
    actor: str
    reason: str
    began: float
    withdrawn: float
    everywhere: float
    ended: float


@dataclass(frozen=True, slots=True)
class Figures:
    """What a trial did to the users. Milliseconds are None where there were not so many bad answers before."""

    requests: int
    bad: int
    failures: int
    late: int
    after: int
    from_first: int | None
    from_fourth: int | None
    to_everywhere: int


def clauses(reason: str) -> list[str]:
    """A ledger's reason, a clause a line, without what each single test said: that is for auditors."""
    return [re.sub(r"( needed) \(.*\)$", r"\1", clause) for clause in reason.split("; ")]


def figures(pulled: Pulled, samples: Iterable[Sample]) -> Figures:
    """Counted from the answers to what was asked between the rollout and the end of its part of the story."""
    asked = [one for one in samples if pulled.began <= one.began < pulled.ended]
    tried = [one for one in asked if pulled.trial.tried(one)]
    bad = sorted(one.ended for one in tried if pulled.trial.bad(one))
    after = [one for one in asked if one.began > pulled.everywhere]
    return Figures(
        requests=len(tried),
        bad=len(bad),
        failures=sum(one.error is not None for one in asked),
        late=sum(pulled.trial.tried(one) for one in after),
        after=len(after),
        from_first=_milliseconds(bad, 1, pulled.withdrawn),
        from_fourth=_milliseconds(bad, 4, pulled.withdrawn),
        to_everywhere=round((pulled.everywhere - pulled.withdrawn) * 1000),
    )


def _milliseconds(bad: Sequence[float], number: int, withdrawn: float) -> int | None:
    """From the bad answer of this number to the withdrawal; None where it came later."""
    if len(bad) < number or bad[number - 1] > withdrawn:
        return None
    return round((withdrawn - bad[number - 1]) * 1000)
