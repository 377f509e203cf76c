"""A simulated model's words on Anthropic's messages wire. Knows no time, no fault and no connection."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from gateway.upstream.wording import (
    Asked,
    Voice,
    Whole,
    Wording,
    arguments_of,
    last_question,
    named_event,
    text_of,
    words_in,
)
from gateway.upstream.wording_errors import anthropic_error


class MessagesAsked(msgspec.Struct, frozen=True):
    """The part of the request that a simulated model understands. `system` is a text or a list of blocks."""

    model: str = "simulated"
    messages: list[dict[str, Any]] = []
    system: object = None
    stream: bool = False
    simulate: dict[str, Any] | None = None


_decode = msgspec.json.Decoder(MessagesAsked).decode


def read_messages(body: bytes) -> Asked:
    """What is asked. Raises msgspec.DecodeError."""
    asked = _decode(body)
    return Asked(
        model=asked.model,
        question=last_question(asked.messages),
        prompt_tokens=len(text_of(asked.system).split()) + words_in(asked.messages),
        stream=asked.stream,
        simulate=asked.simulate,
    )


def count_tokens(asked: Asked) -> Whole:
    """How many tokens the request has: its words."""
    return Whole(msgspec.json.encode({"input_tokens": asked.prompt_tokens}))


def tell_message(words: Wording) -> Whole:
    """A `message`."""
    content: list[dict[str, Any]] = [{"type": "text", "text": words.text}] if words.pieces else []
    content += [_call(words, number) for number in range(len(words.calls))]
    document = _head(words) | {"content": content, "stop_reason": _reason(words), "stop_sequence": None}
    if words.usage:
        document["usage"] = _input(words) | {"output_tokens": words.output_tokens}
    return Whole(msgspec.json.encode(document))


class MessageVoice(Voice):
    """A message's events. What changes here: which of its blocks is being told."""

    def __init__(self, words: Wording) -> None:
        self._words = words
        self._block = 0

    def opening(self) -> bytes:
        """The message without content; where there is text, the start of its block."""
        message = _head(self._words) | {"content": [], "stop_reason": None, "stop_sequence": None}
        if self._words.usage:
            message["usage"] = _input(self._words) | {"output_tokens": 1}
        events = named_event({"type": "message_start", "message": message})
        if self._words.pieces:
            events += self._start({"type": "text", "text": ""}) + named_event({"type": "ping"})
        return events

    def content(self) -> Iterator[list[bytes]]:
        """The text's pieces, then each tool's call in a block of its own."""
        for piece in self._words.pieces:
            yield [self._delta({"type": "text_delta", "text": piece})]
        for number, call in enumerate(self._words.calls):
            begun = b""
            if number or self._words.pieces:
                begun = self._stop()
                self._block += 1
            yield [begun + self._start(_call(self._words, number) | {"input": {}})]
            yield [self._delta({"type": "input_json_delta", "partial_json": arguments_of(call)})]

    def ending(self) -> bytes:
        """The last block's stop, why the message stopped with the usage, and its stop."""
        last: dict[str, Any] = {
            "type": "message_delta",
            "delta": {"stop_reason": _reason(self._words), "stop_sequence": None},
        }
        if self._words.usage:
            last["usage"] = {"output_tokens": self._words.output_tokens}
        return self._stop() + named_event(last) + named_event({"type": "message_stop"})

    def error(self, message: str) -> bytes:
        """An event named error."""
        return b"event: error\ndata: %b\n\n" % anthropic_error(message)

    def garbage(self) -> bytes:
        """A delta that is no JSON."""
        return b"event: content_block_delta\n" + super().garbage()

    def _start(self, block: dict[str, Any]) -> bytes:
        return named_event({"type": "content_block_start", "index": self._block, "content_block": block})

    def _delta(self, delta: dict[str, Any]) -> bytes:
        return named_event({"type": "content_block_delta", "index": self._block, "delta": delta})

    def _stop(self) -> bytes:
        return named_event({"type": "content_block_stop", "index": self._block})


def _reason(words: Wording) -> str:
    return "tool_use" if words.calls else "end_turn"


def _call(words: Wording, number: int) -> dict[str, Any]:
    call = words.calls[number]
    identity = f"toolu_{words.digest[:20]}{number}"
    return {"type": "tool_use", "id": identity, "name": call.name, "input": call.arguments}


def _input(words: Wording) -> dict[str, Any]:
    return {
        "input_tokens": words.input_tokens,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": 0,
    }


def _head(words: Wording) -> dict[str, Any]:
    return {
        "id": f"msg_{words.digest[:24]}",
        "type": "message",
        "role": "assistant",
        "model": words.model,
    }
