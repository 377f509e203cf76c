"""A retriever's and an index's version made ready: request bodies but for the query, filters and template. No I/O.

Knows what the stores are told (gateway.retrieval.stores), and no request.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import NamedTuple
from urllib.parse import quote

from flags.model import Json
from gateway.index.embedded import Mode, Search
from gateway.index.filters import Compound, Filter, Junction, parse_filter
from gateway.retrieval.stores import qdrant, vector_stores
from gateway.retrieval.stores.embeddings import embedding_head
from gateway.spec import IndexContent, RetrieverContent
from gateway.template import Template, compile_template

# Which upstreams a retriever of a kind may ask; an embedded one asks none.
UPSTREAM_KINDS: Mapping[str, frozenset[str]] = MappingProxyType(
    {
        "openai": frozenset({"openai", "simulated"}),
        "qdrant": frozenset({"qdrant"}),
        "litellm": frozenset({"litellm"}),
        "embedded": frozenset(),
    }
)


class Narrowing(NamedTuple):
    """What one search asks besides its queries. `top_k` stands in the version's place, all else comes on top of it."""

    top_k: int | None = None
    score_threshold: float | None = None
    # As they came, and parsed.
    document: Mapping[str, Json] | None = None
    filters: Filter | None = None
    ranker: str | None = None
    rewrite: bool | None = None


WHOLE = Narrowing()


class Asked(NamedTuple):
    """What is searched for: one question of a user, or what an app that searches by itself has sent."""

    questions: tuple[str, ...]
    narrowing: Narrowing = WHOLE


@dataclass(frozen=True, slots=True)
class PreparedRetriever:
    """A retriever version. `tail` follows the query in its store's request, `embedding` comes before the text."""

    content: RetrieverContent
    query: Template | None
    filters: Filter | None
    top_k: int
    score_threshold: float | None
    tail: bytes = b""
    embedding: bytes = b""

    @property
    def upstreams(self) -> frozenset[str]:
        """The names of those that it asks."""
        embedding = self.content.embedding
        names = (self.content.upstream, None if embedding is None else embedding.upstream)
        return frozenset(name for name in names if name is not None)

    def narrowed(self, by: Narrowing) -> PreparedRetriever:
        """The same within what an app asks for. Raises Invalid for filters that its store does not have."""
        if by == WHOLE:
            return self
        thresholds = [each for each in (self.score_threshold, by.score_threshold) if each is not None]
        inner = [each for each in (self.filters, by.filters) if each is not None]
        narrow = replace(
            self,
            top_k=by.top_k or self.top_k,
            score_threshold=max(thresholds, default=None),
            filters=Compound(Junction.AND, tuple(inner)) if len(inner) > 1 else next(iter(inner), None),
        )
        return replace(narrow, tail=_tail(narrow, by))

    def search(self, query: str) -> Search:
        """The search of an embedded index."""
        mode = None if self.content.mode is None else Mode(self.content.mode)
        return Search(query, self.top_k, mode, self.score_threshold, self.filters)


@dataclass(frozen=True, slots=True)
class PreparedIndex:
    """An index version: where it is searched, by OpenAI's path and by Qdrant's."""

    content: IndexContent
    search_path: str
    query_path: str


def prepare_retriever(content: RetrieverContent) -> PreparedRetriever:
    """Compile the template, parse and translate the filters. Raises TemplateInvalid, Invalid."""
    prepared = PreparedRetriever(
        content,
        None if content.query is None else compile_template(content.query),
        None if content.filters is None else parse_filter(content.filters),
        content.top_k,
        content.score_threshold,
        embedding=b"" if content.embedding is None else embedding_head(content.embedding.model),
    )
    return replace(prepared, tail=_tail(prepared, WHOLE))


def prepare_index(content: IndexContent) -> PreparedIndex:
    """Spell its paths once."""
    name = quote(content.store, safe="")
    return PreparedIndex(content, f"/vector_stores/{name}/search", f"/collections/{name}/points/query")


def _tail(retriever: PreparedRetriever, by: Narrowing) -> bytes:
    content, top_k, low = retriever.content, retriever.top_k, retriever.score_threshold
    if content.kind == "embedded":
        return b""
    if content.kind == "qdrant":
        return qdrant.query_tail(top_k, low, retriever.filters, content.vector)
    documents = [each for each in (content.filters, by.document) if each is not None]
    both: Mapping[str, object] | None = next(iter(documents), None)
    if len(documents) > 1:
        both = {"type": "and", "filters": documents}
    return vector_stores.search_tail(top_k, low, both, ranker=by.ranker, rewrite=by.rewrite)
