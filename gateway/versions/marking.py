"""What may be said of a version, decided on its card as it is then: approve, reject, deprecate. Pure.

Each takes a card and returns the card that follows, the same where nothing changes; or raises Refused, naming the rule.
"""

from __future__ import annotations

from flags.errors import NotFound, Refused
from flags.model import Flag, Variant
from policies import verbs
from policies.governance import card as cards
from policies.governance.card import Card, Mark
from policies.governance.landing import landing_of
from policies.governance.rules import Rule, authors_of, person

# An approval speaks of a content, and that one is no longer what this name means.
HASH_CHANGED = "hash_changed"
# Nobody approves what they wrote themselves.
OWN_VERSION = "own_version"


def variant_of(flag: Flag, name: str) -> Variant:
    """The version of this name. Raises NotFound with those that there are."""
    found = flag.variants.get(name)
    if found is None:
        known = ", ".join(flag.variants) or "none"
        raise NotFound(f'flag "{flag.key}": variant "{name}" is not defined (variants: {known})')
    return found


def same_content(flag: Flag, card: Card, seen: str | None) -> None:
    """Raises Refused where `seen`, the hash that was looked at, is not that of the content which has the name now."""
    if seen is None or seen == card.hash:
        return
    raise Refused(
        HASH_CHANGED,
        f'flag "{flag.key}": {card.variant} has the hash {card.hash}, not {seen}: it is another content',
        mend=f"look at what it is now: pointsman lifecycle show {flag.key} {card.variant}",
    )


def approve(flag: Flag, card: Card, mark: Mark) -> Card:
    """With the approval of one person, who is not the author; who approves twice counts once."""
    variant = flag.variants[card.variant]
    if person(mark.by) in map(person, authors_of(variant, card)):
        raise Refused(
            OWN_VERSION,
            f'flag "{flag.key}": {mark.by} declared {card.variant}, and nobody approves their own version',
            mend="have another person approve it (who you are: your token; without tokens, POINTSMAN_ACTOR)",
        )
    _in_service(flag, variant)
    if any(each.by == mark.by and each.role == mark.role for each in card.approvals):
        return card
    return cards.approved(card, mark)


def reject(card: Card, mark: Mark) -> Card:
    """Approved by nobody any more, until somebody approves it anew."""
    if not card.approvals and card.rejected is not None and _same(card.rejected, mark):
        return card
    return cards.rejected(card, mark)


def deprecate(card: Card, mark: Mark) -> Card:
    """Not to be gone to any more."""
    if card.deprecated is not None and _same(card.deprecated, mark):
        return card
    return cards.deprecated(card, mark)


def undeprecate(card: Card) -> Card:
    """As if it had never been deprecated."""
    return cards.deprecated(card, None)


def consequences(flag: Flag, name: str, known: dict[str, Card]) -> list[str]:
    """What somebody must hear who speaks against a version that is in use: none of it happens by itself."""
    told = []
    if name == flag.safe:
        told += _landing(flag, name, known)
    if flag.enabled and name in verbs.in_service(flag):
        told.append(
            f"{name} is still given to users: this changes nothing of what is served"
            f" (pointsman rollback {flag.key} --reason …, or switch, does)"
        )
    return told


def _landing(flag: Flag, name: str, known: dict[str, Card]) -> list[str]:
    if flag.promotion is None:
        return [
            f"{name} is the safe version, and the flag has no promotion rules: a rollback still lands on it"
            f" (another: pointsman switch {flag.key} V --safe V)"
        ]
    landing = landing_of(flag, known, verbs.in_service(flag) - {name})
    if landing.moved:
        return [f"{name} is the safe version: a rollback will land on {landing.variant} ({landing.reason})"]
    if landing.ungoverned:
        told = "; ".join(landing.ungoverned)
        return [
            f"{name} is the safe version, and no other satisfies the rules: a rollback still lands on it, UNGOVERNED ({told})"
        ]
    return []


def _in_service(flag: Flag, variant: Variant) -> None:
    quarantined = variant.hash in flag.quarantined
    if not quarantined and variant.name not in flag.withdrawn:
        return
    why = "its content is in quarantine" if quarantined else "it is withdrawn"
    raise Refused(
        Rule.IN_SERVICE,
        f'flag "{flag.key}": {variant.name} cannot be approved: {why}',
        mend=f"put it back first: pointsman restore {flag.key} {variant.name} --reason …",
    )


def _same(said: Mark, mark: Mark) -> bool:
    return (said.by, said.reason, said.link) == (mark.by, mark.reason, mark.link)
