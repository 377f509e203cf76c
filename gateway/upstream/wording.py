"""What a simulated model says, before it has a wire's shape: pure functions from a question to words.

Knows no wire format, no time, no fault and no connection.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from itertools import cycle, islice, pairwise
from typing import Any

import msgspec

from gateway.spec import CallReply, Reply
from gateway.upstream.base import JSON

EVENTS = b"text/event-stream; charset=utf-8"
GARBAGE = b"<html>the simulated upstream sends garbage, as its script says</html>"

# Longer questions are echoed up to here, so that an answer stays a sentence.
ECHO_CHARACTERS = 120
# OpenAI's own limit for `n`.
MAX_CHOICES = 128


class Asked(msgspec.Struct, frozen=True):
    """What every wire asks for, in its own words. `prompt_tokens` counts words; `simulate` is a Reply's document."""

    model: str = "simulated"
    question: str = ""
    prompt_tokens: int = 0
    stream: bool = False
    # Whether a stream of OpenAI's older wires should end with a chunk that tells the usage.
    wants_usage: bool = False
    choices: int = 1
    simulate: dict[str, Any] | None = None


class Wording(msgspec.Struct, frozen=True):
    """An answer before it has a shape: the pieces of its text, the tools to call, and what identifies it."""

    digest: str
    model: str
    pieces: tuple[str, ...]
    calls: tuple[CallReply, ...]
    choices: int
    input_tokens: int
    # Those of all choices together.
    output_tokens: int
    # Whether the usage is told at all, and whether a stream's reader asked for it.
    usage: bool
    wants_usage: bool
    fingerprint: str

    @property
    def text(self) -> str:
        """The whole answer."""
        return "".join(self.pieces)

    @property
    def created(self) -> int:
        """Some second after 14 November 2023: stable for a request, and plainly a date."""
        return 1_700_000_000 + int(self.digest[24:30], 16)


class Whole(msgspec.Struct, frozen=True):
    """An answer that comes at once."""

    body: bytes
    content_type: bytes = JSON


class Voice(ABC):
    """An answer that comes in pieces, in one wire's shape. What changes here: at most, where it stands."""

    content_type = EVENTS

    @abstractmethod
    def opening(self) -> bytes:
        """What comes before the first content."""

    @abstractmethod
    def content(self) -> Iterator[Sequence[bytes]]:
        """One item a chunk of content, of several events where there are several choices."""

    @abstractmethod
    def ending(self) -> bytes:
        """How it ends well."""

    @abstractmethod
    def error(self, message: str) -> bytes:
        """How it breaks off with an error."""

    def garbage(self) -> bytes:
        """What no reader of this wire can read."""
        return b"data: %b\n\n" % GARBAGE


def text_of(content: object) -> str:
    """The text of a message's content, be it a string or a list of parts."""
    if isinstance(content, str):
        return content
    if isinstance(content, Sequence):
        return " ".join(str(part.get("text", "")) for part in content if isinstance(part, dict)).strip()
    return ""


def texts_of(given: object) -> list[str]:
    """The texts of a prompt or an input: one, a list of them, or tokens, whose numbers stand for words."""
    if isinstance(given, str):
        return [given]
    if not isinstance(given, list):
        return []
    if given and isinstance(given[0], int):
        return [_text(given)]
    return [_text(each) for each in given]


def _text(given: object) -> str:
    return given if isinstance(given, str) else " ".join(map(str, given)) if isinstance(given, list) else ""


def last_question(messages: Sequence[dict[str, Any]]) -> str:
    """The last user message's text."""
    return next(
        (text_of(each.get("content")) for each in reversed(messages) if each.get("role") == "user"), ""
    )


def words_in(messages: Sequence[dict[str, Any]]) -> int:
    """The words of all messages: a simulated model's tokens."""
    return sum(len(text_of(each.get("content")).split()) for each in messages)


def word(asked: Asked, reply: Reply, digest: str) -> Wording:
    """The answer to the request with this digest; the same always give the same. Tokens are words."""
    if reply.text is None and reply.tool_calls:
        pieces: tuple[str, ...] = ()
    else:
        pieces = split(said_by(asked) if reply.text is None else reply.text, reply.chunks)
    choices = min(max(1, asked.choices), MAX_CHOICES)
    said = len("".join(pieces).split()) + sum(1 + len(call.arguments) for call in reply.tool_calls)
    return Wording(
        digest=digest,
        model=asked.model,
        pieces=pieces,
        calls=tuple(reply.tool_calls),
        choices=choices,
        input_tokens=asked.prompt_tokens,
        output_tokens=said * choices,
        usage=reply.usage,
        wants_usage=asked.wants_usage,
        fingerprint=reply.fingerprint,
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


def arguments_of(call: CallReply) -> str:
    """A tool call's arguments as the JSON text that models send."""
    return msgspec.json.encode(call.arguments).decode()


def named_event(document: dict[str, Any]) -> bytes:
    """A server-sent event that is named by its document's `type`."""
    return b"event: %b\ndata: %b\n\n" % (document["type"].encode(), msgspec.json.encode(document))
