"""A search in OpenAI's words (`POST /vector_stores/ID/search`): bodies to send, and pages read. Knows no store's address."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from gateway.errors import UpstreamGarbled
from gateway.index.passage import Attribute, Passage

_encode = msgspec.json.Encoder().encode

# Parts of text within one result are paragraphs of it.
BETWEEN_PARTS = "\n\n"


class Part(msgspec.Struct, frozen=True, gc=False):
    """A part of a result's content; only text is read."""

    type: str = "text"
    text: str = ""


class Result(msgspec.Struct, frozen=True, gc=False):
    """One result. Some stores leave out what OpenAI's always have."""

    content: list[Part]
    file_id: str | None = None
    filename: str | None = None
    score: float | None = None
    attributes: dict[str, Any] | None = None


class Page(msgspec.Struct, frozen=True, gc=False):
    """What a search answers with; `data` is what tells it from an error."""

    data: list[Result]


class FileCounts(msgspec.Struct, frozen=True):
    """A store's files, by how far they are."""

    completed: int | None = None


class About(msgspec.Struct, frozen=True):
    """What a store says of itself (`GET /vector_stores/ID`)."""

    status: str = ""
    file_counts: FileCounts | None = None


_decode_page = msgspec.json.Decoder(Page).decode


def search_tail(
    top_k: int,
    score_threshold: float | None,
    filters: Mapping[str, object] | None,
    *,
    ranker: str | None = None,
    rewrite: bool | None = None,
) -> bytes:
    """The JSON that follows the query in a search's body."""
    fields: dict[str, object] = {"max_num_results": top_k}
    if filters is not None:
        fields["filters"] = filters
    ranking: dict[str, object] = {} if score_threshold is None else {"score_threshold": score_threshold}
    if ranker is not None:
        ranking["ranker"] = ranker
    if ranking:
        fields["ranking_options"] = ranking
    if rewrite is not None:
        fields["rewrite_query"] = rewrite
    return b"," + _encode(fields)[1:]


def search_body(query: str, tail: bytes) -> bytes:
    """The body of a search."""
    return b'{"query":' + _encode(query) + tail


def passages_in(body: bytes) -> list[Passage]:
    """What a search found. Raises UpstreamGarbled for what is no page of results."""
    try:
        page = _decode_page(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UpstreamGarbled(f"the answer is no page of search results: {error}") from error
    return [_passage(result) for result in page.data]


def _passage(result: Result) -> Passage:
    parts = [part.text for part in result.content if part.type == "text" and part.text]
    return Passage(
        result.file_id or "",
        result.filename or "",
        result.score or 0.0,
        parts[0] if len(parts) == 1 else BETWEEN_PARTS.join(parts),
        plain(result.attributes) if result.attributes else {},
    )


def plain(attributes: Mapping[str, Any]) -> dict[str, Attribute]:
    """The attributes of a type that all stores know; others are left out."""
    return {name: value for name, value in attributes.items() if isinstance(value, (str, int, float))}


def page(queries: Sequence[str], passages: Sequence[Passage]) -> bytes:
    """Our own answer to a search."""
    return _encode(
        {
            "object": "vector_store.search_results.page",
            "search_query": queries,
            "data": [
                {
                    "file_id": passage.file_id,
                    "filename": passage.filename,
                    "score": passage.score,
                    "attributes": passage.attributes,
                    "content": [{"type": "text", "text": passage.text}],
                }
                for passage in passages
            ],
            "has_more": False,
            "next_page": None,
        }
    )
