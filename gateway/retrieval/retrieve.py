"""The passages for a request: the served retriever asks the served index, within its time and the request's.

Knows the kinds of stores, no prompt and no model. It retries nothing: a prompt without passages, or an error, is sooner
there than a second search.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from math import inf
from typing import TypeAlias, TypeVar
from urllib.parse import quote

from msgspec.structs import replace

from flags.errors import FlagError, Invalid, NotFound
from gateway.ask import Ask
from gateway.decision import Decision
from gateway.errors import (
    BadRequest,
    NothingToSearch,
    OutOfTime,
    PromptNotRendered,
    RetrievalFailed,
    UpstreamError,
    UpstreamTimedOut,
)
from gateway.exchange import Exchange
from gateway.index.passage import Passage
from gateway.index.shelf import Shelf
from gateway.retrieval.retriever import PreparedIndex, PreparedRetriever
from gateway.retrieval.stores import embeddings, qdrant, vector_stores
from gateway.retrieval.stores.asking import Budget, ask
from gateway.template import TemplateFailed
from gateway.upstream.base import Upstream, UpstreamRequest
from policies.outcome import Blame

# A question is a sentence or a page; of a book its beginning is searched for. Embedding models read no more either.
QUERY_CHARACTERS = 8_192
# All passages together: the longest prompts of a retrieval have some 100,000 characters, and memory is finite.
PASSAGES_CHARACTERS = 256 * 1024
# What proxies take as one header.
CITATIONS_BYTES = 4 * 1024
CITE = b"x-pointsman-cite"
TRACE = (b"traceparent", b"tracestate")
# A file's id that may stand in a header as it is: no comma, no space, no line break.
PLAIN_ID = re.compile(r"[A-Za-z0-9._~:/@+=()!$&*;-]+")
# Statuses of a store that say "not now"; other 4xx say that the version asks for something wrong.
NOT_NOW = frozenset({408, 429})


@dataclass(frozen=True, slots=True)
class Place:
    """What is searched by what, how long, and for whom."""

    retriever: PreparedRetriever
    index: PreparedIndex
    budget: Budget


T = TypeVar("T")
Found: TypeAlias = tuple[Passage, ...]


class Retrieval:
    """Finds passages. It owns neither the table of upstreams nor the shelf of embedded indexes."""

    def __init__(self, upstreams: Mapping[str, Upstream], shelf: Shelf | None = None) -> None:
        self._upstreams, self._shelf = upstreams, shelf

    async def find(self, decision: Decision, ask: Ask, x: Exchange, *, trial: bool = False) -> Found:
        """The best passages first; none where nothing is asked, or where the route has no such layers.

        With `trial` half of the time that is left must do, so that a control still has the other half.
        Raises RetrievalFailed, PromptNotRendered (the query's template), BadRequest, NothingToSearch, NotReady.
        """
        retriever, index = decision.retriever, decision.index
        x.passages, x.skipped = (), False
        if retriever is None or index is None:
            if ask.wire.asks_model:
                return ()
            missing = "retriever" if retriever is None else "index"
            raise NothingToSearch(
                f"route {decision.route.name}: it has no {missing}, so nothing can be searched"
            )
        if x.searched is not None and x.searched[0] is retriever and x.searched[1] is index:
            x.passages = x.searched[2]
            return x.passages
        budget = budget_of(retriever, decision, x, trial=trial)
        try:
            x.passages = await self._search(Place(retriever, index, budget), decision, ask)
        except (RetrievalFailed, PromptNotRendered):
            if retriever.content.on_error == "fail":
                raise
            x.skipped = True
            return ()
        finally:
            x.waited += budget.waited()
        x.searched = (retriever, index, x.passages)
        return x.passages

    async def _search(self, place: Place, decision: Decision, ask: Ask) -> Found:
        asked = ask.wire.searched(ask)
        try:
            narrowed = place.retriever.narrowed(asked.narrowing)
        except Invalid as error:
            raise BadRequest(f"{error.path}: {error.message}", param="filters") from error
        queries = [query_of(narrowed, question, decision, ask) for question in asked.questions]
        place = Place(narrowed, place.index, place.budget)
        wanted = [query for query in dict.fromkeys(queries) if query]
        try:
            if len(wanted) == 1:
                return best(await self._found(place, wanted[0]), narrowed)
            return best(merged(await together([self._found(place, query) for query in wanted])), narrowed)
        except Unanswered as unanswered:
            if unanswered.status in (400, 422) and asked.narrowing.filters is not None:
                raise BadRequest(
                    f"the store does not take these filters: {unanswered}", param="filters"
                ) from None
            raise failed(unanswered, place.budget) from None

    async def _found(self, place: Place, query: str) -> Sequence[Passage]:
        match place.retriever.content.kind:
            case "embedded":
                return await self._on_the_shelf(place, query)
            case "qdrant":
                return await self._among_points(place, query)
            case _:
                body = vector_stores.search_body(query, place.retriever.tail)
                return await self._asked(place, place.index.search_path, body, vector_stores.passages_in)

    async def _among_points(self, place: Place, query: str) -> Sequence[Passage]:
        """Two hops: the query's vector, then the points near it."""
        content = place.retriever.content
        assert content.embedding is not None, "checked when it was written"
        body = embeddings.embedding_body(place.retriever.embedding, query)
        target = content.embedding.upstream
        vector = await self._asked(place, "/embeddings", body, embeddings.vector_in, upstream=target)
        return await self._asked(
            place,
            place.index.query_path,
            qdrant.query_body(vector, place.retriever.tail),
            lambda found: qdrant.passages_in(found, content.text_field),
        )

    async def _asked(
        self, place: Place, path: str, body: bytes, read: Callable[[bytes], T], *, upstream: str | None = None
    ) -> T:
        name = upstream or place.retriever.content.upstream or ""
        label = f"upstream {name}"
        budget = place.budget
        request = UpstreamRequest(path, body, budget.headers, expires_at=budget.until)
        try:
            status, answer = await ask(self._upstreams, name, request, budget)
            if not 200 <= status < 300:
                raise Unanswered(label, f"answered {status}", status=status)
            return read(answer)
        except UpstreamTimedOut as error:
            error.settled()
            raise Unanswered(label, "did not answer in time", status=504) from error
        except UpstreamError as error:
            error.settled()
            raise Unanswered(label, error.message) from error

    async def _on_the_shelf(self, place: Place, query: str) -> Sequence[Passage]:
        store, budget = place.index.content.store, place.budget
        name = f"embedded index {store}"
        if self._shelf is None:
            raise Unanswered(name, "this process keeps no embedded indexes", status=404)
        began = budget.clock()
        try:
            async with asyncio.timeout(max(0.0, budget.until - began)):
                return await self._shelf.asearch(store, place.retriever.search(query))
        except TimeoutError as error:
            raise Unanswered(name, "did not answer in time", status=504) from error
        except NotFound as error:
            raise Unanswered(name, "is not there", status=404) from error
        except FlagError as error:
            # Which file is the operator's business, and preflight tells it.
            raise Unanswered(name, f"cannot be searched ({type(error).__name__})", status=404) from error
        finally:
            budget.waits.append((began, budget.clock()))


class Unanswered(Exception):
    """Raised when a search, or a query's vector, was not answered; `status` is the store's, where it had one."""

    def __init__(self, name: str, message: str, *, status: int = 502) -> None:
        super().__init__(f"{name}: {message}")
        self.status = status


def failed(unanswered: Unanswered, budget: Budget) -> UpstreamError:
    """What an app is told. A store that refuses what it is asked is the version's fault, one that is down is its own."""
    status = unanswered.status
    if status == 504 and budget.hurried:
        return OutOfTime("the time that the request itself granted is used up")
    refused = 400 <= status < 500 and status not in NOT_NOW
    message = f"retrieval failed: {unanswered}"
    blame = Blame.RELEASE if refused else Blame.UPSTREAM
    return RetrievalFailed(message, status=504 if status == 504 else 502, blame=blame)


def budget_of(retriever: PreparedRetriever, decision: Decision, x: Exchange, *, trial: bool) -> Budget:
    """The version's own time, within what is left of the request's, which begins with the search."""
    now = x.clock()
    if x.deadline == inf:
        total = decision.model.content.total_seconds if x.wire.asks_model else inf
        x.deadline = min(now + total, x.latest)
    left = x.deadline - now
    seconds = min(retriever.content.timeout_seconds, left / 2 if trial else left)
    headers = [(name, x.headers[name]) for name in TRACE if name in x.headers]
    return Budget(
        now + seconds, x.clock, headers, hurried=x.hurried and seconds < retriever.content.timeout_seconds
    )


def query_of(retriever: PreparedRetriever, question: str, decision: Decision, ask: Ask) -> str:
    """What is searched for: the question, or what the version's template makes of it; "" is no search.

    Raises PromptNotRendered, BadRequest (prompt variables that are no object), NotReady.
    """
    question = question.strip()[:QUERY_CHARACTERS]
    if retriever.query is None or not question:
        return question
    prompt = decision.prompt
    defaults = prompt.defaults if prompt is not None else {}
    try:
        text = retriever.query.render({**defaults, **ask.variables(), "question": question})
    except TemplateFailed as error:
        message = f"the query of the served retriever version does not render: {error}"
        raise PromptNotRendered(message) from error
    return text.strip()[:QUERY_CHARACTERS]


async def together(searches: Sequence[Coroutine[None, None, Sequence[Passage]]]) -> list[Sequence[Passage]]:
    """All of them at once; where one fails the others are ended."""
    tasks = [asyncio.ensure_future(search) for search in searches]
    try:
        return list(await asyncio.gather(*tasks))
    finally:
        for task in tasks:
            task.cancel()


def merged(pages: Sequence[Sequence[Passage]]) -> list[Passage]:
    """Several searches' passages, best score first; one that was found twice counts once."""
    found: dict[tuple[str, str], Passage] = {}
    for passage in sorted((each for page in pages for each in page), key=lambda each: -each.score):
        found.setdefault((passage.file_id, passage.text), passage)
    return list(found.values())


def best(passages: Sequence[Passage], retriever: PreparedRetriever) -> Found:
    """As many as the version wants, none below its threshold, and of their text no more than is bounded."""
    low, kept, room = retriever.score_threshold, [], PASSAGES_CHARACTERS
    # Qdrant applies it itself, and by some measures its best score is the smallest.
    if low is not None and retriever.content.kind != "qdrant":
        passages = [each for each in passages if each.score >= low]
    for passage in passages[: retriever.top_k]:
        if len(passage.text) > room:
            passage = replace(passage, text=passage.text[:room])  # noqa: PLW2901
        room -= len(passage.text)
        kept.append(passage)
        if not room:
            break
    return tuple(kept)


def shown(passages: Found) -> list[dict[str, object]]:
    """Passages as a template sees them: it looks into mappings only, and what they hold is text, never a template."""
    return [
        {
            "text": each.text,
            "file_id": each.file_id,
            "filename": each.filename,
            "score": each.score,
            "attributes": dict(each.attributes),
        }
        for each in passages
    ]


def told(x: Exchange) -> list[tuple[bytes, bytes]]:
    """Headers: that retrieval was left out, and which files were found where the app wants to know."""
    headers = []
    if x.skipped:
        headers.append((b"x-pointsman-retrieval", b"skipped"))
    if x.passages and x.headers.get(CITE) in (b"1", b"true"):
        headers.append((b"x-pointsman-citations", citations(x.passages)))
    return headers


def citations(passages: Found) -> bytes:
    """`file-a,file-b`: each file once, best first; ids that cannot stand in a header percent-encoded, whole ids only."""
    listed, room = [], CITATIONS_BYTES
    for name in dict.fromkeys(passage.file_id for passage in passages):
        safe = name if PLAIN_ID.fullmatch(name) else quote(name, safe="/:@+=()!$&*;", errors="replace")
        room -= len(safe) + 1
        if room < -1:
            break
        if safe:
            listed.append(safe)
    return ",".join(listed).encode()
