"""Declarations against the live store: what they would change, and changing it. Knows no file and no HTTP.

A declaration is planned on what the store holds at the very moment of writing, so nothing that
somebody else wrote meanwhile is overwritten unseen.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from flags.change import Committed, Draft, View
from flags.errors import Invalid
from flags.flagd.writing import document_from
from flags.ledger import Author
from flags.model import Document, Json, Kind, Layer, ObjectKey, StoredObject
from gateway.config.declaration import ConfigInvalid, Declaration, Known
from gateway.config.export import differences, export
from gateway.config.loading import declaration_from
from gateway.declaring.plan import Options, Plan, plan
from gateway.shapes import Differs, DiffShape, Written

if TYPE_CHECKING:
    # The command line uses `known_in`, and must not wait for redis to be imported.
    from flags.store import Store

# So many problems are told besides the first.
MORE_PROBLEMS = 20

# Reads a declaration, given what exists in the store and may be referred to.
Read = Callable[[Known], Declaration]


@dataclass(frozen=True, slots=True)
class Planned:
    """A plan and what it was made of."""

    declaration: Declaration
    plan: Plan
    view: View
    contents: Mapping[str, Json]


async def preview(store: Store, read: Read, options: Options) -> Planned:
    """What `declare` would write. Raises what it would raise, and writes nothing."""
    loaded = await store.load()
    declared = await Declared.read(read, loaded.objects)
    contents = {**loaded.contents, **await store.contents(apart_in(loaded.objects))}
    return declared.planned(View(loaded.position, "", loaded.objects), options, contents)


async def declare(
    store: Store, author: Author, read: Read, options: Options, *, insist: bool = False
) -> tuple[Planned, Committed]:
    """Make the store as declared, all or nothing. Raises Invalid, Refused, Conflict, StoreUnavailable."""
    loaded = await store.load()
    declared = await Declared.read(read, loaded.objects)
    early = View(loaded.position, await store.time(), loaded.objects)
    plans = [await asyncio.to_thread(declared.planned, early, options, loaded.contents)]

    def decide(view: View) -> Sequence[Draft]:
        # Usually nobody wrote meanwhile, and what was planned off the loop holds.
        if view.position != plans[-1].view.position:
            plans.append(declared.planned(view, options, loaded.contents))
        return plans[-1].plan.drafts

    committed = await store.change(author, None, decide, insist=insist)
    return plans[-1], committed


@dataclass(frozen=True, slots=True)
class Declared:
    """A declaration, and what existed when it was read."""

    known: Known
    declaration: Declaration
    again: Read

    @classmethod
    async def read(cls, read: Read, objects: Mapping[ObjectKey, StoredObject]) -> Declared:
        """Read it off the loop: 10,000 flags take seconds, and this process serves requests meanwhile."""
        known = known_in(objects)
        return cls(known, await asyncio.to_thread(read, known), read)

    def planned(self, view: View, options: Options, contents: Mapping[str, Json]) -> Planned:
        """The plan on `view`; read anew where something that may be referred to came or went meanwhile."""
        known = known_in(view.objects)
        declaration = self.declaration if known == self.known else self.again(known)
        return Planned(declaration, plan(declaration, view, options, contents=contents), view, contents)


async def exported(store: Store, form: Literal["pointsman", "flagd"]) -> dict[str, Json]:
    """Everything as one config document, or its flags as a flagd file that answers alike."""
    loaded = await store.load()
    view = View(loaded.position, "", loaded.objects)
    contents = {**loaded.contents, **await store.contents(apart_in(loaded.objects))}
    if form == "pointsman":
        return export(view, contents)
    flags = [view.flag(key.name) for key in sorted(loaded.objects) if key.kind is Kind.FLAG]
    # Off the loop: a thousand flags take half a second, and this process serves requests meanwhile.
    return await asyncio.to_thread(document_from, flags, contents)


def from_document(document: Json) -> Read:
    """Read a declaration that came as one JSON document. What is wrong with it is raised as Invalid, with its path."""

    def read(known: Known) -> Declaration:
        try:
            return declaration_from(document, known)
        except ConfigInvalid as error:
            first, *others = error.problems
            more = "".join(f"; {other.path}: {other.message}" for other in others[:MORE_PROBLEMS])
            raise Invalid(
                f"declaration.{first.path}".rstrip("."), first.message + more, mend=first.mend
            ) from error

    return read


def known_in(objects: Mapping[ObjectKey, StoredObject]) -> Known:
    """What a declaration may refer to without declaring it."""
    upstreams = frozenset(key.name for key in objects if key.kind is Kind.UPSTREAM)
    flags = {key.name: stored.document for key, stored in objects.items() if key.kind is Kind.FLAG}
    return Known(
        upstreams,
        {name: _layer(document) for name, document in flags.items()},
        {name: _variants(document) for name, document in flags.items()},
        frozenset(key.name for key in objects if key.kind is Kind.ROUTE),
    )


def apart_in(objects: Mapping[ObjectKey, StoredObject]) -> set[str]:
    """The hashes of the contents that no snapshot holds: suites of promotion rules, and how flagd files spelled flags."""
    flags = [stored.document for key, stored in objects.items() if key.kind is Kind.FLAG]
    rules = [document.get("promotion") for document in flags]
    names = {each.get("suite") for each in rules if isinstance(each, Mapping)}
    names |= {document.get("written") for document in flags}
    return {name for name in names if isinstance(name, str)}


def writes_of(planned: Planned) -> list[Written]:
    """What each draft does to its object."""
    found = []
    for draft in planned.plan.drafts:
        stored = planned.view.objects.get(draft.key)
        before = None if stored is None else stored.document
        action: Literal["create", "update", "delete"] = "update"
        if before is None or draft.after is None:
            action = "create" if before is None else "delete"
        found.append(Written(str(draft.key), action, before, draft.after))
    return found


def diff_shape(planned: Planned) -> DiffShape:
    """The declaration beside the store."""
    found = differences(planned.declaration, planned.view, planned.contents)
    return DiffShape(
        differences=[Differs(each.object, each.path, each.file, each.state) for each in found],
        writes=writes_of(planned),
        warnings=list(planned.plan.warnings),
        revision=planned.view.position.revision,
    )


def _variants(document: Document) -> frozenset[str]:
    found = document.get("variants")
    return frozenset(found) if isinstance(found, Mapping) else frozenset()


def _layer(document: Document) -> Layer | None:
    layer = document.get("layer")
    return Layer(layer) if isinstance(layer, str) else None
