"""What a simulated model says, in OpenAI's wire format: pure functions from a request to bytes.

Knows no time, no fault and no connection.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from itertools import cycle, islice, pairwise
from typing import Any

import msgspec

from gateway.openai import DONE

# Longer questions are echoed up to here, so that an answer stays a sentence.
ECHO_CHARACTERS = 120


class Asked(msgspec.Struct, frozen=True):
    """The part of a chat request that a simulated model understands. `Any`: JSON that is only counted."""

    model: str = "simulated"
    messages: list[dict[str, Any]] = []
    stream: bool = False
    stream_options: dict[str, Any] | None = None
    n: int | None = None
    simulate: dict[str, Any] | None = None

    @property
    def wants_usage(self) -> bool:
        """Whether a stream should end with a chunk that tells the usage."""
        return bool(self.stream_options and self.stream_options.get("include_usage"))

    @property
    def question(self) -> str:
        """The last user message's text."""
        said = [text_of(each.get("content")) for each in self.messages if each.get("role") == "user"]
        return said[-1] if said else ""


class Wording(msgspec.Struct, frozen=True):
    """An answer before it has a shape: the pieces of its text, and what identifies it."""

    id: str
    created: int
    model: str
    pieces: tuple[str, ...]
    choices: int
    usage: dict[str, int] | None

    @property
    def text(self) -> str:
        """The whole answer."""
        return "".join(self.pieces)


def text_of(content: object) -> str:
    """The text of a message's content, be it a string or a list of parts."""
    if isinstance(content, str):
        return content
    if isinstance(content, Sequence):
        return " ".join(str(part.get("text", "")) for part in content if isinstance(part, dict)).strip()
    return ""


def word(asked: Asked, body: bytes, *, text: str | None, chunks: int | None, usage: bool) -> Wording:
    """The answer to this request; the same bytes always give the same answer. Tokens are words."""
    pieces = split(said_by(asked) if text is None else text, chunks)
    digest = hashlib.sha256(body).hexdigest()
    choices = max(1, asked.n or 1)
    prompt = sum(len(text_of(each.get("content")).split()) for each in asked.messages)
    completion = len("".join(pieces).split()) * choices
    tokens = {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}
    return Wording(
        id=f"chatcmpl-{digest[:24]}",
        # Some second after 14 November 2023: stable for a request, and plainly a date.
        created=1_700_000_000 + int(digest[24:30], 16),
        model=asked.model,
        pieces=pieces,
        choices=choices,
        usage=tokens if usage else None,
    )


def said_by(asked: Asked) -> str:
    """The default answer: it names the model and echoes the question."""
    question = " ".join(asked.question.split())
    if not question:
        return f"This is {asked.model}. You did not ask anything."
    if len(question) > ECHO_CHARACTERS:
        question = question[: ECHO_CHARACTERS - 1] + "…"
    return f"This is {asked.model}. You asked: {question}"


def split(text: str, chunks: int | None) -> tuple[str, ...]:
    """The text word by word, or in exactly `chunks` pieces: words are joined, or said again, to fit."""
    words = text.split(" ")
    spaced = [words[0], *(f" {word}" for word in words[1:])]
    if chunks is None:
        return tuple(spaced)
    if chunks >= len(spaced):
        again = cycle(f" {word}" for word in words)
        return (*spaced, *islice(again, chunks - len(spaced)))
    bounds = [len(spaced) * number // chunks for number in range(chunks + 1)]
    return tuple("".join(spaced[start:end]) for start, end in pairwise(bounds))


def completion(wording: Wording) -> bytes:
    """The body of a `chat.completion`."""
    message = {"role": "assistant", "content": wording.text, "refusal": None}
    choices = [
        {"index": index, "message": message, "logprobs": None, "finish_reason": "stop"}
        for index in range(wording.choices)
    ]
    document = _head(wording, "chat.completion") | {"choices": choices}
    if wording.usage is not None:
        document["usage"] = wording.usage
    return msgspec.json.encode(document)


def role_events(wording: Wording, *, usage: bool) -> list[bytes]:
    """A stream's first event for each choice: the role, no content."""
    delta = {"role": "assistant", "content": "", "refusal": None}
    return [_event(wording, _choice(index, delta), usage=usage) for index in range(wording.choices)]


def content_event(wording: Wording, index: int, piece: str, *, usage: bool) -> bytes:
    """One event of content for one choice."""
    return _event(wording, _choice(index, {"content": piece}), usage=usage)


def last_events(wording: Wording, *, usage: bool) -> list[bytes]:
    """How a stream ends: finish reasons, the usage where it was asked for, [DONE]."""
    events = [_event(wording, _choice(index, {}, "stop"), usage=usage) for index in range(wording.choices)]
    if usage and wording.usage is not None:
        document = _head(wording, "chat.completion.chunk") | {"choices": [], "usage": wording.usage}
        events.append(b"data: %b\n\n" % msgspec.json.encode(document))
    return [*events, DONE]


def error_body(message: str, *, kind: str = "server_error", code: str | None = None) -> bytes:
    """An error as OpenAI sends it."""
    return msgspec.json.encode({"error": {"message": message, "type": kind, "param": None, "code": code}})


def _head(wording: Wording, kind: str) -> dict[str, object]:
    return {
        "id": wording.id,
        "object": kind,
        "created": wording.created,
        "model": wording.model,
        "system_fingerprint": "fp_simulated",
    }


def _choice(index: int, delta: dict[str, str | None], finish_reason: str | None = None) -> dict[str, object]:
    return {"index": index, "delta": delta, "logprobs": None, "finish_reason": finish_reason}


def _event(wording: Wording, choice: dict[str, object], *, usage: bool) -> bytes:
    document = _head(wording, "chat.completion.chunk") | {"choices": [choice]}
    if usage:
        document["usage"] = None  # as OpenAI has it: null on every chunk but the last
    return b"data: %b\n\n" % msgspec.json.encode(document)
