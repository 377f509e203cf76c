"""A declared flag as the store has it: new, or an existing one with what is declared of it. Pure; knows no store."""

from __future__ import annotations

from dataclasses import replace

from flags.canonical import digest
from flags.model import Flag, Json, Variant
from gateway.config.declaration import DeclaredFlag
from gateway.declaring.state import with_state


def created(declared: DeclaredFlag, actor: str, time: str) -> Flag:
    """The flag as it is when it is new; `actor` is the author of its variants, at `time` (RFC 3339)."""
    variants = {
        name: Variant(name, digest(value), 1, actor, time) for name, value in declared.variants.items()
    }
    flag = Flag(declared.key, variants, declared.serve, declared.safe, layer=declared.layer)
    return with_state(with_declared(flag, declared), declared)


def with_declared(flag: Flag, declared: DeclaredFlag) -> Flag:
    """`flag` with all that is declared of it but its variants."""
    return replace(
        flag,
        enabled=declared.enabled,
        targeting=None if declared.targeting is None else digest(declared.targeting),
        metadata=dict(declared.metadata),
        declared=declared.declared,
        soak=declared.soak,
        promotion=declared.promotion,
        written=digest(declared.spelling) if declared.spelling else None,
    )


def contents_of(declared: DeclaredFlag, after: Flag) -> dict[str, Json]:
    """The declared contents that `after` names, by hash."""
    named = {variant.hash for variant in after.variants.values()}
    contents = {digest(value): value for value in declared.variants.values()}
    found = {name: value for name, value in contents.items() if name in named}
    if declared.targeting is not None and after.targeting == digest(declared.targeting):
        found[after.targeting] = declared.targeting
    if after.promotion is not None and after.promotion.suite is not None and declared.suite is not None:
        found[after.promotion.suite] = declared.suite
    if declared.spelling and after.written == digest(declared.spelling):
        found[after.written] = declared.spelling
    return found
