"""All objects as of one revision: immutable, compiled, swapped whole. Knows no Redis and not who reads it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import blake2b

import msgspec
from immutables import Map, MapMutation

from flags.codec import flag_from
from flags.compiled import CompiledFlag, compile_flag
from flags.errors import Invalid
from flags.model import Document, Json, Kind, ObjectKey, Position, StoredObject

__all__ = ["Builder", "CompiledFlag", "Snapshot", "compile_flag", "hashes_of"]

NO_OBJECTS: Map[str, StoredObject] = Map()

# Of two histories' sums one in 2^64 is the same, and only where their revisions are the same too.
MARK_BYTES = 8
# Documents are read from canonical JSON, so sorted members are enough to write one the same way everywhere; RFC 8785
# itself costs 80 times as much, half a second for 10,000 flags.
_encode = msgspec.json.Encoder(order="deterministic").encode


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What a request reads, once. Its maps share with those of the snapshot before what did not change: a change
    of one flag among 10,000 copies a few nodes, where five dicts would be copied whole.

    `revision` is the last Change that affected evaluation. `contents` holds what the flags refer to and
    nothing else. `problems` tells, by flag, why a stored flag could not be read: it is left out of `flags`,
    the others serve on. The maps are in no particular order.
    """

    position: Position
    revision: int
    namespace: str
    objects: Map[ObjectKey, StoredObject]
    flags: Map[str, CompiledFlag]
    contents: Map[str, Json] = field(repr=False)
    # How many flags refer to each content.
    uses: Map[str, int] = field(repr=False)
    problems: Map[str, str]
    # `objects` again, by kind and name.
    kinds: Mapping[Kind, Map[str, StoredObject]] = field(repr=False)
    # The sum over all flags of `mark_of`: what they evaluate to hangs on nothing else.
    marks: int = 0

    @property
    def fingerprint(self) -> str:
        """What the flags are, in 16 hex digits: the same in all processes, however they came there, and another in another
        history, though its revision be the same."""
        return f"{self.marks:0{2 * MARK_BYTES}x}"

    @property
    def stamp(self) -> dict[str, str]:
        """What the metadata of every answer from here tell, by OpenFeature's names."""
        return {"version": str(self.revision), "flagSetId": self.namespace}

    def of_kind(self, kind: Kind) -> Map[str, StoredObject]:
        """The objects of one kind, by name."""
        return self.kinds.get(kind, NO_OBJECTS)

    @classmethod
    def build(
        cls,
        namespace: str,
        position: Position,
        revision: int,
        objects: Mapping[ObjectKey, StoredObject],
        contents: Mapping[str, Json],
    ) -> Snapshot:
        """The snapshot of `objects`, made in one go; `Builder` makes the same in slices."""
        return Builder(namespace, position, revision, objects, contents).snapshot()

    def changed(
        self,
        position: Position,
        revision: int,
        changes: Mapping[ObjectKey, StoredObject | None],
        contents: Mapping[str, Json],
    ) -> Snapshot:
        """The snapshot after `changes` (None: deleted), in one go. Only changed flags are compiled.

        `contents` are those that came with the changes; what this snapshot has need not be among them.
        """
        return Builder(self.namespace, position, revision, changes, contents, onto=self).snapshot()


class Builder:
    """Makes a snapshot, one object for each step of its iteration; its user may pause between.

    It holds `objects`, and what of `onto` they do not replace; an object that is None is deleted.
    A step compiles at most one flag (some 60 µs with two variants and a rule).
    """

    __slots__ = ("_contents", "_draft", "_namespace", "_position", "_revision", "_todo")

    def __init__(
        self,
        namespace: str,
        position: Position,
        revision: int,
        objects: Mapping[ObjectKey, StoredObject | None],
        contents: Mapping[str, Json],
        *,
        onto: Snapshot | None = None,
    ) -> None:
        self._namespace, self._position, self._revision = namespace, position, revision
        self._contents = contents
        self._todo = iter(tuple(objects.items()))
        self._draft = _Draft() if onto is None else _Draft.of(onto)

    def __repr__(self) -> str:
        done = len(self._draft.objects)
        return f"<builder of {self._namespace} at {self._position.revision}: holds {done} objects>"

    def __iter__(self) -> Iterator[ObjectKey]:
        """Do the work, yielding after each object. Iterating again goes on where it was left."""
        for key, stored in self._todo:
            self._draft.put(key, stored, self._contents)
            yield key

    def snapshot(self) -> Snapshot:
        """The snapshot, finished: what was not iterated yet is done now."""
        for _ in self:
            pass
        return self._draft.snapshot(self._namespace, self._position, self._revision)


