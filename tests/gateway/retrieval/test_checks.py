"""What may be written as a retriever or an index; what is wrong is told with its path and a way out."""

from __future__ import annotations

from typing import Any

import pytest

from flags.model import Layer
from gateway.content import content_problems
from gateway.price import Prices, Tariff
from gateway.version import PreparedIndex, PreparedRetriever, Unservable, prepare
from tests.gateway.reading_room import snapshot

KINDS = {
    "store": "openai", "q": "qdrant", "managed": "litellm", "mock": "simulated", "claude": "anthropic", "unknown": None,
}  # fmt: skip
BASE = {"top_k": 3, "timeout_seconds": 2, "on_error": "fail"}
OPENAI = {**BASE, "kind": "openai", "upstream": "store"}
QDRANT = {**BASE, "kind": "qdrant", "upstream": "q", "embedding": {"upstream": "mock", "model": "e"}}
EMBEDDED = {**BASE, "kind": "embedded"}
FILTER = {"type": "gte", "key": "year", "value": 2020}


def problems(layer: Layer, value: Any) -> list[tuple[str, str]]:
    return [(each.path, each.message) for each in content_problems(layer, value, upstreams=KINDS)]


@pytest.mark.parametrize(
    "content",
    [
        OPENAI,
        {**OPENAI, "upstream": "mock", "score_threshold": 0.3, "filters": FILTER, "timeout_seconds": "500ms"},
        {**OPENAI, "upstream": "unknown", "query": "{{ company }}: {{ question | lower }}"},
        {**BASE, "kind": "litellm", "upstream": "managed"},
        {**QDRANT, "vector": "dense", "text_field": "page_content", "filters": FILTER},
        EMBEDDED,
        {**EMBEDDED, "mode": "hybrid", "filters": {"type": "and", "filters": [FILTER]}, "top_k": 50},
    ],
)
def test_retrievers_that_may_be_written(content: dict[str, Any]) -> None:
    assert problems(Layer.RETRIEVER, content) == []


@pytest.mark.parametrize(
    ("content", "path", "message"),
    [
        ({**BASE, "kind": "openai"}, "", "`upstream` is missing"),
        ({**OPENAI, "upstream": "nope"}, "upstream", "is not defined"),
        ({**OPENAI, "upstream": "q"}, "upstream", "of kind qdrant; expected openai or simulated"),
        ({**QDRANT, "upstream": "store"}, "upstream", "of kind openai; expected qdrant"),
        ({**BASE, "kind": "litellm", "upstream": "store"}, "upstream", "expected litellm"),
        ({**EMBEDDED, "upstream": "store"}, "upstream", "has no upstream"),
        ({**QDRANT, "embedding": None}, "", "`embedding` is missing"),
        ({**QDRANT, "embedding": {"upstream": "nope", "model": "e"}}, "embedding.upstream", "is not defined"),
        ({**QDRANT, "embedding": {"upstream": "claude", "model": "e"}}, "embedding.upstream", "makes no embeddings"),
        ({**OPENAI, "embedding": {"upstream": "mock", "model": "e"}}, "embedding", "has no `embedding`"),
        ({**OPENAI, "mode": "text"}, "mode", "has no `mode`"),
        ({**EMBEDDED, "vector": "dense"}, "vector", "has no `vector`"),
        ({**OPENAI, "query": "{{ question"}, "query", "unexpected end of template"),
        ({**OPENAI, "query": "{% include 'x' %}"}, "query", "include"),
        ({**OPENAI, "query": "{{ question.secret.x }}"}, "query", "no attribute"),
        ({**OPENAI, "filters": {"type": "like"}}, "filters.type", "expected one of"),
        ({**QDRANT, "filters": {"type": "gt", "key": "k", "value": "x"}}, "filters", "orders only numbers"),
        ({**OPENAI, "top_k": 51}, "top_k", "<= 50"),
        ({**OPENAI, "on_error": "retry"}, "on_error", "expected one of"),
        ({**OPENAI, "topk": 5}, "topk", "unknown field"),
    ],
)  # fmt: skip
def test_retrievers_that_may_not(content: dict[str, Any], path: str, message: str) -> None:
    (found,) = problems(Layer.RETRIEVER, content)

    assert found[0] == path
    assert message in found[1]


@pytest.mark.parametrize("store", ["vs_abc", "docs v2", "kb/main", "ü"])
def test_indexes_that_may_be_written(store: str) -> None:
    content = {"store": store, "embedding_model": "e3", "dimensions": 1536, "documents": 0}

    assert problems(Layer.INDEX, content) == []


@pytest.mark.parametrize(
    ("content", "path"),
    [
        ({}, ""),
        ({"store": ""}, "store"),
        ({"store": "."}, "store"),
        ({"store": ".."}, "store"),
        ({"store": "a\nb"}, "store"),
        ({"store": "x" * 513}, "store"),
        ({"store": "x", "dimensions": 0}, "dimensions"),
        ({"store": "x", "documents": -1}, "documents"),
    ],
)
def test_indexes_that_may_not(content: dict[str, Any], path: str) -> None:
    (found,) = problems(Layer.INDEX, content)

    assert found[0] == path


def test_what_is_good_is_made_ready_and_what_is_not_stops_nobody() -> None:
    tariff = Tariff(Prices(), snapshot())

    assert isinstance(prepare(Layer.RETRIEVER, OPENAI, "r1", tariff), PreparedRetriever)
    assert isinstance(prepare(Layer.INDEX, {"store": "docs v2"}, "i1", tariff), PreparedIndex)
    assert isinstance(prepare(Layer.RETRIEVER, {**OPENAI, "query": "{{"}, "r2", tariff), Unservable)
    assert isinstance(prepare(Layer.INDEX, {"stor": "x"}, "i2", tariff), Unservable)


def test_a_stores_name_cannot_leave_its_place_in_the_path() -> None:
    made = prepare(Layer.INDEX, {"store": "../../admin?x#y z"}, "i1", Tariff(Prices(), snapshot()))

    assert isinstance(made, PreparedIndex)
    assert made.search_path == "/vector_stores/..%2F..%2Fadmin%3Fx%23y%20z/search"
    assert made.query_path == "/collections/..%2F..%2Fadmin%3Fx%23y%20z/points/query"
