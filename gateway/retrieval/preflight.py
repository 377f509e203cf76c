"""Whether an index is there and fits the retrievers that will search it. Asked before a flag may point to it.

Knows stores and what their contents say; no flag and no rule. It asks nothing that changes anything, and spends little:
one look at the store, and the vector of two words where a model makes the queries'.

Fit      nothing speaks against it
Misfit   it would fail, or find nonsense: the reason says why
Unknown  nobody could tell in time: a store that does not answer is no reason to stand still
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias
from urllib.parse import quote

import msgspec

from flags.errors import FlagError, Invalid, NotFound
from gateway.errors import UpstreamError
from gateway.index.errors import IndexUnreadable
from gateway.index.shelf import Shelf
from gateway.retrieval.retriever import PreparedRetriever, prepare_index, prepare_retriever
from gateway.retrieval.stores import embeddings, qdrant, vector_stores
from gateway.retrieval.stores.asking import Budget, ask
from gateway.spec import IndexContent, RetrieverContent
from gateway.upstream.base import Upstream, UpstreamRequest

# All looks together: an operator waits for this, with an incident at hand.
PREFLIGHT_SECONDS = 3.0
# What a store that has no such endpoint answers with; so does one that has no such index.
NOT_HERE = frozenset({404, 405, 501})
PROBE = "dimension probe"


@dataclass(frozen=True, slots=True)
class Fit:
    """Nothing speaks against it."""


@dataclass(frozen=True, slots=True)
class Misfit:
    """It does not fit."""

    reason: str


@dataclass(frozen=True, slots=True)
class Unknown:
    """Nobody could tell."""

    reason: str


Fitness: TypeAlias = Fit | Misfit | Unknown
FIT = Fit()


class Facts(NamedTuple):
    """What a store says of an index, as far as it says anything."""

    dimensions: int | None = None
    embedding_model: str | None = None
    documents: int | None = None


class Unfit(Exception):
    """Raised within a check: it does not fit."""


class Untold(Exception):
    """Raised within a check: nobody can tell."""


class Preflight:
    """Checks indexes by asking their stores. It owns neither the upstreams nor the shelf; `clock` is the loop's."""

    def __init__(
        self, upstreams: Mapping[str, Upstream], shelf: Shelf | None, *, clock: Callable[[], float]
    ) -> None:
        self._upstreams, self._shelf, self._clock = upstreams, shelf, clock

    def among(self, upstreams: Mapping[str, Upstream]) -> Preflight:
        """The same, asking `upstreams`."""
        return Preflight(upstreams, self._shelf, clock=self._clock)

    async def check(self, index: IndexContent, retrievers: Sequence[RetrieverContent]) -> Fitness:
        """Whether `index` fits all of `retrievers`, in PREFLIGHT_SECONDS at most."""
        budget = Budget(self._clock() + PREFLIGHT_SECONDS, self._clock)
        different = {msgspec.json.encode(_matters(each)): each for each in retrievers}
        return worst(await asyncio.gather(*(self._meets(index, each, budget) for each in different.values())))

    async def _meets(self, index: IndexContent, retriever: RetrieverContent, budget: Budget) -> Fitness:
        try:
            prepared = prepare_retriever(retriever)
            _compare_models(index.embedding_model, retriever)
            async with asyncio.timeout(max(0.0, budget.until - self._clock())):
                facts = await self._facts(index, prepared, budget)
                compare(index, facts)
                _compare_models(facts.embedding_model, retriever)
                if retriever.embedding is not None:
                    await self._probe(facts.dimensions or index.dimensions, prepared, budget)
        except Unfit as unfit:
            return Misfit(str(unfit))
        except (Untold, FlagError) as untold:
            return Unknown(str(untold))
        except TimeoutError:
            return Unknown(f"index {index.store} was not looked at within {PREFLIGHT_SECONDS:.0f} s")
        return FIT

    async def _facts(self, index: IndexContent, retriever: PreparedRetriever, budget: Budget) -> Facts:
        match retriever.content.kind:
            case "embedded":
                return await asyncio.to_thread(self._on_the_shelf, index, retriever.content)
            case "qdrant":
                return await self._collection(index, retriever.content, budget)
            case "openai":
                return await self._vector_store(index, retriever, budget)
            case _:
                await self._searched(index, retriever, budget)
                return Facts()

    async def _asked(self, name: str, request: UpstreamRequest, budget: Budget) -> tuple[int, bytes]:
        try:
            return await ask(self._upstreams, name, request, budget)
        except UpstreamError as error:
            raise Untold(f"upstream {name}: {error.message}") from error

    async def _vector_store(self, index: IndexContent, retriever: PreparedRetriever, budget: Budget) -> Facts:
        name = retriever.content.upstream or ""
        path = f"/vector_stores/{quote(index.store, safe='')}"
        request = UpstreamRequest(path, b"", expires_at=budget.until, method="GET")
        status, body = await self._asked(name, request, budget)
        if status in NOT_HERE:
            # Many stores speak only the search.
            await self._searched(index, retriever, budget)
            return Facts()
        _expect(status, name, index)
        try:
            about = msgspec.json.decode(body, type=vector_stores.About)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return Facts()
        if about.status == "expired":
            raise Unfit(f"upstream {name}: vector store {index.store} has expired")
        return Facts(documents=about.file_counts.completed if about.file_counts else None)

    async def _searched(self, index: IndexContent, retriever: PreparedRetriever, budget: Budget) -> None:
        """A search for one passage: what answers it is there."""
        name = retriever.content.upstream or ""
        body = vector_stores.search_body(PROBE, vector_stores.search_tail(1, None, None))
        request = UpstreamRequest(prepare_index(index).search_path, body, expires_at=budget.until)
        status, _ = await self._asked(name, request, budget)
        if status == 404:
            raise Unfit(f"upstream {name} has no vector store {index.store}")
        _expect(status, name, index)

    async def _collection(self, index: IndexContent, retriever: RetrieverContent, budget: Budget) -> Facts:
        name = retriever.upstream or ""
        path = f"/collections/{quote(index.store, safe='')}"
        request = UpstreamRequest(path, b"", expires_at=budget.until, method="GET")
        status, body = await self._asked(name, request, budget)
        if status == 404:
            raise Unfit(f"upstream {name} has no collection {index.store}")
        _expect(status, name, index)
        try:
            collection = msgspec.json.decode(body, type=qdrant.About).result
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise Untold(f"upstream {name}: what it says of {index.store} is not understood") from error
        sizes = collection.sizes()
        if retriever.vector not in sizes:
            known = ", ".join(str(each) for each in sizes if each is not None) or "one without a name"
            wanted = "a vector without a name" if retriever.vector is None else f"vector {retriever.vector!r}"
            raise Unfit(f"collection {index.store} has not {wanted} (vectors: {known})")
        return Facts(sizes[retriever.vector], documents=collection.points_count)

    def _on_the_shelf(self, index: IndexContent, retriever: RetrieverContent) -> Facts:
        if self._shelf is None:
            raise Untold("this process keeps no embedded indexes")
        try:
            manifest = self._shelf.manifest(index.store)
        except (NotFound, Invalid, IndexUnreadable) as error:
            mend = f"; {error.mend}" if error.mend else ""
            raise Unfit(f"embedded index {index.store}: {error.message}{mend}") from error
        if retriever.mode in ("vector", "hybrid") and manifest.dimensions is None:
            raise Unfit(
                f"embedded index {index.store} has no embeddings, and the retriever's mode is {retriever.mode}"
            )
        return Facts(manifest.dimensions, manifest.embedding_model, manifest.documents)

    async def _probe(self, expected: int | None, retriever: PreparedRetriever, budget: Budget) -> None:
        """Make one vector, and see how long it is."""
        target = retriever.content.embedding
        if expected is None or target is None:
            return
        body = embeddings.embedding_body(retriever.embedding, PROBE)
        request = UpstreamRequest("/embeddings", body, expires_at=budget.until)
        status, answer = await self._asked(target.upstream, request, budget)
        if not 200 <= status < 300:
            raise Untold(f"upstream {target.upstream}: embeddings answered {status}")
        try:
            found = embeddings.length_of(embeddings.vector_in(answer))
        except UpstreamError as error:
            raise Untold(f"upstream {target.upstream}: {error.message}") from error
        if found != expected:
            raise Unfit(f"{target.model} makes vectors of {found} dimensions, the index has {expected}")


