"""A simulated model's embeddings, and what a simulated store finds. Knows no time, no fault and no connection."""

from __future__ import annotations

import base64
import hashlib
import math
import re
import sys
from array import array
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from gateway.spec import PassageReply, Reply
from gateway.upstream.wording import Asked, Whole, texts_of

_WORD = re.compile(r"\w+")
# OpenAI's own limits.
MAX_DIMENSIONS = 65_536
MAX_INPUTS = 2048
# Our own: 4 million numbers are 1 s of work and 130 MB here.
MAX_NUMBERS = 4_194_304


class EmbeddingsAsked(msgspec.Struct, frozen=True):
    """The part of an embeddings request that a simulated model understands. `input`: text, texts or tokens."""

    model: str = "simulated"
    input: object = None
    dimensions: int | None = None
    encoding_format: Literal["float", "base64"] = "float"
    simulate: dict[str, Any] | None = None


class Ranking(msgspec.Struct, frozen=True):
    """How a search wants its results ranked, as far as it matters here."""

    score_threshold: float | None = None


class SearchAsked(msgspec.Struct, frozen=True):
    """The part of a search that a simulated store understands."""

    query: str | list[str] = ""
    max_num_results: Annotated[int, Meta(ge=1, le=50)] = 10
    ranking_options: Ranking | None = None
    simulate: dict[str, Any] | None = None


_decode_embeddings = msgspec.json.Decoder(EmbeddingsAsked).decode
_decode_search = msgspec.json.Decoder(SearchAsked).decode


def read_embeddings(body: bytes) -> Asked:
    """What is asked. Raises msgspec.DecodeError."""
    asked = _decode_embeddings(body)
    texts = texts_of(asked.input)
    if not 1 <= len(texts) <= MAX_INPUTS:
        raise msgspec.ValidationError(f"input holds {len(texts)} texts, expected 1 to {MAX_INPUTS}")
    if asked.dimensions is not None and not 1 <= asked.dimensions <= MAX_DIMENSIONS:
        raise msgspec.ValidationError(f"dimensions is {asked.dimensions}, expected 1 to {MAX_DIMENSIONS}")
    return Asked(
        model=asked.model,
        question=texts[-1],
        prompt_tokens=sum(len(each.split()) for each in texts),
        simulate=asked.simulate,
    )


def tell_embeddings(body: bytes, asked: Asked, reply: Reply) -> Whole:
    """A list of unit vectors, one a text, as numbers or in base64."""
    wanted = _decode_embeddings(body)
    texts, dimensions = texts_of(wanted.input), wanted.dimensions or reply.dimensions
    if len(texts) * dimensions > MAX_NUMBERS:
        raise msgspec.ValidationError(f"{len(texts)} vectors of {dimensions} numbers are too many at once")
    vectors = [embed(text, dimensions) for text in texts]
    document: dict[str, Any] = {
        "object": "list",
        "model": asked.model,
        "data": [
            {"object": "embedding", "index": index, "embedding": _encoded(vector, wanted.encoding_format)}
            for index, vector in enumerate(vectors)
        ],
    }
    if reply.usage:
        document["usage"] = {"prompt_tokens": asked.prompt_tokens, "total_tokens": asked.prompt_tokens}
    return Whole(msgspec.json.encode(document))


def embed(text: str, dimensions: int) -> list[float]:
    """A unit vector: texts that share words are near each other. The same text always has the same one.

    Each word adds or takes one at a place that its hash names (feature hashing, Weinberger et al. 2009).
    """
    vector = [0.0] * dimensions
    for word in _WORD.findall(text.lower()) or [text]:
        number = int.from_bytes(hashlib.blake2b(word.encode(), digest_size=8).digest(), "little")
        vector[(number >> 1) % dimensions] += 1.0 if number & 1 else -1.0
    length = math.sqrt(sum(each * each for each in vector))
    if not length:  # two words met at one place, and took each other out
        return [1.0] + [0.0] * (dimensions - 1)
    return [each / length for each in vector]


def read_search(body: bytes) -> Asked:
    """What is asked. Raises msgspec.DecodeError."""
    asked = _decode_search(body)
    return Asked(question=_query(asked), prompt_tokens=len(_query(asked).split()), simulate=asked.simulate)


def tell_search(body: bytes, reply: Reply) -> Whole:
    """A page of the passages that the reply names, within the search's own bounds."""
    asked = _decode_search(body)
    query = _query(asked)
    passages = reply.passages
    if passages is None:
        passages = [PassageReply(f"This passage answers: {query}")]
    least = asked.ranking_options.score_threshold if asked.ranking_options else None
    found = [each for each in passages if least is None or each.score >= least][: asked.max_num_results]
    document = {
        "object": "vector_store.search_results.page",
        "search_query": [query] if isinstance(asked.query, str) else asked.query,
        "data": [_passage(each) for each in found],
        "has_more": False,
        "next_page": None,
    }
    return Whole(msgspec.json.encode(document))


def _query(asked: SearchAsked) -> str:
    return asked.query if isinstance(asked.query, str) else " ".join(asked.query)


def _passage(passage: PassageReply) -> dict[str, Any]:
    return {
        "file_id": passage.file_id,
        "filename": passage.filename,
        "score": passage.score,
        "attributes": passage.attributes,
        "content": [{"type": "text", "text": passage.text}],
    }


def _encoded(vector: list[float], encoding: str) -> list[float] | str:
    if encoding == "float":
        return vector
    numbers = array("f", vector)
    if sys.byteorder == "big":
        numbers.byteswap()
    return base64.b64encode(numbers.tobytes()).decode()
