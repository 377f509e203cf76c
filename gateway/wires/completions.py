"""POST /v1/completions: OpenAI's older wire of plain text. Knows its fields, no route and no upstream."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from flags.model import Json
from gateway.ask import Ask, body_fields, kind_of, model_in, switch
from gateway.errors import BadRequest
from gateway.prompt import PreparedPrompt
from gateway.wires.base import Wire
from gateway.wires.chat import usage_options, wants_usage
from gateway.wires.params import NOT_LOCKED, put_params
from gateway.wires.texts import BETWEEN, before_text, begins, given, leading

Raw = msgspec.Raw

_encode = msgspec.json.Encoder().encode
_decode_items = msgspec.json.Decoder(list[Raw]).decode
_decode_text = msgspec.json.Decoder(str).decode


class Completions(Wire):
    """A text in, its continuation out."""

    name, operation, path = "completions", "text_completion", "/completions"

    def read(self, body: bytes) -> Ask:
        """The request in `body`. Raises BadRequest."""
        fields = body_fields(body)
        route = model_in(fields)
        stream = switch(fields, "stream")
        return Ask(self, fields, route, stream, wants_usage=stream and wants_usage(fields))

    def question(self, ask: Ask) -> str:
        """The prompt's text, of several the last one's."""
        prompt = given(ask.fields.get("prompt"))
        if prompt is None:
            return ""
        try:
            if begins(prompt, "["):
                items = _decode_items(prompt)
                return _decode_text(items[-1]) if items else ""
            return _decode_text(prompt)
        except (msgspec.DecodeError, RecursionError):
            return ""  # tokens, or an odd shape: the provider's to judge

    def put_prompt(
        self, fields: dict[str, Raw], prompt: PreparedPrompt, variables: Mapping[str, Json]
    ) -> None:
        """All its texts come in front of the app's prompt, of several in front of each, with an empty line between."""
        texts = [said.text for said in prompt.said(variables) if said.text.strip()]
        put_params(fields, prompt.extras_on(self.name), NOT_LOCKED)
        if not texts:
            return
        sent = given(fields.get("prompt"))
        fields["prompt"] = Raw(_encode(BETWEEN.join(texts))) if sent is None else _led(leading(texts), sent)

    def ask_usage(self, fields: dict[str, Raw], ask: Ask) -> None:
        """The last chunk of a stream tells the tokens."""
        if ask.stream and not ask.wants_usage:
            fields["stream_options"] = usage_options(fields.get("stream_options"))


def _led(front: str, prompt: Raw) -> Raw:
    """The app's prompt, or each of its prompts, with `front` before it. Raises BadRequest for tokens."""
    if not begins(prompt, "["):
        return _led_text(front, prompt)
    try:
        items = _decode_items(prompt)
    except (msgspec.DecodeError, RecursionError) as error:
        raise BadRequest(f"prompt: cannot be read: {error}", param="prompt") from error
    return Raw(_encode([_led_text(front, item) for item in items]))


def _led_text(front: str, item: Raw) -> Raw:
    if begins(item, '"'):
        return before_text(front, item)
    raise BadRequest(
        f"prompt: found {kind_of(item)} where a text is expected: this route's prompt version puts text in front of it, "
        "which tokens have no room for; send the prompt as text, or name a route without a prompt layer",
        param="prompt",
    )
