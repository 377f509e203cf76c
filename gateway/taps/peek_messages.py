"""What the gateway looks for in Anthropic's JSON: content, usage, an end, an error. All else stays unread.

Knows no stream and no connection. `Any`: a provider's odd answer is still its answer, and is read as far as it goes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from gateway.errors import UpstreamGarbled
from gateway.taps.peek import JsonPeek, count, expect_answer, is_error, read_lenient
from gateway.taps.reported import name_in

# Blocks that begin empty and come in deltas; any other (a tool's call) shows something from its start.
TOLD_IN_DELTAS = frozenset(("text", "thinking"))
# Of the tokens that came in, only the first are told as `input_tokens`.
INPUTS = ("input_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")


class Message(msgspec.Struct, frozen=True, gc=False):
    """A message, whole or as it begins."""

    usage: Any = None
    stop_reason: Any = None
    type: Any = None
    error: Any = None
    model: Any = None


class MessageEvent(msgspec.Struct, frozen=True, gc=False):
    """One event of a stream; which fields it has depends on its type."""

    type: Any = None
    delta: Any = None
    usage: Any = None
    message: Message | None = None
    content_block: Any = None
    error: Any = None

    @property
    def has_content(self) -> bool:
        """Whether something came that a user could see."""
        if isinstance(self.delta, dict):
            # What a message_delta brings is why the message stopped.
            return self.type != "message_delta" and any(
                value for name, value in self.delta.items() if name != "type"
            )
        block = self.content_block
        if not isinstance(block, dict):
            return False
        if block.get("type") not in TOLD_IN_DELTAS:
            return True
        return bool(block.get("text") or block.get("thinking"))

    @property
    def tells_error(self) -> bool:
        """An event of type error, or one that holds an error."""
        return self.type == "error" or is_error(self.error)


_decode_event = msgspec.json.Decoder(MessageEvent).decode
_decode_message = msgspec.json.Decoder(Message).decode


def read_event(payload: bytes) -> MessageEvent:
    """Look into one event. Raises UpstreamGarbled where it is no JSON."""
    try:
        return _decode_event(payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        found = read_lenient(payload) or {}
    message = found.get("message")
    return MessageEvent(
        found.get("type"),
        found.get("delta"),
        found.get("usage"),
        _message(message) if isinstance(message, dict) else None,
        found.get("content_block"),
        found.get("error"),
    )


def peek_message(body: bytes) -> JsonPeek:
    """Look at a whole message that came with a 2xx. Raises UpstreamGarbled when it is none: empty, no JSON, an error."""
    message = _read_message(body)
    expect_answer(body, message.error)
    if message.type == "error":
        raise UpstreamGarbled("the upstream answered with an error under a success status")
    counts = counts_in(message.usage)
    reason = message.stop_reason
    return JsonPeek(
        input_tokens(counts),
        counts.get("output_tokens"),
        counts.get("cache_read_input_tokens"),
        finish_reason=reason if isinstance(reason, str) else None,
        written_tokens=counts.get("cache_creation_input_tokens"),
        model=name_in(message.model),
    )


def peek_count(body: bytes) -> JsonPeek:
    """Look at an answer of count_tokens: it tells a number and has used none. Raises UpstreamGarbled where it does not."""
    found = read_lenient(body)
    expect_answer(body, None if found is None else found.get("error"))
    if found is None or count(found.get("input_tokens")) is None:
        raise UpstreamGarbled("the upstream's answer has no input_tokens")
    return JsonPeek()


def counts_in(usage: object) -> dict[str, int]:
    """The counts in a `usage` that are there."""
    if not isinstance(usage, dict):
        return {}
    told = ((name, count(usage.get(name))) for name in (*INPUTS, "output_tokens"))
    return {name: number for name, number in told if number is not None}


def input_tokens(counts: Mapping[str, int]) -> int | None:
    """All tokens that came in: those read from the provider's cache, and written to it, are told beside the others."""
    if "input_tokens" not in counts:
        return None
    return sum(counts.get(name, 0) for name in INPUTS)


def _read_message(body: bytes) -> Message:
    try:
        return _decode_message(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        found = read_lenient(body)
    if found is None:
        raise UpstreamGarbled("the upstream's answer is not a JSON object")
    return _message(found)


def _message(found: Mapping[str, object]) -> Message:
    return Message(*(found.get(name) for name in Message.__struct_fields__))
