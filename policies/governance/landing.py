"""Where a rollback lands: on `safe`, which moves to the last known good version where it satisfies the rules no more.

Pure. A brake never refuses for want of papers: where nothing satisfies the rules it lands on `safe` all the same, marked
`ungoverned` with what is missing.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from flags.model import Flag
from policies.governance.card import Card
from policies.governance.rules import last_known_good, unmet


@dataclass(frozen=True, slots=True)
class Landing:
    """`variant` is where a rollback lands, `reason` why it is that one; `moved`: it was not `safe` before.

    `ungoverned` says what is missing where nothing satisfies the rules; empty where all is well.
    """

    variant: str | None
    reason: str
    moved: bool = False
    ungoverned: tuple[str, ...] = ()


def landing_of(flag: Flag, cards: Mapping[str, Card], leaving: Collection[str]) -> Landing:
    """Where a rollback that takes `leaving` out of service lands."""
    if flag.promotion is None or flag.safe is None:
        return Landing(flag.safe, "the safe version; the flag has no promotion rules")
    missing = unmet(flag, flag.safe, cards[flag.safe])
    if not missing:
        return Landing(flag.safe, "the safe version, which satisfies every promotion rule")
    good = last_known_good(flag, cards, but=leaving)
    told = "; ".join(map(str, missing))
    if good.variant is not None:
        return Landing(
            good.variant, f"{good.reason}; {flag.safe} no longer satisfies the rules ({told})", moved=True
        )
    takes = "; ".join(dict.fromkeys(each.mend for each in missing))
    return Landing(
        flag.safe,
        f"the safe version, ungoverned: no version satisfies the promotion rules ({told})",
        ungoverned=(*map(str, missing), f"what it would take: {takes}"),
    )
