"""What the gateway looks for in the JSON of OpenAI's responses: content, usage, an end, an error. All else stays unread.

Knows no stream and no connection. `Any`: a provider's odd answer is still its answer, and is read as far as it goes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from gateway.errors import UpstreamGarbled
from gateway.taps.peek import JsonPeek, count, error_text, expect_answer, is_error, read_lenient, usd
from gateway.taps.reported import name_in

# Events that show something to a user, besides all that end in `.delta` and bring any.
SHOWN = frozenset(("response.image_generation_call.partial_image", "response.output_text.done"))
ENDS = frozenset(("response.completed", "response.incomplete"))


class Response(msgspec.Struct, frozen=True, gc=False):
    """A response, whole or as it stands."""

    status: Any = None
    usage: Any = None
    error: Any = None
    model: Any = None

    @property
    def failure(self) -> str | None:
        """What a failed response says, None where it did not fail."""
        if self.status != "failed" and not is_error(self.error):
            return None
        return error_text(self.error) if is_error(self.error) else "the response failed"

    @property
    def told_status(self) -> str | None:
        """Its status where it is one."""
        return self.status if isinstance(self.status, str) else None


class Said(msgspec.Struct, frozen=True, gc=False):
    """A part of what was said, of which only its type is read."""

    type: Any = None


class Item(msgspec.Struct, frozen=True, gc=False):
    """One item of an output; what is no message has no content."""

    content: list[Said] | str | None = None


class Answer(Response, frozen=True, gc=False):
    """A whole response of the expected shape. A Struct beside Response: a stream's events need not be searched for more."""

    output: list[Item] | None = None

    @property
    def refused(self) -> bool:
        """Whether a part of it is a refusal."""
        for item in self.output or ():
            if item.content is not None:
                for part in item.content:
                    if not isinstance(part, str) and part.type == "refusal":
                        return True
        return False


class ResponseEvent(msgspec.Struct, frozen=True, gc=False):
    """One event of a stream; which fields it has depends on its type."""

    type: Any = None
    delta: Any = None
    response: Response | None = None
    # Not OpenAI's: some tell the usage as they go.
    usage: Any = None
    error: Any = None

    @property
    def has_content(self) -> bool:
        """Whether something came that a user could see."""
        if not isinstance(self.type, str):
            return False
        return bool(self.delta) if self.type.endswith(".delta") else self.type in SHOWN

    @property
    def tells_error(self) -> bool:
        """An event of type error, or one that holds an error."""
        return self.type == "error" or is_error(self.error)


_decode_event = msgspec.json.Decoder(ResponseEvent).decode
_decode_answer = msgspec.json.Decoder(Answer).decode


def read_event(payload: bytes) -> ResponseEvent:
    """Look into one event. Raises UpstreamGarbled where it is no JSON."""
    try:
        return _decode_event(payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        found = read_lenient(payload) or {}
    response = found.get("response")
    return ResponseEvent(
        found.get("type"),
        found.get("delta"),
        _response(response) if isinstance(response, dict) else None,
        found.get("usage"),
        found.get("error"),
    )


def peek_response(body: bytes) -> JsonPeek:
    """Look at a whole response that came with a 2xx; one that still works in the background is an answer too.

    Raises UpstreamGarbled when it is none: empty, no JSON, an error, or a response that failed.
    """
    response: Response
    try:
        answer = _decode_answer(body)
        response, refused = answer, answer.refused
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        found = read_lenient(body)
        if found is None:
            raise UpstreamGarbled("the upstream's answer is not a JSON object") from None
        # A quote within a text is escaped: this is a part of the type, which only refusals have.
        response, refused = _response(found), b'"refusal"' in body
    expect_answer(body, response.failure)
    return told_by(response.usage, response.told_status, name_in(response.model), refused=refused)


def told_by(
    usage: object, status: str | None = None, model: str | None = None, *, refused: bool = False
) -> JsonPeek:
    """Tokens and cost of a `usage`, of whatever shape, beside what else is known of the answer."""
    if not isinstance(usage, dict):
        return JsonPeek(finish_reason=status, model=model, refused=refused)
    return JsonPeek(
        count(usage.get("input_tokens")),
        count(usage.get("output_tokens")),
        _part(usage, "input_tokens_details", "cached_tokens"),
        _part(usage, "output_tokens_details", "reasoning_tokens"),
        status,
        usd(usage.get("cost")),
        None,
        model,
        None,
        refused,
    )


def _response(found: Mapping[str, object]) -> Response:
    return Response(*(found.get(name) for name in Response.__struct_fields__))


def _part(usage: Mapping[str, object], details: str, name: str) -> int | None:
    found = usage.get(details)
    return count(found.get(name)) if isinstance(found, dict) else None
