"""A simulated model's words on OpenAI's completions wire. Knows no time, no fault and no connection."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from gateway.dialects.openai import DONE
from gateway.upstream.wording import Asked, Voice, Whole, Wording, texts_of
from gateway.upstream.wording_chat import usage_of
from gateway.upstream.wording_errors import openai_error


class CompletionAsked(msgspec.Struct, frozen=True):
    """The part of the request that a simulated model understands. `object`: a text, texts or tokens."""

    model: str = "simulated"
    prompt: object = None
    stream: bool = False
    stream_options: dict[str, Any] | None = None
    n: int | None = None
    simulate: dict[str, Any] | None = None


_decode = msgspec.json.Decoder(CompletionAsked).decode


def read_completion(body: bytes) -> Asked:
    """What is asked; several prompts get as many answers. Raises msgspec.DecodeError."""
    asked = _decode(body)
    prompts = texts_of(asked.prompt)
    return Asked(
        model=asked.model,
        question=prompts[-1] if prompts else "",
        prompt_tokens=sum(len(each.split()) for each in prompts),
        stream=asked.stream,
        wants_usage=bool(asked.stream_options and asked.stream_options.get("include_usage")),
        choices=(asked.n or 1) * max(1, len(prompts)),
        simulate=asked.simulate,
    )


def tell_completion(words: Wording) -> Whole:
    """A `text_completion`."""
    choices = [_choice(index, words.text, "stop") for index in range(words.choices)]
    document = _head(words) | {"choices": choices}
    if words.usage:
        document["usage"] = usage_of(words)
    return Whole(msgspec.json.encode(document))


class CompletionVoice(Voice):
    """A stream of `text_completion`."""

    def __init__(self, words: Wording) -> None:
        self._words = words
        self._head = _head(words)

    def opening(self) -> bytes:
        """Nothing: the first event holds text."""
        return b""

    def content(self) -> Iterator[list[bytes]]:
        """The text's pieces, each for every choice."""
        for piece in self._words.pieces:
            yield [self._event([_choice(index, piece, None)]) for index in range(self._words.choices)]

    def ending(self) -> bytes:
        """Finish reasons, the usage where it was asked for, [DONE]."""
        events = [self._event([_choice(index, "", "stop")]) for index in range(self._words.choices)]
        if self._words.wants_usage and self._words.usage:
            events.append(self._event([], usage_of(self._words)))
        return b"".join((*events, DONE))

    def error(self, message: str) -> bytes:
        """An event that holds an error's body."""
        return b"data: %b\n\n" % openai_error(message)

    def _event(self, choices: list[dict[str, Any]], usage: dict[str, int] | None = None) -> bytes:
        document = self._head | {"choices": choices}
        if self._words.wants_usage:
            document["usage"] = usage
        return b"data: %b\n\n" % msgspec.json.encode(document)


def _choice(index: int, text: str, finish: str | None) -> dict[str, Any]:
    return {"index": index, "text": text, "logprobs": None, "finish_reason": finish}


def _head(words: Wording) -> dict[str, Any]:
    return {
        "id": f"cmpl-{words.digest[:24]}",
        "object": "text_completion",
        "created": words.created,
        "model": words.model,
        "system_fingerprint": words.fingerprint,
    }
