"""Flags with rules, and cards of their versions, with sensible defaults: a test shows only what matters."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from flags.model import Flag, Promotion
from gateway.versions.views import Life
from policies.governance.card import Card, Evaluation, Mark
from tests.gateway.office import prompt

SUITE = "5" * 64
RULES = Promotion(suite=SUITE, evals="suites/support.yaml", approvals=1)


def governed(rules: Promotion | None = RULES, **state: Any) -> Flag:
    """v5, v6 and v7 in the order of their age, declared by carol; v6 is served and safe."""
    flag, _ = prompt(**state)
    variants = {
        name: replace(each, created_by="carol", created_at=f"2027-01-0{day}T00:00:00Z")
        for day, (name, each) in enumerate(flag.variants.items(), 1)
    }
    return replace(flag, variants=variants, promotion=rules)


def said(by: str = "bob", role: str = "approver", **more: Any) -> Mark:
    return Mark(by, **{"at": "2027-02-01T00:00:00Z", "reason": "read it", "role": role, **more})


def ran(suite: str = SUITE, **more: Any) -> Evaluation:
    usual: dict[str, Any] = {"passed": True, "pass_rate": 1.0, "score": 0.9, "cases": 20, "not_evaluated": 0}
    told = {"report": "e" * 64, "at": "2027-01-20T00:00:00Z", "by": "alice", "name": "suites/support.yaml"}
    return Evaluation(suite, **{**usual, **told, **more})


def card(flag: Flag, name: str, *marks: Mark, runs: tuple[Evaluation, ...] = (), **more: Any) -> Card:
    evaluations = {run.suite: run for run in runs}
    return Card(flag.key, name, flag.variants[name].hash, evaluations=evaluations, approvals=marks, **more)


def life(flag: Flag, *cards: Card) -> Life:
    """With blank cards for the versions of which nothing is said."""
    return Life.of(
        flag, {name: card(flag, name) for name in flag.variants} | {each.variant: each for each in cards}
    )
