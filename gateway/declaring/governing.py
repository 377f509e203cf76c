"""What a declaration says of versions and their promotion, against what the store has: records, rules, and who may be safe.

Pure; a part of planning. Knows documents and drafts; no Redis and no file.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from flags.change import Draft, View
from flags.model import Flag
from gateway.config.declaration import DeclaredFlag
from policies.governance.card import cards_in, written
from policies.governance.guarding import guarded
from policies.governance.rules import unmet

# What of a record a file cannot prove.
NO_EVIDENCE = ("eval_status", "approved_by", "approved_at")


def record_drafts(declared: DeclaredFlag, after: Flag, view: View) -> Iterator[Draft]:
    """The cards on which the file tells something else of a version than is told there; of other contents nothing."""
    cards = cards_in(view, after)
    for name in declared.variants:
        card, record = cards.get(name), declared.records.get(name, {})
        if card is not None and dict(card.record) != dict(record):
            yield written("record", replace(card, record=record))


def let_through(now: Flag, after: Flag, view: View, *, override: bool) -> tuple[str, ...]:
    """What the state that the file sets lacks and is let through with (see `guarded`).

    Raises Refused where it would set, as `safe` or for all, what the rules that stand do not let.
    """
    return guarded(now, after, cards_in(view, after), action="declare", override=override)


def unproven(declared: DeclaredFlag, after: Flag, view: View) -> Iterator[str]:
    """What to warn of where a record that is new tells of evals or approvals: that it counts for nothing."""
    for draft in record_drafts(declared, after, view):
        name = draft.key.name.rpartition("/")[2]
        told = [field for field in NO_EVIDENCE if declared.records.get(name, {}).get(field)]
        if told:
            yield (
                f"flag {after.key!r}: the record of {name} tells its {', '.join(told)}, which counts for nothing: "
                f"`pointsman eval run` and `pointsman approve` are what does"
            )


def ungoverned(before: Flag | None, after: Flag, view: View) -> Iterator[str]:
    """What to warn of where promotion rules are new or changed: that what is safe does not satisfy them, and what it takes."""
    if before is not None and before.promotion is not None and after.promotion is None:
        yield f"flag {after.key!r}: its promotion rules are taken away: from now on any of its versions may be safe"
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
