"""What was found of one assertion, and how several are put together: promptfoo's weighted mean. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from flags.errors import FlagError

# Weighted means of decimal weights miss a threshold by some 1e-16: 0.1 + 0.2 is not 0.3.
TOLERANCE = 1e-9
# A judge may write a page; a report holds thousands of reasons.
REASON_CHARS_MAX = 500


class NotEvaluated(FlagError):
    """Raised when nothing can be said of an answer by an assertion: it is no pass, and the answer's failure neither."""


class Found(NamedTuple):
    """What an assertion found, before `not-`, weight and metric."""

    passed: bool
    score: float
    reason: str


@dataclass(frozen=True, slots=True)
class Checked:
    """What an assertion made of an answer. `passed` None: not evaluated, `reason` says why. `score` is 0 to 1."""

    name: str
    passed: bool | None
    score: float
    reason: str
    metric: str | None = None
    weight: float = 1.0


def plainly(passed: object, reason: str) -> Found:
    """What an assertion found that knows only yes and no."""
    return Found(bool(passed), 1.0 if passed else 0.0, reason)


def reaches(score: float, threshold: float) -> bool:
    """Whether a score is at least its threshold, up to the rounding of sums."""
    return score + TOLERANCE >= threshold


def brief(text: str, most: int = REASON_CHARS_MAX) -> str:
    """A text of at most so many characters, an ellipsis where it is cut."""
    return text if len(text) <= most else text[: most - 1] + "…"


def combined(checks: Sequence[Checked], threshold: float | None) -> tuple[bool | None, float, str]:
    """Whether all this is a pass, its score (0 to 1) and the reason.

    With a threshold the score decides, else all must pass. What was not evaluated makes the whole so. A weight of 0 has
    no say. Where nothing has a say an answer is enough, as for promptfoo.
    """
    lost = [each for each in checks if each.passed is None]
    if lost:
        return None, 0.0, _reasons("not evaluated", lost)
    weighing = [each for each in checks if each.weight > 0]
    if not weighing:
        return True, 1.0, "it was answered, and nothing that counts is asserted"
    weight = sum(each.weight for each in weighing)
    score = min(1.0, sum(each.score * each.weight for each in weighing) / weight)
    failed = [each for each in weighing if not each.passed]
    if threshold is not None:
        passed = reaches(score, threshold)
        reason = f"score {score:.3f}, threshold {threshold:g}"
        return passed, score, reason if passed else _reasons(reason, failed)
    if failed:
        return False, score, _reasons("failed", failed)
    return True, score, "all assertions pass"


def metrics_of(checks: Iterable[Checked]) -> Mapping[str, float]:
    """The mean score of the assertions that name each metric, whatever they weigh; of those that were evaluated."""
    scores: dict[str, list[float]] = {}
    for each in checks:
        if each.metric and each.passed is not None:
            scores.setdefault(each.metric, []).append(each.score)
    return {name: sum(found) / len(found) for name, found in scores.items()}


def _reasons(what: str, checks: Iterable[Checked]) -> str:
    return brief("; ".join([what, *(f"{each.name}: {each.reason}" for each in checks)]))
