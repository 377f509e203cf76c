"""A simulated model's words on OpenAI's chat completions wire. Knows no time, no fault and no connection."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from gateway.dialects.openai import DONE
from gateway.upstream.wording import (
    Asked,
    Voice,
    Whole,
    Wording,
    arguments_of,
    last_question,
    words_in,
)
from gateway.upstream.wording_errors import openai_error


class ChatAsked(msgspec.Struct, frozen=True):
    """The part of a chat request that a simulated model understands. `Any`: JSON that is only counted."""

    model: str = "simulated"
    messages: list[dict[str, Any]] = []
    stream: bool = False
    stream_options: dict[str, Any] | None = None
    n: int | None = None
    simulate: dict[str, Any] | None = None


_decode = msgspec.json.Decoder(ChatAsked).decode


def read_chat(body: bytes) -> Asked:
    """What is asked. Raises msgspec.DecodeError."""
    chat = _decode(body)
    return Asked(
        model=chat.model,
        question=last_question(chat.messages),
        prompt_tokens=words_in(chat.messages),
        stream=chat.stream,
        wants_usage=bool(chat.stream_options and chat.stream_options.get("include_usage")),
        choices=chat.n or 1,
        simulate=chat.simulate,
    )


def tell_chat(words: Wording) -> Whole:
    """A `chat.completion`."""
    message: dict[str, Any] = {
        "role": "assistant",
        "content": words.text if words.pieces else None,
        "refusal": None,
    }
    if words.calls:
        message["tool_calls"] = [_call(words, number) for number in range(len(words.calls))]
    choices = [
        {"index": index, "message": message, "logprobs": None, "finish_reason": _finish(words)}
        for index in range(words.choices)
    ]
    document = _head(words, "chat.completion") | {"choices": choices}
    if words.usage:
        document["usage"] = usage_of(words)
    return Whole(msgspec.json.encode(document))


class ChatVoice(Voice):
    """A stream of `chat.completion.chunk`."""

    def __init__(self, words: Wording) -> None:
        self._words = words
        self._head = _head(words, "chat.completion.chunk")

    def opening(self) -> bytes:
        """For each choice the role, no content."""
        return self._events({"role": "assistant", "content": "", "refusal": None})

    def content(self) -> Iterator[list[bytes]]:
        """The text's pieces, then each tool call: its name, then its arguments."""
        for piece in self._words.pieces:
            yield self._each({"content": piece})
        for number, _ in enumerate(self._words.calls):
            call = _call(self._words, number)
            arguments = call["function"]["arguments"]
            named = {**call, "index": number, "function": call["function"] | {"arguments": ""}}
            yield self._each({"tool_calls": [named]})
            yield self._each({"tool_calls": [{"index": number, "function": {"arguments": arguments}}]})

    def ending(self) -> bytes:
        """Finish reasons, the usage where it was asked for, [DONE]."""
        events = self._events({}, _finish(self._words))
        if self._words.wants_usage and self._words.usage:
            document = self._head | {"choices": [], "usage": usage_of(self._words)}
            events += b"data: %b\n\n" % msgspec.json.encode(document)
        return events + DONE

    def error(self, message: str) -> bytes:
        """An event that holds an error's body."""
        return b"data: %b\n\n" % openai_error(message)

    def _events(self, delta: dict[str, Any], finish: str | None = None) -> bytes:
        return b"".join(self._each(delta, finish))

    def _each(self, delta: dict[str, Any], finish: str | None = None) -> list[bytes]:
        """The same event for every choice."""
        return [self._event(index, delta, finish) for index in range(self._words.choices)]

    def _event(self, index: int, delta: dict[str, Any], finish: str | None) -> bytes:
        choice = {"index": index, "delta": delta, "logprobs": None, "finish_reason": finish}
        document = self._head | {"choices": [choice]}
        if self._words.wants_usage:
            document["usage"] = None  # as OpenAI has it: null on every chunk but the last
        return b"data: %b\n\n" % msgspec.json.encode(document)


def usage_of(words: Wording) -> dict[str, int]:
    """The usage as OpenAI's older wires tell it."""
    return {
        "prompt_tokens": words.input_tokens,
        "completion_tokens": words.output_tokens,
        "total_tokens": words.input_tokens + words.output_tokens,
    }


def _finish(words: Wording) -> str:
    return "tool_calls" if words.calls else "stop"


def _call(words: Wording, number: int) -> dict[str, Any]:
    call = words.calls[number]
    return {
        "id": f"call_{words.digest[:20]}{number}",
        "type": "function",
        "function": {"name": call.name, "arguments": arguments_of(call)},
    }


def _head(words: Wording, kind: str) -> dict[str, Any]:
    return {
        "id": f"chatcmpl-{words.digest[:24]}",
        "object": kind,
        "created": words.created,
        "model": words.model,
        "system_fingerprint": words.fingerprint,
    }
