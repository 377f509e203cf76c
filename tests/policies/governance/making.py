"""Flags under promotion rules, and what is said of their versions, for tests."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from flags.canonical import digest
from flags.model import Flag, Layer, Promotion, Variant
from policies.governance.card import Card, Evaluation, Mark, approved, card_of, evaluated

SUITE = digest({"tests": "the current ones"})
OLDER = digest({"tests": "those before"})
RULES = Promotion(
    suite=SUITE, evals="suites/support.yaml", min_pass_rate=0.9, approvals=1, roles=("approver",)
)
TIME = "2030-01-02T03:04:05.000Z"


def variant(name: str, *, author: str = "ann", at: str = "") -> Variant:
    day = int(name.lstrip("v") or 1) % 28 + 1
    return Variant(name, digest(name), 1, author, at or f"2030-01-{day:02}T00:00:00Z")


def governed(*names: str, rules: Promotion | None = RULES, **state: Any) -> Flag:
    """A prompt flag with these versions, of which the last is served and the first is safe."""
    names = names or ("v5", "v6", "v7")
    made = {name: variant(name) for name in names}
    return Flag(
        "bot.prompt",
        made,
        **{"serve": names[-1], "safe": names[0], "layer": Layer.PROMPT, "promotion": rules, **state},
    )


def run(suite: str = SUITE, **how: Any) -> Evaluation:
    """A run that passed, unless said otherwise."""
    usual = {
        "passed": True,
        "pass_rate": 1.0,
        "score": 1.0,
        "cases": 10,
        "not_evaluated": 0,
        "report": "r" * 64,
    }
    return Evaluation(suite=suite, at=TIME, by="ci", **{**usual, **how})


def mark(by: str = "bob", role: str = "approver", **how: Any) -> Mark:
    return Mark(by=by, at=TIME, role=role, **{"reason": "read it", **how})


def good(flag: Flag, name: str) -> Card:
    """The card of a version that satisfies every rule."""
    return approved(evaluated(card_of(flag.key, flag.variants[name], None), run()), mark())


def cards(flag: Flag, *good_ones: str, **others: Card) -> Mapping[str, Card]:
    """The cards of all versions; of those named everything is in order, nothing is said of the rest."""
    found = {name: card_of(flag.key, each, None) for name, each in flag.variants.items()}
    found |= {name: good(flag, name) for name in good_ones}
    return found | {name: replace(card, flag=flag.key) for name, card in others.items()}
