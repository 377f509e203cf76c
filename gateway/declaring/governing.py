"""What a declaration says of versions and their promotion, against what the store has: records, rules, and who may be safe.

Pure; a part of planning. Knows documents and drafts; no Redis and no file.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from flags.change import Draft, View
from flags.model import Document, Flag
from gateway.config.declaration import DeclaredFlag
from policies.governance.card import cards_in, written
from policies.governance.guarding import guarded
from policies.governance.rules import unmet


def record_drafts(declared: DeclaredFlag, after: Flag, view: View) -> Iterator[Draft]:
    """The cards on which the file tells something else of a version than is told there; of other contents nothing."""
    cards = cards_in(view, after)
    for name, record in declared.records.items():
        card = cards.get(name)
        if card is not None and name in declared.variants and dict(card.record) != dict(record):
            yield written("record", replace(card, record=record))


def refuse_unfit(now: Flag, after: Flag, view: View) -> None:
    """Raises Refused where the file would set, as `safe` or for all, what the rules that stand do not let."""
    guarded(now, after, cards_in(view, now), action="declare")


def ungoverned(before: Flag | None, after: Flag, view: View) -> Iterator[str]:
    """What to warn of where promotion rules are new or changed: that what is safe does not satisfy them, and what it takes."""
    if after.promotion is None or after.safe is None:
        return
    if before is not None and before.promotion == after.promotion:
        return
    missing = unmet(after, after.safe, cards_in(view, after)[after.safe])
    if missing:
        told, takes = "; ".join(map(str, missing)), "; ".join(dict.fromkeys(each.mend for each in missing))
        yield (
            f"flag {after.key!r}: {after.safe} is safe and does not satisfy the promotion rules: a rollback to it would be "
            f"ungoverned until then ({told}; what it takes: {takes})"
        )


def records_of(flag: Flag, view: View) -> Mapping[str, Document]:
    """What was declared of a flag's versions, as their cards have it."""
    return {name: card.record for name, card in cards_in(view, flag).items() if card.record}
