"""A version's card: its evals, approvals and marks, kept beside the flag so that none of them changes what is served.

Pure. A card speaks of a content, by its hash: what was said of another content under the same name counts for nothing.
The object is `version/<flag>/<variant>`; a version of which nothing was ever said has none.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

import msgspec

from flags.change import Draft, View
from flags.errors import Invalid
from flags.model import Document, Flag, Json, Kind, ObjectKey, StoredObject, Variant

# Of each suite the newest run; a version that outlives more suites than this forgets the oldest.
SUITES_KEPT = 8
NO_EVALS: Mapping[str, Evaluation] = MappingProxyType({})
NO_RECORD: Mapping[str, Json] = MappingProxyType({})


class Evaluation(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """How a run of a suite on a version ended. `passed` null: it could not be evaluated, which is no pass.

    `suite` and `report` are hashes; `pass_rate` and `score` are over all repeats (0 to 1).
    """

    suite: str
    passed: bool | None
    pass_rate: float
    score: float
    cases: int
    not_evaluated: int
    report: str
    at: str
    by: str
    name: str = ""
    repeat: int = 1


class Mark(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What somebody said of a version, and when. `role` is what the person was then."""

    by: str
    at: str
    reason: str
    role: str = ""
    link: str | None = None


class _Document(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A card as it is stored. `Any`: free JSON, which msgspec cannot take as our Json."""

    hash: str
    record: dict[str, Any] = {}
    evaluations: dict[str, Evaluation] = {}
    approvals: list[Mark] = []
    rejected: Mark | None = None
    deprecated: Mark | None = None
    baseline: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Card:
    """All that is known of one content under one name, beside the content itself.

    `record` is what its author declared of it (semver, source, tags, notes, environment, …). What it says of evals and
    approvals is no evidence.
    `baseline` is how it behaved when it was approved, for drift.
    """

    flag: str
    variant: str
    hash: str
    record: Mapping[str, Json] = field(default_factory=lambda: NO_RECORD)
    evaluations: Mapping[str, Evaluation] = field(default_factory=lambda: NO_EVALS)
    approvals: tuple[Mark, ...] = ()
    rejected: Mark | None = None
    deprecated: Mark | None = None
    baseline: Document | None = None

    @property
    def key(self) -> ObjectKey:
        """Where it is stored."""
        return card_key(self.flag, self.variant)

    @property
    def authors(self) -> tuple[str, ...]:
        """Who its record says made it; the ledger's author is the variant's own."""
        named = self.record.get("created_by")
        return (named,) if isinstance(named, str) else ()

    @property
    def is_deprecated(self) -> bool:
        """Whether somebody, or its record, says that it is not to be gone to any more."""
        return self.deprecated is not None or self.record.get("deprecated") is True

    @property
    def newest(self) -> Evaluation | None:
        """The newest run of any suite."""
        return max(self.evaluations.values(), key=lambda each: each.at, default=None)


def card_key(flag: str, variant: str) -> ObjectKey:
    """Where the card of a version is stored."""
    return ObjectKey(Kind.VERSION, f"{flag}/{variant}")


def card_keys(flag: Flag) -> list[ObjectKey]:
    """Where the cards of all versions of a flag are stored: what a decision by the rules must read."""
    return [card_key(flag.key, name) for name in flag.variants]


def card_of(flag: str, variant: Variant, stored: StoredObject | None) -> Card:
    """The card of a version: the stored one where it speaks of this content, else one on which nothing stands.

    A stored document that cannot be read (a later version's, perhaps) counts as one on which nothing stands.
    """
    blank = Card(flag, variant.name, variant.hash)
    if stored is None or stored.document.get("hash") != variant.hash:
        return blank
    try:
        return card_from(flag, variant.name, stored.document)
    except Invalid:
        return blank


def cards_in(view: View | Mapping[ObjectKey, StoredObject], flag: Flag) -> dict[str, Card]:
    """The cards of all versions of a flag, by name."""
    objects = view.objects if isinstance(view, View) else view
    return {
        name: card_of(flag.key, variant, objects.get(card_key(flag.key, name)))
        for name, variant in flag.variants.items()
    }


def card_from(flag: str, variant: str, document: Document) -> Card:
    """The card that a stored document holds. Raises Invalid."""
    try:
        found = msgspec.convert(document, _Document)
    except msgspec.ValidationError as error:
        raise Invalid("", f"this is no card of a version: {error}") from None
    return Card(
        flag,
        variant,
        found.hash,
        record=found.record,
        evaluations=found.evaluations,
        approvals=tuple(found.approvals),
        rejected=found.rejected,
        deprecated=found.deprecated,
        baseline=found.baseline,
    )


def document_of(card: Card) -> dict[str, Json]:
    """The document that `card_from` reads back to the same card."""
    made = _Document(
        card.hash,
        record={**card.record},
        evaluations={**card.evaluations},
        approvals=[*card.approvals],
        rejected=card.rejected,
        deprecated=card.deprecated,
        baseline=None if card.baseline is None else {**card.baseline},
    )
    document: dict[str, Json] = msgspec.to_builtins(made)
    return document


def written(action: str, card: Card) -> Draft:
    """The Change that writes a card; it alters no evaluation of a flag."""
    return Draft(action, card.key, document_of(card), affects=False)


def evaluated(card: Card, run: Evaluation) -> Card:
    """With the newest run of a suite; of more suites than are kept the oldest goes."""
    runs = {**card.evaluations, run.suite: run}
    kept = sorted(runs.values(), key=lambda each: each.at)[-SUITES_KEPT:]
    return replace(card, evaluations={each.suite: each for each in kept})


def approved(card: Card, mark: Mark) -> Card:
    """With one more approval; a person counts once, and what was rejected is rejected no more."""
    others = tuple(each for each in card.approvals if each.by != mark.by)
    return replace(card, approvals=(*others, mark), rejected=None)


def rejected(card: Card, mark: Mark) -> Card:
    """No longer approved by anybody, until somebody approves it anew."""
    return replace(card, approvals=(), rejected=mark)


def deprecated(card: Card, mark: Mark | None) -> Card:
    """Not to be gone to any more; None takes that back."""
    return replace(card, deprecated=mark)


def roles_in(marks: Iterable[Mark]) -> str:
    """`alice (approver), bob (admin)`, for people."""
    return ", ".join(f"{mark.by} ({mark.role})" if mark.role else mark.by for mark in marks)
