"""Watches streams whose events have names: those of messages and of responses. Knows no connection, no route and no clock.

Each event's type stands in its data too, so the name is only looked at where it says error.
"""

from __future__ import annotations

from gateway.taps.peek import error_in
from gateway.taps.peek_messages import counts_in, input_tokens
from gateway.taps.peek_messages import read_event as read_message_event
from gateway.taps.peek_responses import ENDS, Response, told_by
from gateway.taps.peek_responses import read_event as read_response_event
from gateway.taps.reported import name_in
from gateway.taps.sse import Tap

_EVENT, _ERROR, _DATA = b"event: ", b"event: error", b"\ndata: {"


class NamedTap(Tap):
    """A tap with a short way for an event of two lines, its name and its data, as nearly all are."""

    __slots__ = ()

    def feed(self, data: bytes) -> bytes:
        """What may be relayed now (see Tap.feed); one whole event, as most come, at one go."""
        if data.endswith(b"}\n\n") and not (self._tail or self._failure) and self._after_cr is None:
            begin = document_in(data)
            if begin and data.find(b"\n", begin) == len(data) - 2:
                return self._feed_one(data, begin)
        return super().feed(data)

    def _look(self, event: bytes) -> bool:
        begin = document_in(event)
        if begin and self._started and event.find(b"\n", begin) < 0:
            return self._look_at(event[begin:])
        return super()._look(event)


def document_in(event: bytes) -> int:
    """Where the document begins in an event of two lines, its name and its data; 0 where it is no such event, or one
    that is named error."""
    if not event.startswith(_EVENT) or event.startswith(_ERROR) or b"\r" in event:
        return 0
    end = event.find(b"\n")
    return end + len(_DATA) - 1 if event.startswith(_DATA, end) else 0


class MessagesTap(NamedTap):
    """Watches Anthropic's stream. What changes here besides: the counts told so far.

    It tells in parts what chat tells at the end: tokens that came in when it begins, those that went out when it ends.
    """

    __slots__ = ("_counts",)

    def __init__(self) -> None:
        super().__init__()
        self._counts: dict[str, int] = {}

    def _look_at(self, payload: bytes) -> bool:
        event = read_message_event(payload)
        if not self.first_content and event.has_content:
            self.first_content = True
        if event.message is not None:
            self.model = name_in(event.message.model)
            counts = counts_in(event.message.usage)
            # One token or so that was made to begin with: of an answer that breaks off it would be a wrong total.
            counts.pop("output_tokens", None)
            self._told_counts(counts)
        if event.usage is not None:
            self._told_counts(counts_in(event.usage))
        if event.type == "message_delta" and isinstance(event.delta, dict):
            reason = event.delta.get("stop_reason")
            self.finish_reason = reason if isinstance(reason, str) and reason else self.finish_reason
        elif event.type == "message_stop":
            self.done = True
        elif event.tells_error:
            self.error = error_in(payload)
        return True

    def _told_counts(self, counts: dict[str, int]) -> None:
        self._counts |= counts
        self.input_tokens = input_tokens(self._counts)
        self.output_tokens = self._counts.get("output_tokens")
        self.cached_tokens = self._counts.get("cache_read_input_tokens")
        self.written_tokens = self._counts.get("cache_creation_input_tokens")


class ResponsesTap(NamedTap):
    """Watches a response's stream. Its last event holds the whole response, and no [DONE] need follow."""

    __slots__ = ()

    def _look_at(self, payload: bytes) -> bool:
        event = read_response_event(payload)
        if not self.first_content and event.has_content:
            self.first_content = True
            self.refused = event.type == "response.refusal.delta"
        response = event.response
        if response is not None:
            self._stands(response, ends=event.type in ENDS)
        elif event.tells_error:
            self.error = error_in(payload)
        if event.usage is not None:
            self._told_usage(event.usage)
        return True

    def _stands(self, response: Response, *, ends: bool) -> None:
        """The whole response, as it stands with this event."""
        self.error = response.failure or self.error
        self.model = name_in(response.model) or self.model
        if response.usage is not None:
            self._told_usage(response.usage)
        if ends and self.error is None:
            self.done, self.finish_reason = True, response.told_status

    def _told_usage(self, usage: object) -> None:
        told = told_by(usage)
        self.input_tokens, self.output_tokens = told.input_tokens, told.output_tokens
        self.cached_tokens, self.reasoning_tokens = told.cached_tokens, told.reasoning_tokens
        self.cost_usd = told.cost_usd
