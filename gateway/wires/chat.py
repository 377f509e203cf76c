"""POST /v1/chat/completions: OpenAI's chat wire. Knows its fields, no route and no upstream."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from flags.model import Json
from gateway.ask import Ask, body_fields, kind_of, model_in, object_in, switch
from gateway.errors import BadRequest
from gateway.prompt import PreparedPrompt
from gateway.wires.base import Wire
from gateway.wires.params import NOT_LOCKED, put_params

Raw = msgspec.Raw

SPACE, END = b" \t\n\r", ord("]")
NULL = Raw(b"null")
# What a part with text is called: by chat and messages, and by responses.
TEXTS = frozenset({"text", "input_text"})
WITH_USAGE = Raw(b'{"include_usage":true}')

_encode = msgspec.json.Encoder().encode


class Part(msgspec.Struct, gc=False):
    """A content part, as far as its text matters."""

    type: str = ""
    text: str = ""


class AppMessage(msgspec.Struct, gc=False):
    """A message of the app, as far as the last user message matters."""

    role: str = ""
    content: str | list[Part] | None = None


_decode_messages = msgspec.json.Decoder(list[AppMessage]).decode


class Chat(Wire):
    """Messages in, a message out."""

    name, path = "chat", "/chat/completions"

    def read(self, body: bytes) -> Ask:
        """The request in `body`. Raises BadRequest."""
        fields = body_fields(body)
        route = model_in(fields)
        messages_in(fields)
        stream = switch(fields, "stream")
        return Ask(self, fields, route, stream, wants_usage=stream and wants_usage(fields))

    def question(self, ask: Ask) -> str:
        """The text of the last user message, "" where there is none."""
        return last_said(ask.fields["messages"])

    def put_prompt(
        self, fields: dict[str, Raw], prompt: PreparedPrompt, variables: Mapping[str, Json]
    ) -> None:
        """Its messages come before the app's, which stay as they came; its tools only where the app sends none."""
        fields["messages"] = splice(prompt.render(variables), fields["messages"])
        put_params(fields, prompt.extras_on(self.name), NOT_LOCKED)

    def ask_usage(self, fields: dict[str, Raw], ask: Ask) -> None:
        """The last chunk of a stream tells the tokens."""
        if ask.stream and not ask.wants_usage:
            fields["stream_options"] = usage_options(fields.get("stream_options"))


def messages_in(fields: dict[str, Raw]) -> Raw:
    """The body's `messages`. Raises BadRequest where they are no array."""
    messages = fields.get("messages")
    if messages is None:
        raise BadRequest("messages: missing; expected an array", param="messages")
    if memoryview(messages)[0] != ord("["):
        raise BadRequest(f"messages: expected an array, found {kind_of(messages)}", param="messages")
    return messages


def last_said(messages: Raw) -> str:
    """The text of the last message that a user sent."""
    try:
        found = _decode_messages(messages)
    except (msgspec.DecodeError, RecursionError):
        return ""  # an odd shape is the provider's to judge, not ours
    for message in reversed(found):
        if message.role == "user":
            return text_of(message.content)
    return ""


def text_of(content: str | list[Part] | None) -> str:
    """A content's text, be it a string or a list of parts."""
    if isinstance(content, str):
        return content
    return "\n".join(part.text for part in content or () if part.type in TEXTS)


def wants_usage(fields: dict[str, Raw]) -> bool:
    """Whether the app itself asked for the usage chunk."""
    raw = fields.get("stream_options")
    if raw is None or raw == NULL:
        return False
    return switch(object_in(raw, "stream_options"), "include_usage")


def usage_options(sent: Raw | None) -> Raw:
    """The app's `stream_options` with the usage chunk asked for."""
    if sent is None or bytes(sent) == b"null":
        return WITH_USAGE
    options = object_in(sent, "stream_options")
    options["include_usage"] = Raw(b"true")
    return Raw(_encode(options))


def splice(mine: bytes, messages: Raw) -> Raw:
    """`mine` before the elements of the JSON array `messages`; they are copied once.

    >>> bytes(splice(b'{"a":1}', Raw(b'[{"b":2}]')))
    b'[{"a":1},{"b":2}]'
    """
    if not mine:
        return messages
    theirs = memoryview(messages)
    first = 1
    while theirs[first] in SPACE:
        first += 1
    between = b"" if theirs[first] == END else b","
    return Raw(b"".join((b"[", mine, between, theirs[first:])))
