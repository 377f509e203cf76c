"""Watches a stream of chat events on its way through; what is relayed are whole events, the provider's bytes.

Knows no connection, no route and no clock.

WHATWG HTML §9.2: lines end in LF, CRLF or CR, and an empty line ends an event. An event is relayed once it
is whole, so that the client can parse what it has, and an error event can follow at any time.
"""

from __future__ import annotations

import re

from gateway.errors import UpstreamGarbled
from gateway.taps.peek import Choice, Usage, error_in, read_document
from gateway.taps.reported import names_in

# 16 MiB: an image or audio delta may be long; a stream that never ends its event must not eat the memory.
MAX_EVENT_BYTES = 16 * 1024 * 1024

# Atomic groups: a CRLF is one line end and is never taken apart into two.
_EVENT_END = re.compile(rb"(?>\r\n|\n|\r)(?>\r\n|\n|\r)")
_LINE_END = re.compile(rb"\r\n|\n|\r")
_BOM = b"\xef\xbb\xbf"


class Tap:
    """What changes here: the facts, and what is held of an event that is not whole yet.

    `first_content`: something a user could see has come. `error`: the message of an error that came inside
    the stream (its event is relayed like any other). Tokens: as told last, None where nothing was. `model`,
    `fingerprint`: as whom the provider answers, read with the first content. `refused`: that was a refusal.
    """

    __slots__ = (
        "_after_cr", "_failure", "_hide_usage", "_limit", "_started", "_tail", "cached_tokens", "cost_usd", "done",
        "error", "fingerprint", "finish_reason", "first_content", "input_tokens", "model", "output_tokens",
        "reasoning_tokens", "refused", "written_tokens",
    )  # fmt: skip

    def __init__(self, *, hide_usage: bool = False, limit: int = MAX_EVENT_BYTES) -> None:
        """`hide_usage` leaves out the chunk that `include_usage` adds, for an app that did not ask for it."""
        self.first_content = False
        self.done = False
        self.finish_reason: str | None = None
        self.error: str | None = None
        self.input_tokens: int | None = None
        self.output_tokens: int | None = None
        self.cached_tokens: int | None = None
        self.written_tokens: int | None = None
        self.reasoning_tokens: int | None = None
        self.cost_usd: float | None = None
        self.model: str | None = None
        self.fingerprint: str | None = None
        self.refused = False
        self._hide_usage = hide_usage
        self._limit = limit
        self._started = False
        self._tail = bytearray()
        # The last event ended in a CR: an LF that follows is its own (True: it was relayed; False: hidden).
        self._after_cr: bool | None = None
        self._failure: UpstreamGarbled | None = None

    @property
    def ended_well(self) -> bool:
        """Whether the stream told that it is over: a finish reason or [DONE] came."""
        return self.done or self.finish_reason is not None

    def feed(self, data: bytes) -> bytes:
        """What may be relayed now: the events that are whole. `data` itself where that is all of it.

        Raises UpstreamGarbled when an event is no JSON or exceeds the limit. What came before it is returned
        first, and the error raised by the next call.
        """
        if self._failure is not None:
            raise self._failure
        if self._tail or self._after_cr is not None or b"\r" in data:
            return self._feed_any(data)
        if data.startswith(b"data: {") and data.find(b"\n") == len(data) - 2 and data.endswith(b"\n"):
            return self._feed_one(data)
        events = data.split(b"\n\n")
        rest = events.pop()
        kept = [event for event in events if self._passes(event)]
        if rest:
            self._hold(rest)
        if len(kept) == len(events):
            return self._told(data[: len(data) - len(rest)] if rest else data)
        return self._told(b"".join([event + b"\n\n" for event in kept]))

    def flush(self) -> bytes:
        """At the stream's end: a last event that lacks only its empty line, completed; else b"".

        Raises UpstreamGarbled when an event was unreadable. A part of an event is dropped: it never was one.
        """
        if self._failure is not None:
            raise self._failure
        tail = bytes(self._tail)
        self._tail.clear()
        try:
            passes = bool(tail.strip()) and self._look(tail)
        except UpstreamGarbled:
            return b""
        return tail.rstrip(b"\r\n") + b"\n\n" if passes else b""

    def _feed_one(self, data: bytes, begin: int = 6) -> bytes:
        """One whole event, as most come; its document begins at `begin`."""
        self._started = True
        try:
            return data if self._look_at(data[begin:]) else b""
        except UpstreamGarbled as failure:
            self._failure = failure
            raise

    def _feed_any(self, data: bytes) -> bytes:
        """The general way: an event begun earlier, or line ends other than LF."""
        out: list[bytes] = []
        if self._after_cr is not None and data:
            if data.startswith(b"\n"):
                out.append(b"\n" if self._after_cr else b"")
                data = data[1:]
            self._after_cr = None
        tail = self._tail
        searched = max(0, len(tail) - 3)  # an event's end may have begun in the last bytes
        tail += data
        begin = 0
        while (end := _EVENT_END.search(tail, searched)) is not None:
            searched = end.end()
            passes = self._passes(bytes(tail[begin : end.start()]))
            if passes:
                out.append(bytes(tail[begin:searched]))
            begin = searched
            if searched == len(tail) and tail.endswith(b"\r"):
                self._after_cr = passes
        del tail[:begin]
        self._hold(b"")
        return self._told(b"".join(out))

    def _hold(self, rest: bytes) -> None:
        self._tail += rest
        if len(self._tail) > self._limit and self._failure is None:
            self._failure = UpstreamGarbled(f"an event of the upstream's stream exceeds {self._limit} bytes")
            self._tail.clear()

    def _told(self, out: bytes) -> bytes:
        """With nothing to relay before it, a failure need not wait for the next call."""
        if self._failure is not None and not out:
            raise self._failure
        return out

    def _passes(self, event: bytes) -> bool:
        """Look at one event, and say whether it is relayed; after an unreadable one nothing is."""
        if self._failure is not None:
            return False
        try:
            return self._look(event)
        except UpstreamGarbled as failure:
            self._failure = failure
            return False

    def _look(self, event: bytes) -> bool:
        if not self._started:
            self._started = True
            event = event.removeprefix(_BOM)
        if event.startswith(b"data: {") and b"\n" not in event and b"\r" not in event:
            return self._look_at(event[6:])
        name, payload = _fields(event)
        if payload == b"[DONE]":
            self.done = True
        elif name == b"error":
            self.error = error_in(payload)
        elif payload and not payload.isspace():
            return self._look_at(payload)
        return True

    def _look_at(self, payload: bytes) -> bool:
        chunk = read_document(payload)
        for choice in chunk.choices or ():
            if choice.finish_reason:
                self.finish_reason = choice.finish_reason
            if not self.first_content and choice.has_content:
                self.first_content = True
                self._begins(payload, choice)
        if chunk.error is not None and chunk.tells_error:
            self.error = error_in(payload)
        if chunk.usage is None:
            return True
        self._note(chunk.usage)
        return not (self._hide_usage and chunk.is_usage_only)

    def _begins(self, payload: bytes, choice: Choice) -> None:
        """The first content is here: who answers is told beside it, and read but once."""
        self.model, self.fingerprint = names_in(payload)
        self.refused = bool(choice.delta and choice.delta.get("refusal"))

    def _note(self, usage: Usage) -> None:
        self.input_tokens, self.output_tokens = usage.prompt_tokens, usage.completion_tokens
        self.cached_tokens, self.reasoning_tokens = usage.cached_tokens, usage.reasoning_tokens
        if usage.cost is not None:
            self.cost_usd = usage.cost_usd

    def __repr__(self) -> str:
        state = "failed" if self._failure else "ended" if self.ended_well else "open"
        return f"<Tap {state}, content {self.first_content}, {len(self._tail)} bytes held>"


def _fields(event: bytes) -> tuple[bytes, bytes]:
    """An event's name and its data, whose lines are joined by LF; comments and other fields are left out."""
    name = b""
    lines: list[bytes] = []
    for line in _LINE_END.split(event):
        field, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if field == b"data":
            lines.append(value)
        elif field == b"event":
            name = value
    return name, b"\n".join(lines)
