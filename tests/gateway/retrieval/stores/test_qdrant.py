"""Qdrant's words: filters as it has them, points as passages, and what is none of its answers."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from flags.errors import Invalid
from gateway.errors import UpstreamGarbled
from gateway.index.filters import parse_filter
from gateway.retrieval.stores.qdrant import Collection, condition, flat, passages_in, query_body, query_tail


def leaf(kind: str, value: object, key: str = "k") -> dict[str, object]:
    return {"type": kind, "key": key, "value": value}


@pytest.mark.parametrize(
    ("filters", "translated"),
    [
        (leaf("eq", "x"), {"key": "k", "match": {"value": "x"}}),
        (leaf("eq", True), {"key": "k", "match": {"value": True}}),
        (leaf("eq", 3), {"key": "k", "range": {"gte": 3, "lte": 3}}),
        (leaf("eq", 2.5), {"key": "k", "range": {"gte": 2.5, "lte": 2.5}}),
        (leaf("eq", 2**60), {"key": "k", "match": {"value": 2**60}}),
        (leaf("ne", "x"), {"must_not": [{"key": "k", "match": {"value": "x"}}]}),
        (leaf("gt", 3), {"key": "k", "range": {"gt": 3}}),
        (leaf("lte", 2.5), {"key": "k", "range": {"lte": 2.5}}),
        (leaf("in", ["a", 1]), {"should": [{"key": "k", "match": {"value": "a"}}, {"key": "k", "range": {"gte": 1, "lte": 1}}]}),
        (leaf("in", ["a"]), {"key": "k", "match": {"value": "a"}}),
        (leaf("in", []), {"should": [{"has_id": []}]}),
        (leaf("nin", []), {"must_not": [{"should": [{"has_id": []}]}]}),
        (
            {"type": "or", "filters": [leaf("eq", "x"), {"type": "and", "filters": [leaf("eq", "y")]}]},
            {"should": [{"key": "k", "match": {"value": "x"}}, {"must": [{"key": "k", "match": {"value": "y"}}]}]},
        ),
    ],
)  # fmt: skip
def test_a_filter_becomes_qdrants(filters: dict[str, Any], translated: dict[str, Any]) -> None:
    assert condition(parse_filter(filters)) == translated


def test_an_order_among_strings_is_refused_with_a_way_out() -> None:
    with pytest.raises(Invalid, match="orders only numbers") as refused:
        condition(parse_filter(leaf("gt", "2020-01-01")))

    assert refused.value.mend is not None


def test_a_query_is_the_vector_as_it_came_and_what_the_version_says() -> None:
    tail = query_tail(5, 0.5, parse_filter(leaf("eq", "x")), "dense")

    assert msgspec.json.decode(query_body(msgspec.Raw(b"[0.25, 1e-3]"), tail)) == {
        "query": [0.25, 1e-3],
        "limit": 5,
        "with_payload": True,
        "using": "dense",
        "filter": {"must": [{"key": "k", "match": {"value": "x"}}]},
        "score_threshold": 0.5,
    }


def answer(*points: dict[str, object]) -> bytes:
    return msgspec.json.encode({"result": {"points": points}, "status": "ok", "time": 0.001})


def test_a_point_is_a_passage_its_payload_but_the_text_are_attributes() -> None:
    body = answer(
        {"id": 7, "version": 3, "score": 0.9, "payload": {"text": "x", "team": "ops", "tags": ["a"], "meta": {"page": 2}}},
        {"id": "3f-uuid", "score": 0.8, "payload": {"text": "y", "file_id": "b.md", "filename": "B"}},
    )  # fmt: skip

    first, second = passages_in(body, "text")

    assert (first.file_id, first.score, first.text) == ("7", 0.9, "x")
    assert first.attributes == {"team": "ops", "meta.page": 2}
    assert (second.file_id, second.filename, second.attributes) == ("b.md", "B", {})


def test_the_text_may_lie_inside() -> None:
    (only,) = passages_in(answer({"id": 1, "payload": {"doc": {"body": "x"}}}), "doc.body")

    assert only.text == "x"


def test_points_without_text_are_left_out_and_where_none_has_any_it_is_an_error() -> None:
    with_text, without = {"id": 1, "payload": {"text": "x"}}, {"id": 2, "payload": {"text": 5}}

    assert [each.file_id for each in passages_in(answer(with_text, without), "text")] == ["1"]
    assert passages_in(answer(), "text") == []
    with pytest.raises(UpstreamGarbled, match="payload's field 'body'"):
        passages_in(answer(with_text), "body")


@pytest.mark.parametrize(
    "body",
    [b"", b"{}", b"null", b"[]", b'{"result":[]}', b'{"status":{"error":"x"}}', b"<html>", b'{"result":' * 5000],
)  # fmt: skip
def test_what_is_none_of_qdrants_answers_is_garbled(body: bytes) -> None:
    with pytest.raises(UpstreamGarbled):
        passages_in(body, "text")


def test_a_payload_is_flattened_to_a_depth() -> None:
    deep: dict[str, Any] = {"end": 1}
    for _ in range(50):
        deep = {"d": deep}

    assert flat(deep) == {}
    assert flat({"a": {"b": {"c": {"d": 1}}}}) == {"a.b.c.d": 1}


@pytest.mark.parametrize(
    ("vectors", "sizes"),
    [
        ({"size": 384, "distance": "Cosine"}, {None: 384}),
        ({"dense": {"size": 384}, "image": {"size": 512}}, {"dense": 384, "image": 512}),
        (None, {}),
    ],
)
def test_a_collection_tells_how_long_its_vectors_are(vectors: object, sizes: dict[str | None, int]) -> None:
    document = {"config": {"params": {"vectors": vectors}}, "points_count": 5}

    assert msgspec.convert(document, Collection).sizes() == sizes
