"""What a scripted provider says on the chat, responses and messages wires: on good days, and on bad ones.

Knows no connection and no code under test.

    upstream.will(split_characters(MESSAGES), closed_early(RESPONSES, "one", " two"))
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Callable
from itertools import pairwise
from types import MappingProxyType
from typing import Any

from tests.scripts import End, Script, json_answer, stream_answer


class Wire(ABC):
    """One wire: its path, a whole answer, and a stream's events. A stream costs 7 tokens, and one for each text."""

    path: str

    @abstractmethod
    def whole(self, text: str = "scripted") -> bytes:
        """The body of an answer that comes at once."""

    @abstractmethod
    def opening(self) -> list[bytes]:
        """The events before the first text."""

    @abstractmethod
    def piece(self, text: str, number: int, *, usage: bool = False) -> bytes:
        """The event of one text; with `usage` it tells what was used up to here, as some providers do."""

    @abstractmethod
    def ending(self, *texts: str, usage: bool = True) -> list[bytes]:
        """The events after the last text. The last of them only says that nothing more comes."""

    @abstractmethod
    def error(self, message: str = "scripted") -> bytes:
        """An error's body."""

    @abstractmethod
    def error_event(self, message: str = "scripted") -> bytes:
        """An error within a stream."""

    def events(self, *texts: str, usage: bool = True) -> list[bytes]:
        """A whole stream."""
        return [*self.opening(), *self.pieces(*texts), *self.ending(*texts, usage=usage)]

    def pieces(self, *texts: str, usage: bool = False) -> list[bytes]:
        """The events of the texts."""
        return [self.piece(text, number, usage=usage) for number, text in enumerate(texts)]


class Chat(Wire):
    """OpenAI's chat completions."""

    path = "/chat/completions"

    def whole(self, text: str = "scripted") -> bytes:
        return completion(text)

    def opening(self) -> list[bytes]:
        return [event({"role": "assistant", "content": ""})]

    def piece(self, text: str, number: int, *, usage: bool = False) -> bytes:
        tokens = _openai_usage(number + 1) if usage else None
        return event({"content": text}, usage=tokens)

    def ending(self, *texts: str, usage: bool = True) -> list[bytes]:
        return events(*texts, usage=usage)[1 + len(texts) :]

    def error(self, message: str = "scripted") -> bytes:
        document = {"message": message, "type": "server_error", "param": None, "code": None}
        return json.dumps({"error": document}).encode()

    def error_event(self, message: str = "scripted") -> bytes:
        return b"data: " + self.error(message) + b"\n\n"


class Responses(Wire):
    """OpenAI's responses. The item of its text is `m`."""

    path = "/responses"

    def whole(self, text: str = "scripted") -> bytes:
        return json.dumps(self._response("completed", text)).encode()

    def opening(self) -> list[bytes]:
        begun = self._response("in_progress")
        item = self._item("", "in_progress") | {"content": []}
        return [
            _named("response.created", sequence_number=0, response=begun),
            _named("response.in_progress", sequence_number=1, response=begun),
            _named("response.output_item.added", sequence_number=2, output_index=0, item=item),
            self._of_text("response.content_part.added", 3, part=self._part("")),
        ]

    def piece(self, text: str, number: int, *, usage: bool = False) -> bytes:
        tokens = {"usage": self._usage(number + 1)} if usage else {}
        return self._of_text("response.output_text.delta", 4 + number, delta=text, logprobs=[], **tokens)

    def ending(self, *texts: str, usage: bool = True) -> list[bytes]:
        text, number = "".join(texts), 4 + len(texts)
        done = self._response("completed", text, tokens=len(texts) if usage else None)
        item = self._item(text, "completed")
        return [
            self._of_text("response.output_text.done", number, text=text, logprobs=[]),
            self._of_text("response.content_part.done", number + 1, part=self._part(text)),
            _named("response.output_item.done", sequence_number=number + 2, output_index=0, item=item),
            _named("response.completed", sequence_number=number + 3, response=done),
        ]

    def failed(self, message: str = "scripted") -> bytes:
        """The other way in which this wire tells an error: the response itself has failed."""
        error = {"code": "server_error", "message": message}
        return _named(
            "response.failed", sequence_number=9, response=self._response("failed") | {"error": error}
        )

    def error(self, message: str = "scripted") -> bytes:
        return CHAT.error(message)

    def error_event(self, message: str = "scripted") -> bytes:
        return _named("error", sequence_number=9, code="server_error", message=message, param=None)

    def _of_text(self, kind: str, number: int, **fields: object) -> bytes:
        place = {"item_id": "m", "output_index": 0, "content_index": 0}
        return _named(kind, sequence_number=number, **place, **fields)

    def _response(self, status: str, text: str = "", *, tokens: int | None = 1) -> dict[str, Any]:
        completed = status == "completed"
        return {
            "id": "c",
            "object": "response",
            "created_at": 1_700_000_000,
            "status": status,
            "error": None,
            "incomplete_details": None,
            "instructions": None,
            "metadata": {},
            "model": "scripted-1",
            "output": [self._item(text, status)] if completed else [],
            "parallel_tool_calls": True,
            "temperature": 1.0,
            "tool_choice": "auto",
            "tools": [],
            "top_p": 1.0,
            "usage": self._usage(tokens) if completed and tokens is not None else None,
        }

    def _item(self, text: str, status: str) -> dict[str, Any]:
        content = [self._part(text)]
        return {"id": "m", "type": "message", "status": status, "role": "assistant", "content": content}

    def _part(self, text: str) -> dict[str, Any]:
        return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}

    def _usage(self, tokens: int) -> dict[str, Any]:
        return {
            "input_tokens": 7,
            "input_tokens_details": {"cached_tokens": 0},
            "output_tokens": tokens,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": 7 + tokens,
        }


