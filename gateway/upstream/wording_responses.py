"""A simulated model's words on OpenAI's responses wire. Knows no time, no fault and no connection."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
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
    words_in,
)


class ResponsesAsked(msgspec.Struct, frozen=True):
    """The part of the request that a simulated model understands. `input` is a text or a list of items."""

    model: str = "simulated"
    input: str | list[dict[str, Any]] = ""
    instructions: str | None = None
    stream: bool | None = None
    simulate: dict[str, Any] | None = None


_decode = msgspec.json.Decoder(ResponsesAsked).decode


def read_response(body: bytes) -> Asked:
    """What is asked. Raises msgspec.DecodeError."""
    asked = _decode(body)
    items = [{"role": "user", "content": asked.input}] if isinstance(asked.input, str) else asked.input
    return Asked(
        model=asked.model,
        question=last_question(items),
        prompt_tokens=len((asked.instructions or "").split()) + words_in(items),
        stream=bool(asked.stream),
        simulate=asked.simulate,
    )


def tell_response(words: Wording) -> Whole:
    """A completed `response`."""
    return Whole(msgspec.json.encode(_response(words, "completed", _items(words))))


class ResponseVoice(Voice):
    """A response's events. What changes here: their numbers."""

    def __init__(self, words: Wording) -> None:
        self._words = words
        self._number = count()

    def opening(self) -> bytes:
        """The response without output; where there is text, the start of its message."""
        begun = _response(self._words, "in_progress", [])
        events = self._event("response.created", response=begun)
        events += self._event("response.in_progress", response=begun)
        if self._words.pieces:
            item = _message(self._words, "in_progress") | {"content": []}
            events += self._event("response.output_item.added", output_index=0, item=item)
            events += self._of_text("response.content_part.added", part=_part(""))
        return events

    def content(self) -> Iterator[list[bytes]]:
        """The text's pieces, then each tool's call in an item of its own."""
        for piece in self._words.pieces:
            yield [self._of_text("response.output_text.delta", delta=piece, logprobs=[])]
        first = int(bool(self._words.pieces))
        for number, call in enumerate(self._words.calls):
            done = _call(self._words, number)
            place = {"item_id": done["id"], "output_index": first + number}
            item = done | {"arguments": "", "status": "in_progress"}
            begun = self._event("response.output_item.added", output_index=first + number, item=item)
            if number == 0:
                begun = self._text_done() + begun
            yield [begun]
            arguments = arguments_of(call)
            yield [
                self._event("response.function_call_arguments.delta", delta=arguments, **place),
                self._event(
                    "response.function_call_arguments.done", arguments=arguments, name=call.name, **place
                ),
                self._event("response.output_item.done", output_index=first + number, item=done),
            ]

    def ending(self) -> bytes:
        """The text's end, where nothing came after it, and the whole response with its usage."""
        events = b"" if self._words.calls else self._text_done()
        done = _response(self._words, "completed", _items(self._words))
        return events + self._event("response.completed", response=done)

    def error(self, message: str) -> bytes:
        """An event named error."""
        return self._event("error", code="server_error", message=message, param=None)

    def garbage(self) -> bytes:
        """A delta that is no JSON."""
        return b"event: response.output_text.delta\n" + super().garbage()

    def _text_done(self) -> bytes:
        if not self._words.pieces:
            return b""
        item = _message(self._words, "completed")
        return (
            self._of_text("response.output_text.done", text=self._words.text, logprobs=[])
            + self._of_text("response.content_part.done", part=_part(self._words.text))
            + self._event("response.output_item.done", output_index=0, item=item)
        )

    def _of_text(self, kind: str, **fields: object) -> bytes:
        item_id = _message_id(self._words)
        return self._event(kind, item_id=item_id, output_index=0, content_index=0, **fields)

    def _event(self, kind: str, **fields: object) -> bytes:
        return named_event({"type": kind, "sequence_number": next(self._number), **fields})


def _response(words: Wording, status: str, output: list[dict[str, Any]]) -> dict[str, Any]:
    usage = {
        "input_tokens": words.input_tokens,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": words.output_tokens,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": words.input_tokens + words.output_tokens,
    }
    return {
        "id": f"resp_{words.digest[:48]}",
        "object": "response",
        "created_at": words.created,
        "status": status,
        "error": None,
        "incomplete_details": None,
        "instructions": None,
        "metadata": {},
        "model": words.model,
        "output": output,
        "parallel_tool_calls": True,
        "previous_response_id": None,
        "temperature": 1.0,
        "text": {"format": {"type": "text"}},
        "tool_choice": "auto",
        "tools": [],
        "top_p": 1.0,
        "truncation": "disabled",
        "usage": usage if words.usage and status == "completed" else None,
    }


def _items(words: Wording) -> list[dict[str, Any]]:
    said = [_message(words, "completed")] if words.pieces else []
    return [*said, *(_call(words, number) for number in range(len(words.calls)))]


def _message(words: Wording, status: str) -> dict[str, Any]:
    return {
        "id": _message_id(words),
        "type": "message",
        "status": status,
        "role": "assistant",
        "content": [_part(words.text)],
    }


def _call(words: Wording, number: int) -> dict[str, Any]:
    call = words.calls[number]
    return {
        "id": f"fc_{words.digest[:40]}{number}",
        "type": "function_call",
        "status": "completed",
        "call_id": f"call_{words.digest[:20]}{number}",
        "name": call.name,
        "arguments": arguments_of(call),
    }


def _message_id(words: Wording) -> str:
    return f"msg_{words.digest[:48]}"


def _part(text: str) -> dict[str, Any]:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}