def compare(index: IndexContent, facts: Facts) -> None:
    """What the version says against what the store says. Raises Unfit."""
    if None not in (index.dimensions, facts.dimensions) and index.dimensions != facts.dimensions:
        raise Unfit(
            f"index {index.store} has {facts.dimensions} dimensions, its version says {index.dimensions}"
        )
    said, found = index.embedding_model, facts.embedding_model
    if None not in (said, found) and said != found:
        raise Unfit(f"index {index.store} was embedded by {found}, its version says {said}")
    if index.documents is not None and facts.documents is not None and facts.documents < index.documents:
        raise Unfit(
            f"index {index.store} holds {facts.documents} documents, its version says {index.documents}"
        )


def worst(found: Sequence[Fitness]) -> Fitness:
    """A Misfit before what is Unknown, and that before Fit."""
    return next(
        (each for kind in (Misfit, Unknown) for each in found if isinstance(each, kind)),
        FIT,
    )


def _compare_models(model: str | None, retriever: RetrieverContent) -> None:
    if model is not None and retriever.embedding is not None and model != retriever.embedding.model:
        asked = retriever.embedding.model
        raise Unfit(f"the index was embedded by {model}, the retriever embeds queries by {asked}")


def _expect(status: int, name: str, index: IndexContent) -> None:
    if not 200 <= status < 300:
        raise Untold(f"upstream {name} answered {status} when asked for {index.store}")


def _matters(retriever: RetrieverContent) -> RetrieverContent:
    """Without what is nothing to an index."""
    return msgspec.structs.replace(
        retriever,
        top_k=1,
        timeout_seconds=1.0,
        on_error="skip",
        query=None,
        filters=None,
        score_threshold=None,
    )
