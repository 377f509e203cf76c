"""Flags with sensible defaults, so that a test shows only what matters to it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flags.canonical import digest
from flags.compiled import CompiledFlag, compile_flag
from flags.model import Context, Flag, Json, Kind, Layer, ObjectKey, Rollout, StoredObject, Variant

KEY = "support-bot.prompt"
VALUES: Mapping[str, Json] = {"v5": {"text": "five"}, "v6": {"text": "six"}, "v7": {"text": "seven"}}


def a_flag(key: str = KEY, values: Mapping[str, Json] = VALUES, rule: Json = None, **fields: Any) -> Flag:
    """A prompt flag that serves v6, whose safe version is v5; v7 is new."""
    defaults: dict[str, Any] = {
        "serve": "v6",
        "safe": "v5",
        "layer": Layer.PROMPT if values is VALUES else None,
        "targeting": None if rule is None else digest(rule),
    }
    variants = {name: Variant(name, digest(value), generation=3) for name, value in values.items()}
    return Flag(key=key, variants=variants, **(defaults | fields))


def contents_of(values: Mapping[str, Json] = VALUES, rule: Json = None) -> dict[str, Json]:
    contents = {digest(value): value for value in values.values()}
    return contents if rule is None else contents | {digest(rule): rule}


def compiled(
    key: str = KEY, values: Mapping[str, Json] = VALUES, rule: Json = None, **fields: Any
) -> CompiledFlag:
    return compile_flag(a_flag(key, values, rule, **fields), contents_of(values, rule))


def a_rollout(percent: float, variant: str = "v7") -> Rollout:
    return Rollout(variant, percent)


def user(name: str | None = "user-1", **attributes: Json) -> Context:
    return Context(name, attributes)


def stored(key: str, document: Mapping[str, Json], revision: int = 1) -> StoredObject:
    return StoredObject(ObjectKey(Kind.FLAG, key), document, revision)
