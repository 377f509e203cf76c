"""A flagd file (schema v0) becomes declarations in the shape of our own config. Knows documents, no file and no store.

What the file wrote as our export does (a rollout, withdrawn names, marks) comes back as what is operated.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping

from flags.codec import check_values
from flags.errors import Invalid
from flags.fields import check_fields, check_name, object_of, scalars_of, seen, undefined
from flags.flagd.marks import Marks, check_unmarked, parted
from flags.flagd.rules import taken_apart
from flags.flagd.spelling import SYNCED, reached, spelling_of
from flags.model import Document, Flag, Json
from flags.targeting import compile_rule, expanded

FILE_FIELDS = frozenset({"$schema", "$evaluators", "metadata", "flags"})
FLAG_FIELDS = frozenset({"key", "state", "variants", "defaultVariant", "targeting", "metadata", *SYNCED})
# Where what flagd takes and we do not goes: told of, and the rest of the file is taken.
Leave = Callable[[Invalid], None]


def declarations_from(
    document: Json,
    leave: Leave | None = None,
    *,
    leave_rules: bool = False,
    mixed: Collection[str] = (),
) -> list[dict[str, Json]]:
    """The flags of a flagd file as declarations: `{key, variants, serve, targeting?, state?, metadata?, …}`.

    `$evaluators` are expanded, the file's metadata is merged under each flag's, and `flagd` keeps how both were
    written. `state` is given for disabled flags only; `safe`, `rollout`, `withdrawn`, `layer`, `shadow` and `soak`
    where the file tells them. Raises Invalid with the path in the file; a flag whose names break our rules goes to
    `leave` instead, where that is given; with `leave_rules` one whose rule could never be evaluated, too. The flags named
    in `mixed` may hold booleans and numbers side by side.
    """
    root = object_of(document, "")
    check_fields(root, FILE_FIELDS, "")
    file = _File(
        object_of(root.get("$evaluators", {}), "$evaluators"),
        scalars_of(root.get("metadata"), "metadata"),
        mixed,
    )
    check_unmarked(file.metadata, "metadata")
    found: list[tuple[str, Document, str]] = []
    for key, flag, path in _flags_of(root.get("flags")):
        fields = object_of(flag, path)
        if (error := _misnamed(key, fields, path)) is None:
            found.append((key, fields, path))
        elif leave is None:
            raise error
        else:
            leave(error)
    unused = file.unused(flag.get("targeting") for _, flag, _ in found)
    declared: list[dict[str, Json]] = []
    for key, flag, path in found:
        try:
            # What no flag refers to is kept with the first.
            declared.append(file.declaration(key, flag, path, {} if declared else unused, strict=leave_rules))
        except Invalid as error:
            if leave is None or not leave_rules or not error.path.startswith(f"{path}.targeting"):
                raise
            leave(error)
    return declared


def _flags_of(found: Json) -> Iterable[tuple[str, Json, str]]:
    if isinstance(found, Mapping):
        return [(key, flag, f"flags.{key}") for key, flag in found.items()]
    if not isinstance(found, (list, tuple)):
        raise Invalid("flags", f"expected an object (or an array) of flags, found {type(found).__name__}")
    listed = [(_key(flag, f"flags[{index}]"), flag, f"flags[{index}]") for index, flag in enumerate(found)]
    keys: set[str] = set()
    for key, _, path in listed:
        if key in keys:
            raise Invalid(f"{path}.key", f"flag {key!r} is defined twice")
        keys.add(key)
    return listed


def _key(flag: Json, path: str) -> str:
    key = object_of(flag, path).get("key")
    if not isinstance(key, str):
        raise Invalid(f"{path}.key", f"expected the flag's key, found {seen(key)}")
    return key


def _misnamed(key: str, flag: Document, path: str) -> Invalid | None:
    """The name of the flag, or of one of its variants, that is none with us."""
    variants = flag.get("variants")
    try:
        check_name(key, path, "flag")
        for name in variants if isinstance(variants, Mapping) else ():
            check_name(name, f"{path}.variants.{name}", "variant")
    except Invalid as error:
        return error
    return None


class _File:
    """What all flags of a file share."""

    __slots__ = ("evaluators", "metadata", "mixed")

    def __init__(self, evaluators: Document, metadata: Document, mixed: Collection[str]) -> None:
        self.evaluators, self.metadata, self.mixed = evaluators, metadata, mixed

    def __repr__(self) -> str:
        return f"<flagd file with {len(self.evaluators)} evaluators>"

    def unused(self, rules: Iterable[Json]) -> dict[str, Json]:
        """The evaluators that no rule refers to."""
        used: set[str] = set()
        for rule in rules:
            used |= reached(rule, self.evaluators).keys()
        return {name: rule for name, rule in self.evaluators.items() if name not in used}

    def declaration(
        self, key: str, flag: Document, path: str, unused: Document, *, strict: bool
    ) -> dict[str, Json]:
        """One flag's declaration. Raises Invalid with its path."""
        check_fields(flag, FLAG_FIELDS, path)
        variants = _variants(flag.get("variants"), f"{path}.variants", mixed=key in self.mixed)
        serve = _default(flag.get("defaultVariant"), variants, f"{path}.defaultVariant")
        own, marks = parted(scalars_of(flag.get("metadata"), f"{path}.metadata"), f"{path}.metadata")
        written = _rule(flag.get("targeting"), f"{path}.targeting")
        taken, rule = taken_apart(key, variants, serve, written, marks)
        targeting = self._expanded(key, rule, f"{path}.targeting", strict=strict)
        plain = _without_marks(flag, own, rule)
        optional: dict[str, Json] = {
            "targeting": targeting,
            "state": _state(flag.get("state"), f"{path}.state"),
            "metadata": {**self.metadata, **own} or None,
            "flagd": spelling_of(plain, self.evaluators, self.metadata, unused=unused) or None,
            **_operated(taken, serve, marks, f"{path}.metadata"),
        }
        declared: dict[str, Json] = {"key": key, "variants": variants, "serve": taken.serve}
        return declared | {name: value for name, value in optional.items() if value is not None}

    def _expanded(self, key: str, rule: Json, path: str, *, strict: bool) -> Json:
        if rule is None:
            return None
        try:
            found = expanded(rule, self.evaluators)
            compile_rule(found, key, strict=strict)
        except Invalid as error:
            raise error.under(path) from None
        return found


