"""A question's vector in OpenAI's words (`POST /embeddings`). Knows no model and no store."""

from __future__ import annotations

import msgspec

from gateway.errors import UpstreamGarbled

_encode = msgspec.json.Encoder().encode


class Embedded(msgspec.Struct, frozen=True, gc=False):
    """One vector, left as the bytes that came: a store takes them as they are."""

    embedding: msgspec.Raw


class Vectors(msgspec.Struct, frozen=True, gc=False):
    """A vector for each text."""

    data: list[Embedded]


_decode = msgspec.json.Decoder(Vectors).decode
_decode_numbers = msgspec.json.Decoder(list[float]).decode

TAIL = b',"encoding_format":"float"}'


def embedding_head(model: str) -> bytes:
    """The JSON before the text."""
    return b'{"model":' + _encode(model) + b',"input":'


def embedding_body(head: bytes, text: str) -> bytes:
    """The body that asks for the vector of `text`."""
    return head + _encode(text) + TAIL


def vector_in(body: bytes) -> msgspec.Raw:
    """The vector's JSON. Raises UpstreamGarbled where there is none."""
    try:
        vectors = _decode(body).data
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UpstreamGarbled(f"the answer holds no embedding: {error}") from error
    if not vectors or memoryview(vectors[0].embedding)[0] != ord("["):
        raise UpstreamGarbled("the answer holds no embedding as numbers")
    return vectors[0].embedding


def length_of(vector: msgspec.Raw) -> int:
    """Its dimensions. Raises UpstreamGarbled where it is no list of numbers."""
    try:
        return len(_decode_numbers(vector))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UpstreamGarbled(f"the embedding is no list of numbers: {error}") from error
