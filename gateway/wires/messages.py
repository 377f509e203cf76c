"""POST /v1/messages: Anthropic's wire. Knows its fields, no route and no upstream."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from flags.model import Json
from gateway.ask import Ask, body_fields, kind_of, model_in, switch
from gateway.dialects.dialect import ANTHROPIC
from gateway.errors import BadRequest
from gateway.prompt import PreparedPrompt
from gateway.taps.named import MessagesTap
from gateway.taps.peek import JsonPeek
from gateway.taps.peek_messages import peek_message
from gateway.taps.sse import Tap
from gateway.upstream.base import Answer
from gateway.wires.base import Wire, expect_event_stream
from gateway.wires.chat import AppMessage, messages_in, splice, text_of
from gateway.wires.params import NOT_LOCKED, put_params
from gateway.wires.texts import begins, given, orders, talk

Raw = msgspec.Raw

# A block without text is refused there.
EMPTY = Raw(b'""')

_encode = msgspec.json.Encoder().encode
_decode_messages = msgspec.json.Decoder(list[AppMessage]).decode


class Messages(Wire):
    """Messages in, a message of blocks out."""

    name, path, dialect = "messages", "/messages", ANTHROPIC

    def read(self, body: bytes) -> Ask:
        """The request in `body`. Raises BadRequest."""
        fields = body_fields(body)
        route = model_in(fields)
        messages_in(fields)
        return Ask(self, fields, route, switch(fields, "stream"))

    def question(self, ask: Ask) -> str:
        """The text of the last user message that has any: here a tool's result is a user's message too."""
        try:
            messages = _decode_messages(ask.fields["messages"])
        except (msgspec.DecodeError, RecursionError):
            return ""
        texts = (text_of(message.content) for message in reversed(messages) if message.role == "user")
        return next((text for text in texts if text), "")

    def put_prompt(
        self, fields: dict[str, Raw], prompt: PreparedPrompt, variables: Mapping[str, Json]
    ) -> None:
        """Its orders come in front of `system` as blocks of their own, its other messages before the app's."""
        said = prompt.said(variables)
        blocks = b",".join([_encode({"type": "text", "text": text}) for text in orders(said)])
        if blocks:
            fields["system"] = _system(blocks, given(fields.get("system")))
        fields["messages"] = splice(talk(said), fields["messages"])
        put_params(fields, prompt.extras_on(self.name), NOT_LOCKED)

    def tap(self, ask: Ask, answer: Answer) -> Tap:
        """What watches the stream `answer`. Raises UpstreamGarbled where it is none."""
        expect_event_stream(answer)
        return MessagesTap()

    def peek(self, body: bytes) -> JsonPeek:
        """What a whole message tells. Raises UpstreamGarbled where a 2xx holds none."""
        return peek_message(body)


def _system(blocks: bytes, sent: Raw | None) -> Raw:
    """Our blocks, and the app's system as it came: a text becomes a block, blocks stay untouched."""
    if sent is None or sent == EMPTY:
        return Raw(b"[%b]" % blocks)
    if begins(sent, '"'):
        return Raw(b'[%b,{"type":"text","text":%b}]' % (blocks, bytes(sent)))
    if begins(sent, "["):
        return splice(blocks, sent)
    raise BadRequest(
        f"system: expected a string or an array of blocks, found {kind_of(sent)}", param="system"
    )
