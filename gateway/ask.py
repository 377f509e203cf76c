"""What an app asks: its body, decoded at the top level only. Knows the OpenAI chat wire, no flag and no upstream.

Every field that we do not name stays as the bytes that came; so new parameters pass through untouched.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from flags.model import NOTHING, Json
from gateway.errors import BadRequest

_decode_fields = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_decode_text = msgspec.json.Decoder(str).decode
_decode_object = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_decode_json = msgspec.json.Decoder().decode

_NULL, _TRUE, _FALSE = msgspec.Raw(b"null"), msgspec.Raw(b"true"), msgspec.Raw(b"false")


class Part(msgspec.Struct, gc=False):
    """A content part, as far as its text matters."""

    type: str = ""
    text: str = ""


class AppMessage(msgspec.Struct, gc=False):
    """A message of the app, as far as the last user message matters."""

    role: str = ""
    content: str | list[Part] | None = None


_decode_messages = msgspec.json.Decoder(list[AppMessage]).decode


class Ask(msgspec.Struct, gc=False):
    """One chat completion asked for. `fields` is the body's top level, each value as the bytes that came."""

    fields: dict[str, msgspec.Raw]
    route: str
    messages: msgspec.Raw
    stream: bool
    # Whether the app itself asked for the usage chunk; otherwise it is asked for, read, and hidden.
    wants_usage: bool
    # What `variables` took out of the body: it may be asked again (by the shield).
    taken: Mapping[str, Json] | None = None

    def variables(self) -> Mapping[str, Json]:
        """Take `prompt_variables`, or `prompt.variables`, out of the body: the upstream never sees them."""
        if self.taken is None:
            self.taken = self._take_variables()
        return self.taken

    def _take_variables(self) -> Mapping[str, Json]:
        raw = self.fields.pop("prompt_variables", None)
        path = "prompt_variables"
        prompt = self.fields.get("prompt")
        if prompt is not None and memoryview(prompt)[0] == ord("{"):
            others = _object(prompt, "prompt")
            inner = others.pop("variables", None)
            raw, path = (inner, "prompt.variables") if raw is None else (raw, path)
            # The rest of it, if there is any, is the provider's.
            if others:
                self.fields["prompt"] = msgspec.Raw(msgspec.json.encode(others))
            else:
                del self.fields["prompt"]
        if raw is None:
            return NOTHING
        value = _value(raw, path)
        if not isinstance(value, dict):
            raise BadRequest(f"{path}: expected a JSON object, found {_kind(raw)}", param=path)
        return value

    def question(self) -> str:
        """The text of the last user message, "" where there is none."""
        try:
            messages = _decode_messages(self.messages)
        except (msgspec.DecodeError, RecursionError):
            return ""  # an odd shape is the provider's to judge, not ours
        for message in reversed(messages):
            if message.role == "user":
                return _text(message.content)
        return ""

    def metadata(self) -> Mapping[str, Json]:
        """The body's `metadata`, where it is an object; anything else is the provider's to judge."""
        raw = self.fields.get("metadata")
        value = _value(raw, "metadata") if raw is not None else None
        return value if isinstance(value, dict) else NOTHING

    def text(self, name: str) -> str | None:
        """The field `name` where it is a non-empty string."""
        raw = self.fields.get(name)
        if raw is None or memoryview(raw)[0] != ord('"'):
            return None
        return _text_field(self.fields, name) or None


def read_ask(body: bytes) -> Ask:
    """The request in `body`. Raises BadRequest for what is no chat completion request: JSON, types, UTF-8, depth."""
    fields = _fields(body)
    route = _text_field(fields, "model")
    if route is None:
        raise BadRequest("model: missing; name the route to ask (GET /v1/models lists them)", param="model")
    messages = fields.get("messages")
    if messages is None:
        raise BadRequest("messages: missing; expected an array", param="messages")
    if memoryview(messages)[0] != ord("["):
        raise BadRequest(f"messages: expected an array, found {_kind(messages)}", param="messages")
    stream = _switch(fields, "stream")
    return Ask(fields, route, messages, stream, wants_usage=stream and _wants_usage(fields))


def _fields(body: bytes) -> dict[str, msgspec.Raw]:
    try:
        if not body.isascii():
            body.decode()
        return _decode_fields(body)
    except UnicodeDecodeError as error:
        raise BadRequest(f"the body is not valid UTF-8 (byte {error.start})") from error
    except RecursionError as error:
        raise BadRequest("the body is nested too deeply") from error
    except msgspec.ValidationError as error:
        raise BadRequest(f"the body must be a JSON object: {error}") from error
    except msgspec.DecodeError as error:
        raise BadRequest(f"the body is not valid JSON: {error}") from error


def _value(raw: msgspec.Raw, name: str) -> Json:
    """JSON that is well formed may still hold what no program can: 1e400."""
    try:
        return _decode_json(raw)  # type: ignore[no-any-return]  # msgspec's decoder without a type gives JSON
    except (msgspec.DecodeError, RecursionError) as error:
        raise BadRequest(f"{name}: cannot be read: {error}", param=name) from error


def _text_field(fields: dict[str, msgspec.Raw], name: str) -> str | None:
    raw = fields.get(name)
    if raw is None or raw == _NULL:
        return None
    try:
        return _decode_text(raw)
    except msgspec.DecodeError as error:
        raise BadRequest(f"{name}: expected a string, found {_kind(raw)}", param=name) from error


def _switch(fields: dict[str, msgspec.Raw], name: str) -> bool:
    raw = fields.get(name)
    if raw is None or raw in (_NULL, _FALSE):
        return False
    if raw != _TRUE:
        raise BadRequest(f"{name}: expected true or false, found {_kind(raw)}", param=name)
    return True


def _object(raw: msgspec.Raw, name: str) -> dict[str, msgspec.Raw]:
    try:
        return _decode_object(raw)
    except msgspec.DecodeError as error:
        raise BadRequest(f"{name}: expected an object, found {_kind(raw)}", param=name) from error


def _wants_usage(fields: dict[str, msgspec.Raw]) -> bool:
    raw = fields.get("stream_options")
    if raw is None or raw == _NULL:
        return False
    return _switch(_object(raw, "stream_options"), "include_usage")


def _kind(raw: msgspec.Raw) -> str:
    first = bytes(memoryview(raw)[:1])
    return {
        b"{": "an object",
        b"[": "an array",
        b'"': "a string",
        b"t": "true",
        b"f": "false",
        b"n": "null",
    }.get(first, "a number")


def _text(content: str | list[Part] | None) -> str:
    if isinstance(content, str):
        return content
    return "\n".join(part.text for part in content or () if part.type == "text")