def _variants(found: Json, path: str, *, mixed: bool) -> dict[str, Json]:
    variants = dict(object_of(found, path))
    if not variants:
        raise Invalid(path, "expected at least one variant, found none")
    try:
        check_values(None, variants, mixed=mixed)
    except Invalid as error:
        raise error.under(path.removesuffix(".variants")) from None
    return variants


def _default(found: Json, variants: Mapping[str, Json], path: str) -> str | None:
    # flagd takes a boolean for the name of its text, and "" for none.
    name = str(found).lower() if isinstance(found, bool) else found
    if name is None or name == "":
        return None
    if not isinstance(name, str) or name not in variants:
        raise undefined(path, str(name), variants)
    return name


def _rule(found: Json, path: str) -> Json:
    if found is None or found == {}:
        return None
    if not isinstance(found, Mapping):
        message = f"a targeting rule is an object, for example {{'if': […]}}; found {type(found).__name__}"
        raise Invalid(path, message)
    return found


def _state(found: Json, path: str) -> str | None:
    if found not in ("ENABLED", "DISABLED"):
        raise Invalid(path, f"expected ENABLED or DISABLED, found {seen(found)}")
    return "DISABLED" if found == "DISABLED" else None


def _without_marks(flag: Document, own: Mapping[str, Json], rule: Json) -> Document:
    """The flag as its author had written it, before what is operated was written into it."""
    plain = dict(flag)
    if "metadata" in plain and isinstance(plain["metadata"], Mapping) and len(own) < len(plain["metadata"]):
        plain.pop("metadata")
        plain |= {"metadata": dict(own)} if own else {}
    if rule is None and plain.get("targeting"):
        del plain["targeting"]
    elif rule is not None:
        plain["targeting"] = rule
    return plain


def _operated(flag: Flag, serve: str | None, marks: Marks, path: str) -> dict[str, Json]:
    """What of the flag is operated, as a config has it."""
    rollout = flag.rollout
    shadow, soak = (marks.shadow, marks.shadow_percent), (marks.soak_seconds, marks.soak_requests)
    if (shadow[0] is None) != (shadow[1] is None) or (soak[0] is None) != (soak[1] is None):
        raise Invalid(
            path, "expected both of shadow and shadow_percent, and of soak_seconds and soak_requests"
        )
    found: dict[str, Json] = {
        "layer": marks.layer,
        "safe": flag.safe if flag.safe != flag.serve else None,
        "withdrawn": sorted(flag.withdrawn) or None,
        "shadow": None if shadow[0] is None else {"variant": shadow[0], "percent": shadow[1]},
        "soak": None if soak[0] is None else {"seconds": soak[0], "requests": soak[1]},
    }
    if rollout is not None and rollout.steps:
        found["rollout"] = {
            "variant": rollout.variant,
            "steps": list(rollout.steps),
            "hold_seconds": rollout.hold_seconds,
            "min_requests": rollout.min_requests,
        }
    elif rollout is not None:
        found["rollout"] = {"variant": rollout.variant, "percent": rollout.percent}
    return found
