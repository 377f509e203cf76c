"""What applying a declaration to a store would write: pure, decided in full before anything is written.

Content is declared, state is operated (DESIGN §1): an object is written when its declared text has
changed since it was last declared; what is served is set when a flag is created and then left alone.
Knows documents and drafts; no Redis and no file.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import NamedTuple

import msgspec

from flags.canonical import digest
from flags.change import Draft, View
from flags.codec import check_values, document_of
from flags.errors import Invalid, Refused
from flags.ledger import MAX_ENTRY_BYTES
from flags.model import Document, Flag, Json, Kind, Layer, ObjectKey, StoredObject, Variant
from gateway.breaking.forced import FORCED
from gateway.config.declaration import Declaration, DeclaredFlag
from gateway.declaring.declared import contents_of, created, with_declared
from gateway.declaring.governing import let_through, record_drafts, ungoverned, unproven
from gateway.declaring.pins import unknown_pins
from gateway.declaring.pruning import pinned_variants, pruned
from gateway.declaring.state import state_differences, with_state
from gateway.switches.table import MIXED
from policies import verbs

# What is named comes before what names it; deletes go the other way.
ORDER = (Kind.UPSTREAM, Kind.METRIC, Kind.FLAG, Kind.ROUTE, Kind.POLICY, Kind.NOTIFY, Kind.SIGNAL)
SERVING = frozenset({Kind.UPSTREAM, Kind.FLAG, Kind.ROUTE})
# What an entry of the ledger holds beside its documents: author, reason, hashes; a file's name is the longest.
ENVELOPE_BYTES = 2048
# What a rollback may add: the longest reason and link (8 KB), evidence, and who is withdrawn and quarantined from then on.
BRAKE_BYTES = 16 * 1024
NO_CONTENTS: Mapping[str, Json] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Options:
    """How to apply. `lenient` is `serve -c`: what `apply` refuses stays as it is stored, with a warning."""

    actor: str
    reset_state: bool = False
    prune: bool = False
    lenient: bool = False
    # An admin, past the promotion rules.
    override: bool = False


@dataclass(frozen=True, slots=True)
class Plan:
    """Drafts in an order in which each may be written; nothing to do when there are none."""

    drafts: tuple[Draft, ...]
    warnings: tuple[str, ...] = ()
    # Where the file declares another state than the one operated: told, not touched.
    notes: tuple[str, ...] = ()
    unchanged: tuple[ObjectKey, ...] = ()


class _Refusal(NamedTuple):
    rule: str
    message: str
    mend: str


@dataclass(slots=True)
class _Planning:
    """One planning. What changes here: the lists that become the Plan."""

    declaration: Declaration
    view: View
    options: Options
    contents: Mapping[str, Json]
    drafts: list[Draft] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    unchanged: list[ObjectKey] = field(default_factory=list)
    refusals: list[_Refusal] = field(default_factory=list)
    # The flags that are left as they are stored although the file has them otherwise, with their layers.
    kept: dict[str, Layer | None] = field(default_factory=dict)
    # By flag, what a pipeline pins and no pruning takes away.
    pinned: Mapping[str, Collection[str]] = field(default_factory=dict)

    def plan(self) -> Plan:
        """All kinds in order, then the deletes. Raises Refused with every reason there is."""
        if self.options.prune:
            self.pinned = pinned_variants(self.declaration, self.view, self.contents)
        for kind in ORDER:
            for name in sorted(self.declaration.names(kind)):
                key = ObjectKey(kind, name)
                self._flag(key) if kind is Kind.FLAG else self._other(key)
        self._raise_refusals()
        deletes = list(self._deletes()) if self.options.prune else []
        self._check_pins([*self.drafts, *deletes])
        self._raise_refusals()
        warnings = (*self.declaration.warnings, *self.warnings)
        return Plan((*self.drafts, *deletes), warnings, tuple(self.notes), tuple(self.unchanged))

    def _raise_refusals(self) -> None:
        if not self.refusals:
            return
        rule, _, mend = self.refusals[0]
        raise Refused(rule, "; ".join(each.message for each in self.refusals), mend=mend)

    def _refuse(self, refusal: _Refusal, stays: str) -> None:
        """What `apply` refuses; `serve -c` must start, so there it is a warning that tells what stays."""
        if self.options.lenient:
            self.warnings.append(f"{refusal.message} ({stays})")
        else:
            self.refusals.append(refusal)

    def _other(self, key: ObjectKey) -> None:
        spec, stored = self.declaration.others[key], self.view.objects.get(key)
        declared = digest(spec)
        if stored is not None and stored.document.get("declared") == declared:
            self.unchanged.append(key)
            return
        if key.kind is Kind.ROUTE and (unfit := self._unfit(key.name, spec)):
            stays = "it stays as it was" if stored else "it is not declared"
            self._refuse(_Refusal("layer_fixed", unfit, "name a flag of that layer"), stays)
            return
        same = stored is not None and stored.document.get("spec") == spec
        after: Document = {**_operated(stored), "spec": spec, "declared": declared}
        self._write(Draft("declare", key, after, affects=key.kind in SERVING and not same))

    def _write(self, draft: Draft) -> None:
        """Draft it; what no ledger takes must not keep `serve -c` from starting (`apply` hears it from the store).

        No flag grows so large that a rollback of it, which tells it before and after, would not fit.
        """
        stored = self.view.objects.get(draft.key)
        before, after = (
            0 if side is None else len(msgspec.json.encode(side))
            for side in (None if stored is None else stored.document, draft.after)
        )
        grows = draft.key.kind is Kind.FLAG and after > before
        size, room = (2 * after, BRAKE_BYTES) if grows else (before + after, ENVELOPE_BYTES)
        if size <= MAX_ENTRY_BYTES - room or not (grows or self.options.lenient):
            self.drafts.append(draft)
            return
        message = (
            f"{draft.key} takes {size} bytes in the ledger, before and after; at most {MAX_ENTRY_BYTES} may"
        )
        mend = "remove variants that are no longer needed"
        self._refuse(_Refusal("entry_too_large", message, mend), "it is not written")

    def _check_pins(self, drafts: Sequence[Draft]) -> None:
        """A pin to what is not there, or will be no more: by a version that only the store has, perhaps."""
        for problem in unknown_pins(self.view, drafts, self.contents):
            refusal = _Refusal("unknown_pin", f"{problem.path}: {problem.message}", problem.mend or "")
            self._refuse(refusal, "such a pin serves the safe version")

    def _unfit(self, route: str, spec: Document) -> str | None:
        """Which kept flag is not of the layer that the route would use it for."""
        for layer in Layer if self.kept else ():
            name = str(spec.get(layer) or f"{route}.{layer}")
            if self.kept.get(name, layer) is not layer:
                return f"route {route!r}: flag {name!r} has {_layer(self.kept[name])}; expected {layer}"
        return None

    def _flag(self, key: ObjectKey) -> None:
        declared = self.declaration.flags[key.name]
        if key not in self.view.objects:
            after = verbs.stamped(None, created(declared, self.options.actor, self.view.time), self.view.time)
            self._write(Draft("declare", key, document_of(after), contents_of(declared, after)))
            self._govern(None, after, declared)
            return
        try:
            now = self.view.flag(key.name)
        except Invalid as error:
            # Written by a later version, perhaps: nothing of it may be lost.
            message = f"flag {key.name!r} as stored cannot be read: {error}"
            self._refuse(_Refusal("unreadable", message, "run `pointsman audit verify`"), "it stays as it is")
            return
        if refusal := self._other_kind(now, declared):
            self.kept[key.name] = now.layer
            self._refuse(refusal, "it stays as it was")
            return
        self._declare_again(key, now, declared)

    def _declare_again(self, key: ObjectKey, now: Flag, declared: DeclaredFlag) -> None:
        edited = [name for name, value in declared.variants.items() if _differs(now, name, value)]
        self._tell_edited(key.name, edited)
        if now.followed is not None and now.declared != declared.declared:
            message = f"flag {key.name!r} follows {now.followed.file}"
            refusal = _Refusal("followed", message, "edit that file, or take the flag out of it first")
            self._refuse(refusal, "it stays as that file has it")
            return
        after = now if now.declared == declared.declared else self._redeclared(now, declared)
        if self.options.prune:
            after = pruned(after, declared, self.pinned.get(key.name, ()))
        lacking: Sequence[str] = ()
        if self.options.reset_state:
            after = verbs.mirrored(with_state(after, declared))
            self._tell_quarantined(now, after)
            lacking = self._guard(now, after)
        else:
            self.notes.extend(_state_notes(now, declared))
        self._govern(now, after, declared)
        if after == now:
            self.unchanged.append(key)
            return
        affects = replace(after, declared=now.declared, written=now.written) != now
        after = verbs.stamped(now, after, self.view.time)
        self._write(
            Draft(
                "declare",
                key,
                document_of(after),
                contents_of(declared, after),
                affects,
                evidence=self._shout(lacking),
            )
        )

    def _govern(self, before: Flag | None, after: Flag, declared: DeclaredFlag) -> None:
        """What is told of its versions, and whether what is safe satisfies rules that are new."""
        for draft in record_drafts(declared, after, self.view):
            self._write(draft)
        self.warnings.extend(unproven(declared, after, self.view))
        self.warnings.extend(ungoverned(before, after, self.view))

    def _guard(self, now: Flag, after: Flag) -> Sequence[str]:
        """What the promotion rules do not let be safe no file makes safe either; what is let through all the same."""
        try:
            lacking = let_through(now, after, self.view, override=self.options.override)
        except Refused as refused:
            self._refuse(_Refusal(refused.rule, str(refused), refused.mend or ""), "it is set nevertheless")
            return [str(refused)]
        if lacking:
            how = f"overridden by {self.options.actor}" if self.options.override else "ungoverned"
            self.warnings.append(f"flag {now.key!r}: {'; '.join(lacking)} ({how})")
        return lacking

    def _shout(self, lacking: Sequence[str]) -> Document | None:
        """What the ledger, and from it people, are told of it."""
        return {"override" if self.options.override else "ungoverned": [*lacking]} if lacking else None

    def _tell_edited(self, flag: str, edited: Sequence[str]) -> None:
        for name in edited:
            message = f"flag {flag!r}: variant {name} is immutable; add {_next_name(name, self.declaration.flags[flag])}"
            mend = "add a new variant instead of editing one"
            self._refuse(_Refusal("variant_immutable", message, mend), "its old content stays")

    def _tell_quarantined(self, now: Flag, after: Flag) -> None:
        """What automation rolled back is not brought back by a file: that takes a person's reason."""
        for name in sorted(verbs.in_service(after) - verbs.in_service(now)):
            if after.variants[name].hash in now.quarantined:
                message = f"flag {now.key!r}: the content of {name} was rolled back and is in quarantine"
                mend = f"restore it first: pointsman restore {now.key} {name} --reason …"
                self._refuse(_Refusal("quarantined", message, mend), "it is served nevertheless")

    def _other_kind(self, now: Flag, declared: DeclaredFlag) -> _Refusal | None:
        """A flag keeps its layer, and the type of its values."""
        if now.layer is not declared.layer:
            message = f"flag {now.key!r} has {_layer(now.layer)}, the file says {_layer(declared.layer)}"
            return _Refusal("layer_fixed", f"{message}: a flag keeps its layer", "declare a new flag")
        if declared.layer is not None or declared.variants.keys() <= now.variants.keys():
            return None
        stored = {
            name: self.contents[each.hash]
            for name, each in now.variants.items()
            if each.hash in self.contents
        }
        new = {name: value for name, value in declared.variants.items() if name not in now.variants}
        try:
            check_values(None, {**stored, **new}, mixed=now.key in MIXED)
        except Invalid as error:
            message = f"flag {now.key!r}: {error}: a flag keeps its type"
            return _Refusal("type_fixed", message, "declare a new flag")
        return None

    def _variant(self, name: str, value: Json) -> Variant:
        return Variant(name, digest(value), 1, self.options.actor, self.view.time)

    def _redeclared(self, now: Flag, declared: DeclaredFlag) -> Flag:
        new = {
            name: self._variant(name, value)
            for name, value in declared.variants.items()
            if name not in now.variants
        }
        return with_declared(replace(now, variants={**now.variants, **new}), declared)

    def _deletes(self) -> Iterator[Draft]:
        for kind in reversed(ORDER):
            names = {key.name for key in self.view.objects if key.kind is kind} - self.declaration.names(kind)
            for name in sorted(names - self._followed(kind)):
                users = self._users(kind, name)
                mend = "remove what uses it, or keep it in the file"
                self.refusals.extend(
                    _Refusal("in_use", f"{kind} {name!r} is used by {user}", mend) for user in users
                )
                yield Draft("delete", ObjectKey(kind, name), None)

    def _followed(self, kind: Kind) -> set[str]:
        """The flags that follow a file: that file removes them."""
        held = self.view.objects.items() if kind is Kind.FLAG else ()
        return {key.name for key, stored in held if key.kind is kind and stored.document.get("followed")}

    def _users(self, kind: Kind, name: str) -> Iterator[str]:
        """Who, of all that stays, uses what is about to go."""
        if kind is Kind.UPSTREAM:
            for flag in self._staying():
                for variant in flag.variants.values():
                    if name in _upstreams_of(self.contents.get(variant.hash)):
                        yield f"flag {flag.key!r}, variant {variant.name}"
        if kind is Kind.FLAG:
            for route in sorted(self.declaration.names(Kind.ROUTE)):
                spec = self.declaration.others[ObjectKey(Kind.ROUTE, route)]
                if name in spec.values() or (name == f"{route}.model" and not spec.get("model")):
                    yield f"route {route!r}"
                elif name.startswith(f"{route}.") and name.removeprefix(f"{route}.") in {*Layer}:
                    self.warnings.append(
                        f"route {route!r} loses its {name.removeprefix(f'{route}.')} layer with flag {name!r}"
                    )

    def _staying(self) -> Iterator[Flag]:
        for key in sorted(self.declaration.flags):
            if ObjectKey(Kind.FLAG, key) in self.view.objects:
                yield pruned(self.view.flag(key), self.declaration.flags[key], self.pinned.get(key, ()))


