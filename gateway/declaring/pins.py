"""What a pipeline's versions pin, held against the routes that use it. Pure.

Which flag a pin means hangs on the route, so a pin is judged where a route takes the pipeline. Knows documents; no
store, no file, and nothing of what is served.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence

from flags.change import Draft, View
from flags.errors import Invalid
from flags.model import NOTHING, Document, Flag, Json, Kind, Layer, ObjectKey
from policies.case import layer_flags
from policies.pinning import pins_of


def landing(flag: Flag, variant: str) -> str | None:
    """Where a pin to `variant` lands: on itself, or on `safe` where it is withdrawn, in quarantine, or there no more."""
    found = flag.variants.get(variant)
    if found is None or variant in flag.withdrawn or found.hash in flag.quarantined:
        return flag.safe
    return variant


def pin_problems(
    route: str,
    layers: Mapping[Layer, str],
    flags: Mapping[str, Collection[str]],
    versions: Mapping[str, Json],
) -> Iterator[Invalid]:
    """Pins that name nothing on `route`, with their paths in a config file.

    `layers` are the keys of its flags, `flags` the variants of those that exist, `versions` the pipeline's contents.
    """
    pipeline = layers[Layer.PIPELINE]
    for version, content in versions.items():
        for layer, variant in pins_of(content).items():
            path, key = f"flags.{pipeline}.variants.{version}.pins.{layer}", layers[layer]
            if key not in flags:
                message = f"route {route!r} has no {layer} layer (flag {key!r} is not defined)"
                yield Invalid(path, message, mend="remove the pin, or define that flag")
            elif variant not in flags[key]:
                known = ", ".join(flags[key]) or "none"
                message = f"flag {key!r} of route {route!r} has no variant {variant!r} (variants: {known})"
                yield Invalid(path, message, mend="pin one of those, or add the variant")


def unknown_pins(view: View, drafts: Sequence[Draft], contents: Mapping[str, Json]) -> Iterator[Invalid]:
    """Pins that name something in `view`, or are new, and would name nothing once `drafts` are written to it.

    Only routes that a draft touches are looked at. `contents` are the stored ones by hash, as far as they are known.
    """
    before, after = _Objects(view, (), contents), _Objects(view, drafts, contents)
    touched = {draft.key.name for draft in drafts if draft.key.kind is Kind.FLAG}
    routes = {draft.key.name for draft in drafts if draft.key.kind is Kind.ROUTE}
    for key in {**dict.fromkeys(view.objects), **after.written}:
        if key.kind is not Kind.ROUTE:
            continue
        if key.name in routes or not touched.isdisjoint(after.layers(key).values()):
            known = {problem.path for problem in before.problems(key)}
            yield from (problem for problem in after.problems(key) if problem.path not in known)


class _Objects:
    """The objects as drafts would leave them, read loosely."""

    __slots__ = ("_contents", "_given", "_view", "written")

    def __init__(self, view: View, drafts: Sequence[Draft], contents: Mapping[str, Json]) -> None:
        self._view, self._contents = view, contents
        self.written: dict[ObjectKey, Document | None] = {draft.key: draft.after for draft in drafts}
        self._given = {name: each for draft in drafts for name, each in draft.contents.items()}

    def document(self, key: ObjectKey) -> Document | None:
        if key in self.written:
            return self.written[key]
        stored = self._view.objects.get(key)
        return None if stored is None else stored.document

    def layers(self, route: ObjectKey) -> Mapping[Layer, str]:
        """The keys of a route's flags; none where there is no such route."""
        document = self.document(route)
        return {} if document is None else layer_flags(route.name, _object(document.get("spec")))

    def problems(self, route: ObjectKey) -> Iterator[Invalid]:
        """Pins that name nothing on a route."""
        layers = self.layers(route)
        flags = {name: found for name in layers.values() if (found := self.variants(name)) is not None}
        versions = flags.get(layers[Layer.PIPELINE], {}) if layers else {}
        if versions:
            contents = {name: self.content(hash_) for name, hash_ in versions.items()}
            yield from pin_problems(route.name, layers, flags, contents)

    def variants(self, flag: str) -> dict[str, Json] | None:
        """The names of a flag's variants, with their hashes; None where there is no such flag."""
        document = self.document(ObjectKey(Kind.FLAG, flag))
        if document is None:
            return None
        return {name: _object(each).get("hash") for name, each in _object(document.get("variants")).items()}

    def content(self, hash_: Json) -> Json:
        name = str(hash_)
        return self._given[name] if name in self._given else self._contents.get(name)


def _object(found: Json) -> Document:
    return found if isinstance(found, Mapping) else NOTHING
