"""A verb under a flag's promotion rules: what it makes of the flag, what it lacks, and what it is refused for. Pure.

Knows no store; the rules themselves stand in policies.governance.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from flags.model import Document, Flag, Json
from policies import quarantine, verbs
from policies.governance.braking import Braked, rolled_back
from policies.governance.card import Card
from policies.governance.guarding import guarded
from policies.governance.rules import unmet
from policies.verbs import Step

Verb = Callable[[Flag], Step]


@dataclass(frozen=True, slots=True)
class Governed:
    """A step, what of the promotion rules it is let through without, and (of a rollback) how it landed.

    `overridden`: an admin's override let it through.
    """

    step: Step
    ungoverned: tuple[str, ...] = ()
    braked: Braked | None = None
    overridden: bool = False

    @property
    def evidence(self) -> Document | None:
        """What the ledger says of it beside the step: what was missing, and whether somebody overrode the rules."""
        if not self.ungoverned:
            return None
        return {"override" if self.overridden else "ungoverned": [*self.ungoverned]}


Deed = Callable[[Flag, Mapping[str, Card]], Governed]


def by_the_rules(verb: Verb, action: str, *, override: bool) -> Deed:
    """A verb that is held to the rules, unless an admin overrides them."""

    def deed(flag: Flag, cards: Mapping[str, Card]) -> Governed:
        step = verb(flag)
        lacking = guarded(flag, step.flag, cards, action=action, override=override)
        return Governed(step, lacking, overridden=override)

    return deed


def braking(to: str | None, rule_of: Callable[[Flag], Json], *, override: bool) -> Deed:
    """A rollback, which lands by the rules and is never refused for want of papers."""

    def deed(flag: Flag, cards: Mapping[str, Card]) -> Governed:
        found = rolled_back(flag, cards, to=to, rule=rule_of(flag), override=override)
        return Governed(found.step, found.landing.ungoverned, found, overridden=override)

    return deed


def withdrawing(variant: str) -> Deed:
    """A withdrawal, which is a brake as well: what users get instead is told where it is ungoverned, never refused."""

    def deed(flag: Flag, cards: Mapping[str, Card]) -> Governed:
        return _landed(flag, verbs.withdraw(flag, variant), cards)

    return deed


def quarantining(variant: str) -> Deed:
    """A content taken out of service under all its names: a brake, as a withdrawal is."""

    def deed(flag: Flag, cards: Mapping[str, Card]) -> Governed:
        return _landed(flag, quarantine.add(flag, variant, cards), cards)

    return deed


def _landed(before: Flag, step: Step, cards: Mapping[str, Card]) -> Governed:
    """The step, and what the version that users get instead lacks."""
    served = step.flag.served
    if served is None or served == before.served:
        return Governed(step)
    return Governed(step, tuple(f"{served}: {each}" for each in unmet(step.flag, served, cards[served])))