def plan(
    declaration: Declaration, view: View, options: Options, *, contents: Mapping[str, Json] = NO_CONTENTS
) -> Plan:
    """What makes `view` as `declaration` says. Raises Refused, and then nothing may be written.

    `contents` are the stored variants' contents by hash: they tell of which type a flag's values are, and
    which upstreams are still used. View holds all objects.
    """
    return _Planning(declaration, view, options, contents).plan()


def _operated(stored: StoredObject | None) -> Document:
    """What operators said of an object that is no flag: no file sets it, so that none takes it away."""
    found = None if stored is None else stored.document.get(FORCED)
    return {} if found is None else {FORCED: found}


def _differs(now: Flag, name: str, value: Json) -> bool:
    return name in now.variants and now.variants[name].hash != digest(value)


def _state_notes(now: Flag, declared: DeclaredFlag) -> Iterator[str]:
    for name, file, operated in state_differences(now, declared):
        yield f"flag {now.key!r}: the file says {name} {file}, operated {operated}; not touched"


def _upstreams_of(content: Json) -> set[Json]:
    if not isinstance(content, Mapping):
        return set()
    lists = [found for field in ("targets", "fallbacks") if isinstance(found := content.get(field), list)]
    others = [each.get("upstream") for found in lists for each in found if isinstance(each, Mapping)]
    return {name for name in (content.get("upstream"), *others) if isinstance(name, str)}


def _next_name(name: str, declared: DeclaredFlag) -> str:
    """The name to propose: `v7` → `v8`, the first that is free."""
    stem = name.rstrip("0123456789")
    number = int(name[len(stem) :] or 1)
    return next(
        each
        for each in (f"{stem or 'v'}{number + step}" for step in range(1, len(declared.variants) + 2))
        if each not in declared.variants
    )


def _layer(layer: Layer | None) -> str:
    return f"layer {layer}" if layer else "no layer"
