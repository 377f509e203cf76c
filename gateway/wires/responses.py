"""POST /v1/responses: OpenAI's newer wire. Knows its fields, no route and no upstream."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from flags.model import Json
from gateway.ask import Ask, body_fields, kind_of, model_in, switch
from gateway.dialects.dialect import RESPONSES
from gateway.errors import BadRequest
from gateway.prompt import PreparedPrompt
from gateway.taps.named import ResponsesTap
from gateway.taps.peek import JsonPeek
from gateway.taps.peek_responses import peek_response
from gateway.taps.sse import Tap
from gateway.upstream.base import Answer
from gateway.wires.base import Wire, expect_event_stream
from gateway.wires.chat import last_said, splice
from gateway.wires.params import NOT_LOCKED, put_params
from gateway.wires.texts import BETWEEN, NULL, before_text, begins, given, leading, orders, talk

Raw = msgspec.Raw

FALSE = Raw(b"false")
# What ties a response to others that the provider keeps, or leaves it behind there: asked again, it would be twice.
TIED = ("store", "background", "previous_response_id", "conversation")

_encode = msgspec.json.Encoder().encode
_decode_text = msgspec.json.Decoder(str).decode


class Responses(Wire):
    """Items in, items out."""

    name, path, dialect = "responses", "/responses", RESPONSES
    keeps_prompts = True

    def read(self, body: bytes) -> Ask:
        """The request in `body`. Raises BadRequest."""
        fields = body_fields(body)
        return Ask(self, fields, model_in(fields), switch(fields, "stream"))

    def repeats(self, ask: Ask) -> bool:
        """Whether a second one leaves nothing behind that the app has asked for."""
        return all(ask.fields.get(name) in (None, NULL, FALSE) for name in ("store", "background"))

    def replayable(self, ask: Ask) -> bool:
        """Whether it leaves nothing behind that the app has asked for, and hangs on nothing."""
        return all(ask.fields.get(name) in (None, NULL, FALSE) for name in TIED)

    def mirrored(self, ask: Ask) -> Ask:
        """The same, not to be stored: where nothing is said a provider stores it."""
        return msgspec.structs.replace(ask, fields={**ask.fields, "store": FALSE})

    def question(self, ask: Ask) -> str:
        """The input's text, or its last user item's."""
        sent = given(ask.fields.get("input"))
        if sent is None:
            return ""
        if not begins(sent, '"'):
            return last_said(sent)
        try:
            return _decode_text(sent)
        except msgspec.DecodeError:
            return ""

    def put_prompt(
        self, fields: dict[str, Raw], prompt: PreparedPrompt, variables: Mapping[str, Json]
    ) -> None:
        """Its orders come in front of `instructions`, its other messages before `input`."""
        said = prompt.said(variables)
        texts, others = orders(said), talk(said)
        if texts:
            fields["instructions"] = _instructions(texts, given(fields.get("instructions")))
        if others:
            fields["input"] = _input(others, given(fields.get("input")))
        put_params(fields, prompt.extras_on(self.name), NOT_LOCKED)

    def tap(self, ask: Ask, answer: Answer) -> Tap:
        """What watches the stream `answer`. Raises UpstreamGarbled where it is none."""
        expect_event_stream(answer)
        return ResponsesTap()

    def peek(self, body: bytes) -> JsonPeek:
        """What a whole response tells. Raises UpstreamGarbled where a 2xx holds none."""
        return peek_response(body)


def _instructions(texts: list[str], sent: Raw | None) -> Raw:
    if sent is None:
        return Raw(_encode(BETWEEN.join(texts)))
    if not begins(sent, '"'):
        message = f"instructions: expected a string, found {kind_of(sent)}"
        raise BadRequest(message, param="instructions")
    return before_text(leading(texts), sent)


def _input(mine: bytes, sent: Raw | None) -> Raw:
    """`mine` before the app's items; an input that is a text becomes a user's item."""
    if sent is None:
        return Raw(b"[%b]" % mine)
    if begins(sent, '"'):
        return Raw(b'[%b,{"role":"user","content":%b}]' % (mine, bytes(sent)))
    if begins(sent, "["):
        return splice(mine, sent)
    raise BadRequest(f"input: expected a string or an array, found {kind_of(sent)}", param="input")
