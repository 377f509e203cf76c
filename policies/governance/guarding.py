"""Holds a Change of a flag to the flag's promotion rules: who writes `safe`, or promotes, must satisfy them. Pure.

A rollback is not guarded here: that brake has its own way (braking.py), which never refuses for want of papers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from flags.errors import Refused
from flags.model import Flag
from policies.governance.card import Card
from policies.governance.rules import OVERRIDE, Unmet, unmet
from policies.verbs import ALL_PERCENT

# By these actions a version begins to serve everybody on the way that the rules guard.
PROMOTES = frozenset({"rollout.promote", "revert", "declare"})


def guarded(
    before: Flag, after: Flag, cards: Mapping[str, Card], *, action: str, override: bool = False
) -> tuple[str, ...]:
    """What the step from `before` to `after` lacks and is let through with; nothing, where all is well.

    `cards` are those of the versions of `after`; one that is not among them counts as a version of which nothing was said.
    Raises Refused, naming the rule, where it may not be: a version that may not be safe becomes it, or one that may not
    be promoted is (`switch` with strict rules only), unless an admin overrides.
    """
    if before.promotion is None:
        return ()
    let: list[str] = []
    for name, what, strict in _claims(before, after, action):
        # A version that comes with this very Change has no papers yet.
        card = cards.get(name) or Card(after.key, name, after.variants[name].hash)
        missing = unmet(under_rules(after, before), name, card)
        if missing and strict and not override:
            raise _refused(after.key, name, what, missing)
        let += [f"{name}: {each}" for each in missing]
    return tuple(dict.fromkeys(let))


def under_rules(after: Flag, before: Flag) -> Flag:
    """`after` under the rules of `before`: a Change cannot loosen the rules that it is held to."""
    return after if after.promotion == before.promotion else replace(after, promotion=before.promotion)


def _claims(before: Flag, after: Flag, action: str) -> list[tuple[str, str, bool]]:
    """Which version is to become what, and whether the rules forbid it where it does not satisfy them."""
    claims: list[tuple[str, str, bool]] = []
    if after.safe is not None and after.safe != before.safe:
        claims.append((after.safe, "be safe", True))
    served = after.served
    strict = before.promotion is not None and before.promotion.strict
    if served is not None and served not in {before.served, after.safe}:
        claims.append((served, "be promoted", strict or action in PROMOTES))
    if _given_to_all(after) and not _given_to_all(before):
        assert after.rollout is not None
        claims.append((after.rollout.variant, "be given to all", strict))
    return claims


def _given_to_all(flag: Flag) -> bool:
    """Whether a candidate has all users, as if it were promoted."""
    return flag.rollout is not None and flag.rollout.percent >= ALL_PERCENT


def _refused(flag: str, name: str, what: str, missing: tuple[Unmet, ...]) -> Refused:
    told = "; ".join(map(str, missing))
    return Refused(
        missing[0].rule, f'flag "{flag}": {name} may not {what}: {told}', mend=f"{missing[0].mend}{OVERRIDE}"
    )
