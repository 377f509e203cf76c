"""Which wires a simulated upstream speaks: how each is read, and in which voice it is answered.

Knows no fault, no time and no connection.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import MappingProxyType

import msgspec

from gateway.spec import Reply
from gateway.upstream.base import UpstreamRequest
from gateway.upstream.wording import Asked, Voice, Whole, Wording, word
from gateway.upstream.wording_chat import ChatVoice, read_chat, tell_chat
from gateway.upstream.wording_completions import CompletionVoice, read_completion, tell_completion
from gateway.upstream.wording_media import (
    SpeechVoice,
    TranscriptVoice,
    read_form,
    read_images,
    read_speech,
    tell_images,
    tell_transcript,
)
from gateway.upstream.wording_messages import MessageVoice, count_tokens, read_messages, tell_message
from gateway.upstream.wording_responses import ResponseVoice, read_response, tell_response
from gateway.upstream.wording_vectors import read_embeddings, read_search, tell_embeddings, tell_search


class Call(msgspec.Struct, frozen=True):
    """A request that was read, and how it is to be answered. `digest` is its body's."""

    request: UpstreamRequest
    asked: Asked
    reply: Reply
    digest: str

    @property
    def words(self) -> Wording:
        """What a model answers."""
        return word(self.asked, self.reply, self.digest)


Tell = Callable[[Call], Whole | Voice]


@dataclass(frozen=True, slots=True)
class Spoken:
    """One wire as it is spoken: `read` raises msgspec.DecodeError for what is not understood."""

    read: Callable[[UpstreamRequest], Asked]
    tell: Tell


def talk(
    read: Callable[[bytes], Asked], whole: Callable[[Wording], Whole], voice: Callable[[Wording], Voice]
) -> Spoken:
    """A wire on which a model talks, at once or in a stream."""
    return Spoken(
        lambda request: read(request.body),
        lambda call: voice(call.words) if call.asked.stream else whole(call.words),
    )


def _transcript(call: Call) -> Whole | Voice:
    return TranscriptVoice(call.words) if call.asked.stream else tell_transcript(call.request, call.words)


def _models(_call: Call) -> Whole:
    model = {"id": "simulated", "object": "model", "created": 1_700_000_000, "owned_by": "simulated"}
    return Whole(msgspec.json.encode({"object": "list", "data": [model]}))


TRANSCRIPT = Spoken(read_form, _transcript)
IMAGES = Spoken(read_images, lambda call: tell_images(call.words))
SEARCH = Spoken(
    lambda request: read_search(request.body),
    lambda call: tell_search(call.request.body, call.reply),
)

# By method and path.
REPERTOIRE = MappingProxyType(
    {
        ("POST", "/chat/completions"): talk(read_chat, tell_chat, ChatVoice),
        ("POST", "/completions"): talk(read_completion, tell_completion, CompletionVoice),
        ("POST", "/responses"): talk(read_response, tell_response, ResponseVoice),
        ("POST", "/messages"): talk(read_messages, tell_message, MessageVoice),
        ("POST", "/messages/count_tokens"): Spoken(
            lambda request: read_messages(request.body),
            lambda call: count_tokens(call.asked),
        ),
        ("POST", "/embeddings"): Spoken(
            lambda request: read_embeddings(request.body),
            lambda call: tell_embeddings(call.request.body, call.asked, call.reply),
        ),
        ("POST", "/audio/speech"): Spoken(
            lambda request: read_speech(request.body),
            lambda call: SpeechVoice(call.words, call.request.body),
        ),
        ("POST", "/audio/transcriptions"): TRANSCRIPT,
        ("POST", "/audio/translations"): TRANSCRIPT,
        ("POST", "/images/generations"): IMAGES,
        ("POST", "/images/edits"): IMAGES,
        ("POST", "/images/variations"): IMAGES,
        ("GET", "/models"): Spoken(lambda request: Asked(), _models),
    }
)


def spoken(request: UpstreamRequest) -> Spoken | None:
    """How this request is answered; None where no wire has this path."""
    path = request.path.partition("?")[0]
    found = REPERTOIRE.get((request.method, path))
    if found is None and path.startswith("/vector_stores/") and path.endswith("/search"):
        return SEARCH if request.method == "POST" else None
    return found
