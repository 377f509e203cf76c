"""What a changed flagd file writes: pure, decided in full before anything is written. Knows flags and drafts; no file, no Redis.

The text of the file is what operates a flag, where it changed since it was last written; but it undoes no rollback:
`safe` stays where it is, and a withdrawn name stays withdrawn.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

import msgspec

from flags.canonical import digest
from flags.change import Draft, View
from flags.codec import check_values, document_of
from flags.errors import Invalid
from flags.ledger import MAX_ENTRY_BYTES
from flags.model import Document, Flag, Followed, Json, Kind, Layer, ObjectKey, Rollout, Variant
from gateway.config.declaration import DeclaredFlag
from gateway.declaring.declared import contents_of, created, with_declared
from gateway.declaring.plan import BRAKE_BYTES
from gateway.following.text import TextFlag
from gateway.switches.table import MIXED
from policies import verbs
from policies.case import layer_flags


@dataclass(frozen=True, slots=True)
class FollowPlan:
    """What to write, and what to tell: where the file says one thing and another stands."""

    drafts: tuple[Draft, ...]
    told: tuple[str, ...]


@dataclass(slots=True)
class _Following:
    """One planning. What changes here: the lists that become the plan."""

    file: str
    view: View
    contents: Mapping[str, Json]
    drafts: list[Draft] = field(default_factory=list)
    told: list[str] = field(default_factory=list)

    def flag(self, key: str, found: TextFlag) -> None:
        """Draft what makes the flag as the file has it; what cannot be is told, and the flag stays as it is."""
        if ObjectKey(Kind.FLAG, key) not in self.view.objects:
            now, after = None, created(found.declared, self.file, self.view.time)
        else:
            try:
                now = self.view.flag(key)
            except Invalid as error:
                self._tell(key, f"as stored it cannot be read: {error}")
                return
            if now.followed is None or now.followed.file != self.file:
                owner = "another declaration" if now.followed is None else now.followed.file
                self._tell(
                    key, f"it comes from {owner}: it is not taken from this file; keep it in one of the two"
                )
                return
            if now.followed.text == found.text:
                return
            try:
                after = self._edited(now, found.declared)
            except Invalid as error:
                self._tell(key, f"{error}; it stays as it is")
                return
        given = found.declared.rollout.variant if found.declared.rollout else None
        after = replace(after, followed=Followed(self.file, found.text, given))
        self._write(now, verbs.stamped(now, verbs.mirrored(after), self.view.time), found)

    def _write(self, now: Flag | None, after: Flag, found: TextFlag) -> None:
        try:
            document = document_of(after)
        except Invalid as error:
            self._tell(after.key, f"{error}; it stays as it is")
            return
        # A rollback of it, which tells it before and after, must fit.
        if 2 * len(msgspec.json.encode(document)) > MAX_ENTRY_BYTES - BRAKE_BYTES:
            self._tell(after.key, "it is too large for the ledger: it stays as it is; remove variants")
            return
        affects = now is None or _plain(now) != _plain(after)
        key, contents = ObjectKey(Kind.FLAG, after.key), contents_of(found.declared, after)
        self.drafts.append(Draft("declare", key, document, contents, affects))

    def _edited(self, now: Flag, declared: DeclaredFlag) -> Flag:
        """`now`, with what the text says of it. Raises Invalid where it cannot be."""
        if now.layer is not declared.layer:
            raise Invalid("layer", "a flag keeps its layer; declare a new flag")
        variants = self._variants(now, declared)
        safe = now.safe if now.safe in variants else declared.safe
        born = {name for name, each in variants.items() if now.variants.get(name) != each}
        quarantined = {name for name in born if variants[name].hash in now.quarantined}
        withdrawn = (now.withdrawn & variants.keys()) | declared.withdrawn | quarantined
        if safe in now.withdrawn:
            raise Invalid(
                "safe", f"all that the file keeps is withdrawn, {safe} too", mend=_restore(now.key, safe)
            )
        after = replace(
            now,
            variants=variants,
            serve=declared.serve,
            safe=safe or declared.serve,
            withdrawn=frozenset(name for name in withdrawn if name != safe),
        )
        after = _with_rollout(now, with_declared(after, declared), declared)
        if after.served is not None and after.served != now.served and after.served not in born:
            after = verbs.reborn(after, after.served)
        self._tell_withdrawn(after, declared)
        return after

    def _variants(self, now: Flag, declared: DeclaredFlag) -> dict[str, Variant]:
        """The file's variants; of the others what is safe or withdrawn, while it has the type of the file's."""
        found = {}
        for name, value in declared.variants.items():
            new = Variant(name, digest(value), 1, self.file, self.view.time)
            old = now.variants.get(name)
            if old is None:
                found[name] = new
            elif old.hash == new.hash:
                found[name] = old
            elif now.layer is None:
                found[name] = replace(new, generation=old.generation + 1)
            else:
                self._tell(now.key, f"variant {name} is immutable: its old content stays; add a new variant")
                found[name] = old
        kept = {name: now.variants[name] for name in {now.safe, *now.withdrawn} if name and name not in found}
        values = [self.contents[each.hash] for each in kept.values() if each.hash in self.contents]
        try:
            check_values(
                now.layer,
                {**declared.variants, **{f"kept-{n}": value for n, value in enumerate(values)}},
                mixed=now.key in MIXED,
            )
        except Invalid:
            return found
        return {**found, **kept}

    def _tell_withdrawn(self, after: Flag, declared: DeclaredFlag) -> None:
        if declared.serve in after.withdrawn:
            message = f"the file serves {declared.serve}, which is withdrawn here: {after.safe} is served"
            self._tell(after.key, f"{message} ({_restore(after.key, declared.serve)})")
        rollout = declared.rollout
        if rollout is not None and rollout.variant in after.withdrawn:
            message = f"the file rolls out {rollout.variant}, which is withdrawn here"
            self._tell(after.key, f"{message} ({_restore(after.key, rollout.variant)})")

    def removed(self, kept: Mapping[str, TextFlag]) -> Iterator[Draft]:
        """Deletes of the flags that came from this file and are in it no more."""
        for key in sorted(each for each in self.view.objects if each.kind is Kind.FLAG):
            if key.name in kept or not _came_from(self.view.objects[key].document, self.file):
                continue
            users = sorted(_users(self.view, key.name))
            if users:
                self._tell(
                    key.name, f"it is in the file no more, and stays: it is used by {', '.join(users)}"
                )
            else:
                yield Draft("delete", key, None)

    def _tell(self, key: str, message: str) -> None:
        self.told.append(f"flag {key!r}: {message}")


def follow_plan(
    file: str, flags: Mapping[str, TextFlag], view: View, contents: Mapping[str, Json]
) -> FollowPlan:
    """What makes the flags of `view` as `flags` of the file `file` (`flagd/<name>`) say; one plan for the whole file.

    `contents` are the stored variants' contents by hash: they tell of which type a flag's values are.
    """
    following = _Following(file, view, contents)
    for key in sorted(flags):
        following.flag(key, flags[key])
    deletes = list(following.removed(flags))
    return FollowPlan((*following.drafts, *deletes), tuple(following.told))


def _with_rollout(now: Flag, after: Flag, declared: DeclaredFlag) -> Flag:
    """The file's rollout; without one, that of an operator goes on while what it shares with is served."""
    rollout = declared.rollout
    if rollout is None:
        rollout = _operators(now, after)
    if rollout is None or rollout.variant in after.withdrawn or rollout.variant == after.serve:
        return replace(after, rollout=None)
    current = now.rollout
    if current is not None and current.variant == rollout.variant:
        state = current.state if current.percent == rollout.percent else rollout.state
        same = current.percent == rollout.percent and current.steps == rollout.steps
        return replace(after, rollout=current if same else replace(rollout, state=state))
    return verbs.reborn(replace(after, rollout=rollout), rollout.variant)


def _operators(now: Flag, after: Flag) -> Rollout | None:
    rollout = now.rollout
    if rollout is None or now.serve != after.serve or rollout.variant not in after.variants:
        return None
    return None if now.followed and now.followed.rollout == rollout.variant else rollout


def _plain(flag: Flag) -> Flag:
    """The flag without what no evaluation looks at."""
    return replace(flag, declared=None, written=None, followed=None)


def _restore(flag: str, variant: str | None) -> str:
    return f"to have it again: pointsman restore {flag} {variant} --reason …"


def _came_from(document: Document, file: str) -> bool:
    followed = document.get("followed")
    return isinstance(followed, Mapping) and followed.get("file") == file


def _users(view: View, flag: str) -> Iterator[str]:
    """The routes that a flag of theirs would be taken from."""
    for key, stored in view.objects.items():
        spec = stored.document.get("spec")
        if key.kind is Kind.ROUTE and isinstance(spec, Mapping):
            layers: Mapping[Layer, str] = layer_flags(key.name, spec)
            if flag in layers.values():
                yield f"route {key.name!r}"
