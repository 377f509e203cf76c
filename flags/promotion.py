"""Promotion rules ↔ their document in a flag: parsed strictly once. Knows no suite and nobody who approves."""

from __future__ import annotations

from dataclasses import fields
from typing import cast

from flags.errors import Invalid
from flags.fields import (
    boolean_of,
    check_fields,
    count_of,
    hash_of,
    number_of,
    object_of,
    seen,
    text_of,
    texts_of,
)
from flags.model import Embedding, Json, Promotion

PROMOTION_FIELDS = frozenset(field.name for field in fields(Promotion))
EMBEDDING_FIELDS = frozenset(Embedding._fields)
USUAL = Promotion()


def promotion_from(found: Json) -> Promotion | None:
    """The rules that a flag's document holds, None for nothing. Raises Invalid with the path."""
    if found is None:
        return None
    path = "promotion"
    document = object_of(found, path)
    check_fields(document, PROMOTION_FIELDS, path)

    def at(name: str) -> str:
        return f"{path}.{name}"

    return Promotion(
        suite=hash_of(document.get("suite"), at("suite")),
        evals=text_of(document.get("evals"), at("evals")) or "",
        min_pass_rate=_share(document.get("min_pass_rate", USUAL.min_pass_rate), at("min_pass_rate")),
        min_score=_number(document.get("min_score"), at("min_score")),
        repeat=count_of(document.get("repeat", 1), at("repeat"), at_least=1),
        route=text_of(document.get("route"), at("route")),
        judge=text_of(document.get("judge"), at("judge")),
        embedding=_embedding(document.get("embedding"), at("embedding")),
        approvals=count_of(document.get("approvals", 0), at("approvals"), at_least=0),
        roles=tuple(texts_of(document.get("roles"), at("roles"))),
        strict=boolean_of(document.get("strict", False), at("strict")),
        every_seconds=_number(document.get("every_seconds"), at("every_seconds")),
        environment=text_of(document.get("environment"), at("environment")) or USUAL.environment,
    )


def promotion_document(promotion: Promotion) -> dict[str, Json]:
    """The document that `promotion_from` reads back to the same rules; what is usual is left out."""
    found: dict[str, Json] = {}
    for field in fields(Promotion):
        value = getattr(promotion, field.name)
        if value == getattr(USUAL, field.name):
            continue
        if isinstance(value, Embedding):
            value = {**value._asdict()}
        elif isinstance(value, tuple):
            value = [*value]
        # The fields are scalars, but for these two.
        found[field.name] = cast("Json", value)
    return found


def _embedding(found: Json, path: str) -> Embedding | None:
    if found is None:
        return None
    document = object_of(found, path)
    check_fields(document, EMBEDDING_FIELDS, path)
    upstream = text_of(document.get("upstream"), f"{path}.upstream")
    model = text_of(document.get("model"), f"{path}.model")
    if not upstream or not model:
        raise Invalid(path, f"expected an upstream and a model, found {seen(found)}")
    return Embedding(upstream, model)


def _share(found: Json, path: str) -> float:
    share = float(number_of(found, path, "0 to 1"))
    if not 0 <= share <= 1:
        raise Invalid(path, f"expected 0 to 1, found {share:g}")
    return share


def _number(found: Json, path: str) -> float | None:
    return None if found is None else float(number_of(found, path, "a number"))
