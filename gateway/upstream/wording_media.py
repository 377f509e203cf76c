"""A simulated model's speech, transcripts and images. Knows no time, no fault and no connection."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from typing import Any, Literal

import msgspec

from gateway.upstream.base import JSON, UpstreamRequest
from gateway.upstream.wording import GARBAGE, Asked, Voice, Whole, Wording
from gateway.upstream.wording_errors import openai_error

_BOUNDARY = re.compile(rb'boundary="?([^";]+)"?')
_NAME = re.compile(rb'\bname="([^"]*)"')
_FILENAME = re.compile(rb'\bfilename="([^"]*)"')

SPEECH_TYPES = (
    ("mp3", b"audio/mpeg"),
    ("opus", b"audio/ogg"),
    ("aac", b"audio/aac"),
    ("flac", b"audio/flac"),
    ("wav", b"audio/wav"),
    ("pcm", b"audio/pcm"),
)
# One grey pixel.
PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNoAAAAggCBd81ytgAAAABJRU5ErkJggg=="
MAX_IMAGES = 10


class Field(msgspec.Struct, frozen=True):
    """One field of a form; a file has a name of its own."""

    value: bytes
    filename: str | None = None


class SpeechAsked(msgspec.Struct, frozen=True):
    """The part of a speech request that a simulated model understands."""

    model: str = "simulated"
    input: str = ""
    response_format: Literal["mp3", "opus", "aac", "flac", "wav", "pcm"] = "mp3"
    simulate: dict[str, Any] | None = None


class ImageAsked(msgspec.Struct, frozen=True):
    """The part of an image request that a simulated model understands."""

    model: str = "simulated"
    prompt: str = ""
    n: int | None = None
    simulate: dict[str, Any] | None = None


_decode_speech = msgspec.json.Decoder(SpeechAsked).decode
_decode_image = msgspec.json.Decoder(ImageAsked).decode


def read_speech(body: bytes) -> Asked:
    """What is asked. Raises msgspec.DecodeError."""
    asked = _decode_speech(body)
    return Asked(asked.model, asked.input, len(asked.input.split()), stream=True, simulate=asked.simulate)


class SpeechVoice(Voice):
    """Bytes that stand for the text's sound, a piece a word."""

    def __init__(self, words: Wording, body: bytes) -> None:
        self._words = words
        self.content_type = dict(SPEECH_TYPES)[_decode_speech(body).response_format]

    def opening(self) -> bytes:
        """The mark of an MP3 file."""
        return b"ID3\x04\0\0\0\0\0\0"

    def content(self) -> Iterator[list[bytes]]:
        """For each piece the head of an MP3 frame, and noise that is always the same."""
        for piece in self._words.pieces:
            yield [b"\xff\xfb\x90\0" + hashlib.sha512(piece.encode()).digest()]

    def ending(self) -> bytes:
        """Nothing: a sound just ends."""
        return b""

    def error(self, message: str) -> bytes:
        """An error's body in the middle of the sound: there is no better place."""
        return openai_error(message)

    def garbage(self) -> bytes:
        """What is no sound."""
        return GARBAGE


def read_images(request: UpstreamRequest) -> Asked:
    """What is asked for by a JSON body or a form. Raises msgspec.DecodeError."""
    if not request.content_type.startswith(JSON):
        return read_form(request)
    asked = _decode_image(request.body)
    images = min(max(1, asked.n or 1), MAX_IMAGES)
    return Asked(
        asked.model, asked.prompt, len(asked.prompt.split()), choices=images, simulate=asked.simulate
    )


def tell_images(words: Wording) -> Whole:
    """As many images as were asked for, of one grey pixel each."""
    document: dict[str, Any] = {
        "created": words.created,
        "data": [{"b64_json": PNG} for _ in range(words.choices)],
    }
    if words.usage:
        document["usage"] = {
            "input_tokens": words.input_tokens,
            "input_tokens_details": {"text_tokens": words.input_tokens, "image_tokens": 0},
            "output_tokens": words.choices,
            "total_tokens": words.input_tokens + words.choices,
        }
    return Whole(msgspec.json.encode(document))


def read_form(request: UpstreamRequest) -> Asked:
    """What a form asks for: its model, its prompt, and how its own field `simulate` says. Raises msgspec.DecodeError."""
    fields = form(request)
    prompt = _field(fields, "prompt")
    simulate = _field(fields, "simulate")
    return Asked(
        model=_field(fields, "model") or "simulated",
        question=prompt,
        prompt_tokens=len(prompt.split()),
        stream=_field(fields, "stream") == "true",
        simulate=msgspec.json.decode(simulate, type=dict[str, Any]) if simulate else None,
    )


def tell_transcript(request: UpstreamRequest, words: Wording) -> Whole:
    """What was heard, in the form that was asked for."""
    kind = _field(form(request), "response_format")
    if kind in ("text", "srt", "vtt"):
        return Whole(words.text.encode() + b"\n", b"text/plain; charset=utf-8")
    document: dict[str, Any] = {"text": words.text}
    if kind == "verbose_json":
        document |= {"task": "transcribe", "language": "english", "duration": 1.0, "segments": []}
    if words.usage:
        document["usage"] = {
            "type": "tokens",
            "input_tokens": words.input_tokens,
            "output_tokens": words.output_tokens,
            "total_tokens": words.input_tokens + words.output_tokens,
        }
    return Whole(msgspec.json.encode(document))


class TranscriptVoice(Voice):
    """A transcript's events."""

    def __init__(self, words: Wording) -> None:
        self._words = words

    def opening(self) -> bytes:
        """Nothing: the first event holds text."""
        return b""

    def content(self) -> Iterator[list[bytes]]:
        """The text's pieces."""
        for piece in self._words.pieces:
            yield [_event({"type": "transcript.text.delta", "delta": piece, "logprobs": []})]

    def ending(self) -> bytes:
        """The whole text."""
        return _event({"type": "transcript.text.done", "text": self._words.text, "logprobs": []})

    def error(self, message: str) -> bytes:
        """An event that holds an error's body."""
        return b"data: %b\n\n" % openai_error(message)


def form(request: UpstreamRequest) -> dict[str, Field]:
    """A multipart body's fields. Raises msgspec.ValidationError where it is none."""
    boundary = _BOUNDARY.search(request.content_type)
    if not request.content_type.startswith(b"multipart/form-data") or boundary is None:
        found = request.content_type.decode("latin-1")
        raise msgspec.ValidationError(f"the body is {found}, expected multipart/form-data with a boundary")
    fields: dict[str, Field] = {}
    for part in request.body.split(b"--" + boundary[1])[1:-1]:
        head, _, value = part.partition(b"\r\n\r\n")
        name, filename = _NAME.search(head), _FILENAME.search(head)
        if name is not None:
            fields[name[1].decode(errors="replace")] = Field(
                value.removesuffix(b"\r\n"), filename[1].decode(errors="replace") if filename else None
            )
    return fields


def _field(fields: dict[str, Field], name: str) -> str:
    found = fields.get(name)
    return found.value.decode(errors="replace") if found else ""


def _event(document: dict[str, Any]) -> bytes:
    return b"data: %b\n\n" % msgspec.json.encode(document)