class Messages(Wire):
    """Anthropic's messages."""

    path = "/messages"

    def whole(self, text: str = "scripted") -> bytes:
        stopped = {"stop_reason": "end_turn", "content": [{"type": "text", "text": text}]}
        return json.dumps(self._message() | stopped).encode()

    def opening(self) -> list[bytes]:
        return [
            _named("message_start", message=self._message()),
            _named("content_block_start", index=0, content_block={"type": "text", "text": ""}),
            _named("ping"),
        ]

    def piece(self, text: str, number: int, *, usage: bool = False) -> bytes:
        tokens = {"usage": {"output_tokens": number + 1}} if usage else {}
        return _named("content_block_delta", index=0, delta={"type": "text_delta", "text": text}, **tokens)

    def ending(self, *texts: str, usage: bool = True) -> list[bytes]:
        tokens = {"usage": {"output_tokens": len(texts)}} if usage else {}
        stopped = {"stop_reason": "end_turn", "stop_sequence": None}
        return [
            _named("content_block_stop", index=0),
            _named("message_delta", delta=stopped, **tokens),
            _named("message_stop"),
        ]

    def error(self, message: str = "scripted") -> bytes:
        return json.dumps({"type": "error", "error": {"type": "api_error", "message": message}}).encode()

    def error_event(self, message: str = "scripted") -> bytes:
        return b"event: error\ndata: " + self.error(message) + b"\n\n"

    def _message(self) -> dict[str, Any]:
        return {
            "id": "c",
            "type": "message",
            "role": "assistant",
            "model": "scripted-1",
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": {"input_tokens": 7, "output_tokens": 1},
        }


CHAT, RESPONSES, MESSAGES = Chat(), Responses(), Messages()
WIRES = (CHAT, RESPONSES, MESSAGES)


# Good days


def good_answer(path: str, body: bytes) -> Script:
    """A whole answer in the path's format, or a stream where the body asks for one."""
    wire = next((each for each in WIRES if path.partition("?")[0].endswith(each.path)), CHAT)
    if b'"stream":true' not in body.replace(b" ", b""):
        return json_answer(wire.whole())
    usage = wire is not CHAT or b"include_usage" in body
    return stream_answer(*wire.events("scripted", " answer", usage=usage))


def events(*texts: str, usage: bool = False, finish: bool = True, done: bool = True) -> list[bytes]:
    """A chat stream's events with these contents, as OpenAI sends them."""
    made = [event({"role": "assistant", "content": ""}), *(event({"content": text}) for text in texts)]
    if finish:
        made.append(event({}, finish_reason="stop"))
    if usage:
        tokens = _openai_usage(len(texts))
        made.append(_data({"id": "c", "object": "chat.completion.chunk", "choices": [], "usage": tokens}))
    return [*made, b"data: [DONE]\n\n"] if done else made


def event(delta: dict, finish_reason: str | None = None, *, usage: dict[str, int] | None = None) -> bytes:
    """One event of a chat stream."""
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
    document = {"id": "c", "object": "chat.completion.chunk", "model": "scripted-1", "choices": [choice]}
    return _data(document if usage is None else document | {"usage": usage})