@dataclass(slots=True)
class _Draft:
    """The maps of a snapshot while they may still change, and the sum of its flags' marks."""

    objects: MapMutation[ObjectKey, StoredObject] = field(default_factory=lambda: Map().mutate())
    flags: MapMutation[str, CompiledFlag] = field(default_factory=lambda: Map().mutate())
    contents: MapMutation[str, Json] = field(default_factory=lambda: Map().mutate())
    uses: MapMutation[str, int] = field(default_factory=lambda: Map().mutate())
    problems: MapMutation[str, str] = field(default_factory=lambda: Map().mutate())
    kinds: dict[Kind, Map[str, StoredObject]] = field(default_factory=dict)
    marks: int = 0

    @classmethod
    def of(cls, snapshot: Snapshot) -> _Draft:
        return cls(
            snapshot.objects.mutate(),
            snapshot.flags.mutate(),
            snapshot.contents.mutate(),
            snapshot.uses.mutate(),
            snapshot.problems.mutate(),
            dict(snapshot.kinds),
            snapshot.marks,
        )

    def put(self, key: ObjectKey, stored: StoredObject | None, contents: Mapping[str, Json]) -> None:
        """Have `stored` at `key` from now on, compiled if it is a flag; None takes away what was there."""
        before = self.objects.get(key)
        known = self.kinds.get(key.kind, NO_OBJECTS)
        if stored is not None:
            self.objects[key] = stored
            self.kinds[key.kind] = known.set(key.name, stored)
        elif before is not None:
            del self.objects[key]
            self.kinds[key.kind] = known.delete(key.name)
        if key.kind is Kind.FLAG:
            self.marks = (self.marks + mark_of(stored) - mark_of(before)) % 2 ** (8 * MARK_BYTES)
            # In this order: what both versions use must not be dropped in between, for it is not sent again.
            self._keep(stored, contents)
            self._drop(before)
            self._compile(key.name, stored)

    def _keep(self, stored: StoredObject | None, contents: Mapping[str, Json]) -> None:
        for name in _hashes(stored):
            if name not in self.contents and name in contents:
                self.contents[name] = contents[name]
            self.uses[name] = self.uses.get(name, 0) + 1

    def _drop(self, before: StoredObject | None) -> None:
        for name in _hashes(before):
            left = self.uses.pop(name) - 1
            if left:
                self.uses[name] = left
            else:
                self.contents.pop(name, None)

    def _compile(self, key: str, stored: StoredObject | None) -> None:
        self.flags.pop(key, None)
        self.problems.pop(key, None)
        if stored is None:
            return
        contents = {name: self.contents[name] for name in _hashes(stored) if name in self.contents}
        try:
            self.flags[key] = compile_flag(flag_from(key, stored.document, stored.revision), contents)
        except Invalid as error:
            self.problems[key] = str(error)

    def snapshot(self, namespace: str, position: Position, revision: int) -> Snapshot:
        """The maps, fixed; the draft is not to be used any more."""
        return Snapshot(
            position,
            revision,
            namespace,
            self.objects.finish(),
            self.flags.finish(),
            self.contents.finish(),
            self.uses.finish(),
            self.problems.finish(),
            self.kinds,
            self.marks,
        )


def mark_of(stored: StoredObject | None) -> int:
    """A number for this object at this revision, with this document; 0 for none. Marks may be added up in any order."""
    if stored is None:
        return 0
    named = b"%s\0%d\0" % (str(stored.key).encode(), stored.revision)
    return int.from_bytes(blake2b(named + _encode(stored.document), digest_size=MARK_BYTES).digest())


def hashes_of(objects: Mapping[ObjectKey, StoredObject] | Iterable[StoredObject]) -> set[str]:
    """The hashes of the contents that the flags among `objects` name: values and targeting rules."""
    stored = objects.values() if isinstance(objects, Mapping) else objects
    return {name for item in stored if item.key.kind is Kind.FLAG for name in _hashes(item)}


def _hashes(stored: StoredObject | None) -> set[str]:
    return set() if stored is None else set(_named(stored.document))


def _named(document: Document) -> Iterator[str]:
    # Read loosely, so that a document that the codec refuses still keeps what it names.
    variants = document.get("variants")
    for variant in variants.values() if isinstance(variants, Mapping) else ():
        name = variant.get("hash") if isinstance(variant, Mapping) else None
        if isinstance(name, str):
            yield name
    targeting = document.get("targeting")
    if isinstance(targeting, str):
        yield targeting
