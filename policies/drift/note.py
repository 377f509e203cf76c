"""What is said of drift: an incident for the policies, and the note in the ledger, in words and in numbers. Pure.

Knows no store and no count.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from types import MappingProxyType

from flags.change import Draft
from flags.ledger import Author
from flags.model import Json, Kind, ObjectKey
from policies.drift.registry import Renamed
from policies.drift.sample import SCORE, Sample
from policies.drift.sample import Kind as Behaviour
from policies.drift.shift import Shift
from policies.incidents.incident import Incident
from policies.policy import DRIFT, Metric

DRIFTING = "automation/drift"
WORDS: Mapping[str, str] = MappingProxyType(
    {
        Behaviour.OUTPUT: "tokens of an answer",
        Behaviour.INPUT: "tokens of a question",
        Behaviour.REFUSALS: "share of refusals",
        Behaviour.COST: "USD a request",
    }
)
TAKING = "took how it behaves as the baseline of this version"


def of_name(renamed: Renamed) -> Incident:
    """That a target reports another name than it did."""
    release = f"{renamed.flag}/{renamed.variant}"
    before = ", ".join(renamed.before) or "nothing"
    what = "the model" if renamed.kind == "model" else "the fingerprint"
    reason = (
        f"{renamed.target} changed {what} under {release}: it reports {renamed.after}, where it reported {before} "
        f"({renamed.answers} answers)"
    )
    since = datetime.fromtimestamp(renamed.since, tz=UTC).isoformat(timespec="seconds")
    evidence: dict[str, Json] = {
        "release": release,
        "content": renamed.content,
        "target": renamed.target,
        "kind": renamed.kind,
        "before": [*renamed.before],
        "after": renamed.after,
        "since": since.replace("+00:00", "Z"),
        "answers": renamed.answers,
    }
    return Incident(
        DRIFT,
        f"drift/{renamed.id}",
        reason,
        flag=renamed.flag,
        variant=renamed.variant,
        source="drift",
        name=renamed.kind,
        evidence=evidence,
    )


def of_shift(flag: str, variant: str, content: str, shift: Shift, minutes: int) -> Incident:
    """That a version behaves otherwise than its baseline."""
    said = f"{_words(shift.kind)} {_from(shift.before)} → {_from(shift.after)}"
    reason = (
        f"{flag}/{variant} drifts from its baseline: {said} over the last {minutes} min "
        f"({shift.after.n:,.0f} observations, baseline {shift.before.n:,.0f}, z = {shift.sure:.1f})"
    )
    evidence: dict[str, Json] = {
        "release": f"{flag}/{variant}",
        "content": content,
        "kind": shift.kind,
        "before": _plain(shift.before),
        "after": _plain(shift.after),
        "ratio": round(shift.ratio, 4),
        "z": round(shift.sure, 2),
        "n": shift.after.n,
        "baseline_n": shift.before.n,
        "minutes": minutes,
    }
    return Incident(
        DRIFT,
        f"drift/{flag}/{variant}/{content[:16]}|{shift.kind}",
        reason,
        flag=flag,
        variant=variant,
        source="drift",
        name=shift.kind,
        evidence=evidence,
    )


def is_gain(shift: Shift, metric: Metric | None) -> bool:
    """Whether a shift is for the better: cheaper, or better scores. Nobody goes back for that; it is told all the same."""
    if shift.kind == Behaviour.COST:
        return not shift.rises
    return metric is not None and shift.rises is metric.higher_is_better


def metric_of(shift: Shift) -> str | None:
    """The score that shifted, None where it is none."""
    return shift.kind.removeprefix(SCORE) if shift.kind.startswith(SCORE) else None


def author_of(incident: Incident) -> Author:
    """In whose name it is noted."""
    return Author(DRIFTING, incident.reason, evidence=incident.evidence)


def noted(incident: Incident) -> Draft:
    """The note on the flag."""
    return Draft("drift", ObjectKey(Kind.FLAG, incident.flag or ""), None, affects=False)


def _words(kind: str) -> str:
    return WORDS.get(kind) or f"score {kind.removeprefix(SCORE)}"


def _plain(sample: Sample) -> float:
    return round(sample.mean if sample.plain is None else sample.plain, 6)


def _from(sample: Sample) -> str:
    return f"{_plain(sample):,.4g}"