def completion(text: str = "scripted", model: str = "scripted-1") -> bytes:
    """The body of a chat completion."""
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    document = {"id": "c", "object": "chat.completion", "model": model, "choices": [choice]}
    return json.dumps(document | {"usage": _openai_usage(1)}).encode()


# Bad days. Those that stream take the texts to send.


def error_under_200(wire: Wire) -> Script:
    """A 200 whose body is an error."""
    return json_answer(wire.error())


def error_before_text(wire: Wire) -> Script:
    """A stream under a 200 that begins with an error."""
    return stream_answer(wire.error_event())


def error_after_text(wire: Wire, *texts: str) -> Script:
    """A stream under a 200 that breaks off with an error."""
    return stream_answer(*wire.opening(), *wire.pieces(*texts or TEXTS), wire.error_event())


def usage_on_content(wire: Wire, *texts: str) -> Script:
    """A stream that tells the usage on every chunk of content, and not at its end."""
    texts = texts or TEXTS
    return stream_answer(*wire.opening(), *wire.pieces(*texts, usage=True), *wire.ending(*texts, usage=False))


def repeated_ids(wire: Wire, *texts: str) -> Script:
    """A stream whose texts all come under one number; it has the id of every other answer, too."""
    texts = texts or TEXTS
    same = [wire.piece(text, 0) for text in texts]
    return stream_answer(*wire.opening(), *same, *wire.ending(*texts))


def without_last_event(wire: Wire, *texts: str) -> Script:
    """A stream that ends in order, but for its last event.

    Chat lacks `[DONE]`, messages `message_stop`: both said before why they stopped. Responses lack
    `response.completed`, without which nobody knows how it ended.
    """
    return stream_answer(*wire.events(*texts or TEXTS)[:-1])


def split_characters(wire: Wire, *texts: str) -> Script:
    """A stream whose chunks end in the middle of a character wherever they can."""
    data = b"".join(map(_unescaped, wire.events(*texts or ACCENTED)))
    within = [place for place, byte in enumerate(data) if byte & 0xC0 == 0x80]
    bounds = pairwise([0, *within, len(data)])
    return stream_answer(*(data[start:end] for start, end in bounds))


def closed_early(wire: Wire, *texts: str) -> Script:
    """A stream that ends in the middle of its texts, its HTTP framing in order."""
    return stream_answer(*wire.opening(), *wire.pieces(*texts or TEXTS))


def closed_unframed(wire: Wire, *texts: str) -> Script:
    """A stream whose connection is closed in the middle of its texts."""
    return stream_answer(*wire.opening(), *wire.pieces(*texts or TEXTS), end=End.CLOSE)


def closed_within_event(wire: Wire, *texts: str) -> Script:
    """A stream that ends in the middle of an event, its HTTP framing in order."""
    *before, last = [*wire.opening(), *wire.pieces(*texts or TEXTS)]
    return stream_answer(*before, last[: len(last) // 2])


BadDay = Callable[..., Script]
TEXTS = ("one", " two", " three")
ACCENTED = ("Grüße", " aus", " Köln 🎈")

# The bad days, by name: each is called with a wire.
BAD_DAYS: MappingProxyType[str, BadDay] = MappingProxyType(
    {
        each.__name__: each
        for each in (
            error_under_200,
            error_before_text,
            error_after_text,
            usage_on_content,
            repeated_ids,
            without_last_event,
            split_characters,
            closed_early,
            closed_unframed,
            closed_within_event,
        )
    }
)


def _openai_usage(tokens: int) -> dict[str, int]:
    return {"prompt_tokens": 7, "completion_tokens": tokens, "total_tokens": 7 + tokens}


def _data(document: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(document, separators=(",", ":")).encode() + b"\n\n"


def _named(kind: str, **fields: object) -> bytes:
    return f"event: {kind}\n".encode() + _data({"type": kind, **fields})


def _unescaped(event: bytes) -> bytes:
    """The same event with its characters as UTF-8 instead of \\u escapes."""
    return b"\n".join(map(_unescaped_line, event.split(b"\n")))


def _unescaped_line(line: bytes) -> bytes:
    if not line.startswith(b"data: {"):
        return line
    text = json.dumps(json.loads(line[6:]), separators=(",", ":"), ensure_ascii=False)
    return b"data: " + text.encode()
