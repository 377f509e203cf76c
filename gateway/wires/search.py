"""POST /v1/vector_stores/{route}/search: retrieval alone, for apps that build their own prompt.

Knows the fields of OpenAI's endpoint; the store's id is a route's name. The app's values narrow the version's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from flags.errors import Invalid
from flags.model import Layer
from gateway.ask import Ask, body_fields
from gateway.errors import BadRequest
from gateway.index.filters import parse_filter
from gateway.index.passage import Passage
from gateway.retrieval.retriever import WHOLE, Asked, Narrowing
from gateway.retrieval.stores.vector_stores import page
from gateway.wires.base import Wire

# Each query is a search of its own.
QUERIES_MAX = 16


class Ranking(msgspec.Struct, frozen=True):
    """How results are ranked: the ranker is the store's business."""

    score_threshold: Annotated[float, Meta(ge=0)] | None = None
    ranker: Annotated[str, Meta(max_length=128)] | None = None


class SearchBody(msgspec.Struct, frozen=True):
    """What an app sends; more than that is no error, as with every provider."""

    query: str | Annotated[list[str], Meta(min_length=1, max_length=QUERIES_MAX)]
    max_num_results: Annotated[int, Meta(ge=1, le=50)] | None = None
    filters: dict[str, Any] | None = None
    ranking_options: Ranking | None = None
    rewrite_query: bool | None = None


_decode = msgspec.json.Decoder(SearchBody).decode


class Search(Wire):
    """A query in, passages out. Made for one request: the route's name stands in its path."""

    name, operation, path = "search", "retrieval", "/vector_stores/search"
    layers = frozenset({Layer.PIPELINE, Layer.RETRIEVER, Layer.INDEX})
    asks_model, named_by = False, "vector store"

    def __init__(self, route: str) -> None:
        self._route = route
        # What the body asked for, once it was read.
        self._asked = Asked(())

    def read(self, body: bytes) -> Ask:
        """The request in `body`. Raises BadRequest."""
        fields = body_fields(body)
        try:
            sent = _decode(body)
        except RecursionError as error:
            raise BadRequest("the body is nested too deeply") from error
        except msgspec.DecodeError as error:
            message, _, place = str(error).partition(" - at `$.")
            raise BadRequest(
                f"{place.rstrip('`') or 'body'}: {message}", param=place.rstrip("`") or None
            ) from error
        queries = (sent.query,) if isinstance(sent.query, str) else tuple(sent.query)
        if not any(query.strip() for query in queries):
            raise BadRequest("query: expected a text to search for, found none", param="query")
        self._asked = Asked(queries, narrowing(sent))
        return Ask(self, fields, self._route)

    def question(self, ask: Ask) -> str:
        """The first query."""
        return self._asked.questions[0]

    def searched(self, ask: Ask) -> Asked:
        """Every query, within what the app asks for."""
        return self._asked

    def found(self, passages: Sequence[Passage]) -> bytes:
        """The page of results."""
        return page(self._asked.questions, passages)


def narrowing(sent: SearchBody) -> Narrowing:
    """What the app asks for besides its queries. Raises BadRequest for filters that are none."""
    ranking = sent.ranking_options or Ranking()
    try:
        filters = None if sent.filters is None else parse_filter(sent.filters)
    except Invalid as error:
        raise BadRequest(f"{error.path}: {error.message}", param=error.path) from error
    asked = Narrowing(
        sent.max_num_results,
        ranking.score_threshold,
        sent.filters,
        filters,
        ranking.ranker,
        sent.rewrite_query,
    )
    return WHOLE if asked == WHOLE else asked
