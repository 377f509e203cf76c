"""Where a rollback lands: on `safe`, which moves to the last known good version where it satisfies the rules no more.

Pure. A brake never refuses for want of papers: where nothing satisfies the rules it lands on `safe` all the same, marked
`ungoverned` with what is missing.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from flags.model import Flag
from policies.governance.card import Card
from policies.governance.rules import Unmet, last_known_good, unmet


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
    """Where a rollback that takes `leaving` out of service lands: never on their content under another name."""
    if flag.promotion is None or flag.safe is None:
        return Landing(flag.safe, "the safe version; the flag has no promotion rules")
    contents = {flag.variants[name].hash for name in leaving}
    leaving = {each.name for each in flag.variants.values() if each.hash in contents}
    missing = unmet(flag, flag.safe, cards[flag.safe])
    if not missing:
        return Landing(flag.safe, "the safe version, which satisfies every promotion rule")
    good = last_known_good(flag, cards, but=leaving)
    told = "; ".join(map(str, missing))
    if good.variant is not None:
        return Landing(
            good.variant, f"{good.reason}; {flag.safe} no longer satisfies the rules ({told})", moved=True
        )
    return Landing(
        flag.safe,
        f"the safe version, ungoverned: no version satisfies the promotion rules ({told})",
        ungoverned=lacking(missing),
    )


def lands_on(flag: Flag, cards: Mapping[str, Card]) -> str | None:
    """Which version everybody would get if what serves them were rolled back now."""
    leaving = {name for name in (flag.served,) if name is not None and name != flag.safe}
    return landing_of(flag, cards, leaving).variant


def has_unfit_safe(flag: Flag, cards: Mapping[str, Card]) -> bool:
    """Whether what serves everybody is `safe`, satisfies the rules no more, and another version does."""
    return flag.safe is not None and landing_of(flag, cards, {flag.safe}).moved


def beside(landing: Landing, after: Flag, cards: Mapping[str, Card]) -> Landing:
    """Where a candidate's users land when it alone is taken out: on what serves all others, who move nowhere.

    That need not be `safe`; what it lacks is told.
    """
    served = after.served
    if served is None or served == landing.variant:
        return landing
    missing = () if after.promotion is None else unmet(after, served, cards[served])
    moved = f"; safe is {landing.variant} from now on: {landing.reason}" if landing.moved else ""
    return replace(
        landing, variant=served, reason=f"what serves all others{moved}", ungoverned=lacking(missing)
    )


def lacking(missing: Sequence[Unmet]) -> tuple[str, ...]:
    """What a version lacks, and what it would take; nothing where all is well."""
    if not missing:
        return ()
    takes = "; ".join(dict.fromkeys(each.mend for each in missing))
    return (*map(str, missing), f"what it would take: {takes}")
