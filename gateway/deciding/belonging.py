"""Whose a flag's serving is: this store's, or a provider's that all of its routes name. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from flags.errors import Refused
from flags.model import Document, Kind, Layer
from flags.snapshot import Snapshot
from gateway.compiling import flag_names, spec
from gateway.deciding.loading import reference_of


def deciders_of(snapshot: Snapshot) -> dict[str, str]:
    """Whom each route names that does not let the store decide."""
    found = (
        (name, reference_of(spec(stored.document))) for name, stored in snapshot.of_kind(Kind.ROUTE).items()
    )
    return {name: reference for name, reference in found if reference is not None}


def follows(snapshot: Snapshot, deciders: Mapping[str, str]) -> dict[str, str]:
    """The flags all of whose routes name one and the same provider, and that provider.

    One that the store decides for some route is no likeness of anybody: its rollout is the store's own.
    """
    whom: dict[str, set[str | None]] = {}
    for name, stored in snapshot.of_kind(Kind.ROUTE).items():
        theirs = layers_of(spec(stored.document)) if name in deciders else ()
        for layer, key in zip(Layer, flag_names(name, stored.document), strict=True):
            if key in snapshot.flags:
                whom.setdefault(key, set()).add(deciders[name] if layer in theirs else None)
    return {
        key: reference
        for key, references in whom.items()
        for reference in references
        if len(references) == 1 and reference is not None
    }


def layers_of(route: Document) -> Collection[str]:
    """The layers that a route's provider decides."""
    decisions = route.get("decisions")
    named = decisions.get("layers") if isinstance(decisions, Mapping) else None
    return [str(each) for each in named] if isinstance(named, list | tuple) else [*Layer]


def refuse_elsewhere(snapshot: Snapshot, key: str) -> None:
    """Raises Refused where `key` is a likeness: what a provider decides is changed there."""
    deciders = deciders_of(snapshot)
    whom = follows(snapshot, deciders).get(key) if deciders else None
    if whom is not None:
        raise Refused(
            "decided_elsewhere",
            f'flag "{key}": {whom} decides who gets which version, for all of its routes',
            mend=f"change it there; what is bad is taken out here: pointsman withdraw {key} V --reason …, "
            f"or pointsman rollback {key} --reason …",
        )
