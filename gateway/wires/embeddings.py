"""POST /v1/embeddings: texts in, vectors out. Knows its fields, no route and no upstream."""

from __future__ import annotations

import msgspec

from gateway.ask import Ask, body_fields, model_in
from gateway.errors import UpstreamGarbled
from gateway.taps.peek import JsonPeek, Usage, expect_answer, peek_json
from gateway.taps.reported import name_in
from gateway.wires.base import WITHOUT_PROMPT, Wire


class Vectors(msgspec.Struct, frozen=True, gc=False):
    """An answer, as far as it is looked at: the vectors, be they numbers or base64, stay as they came."""

    data: msgspec.Raw
    usage: Usage | None = None
    error: object = None
    model: object = None


_decode = msgspec.json.Decoder(Vectors).decode


class Embeddings(Wire):
    """Only which model answers is decided here."""

    name, operation, path = "embeddings", "embeddings", "/embeddings"
    layers = WITHOUT_PROMPT

    def read(self, body: bytes) -> Ask:
        """The request in `body`. Raises BadRequest."""
        fields = body_fields(body)
        return Ask(self, fields, model_in(fields))

    def peek(self, body: bytes) -> JsonPeek:
        """Its tokens. Raises UpstreamGarbled where there are no vectors."""
        try:
            found = _decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return peek_json(body)
        expect_answer(body, found.error)
        if memoryview(found.data)[0] != ord("["):
            raise UpstreamGarbled("the upstream's answer holds no vectors")
        usage = found.usage or Usage()
        return JsonPeek(
            usage.prompt_tokens, usage.completion_tokens, cost_usd=usage.cost_usd, model=name_in(found.model)
        )
