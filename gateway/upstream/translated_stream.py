"""What litellm answers, as bytes in the wire format that was asked for; and whether a stream really ended.

Knows no connection, no deadline and no provider.
"""

from __future__ import annotations

import sys
from array import array
from base64 import b64encode
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from gateway.dialects.openai import DONE
from gateway.errors import UpstreamCut, UpstreamError, UpstreamGarbled
from gateway.upstream.translated_errors import clean, unfinished

# So many objects are looked through for the one that knows how the provider's stream ended; it is two or three deep.
MAX_LOOKED_AT = 64

_encode = msgspec.json.Encoder(enc_hook=str).encode

# How litellm words a broken connection where nothing but its words is left of the exception.
BROKEN = ("payload is not completed", "Connection error", "Server disconnected", "Connection reset")


def whole(answer: Any, path: str, *, in_base64: bool = False) -> bytes:  # `Any`: an answer of litellm
    """The body of an answer that came in one piece; with `in_base64` its vectors as OpenAI has them then."""
    if path in {"/chat/completions", "/completions"}:
        document = answer.model_dump(mode="json", exclude_none=True, warnings=False)
        for choice in document.get("choices", ()):
            if isinstance(choice.get("message"), dict):
                choice["message"].setdefault("content", None)  # beside tool calls OpenAI says null
            elif path == "/completions":
                choice.setdefault("text", "")
        return _encode(document)
    document = answer if isinstance(answer, Mapping) else answer.model_dump(mode="json", warnings=False)
    if in_base64:
        for each in document.get("data") or ():
            if isinstance(each.get("embedding"), list):
                each["embedding"] = b64encode(packed(each["embedding"])).decode()
    return _encode(document)


def packed(vector: Sequence[float]) -> bytes:
    """The numbers as OpenAI packs them: 32 bits each, the lowest byte first."""
    numbers = array("f", vector)
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers.tobytes()


class Events:
    """Turns a stream's items into events. What changes here: how many there were."""

    def __init__(self, stream: Any, path: str) -> None:
        self._truth = truth_in(stream)
        turns = {
            "/responses": self._response_event,
            "/messages": self._message_event,
            "/completions": _text_event,
        }
        self._turn = turns.get(path, _chat_event)
        self._done = DONE if path in {"/chat/completions", "/completions"} else b""
        self._count = 0

    def event(self, item: Any) -> bytes:
        """The bytes of one item, b"" where it says nothing.

        Raises UpstreamCut where litellm made up an end that the provider never sent, UpstreamGarbled for an error.
        """
        truth = self._truth
        if truth is not None and truth.sent_last_chunk and not _has_reason(truth):
            raise unfinished()
        return self._turn(item)

    def end(self) -> bytes:
        """What follows the last item. Raises UpstreamCut where the provider never said that it had ended."""
        if self._truth is not None and not _has_reason(self._truth):
            raise unfinished()
        return self._done

    @property
    def truth(self) -> Any:
        """The object below that reads the provider's stream, None where its bytes are passed on."""
        return self._truth

    def _response_event(self, item: Any) -> bytes:
        document = item.model_dump(mode="json", warnings=False) if hasattr(item, "model_dump") else dict(item)
        # Most events of a translated answer come without their number.
        document["sequence_number"] = self._count
        self._count += 1
        return b"event: %b\ndata: %b\n\n" % (str(document.get("type", "")).encode(), _encode(document))

    def _message_event(self, item: Any) -> bytes:
        if isinstance(item, Mapping):
            item = b"event: %b\ndata: %b\n\n" % (str(item.get("type", "")).encode(), _encode(item))
        elif isinstance(item, str):
            item = item.encode()
        if self._truth is not None and item.startswith(b"event: error"):
            raise error_of(item)
        return bytes(item)


def _text_event(item: Any) -> bytes:
    document = item.model_dump(mode="json", exclude_none=True, warnings=False)
    choices = document.get("choices", ())
    if "usage" in document and all(_is_empty(choice) for choice in choices):
        document["choices"] = []
    for choice in choices:
        choice.setdefault("text", "")  # litellm says null in the last one; OpenAI's is always a text
    return b"data: %b\n\n" % _encode(document)


def _chat_event(item: Any) -> bytes:
    if getattr(item, "usage", None) is None:
        return b"data: %b\n\n" % item.model_dump_json(exclude_none=True, warnings=False).encode()
    document = item.model_dump(mode="json", exclude_none=True, warnings=False)
    if all(_is_empty(choice) for choice in document.get("choices", ())):
        document["choices"] = []  # as OpenAI has it; litellm 1.106 puts an empty choice beside the usage
    return b"data: %b\n\n" % _encode(document)


def _is_empty(choice: Mapping[str, Any]) -> bool:
    return (
        not choice.get("finish_reason")
        and not choice.get("text")
        and not any(choice.get("delta", {}).values())
    )


def _has_reason(truth: Any) -> bool:
    return truth.received_finish_reason is not None or truth.intermittent_finish_reason is not None


def truth_in(stream: Any) -> Any:
    """The object somewhere in `stream` that notes the provider's own finish reason, None where there is none.

    Each way of litellm wraps it differently, and under other names in each version.
    """
    waiting = deque([stream])
    for _ in range(MAX_LOOKED_AT):
        if not waiting:
            return None
        each = waiting.popleft()
        if hasattr(each, "received_finish_reason") and hasattr(each, "sent_last_chunk"):
            return each
        waiting.extend(value for value in _parts(each) if type(value).__module__.startswith("litellm."))
    return None


def _parts(thing: Any) -> list[Any]:
    return list(getattr(thing, "__dict__", {}).values())


def error_of(event: bytes) -> UpstreamError:
    """What an error event that litellm made tells."""
    data = event.partition(b"data:")[2].strip()
    try:
        told = str(msgspec.json.decode(data).get("error", {}).get("message", ""))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, AttributeError):
        told = ""
    message = clean(told)
    if "before a finish_reason" in message:
        return unfinished()
    if any(mark in message for mark in BROKEN):
        return UpstreamCut("the upstream closed the connection before its answer was whole")
    return UpstreamGarbled(f"the upstream's stream holds an error: {message}")
