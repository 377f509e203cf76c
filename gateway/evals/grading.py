"""Who judges an answer and who compares meanings: a judge route, and an embeddings upstream or the model that is here.

Implements policies.evals.Grader. Knows no case and no rubric.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import msgspec

from flags.errors import FlagError
from flags.model import Embedding, Json
from gateway.errors import UpstreamError
from gateway.evals.asking import Asking, Inquiry
from gateway.index.shelf import Shelf
from gateway.retrieval.stores.asking import Budget, ask
from gateway.retrieval.stores.embeddings import embedding_body, embedding_head, vector_in
from gateway.upstream.base import Upstream, UpstreamRequest
from policies.evals.answer import Answer
from policies.evals.grader import GraderAway

# What stands in an upstream's place for the model that this process runs itself (the extra `retrieval`).
HERE = "embedded"
# Once more: a judge that stumbled is no reason to leave a case open, and one that is down is not to be pressed.
TRIES = 2
# A vector takes some 100 ms; what takes longer than this hangs.
EMBEDDING_SECONDS = 30.0
# Vectors that are kept: a suite compares with few expected texts, and each with many answers.
VECTORS_KEPT = 256

_decode = msgspec.json.Decoder(list[float]).decode

Vector = Sequence[float]


class Judge:
    """A route that is asked for its opinion. What changes here: whether its model is known to refuse a temperature."""

    def __init__(self, asking: Asking, route: str | None) -> None:
        self._asking, self._route = asking, route
        self._plain = False

    async def ask(self, instruction: str, material: str) -> str:
        """What the judge says. Raises GraderAway."""
        if self._route is None:
            raise GraderAway(
                "nobody judges here", mend="name a judge route: --judge ROUTE, or promotion.judge"
            )
        answer = await self._answer(instruction, material)
        for _ in range(TRIES - 1):
            if answer.error is None:
                break
            answer = await self._answer(instruction, material)
        if answer.error is not None:
            raise GraderAway(f"the judge {self._route} did not answer: {answer.error}")
        return answer.text

    async def _answer(self, instruction: str, material: str) -> Answer:
        messages: list[Json] = [
            {"role": "system", "content": instruction},
            {"role": "user", "content": material},
        ]
        params: Mapping[str, Json] = {} if self._plain else {"temperature": 0}
        answer = await self._asking.ask(Inquiry(self._route or "", messages, params=params))
        if answer.error is not None and "temperature" in answer.error:
            # Models that reason take none but their own.
            self._plain = True
        return answer


class Meanings:
    """Compares texts by their vectors. What changes here: the vectors that are kept."""

    def __init__(
        self,
        upstreams: Mapping[str, Upstream],
        shelf: Shelf,
        embedding: Embedding | None,
        *,
        clock: Callable[[], float],
    ) -> None:
        self._upstreams, self._shelf, self._embedding = upstreams, shelf, embedding
        self._clock = clock
        self._kept: dict[str, Vector] = {}

    async def similarity(self, a: str, b: str) -> float:
        """The cosine of the two texts' vectors. Raises GraderAway."""
        return cosine(await self._vector(a), await self._vector(b))

    async def _vector(self, text: str) -> Vector:
        found = self._kept.get(text)
        if found is None:
            found = await self._made(text)
            if len(self._kept) >= VECTORS_KEPT:
                del self._kept[next(iter(self._kept))]
        # What is used again stays longest.
        self._kept.pop(text, None)
        self._kept[text] = found
        return found

    async def _made(self, text: str) -> Vector:
        embedding = self._embedding
        if embedding is None:
            raise GraderAway(
                "nothing compares meanings here",
                mend="name an embeddings upstream: --embedding UPSTREAM/MODEL, or promotion.embedding",
            )
        reason = ""
        for _ in range(TRIES):
            try:
                if embedding.upstream == HERE and HERE not in self._upstreams:
                    return await self._shelf.embed(text)
                return await self._asked(embedding, text)
            except (UpstreamError, FlagError) as error:
                reason = str(error)
        raise GraderAway(f"{embedding.upstream}/{embedding.model} made no vector: {reason}")

    async def _asked(self, embedding: Embedding, text: str) -> Vector:
        budget = Budget(self._clock() + EMBEDDING_SECONDS, self._clock)
        body = embedding_body(embedding_head(embedding.model), text)
        request = UpstreamRequest("/embeddings", body, expires_at=budget.until)
        status, answer = await ask(self._upstreams, embedding.upstream, request, budget)
        if not 200 <= status < 300:
            raise GraderAway(f"it answered {status}")
        try:
            return _decode(vector_in(answer))
        except msgspec.DecodeError as error:
            raise GraderAway(f"its vector is no list of numbers: {error}") from error


class RouteGrader:
    """A Grader of a judge route and an embedding."""

    def __init__(self, judge: Judge, meanings: Meanings) -> None:
        self._judge, self._meanings = judge, meanings

    async def ask(self, instruction: str, material: str) -> str:
        """What the judge says. Raises GraderAway."""
        return await self._judge.ask(instruction, material)

    async def similarity(self, a: str, b: str) -> float:
        """The cosine of the two texts' vectors. Raises GraderAway."""
        return await self._meanings.similarity(a, b)


def cosine(a: Vector, b: Vector) -> float:
    """The cosine of two vectors, -1 to 1. Raises GraderAway where they cannot be compared."""
    lengths = math.hypot(*a) * math.hypot(*b)
    if len(a) != len(b) or not lengths or not math.isfinite(lengths):
        raise GraderAway(f"two vectors cannot be compared: {len(a)} and {len(b)} numbers")
    return max(-1.0, min(1.0, sum(x * y for x, y in zip(a, b, strict=True)) / lengths))
