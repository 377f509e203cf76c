"""How a version behaved when it was approved, as its card keeps it: when it is taken, and from what. Pure.

It is taken from what was measured until then, if that were 200 answers; later, when there are 500. A kind that could not be
observed yet (nobody scored) is added when it can be. What a baseline says once, nothing changes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime

import msgspec

from flags.model import Document, Flag, Json
from policies.drift.sample import Sample
from policies.drift.shift import LEAST_OBSERVATIONS, least
from policies.governance.card import Card

# Answers needed at the moment of approval, and later.
AT_APPROVAL, LATER = LEAST_OBSERVATIONS, 500.0
# Scores are rarer than answers: so many of them make a baseline later.
SCORES_LATER = 100.0
# So long after it a look is still "at the moment": looks come once a minute.
MOMENT_SECONDS = 180.0


class Kept(msgspec.Struct, frozen=True, omit_defaults=True):
    """One kind of a baseline: what was observed, when it was taken, and from what (`approval`, `safe` or `traffic`)."""

    sample: Sample
    at: str
    taken: str


def baseline_of(card: Card) -> dict[str, Kept]:
    """The baseline by kind; empty where there is none, or none that can be read."""
    try:
        return msgspec.convert(card.baseline or {}, dict[str, Kept])
    except msgspec.ValidationError:
        return {}


def samples_in(card: Card) -> dict[str, Sample]:
    """What the version is compared with, by kind."""
    return {kind: kept.sample for kind, kept in baseline_of(card).items()}


def stands(flag: Flag, card: Card) -> bool:
    """Whether a version is one that somebody answers for: approved, or safe."""
    return card.rejected is None and (bool(card.approvals) or flag.safe == card.variant)


def amended(flag: Flag, card: Card, measured: Mapping[str, Sample], time: str) -> Card:
    """The card with what can be taken now; the card itself where there is nothing new."""
    if not stands(flag, card):
        return card
    held = baseline_of(card)
    why, fresh = _moment(flag, card, time)
    more = {
        kind: Kept(sample, time, why if fresh else "traffic")
        for kind, sample in measured.items()
        if kind not in held and sample.n >= (least(kind) if fresh else _later(kind))
    }
    if not more:
        return card
    document: dict[str, Json] = msgspec.to_builtins({**held, **more})
    return replace(card, baseline=document)


def _later(kind: str) -> float:
    return SCORES_LATER if least(kind) < AT_APPROVAL else LATER


def _moment(flag: Flag, card: Card, time: str) -> tuple[str, bool]:
    """Why the version is answered for, and whether that is so since just now."""
    since = max((mark.at for mark in card.approvals), default="") or flag.changed_at
    why = "approval" if card.approvals else "safe"
    if not since:
        return why, False
    age = (datetime.fromisoformat(time) - datetime.fromisoformat(since)).total_seconds()
    return why, age <= MOMENT_SECONDS


def told(card: Card) -> Document:
    """The baseline for people: by kind its mean, its number, when and from what."""
    return {
        kind: {
            "mean": kept.sample.mean if kept.sample.plain is None else kept.sample.plain,
            "n": kept.sample.n,
            "at": kept.at,
            "taken": kept.taken,
        }
        for kind, kept in baseline_of(card).items()
    }
