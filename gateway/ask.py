"""What an app asks: its body, decoded at the top level only. Knows no flag and no upstream, and leaves to the wire
(gateway.wires) what the fields of its endpoint mean.

Every field that we do not name stays as the bytes that came; so new parameters pass through untouched.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import msgspec

from flags.model import NOTHING, Json
from gateway.errors import BadRequest

if TYPE_CHECKING:  # at run time a circle: a wire reads an Ask
    from gateway.wires.base import Wire

_decode_fields = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_decode_text = msgspec.json.Decoder(str).decode
_decode_object = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_decode_json = msgspec.json.Decoder().decode

_NULL, _TRUE, _FALSE = msgspec.Raw(b"null"), msgspec.Raw(b"true"), msgspec.Raw(b"false")


class Ask(msgspec.Struct, gc=False):
    """One call of an app. `fields` is the body's top level, each value as the bytes that came; `route` is the name that
    the app sent as its model."""

    wire: Wire
    fields: dict[str, msgspec.Raw]
    route: str
    stream: bool = False
    # Whether the app itself asked for the usage chunk; otherwise it is asked for, read, and hidden.
    wants_usage: bool = False
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
            others = object_in(prompt, "prompt")
            theirs = self.wire.keeps_prompts and "id" in others
            inner = None if theirs else others.pop("variables", None)
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
            raise BadRequest(f"{path}: expected a JSON object, found {kind_of(raw)}", param=path)
        return value

    def question(self) -> str:
        """The text of the last user message, "" where there is none."""
        return self.wire.question(self)

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
        return text_field(self.fields, name) or None


def model_in(fields: dict[str, msgspec.Raw]) -> str:
    """The route that the body names as its model. Raises BadRequest where there is none."""
    route = text_field(fields, "model")
    if route is None:
        raise BadRequest("model: missing; name the route to ask (GET /v1/models lists them)", param="model")
    return route


def body_fields(body: bytes) -> dict[str, msgspec.Raw]:
    """The top level of a JSON body. Raises BadRequest for what is none: JSON, types, UTF-8, depth."""
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


def text_field(fields: dict[str, msgspec.Raw], name: str) -> str | None:
    """The string `name`, None where it is absent or null. Raises BadRequest for anything else."""
    raw = fields.get(name)
    if raw is None or raw == _NULL:
        return None
    try:
        return _decode_text(raw)
    except msgspec.DecodeError as error:
        raise BadRequest(f"{name}: expected a string, found {kind_of(raw)}", param=name) from error


def switch(fields: dict[str, msgspec.Raw], name: str) -> bool:
    """Whether the field `name` is true; absent and null are false. Raises BadRequest for anything else."""
    raw = fields.get(name)
    if raw is None or raw in (_NULL, _FALSE):
        return False
    if raw != _TRUE:
        raise BadRequest(f"{name}: expected true or false, found {kind_of(raw)}", param=name)
    return True


def object_in(raw: msgspec.Raw, name: str) -> dict[str, msgspec.Raw]:
    """The object `raw`, taken apart at its top level. Raises BadRequest for anything else."""
    try:
        return _decode_object(raw)
    except RecursionError as error:
        raise BadRequest(f"{name}: nested too deeply", param=name) from error
    except msgspec.DecodeError as error:
        raise BadRequest(f"{name}: expected an object, found {kind_of(raw)}", param=name) from error


def kind_of(raw: msgspec.Raw) -> str:
    """What JSON `raw` is, in words for a message."""
    first = bytes(memoryview(raw)[:1])
    return {
        b"{": "an object",
        b"[": "an array",
        b'"': "a string",
        b"t": "true",
        b"f": "false",
        b"n": "null",
    }.get(first, "a number")
