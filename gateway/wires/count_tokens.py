"""POST /v1/messages/count_tokens: how many tokens a message would be, the served prompt included. Knows its fields."""

from __future__ import annotations

from gateway.ask import Ask, body_fields, model_in
from gateway.taps.peek import JsonPeek
from gateway.taps.peek_messages import peek_count
from gateway.wires.chat import messages_in
from gateway.wires.messages import Messages


class CountTokens(Messages):
    """The messages wire without an answer: it uses no tokens and costs nothing."""

    name, operation, path = "count_tokens", "count_tokens", "/messages/count_tokens"

    def read(self, body: bytes) -> Ask:
        """The request in `body`. Raises BadRequest."""
        fields = body_fields(body)
        route = model_in(fields)
        messages_in(fields)
        return Ask(self, fields, route)

    def peek(self, body: bytes) -> JsonPeek:
        """Nothing that was used. Raises UpstreamGarbled where no number is told."""
        return peek_count(body)
