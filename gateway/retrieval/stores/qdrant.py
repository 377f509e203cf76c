"""A search in Qdrant's words (`POST /collections/NAME/points/query`): bodies, filters, answers. Knows no address.

Source: Qdrant's REST API, "query points", "filtering" and "collection info".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from flags.errors import Invalid
from gateway.errors import UpstreamGarbled
from gateway.index.filters import Comparison, Compound, Filter, Junction, Operator
from gateway.index.passage import Attribute, Passage

_encode = msgspec.json.Encoder().encode

# Payloads are trees; so deep they are read as attributes (`metadata.source`).
DEPTH_MAX = 4
# No point has one of no ids: what nothing fits.
NOTHING_FITS: Mapping[str, object] = {"has_id": []}
_ORDERS = {Operator.GT: "gt", Operator.GTE: "gte", Operator.LT: "lt", Operator.LTE: "lte"}
_NEGATED = (Operator.NE, Operator.NIN)
# Qdrant compares ranges as 64-bit floats, which are exact up to here.
EXACT = 2**53


class Point(msgspec.Struct, frozen=True, gc=False):
    """One point that was found."""

    id: int | str
    score: float = 0.0
    payload: dict[str, Any] | None = None


class Points(msgspec.Struct, frozen=True, gc=False):
    """All of them, best first."""

    points: list[Point]


class Found(msgspec.Struct, frozen=True, gc=False):
    """The answer around them."""

    result: Points


class Params(msgspec.Struct, frozen=True):
    """`vectors` is one's own parameters, or those of several by name."""

    vectors: dict[str, Any] | None = None


class Config(msgspec.Struct, frozen=True):
    """A collection's making."""

    params: Params


class Collection(msgspec.Struct, frozen=True):
    """What a collection says of itself."""

    config: Config
    points_count: int | None = None

    def sizes(self) -> dict[str | None, int]:
        """How long vectors are, by name; None is the name of the one without."""
        vectors = self.config.params.vectors or {}
        if isinstance(vectors.get("size"), int):
            return {None: vectors["size"]}
        named = {name: each.get("size") for name, each in vectors.items() if isinstance(each, dict)}
        return {name: size for name, size in named.items() if isinstance(size, int)}


class About(msgspec.Struct, frozen=True):
    """The answer around it."""

    result: Collection


_decode_found = msgspec.json.Decoder(Found).decode


def query_tail(
    top_k: int, score_threshold: float | None, filters: Filter | None, vector: str | None
) -> bytes:
    """The JSON that follows the vector in a query's body. Raises Invalid for filters that Qdrant does not have."""
    fields: dict[str, object] = {"limit": top_k, "with_payload": True}
    if vector is not None:
        fields["using"] = vector
    if filters is not None:
        fields["filter"] = {"must": [condition(filters)]}
    if score_threshold is not None:
        fields["score_threshold"] = score_threshold
    return b"," + _encode(fields)[1:]


def query_body(vector: msgspec.Raw, tail: bytes) -> bytes:
    """The body of a query; `vector` is a JSON array, as it came from the model."""
    return b'{"query":' + bytes(vector) + tail


def condition(filter_: Filter) -> dict[str, object]:
    """A filter as Qdrant has it. Raises Invalid for an order among strings, which it does not know."""
    if isinstance(filter_, Compound):
        name = "must" if filter_.junction is Junction.AND else "should"
        return {name: [condition(each) for each in filter_.filters]}
    fits = _compared(filter_)
    return {"must_not": [fits]} if filter_.operator in _NEGATED else fits


def _compared(comparison: Comparison) -> dict[str, object]:
    order = _ORDERS.get(comparison.operator)
    if order is None:
        tests = [_equal(comparison.key, value) for value in comparison.values]
        return tests[0] if len(tests) == 1 else {"should": tests or [dict(NOTHING_FITS)]}
    value = comparison.values[0]
    if isinstance(value, str):
        message = (
            f"{comparison.operator} compares {comparison.key!r} with a string; Qdrant orders only numbers"
        )
        raise Invalid("filters", message, mend="use eq or in, or keep a number in the payload")
    return {"key": comparison.key, "range": {order: value}}


def _equal(key: str, value: Attribute) -> dict[str, object]:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if number and -EXACT < float(value) < EXACT:
        # `match` knows no floats, and 3 is 3.0.
        return {"key": key, "range": {"gte": value, "lte": value}}
    return {"key": key, "match": {"value": value}}


def passages_in(body: bytes, text_field: str) -> list[Passage]:
    """What a query found. Raises UpstreamGarbled for what is no answer, and where no point has a text."""
    try:
        points = _decode_found(body).result.points
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UpstreamGarbled(f"the answer is none of Qdrant's: {error}") from error
    found = [passage for point in points if (passage := _passage(point, text_field)) is not None]
    if points and not found:
        raise UpstreamGarbled(f"no point that was found has a text in its payload's field {text_field!r}")
    return found


def _passage(point: Point, text_field: str) -> Passage | None:
    payload = point.payload or {}
    attributes = flat(payload)
    text = attributes.pop(text_field, None)
    if not isinstance(text, str):
        return None
    file_id, filename = attributes.pop("file_id", None), attributes.pop("filename", None)
    return Passage(
        file_id if isinstance(file_id, str) else str(point.id),
        filename if isinstance(filename, str) else "",
        point.score,
        text,
        attributes,
    )


def flat(payload: Mapping[str, Any], prefix: str = "", depth: int = 1) -> dict[str, Attribute]:
    """A payload's plain values; those within objects under `object.name`, as Qdrant's own filters name them."""
    found: dict[str, Attribute] = {}
    for name, value in payload.items():
        if isinstance(value, (str, int, float)):
            found[prefix + name] = value
        elif isinstance(value, dict) and depth < DEPTH_MAX:
            found.update(flat(value, f"{prefix}{name}.", depth + 1))
    return found
