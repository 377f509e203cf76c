"""An upstream within the process (`kind: simulated`): scripted answers, delays, errors and faults.

Knows nothing of who asks, and opens no connection.

Which reply holds: the body's own `simulate` object, else the first matching rule's, else the spec's
`reply`, else the default. `hang` and `cut` strike before the head of the response where `after_chunks`
is 0, else after so many chunks of content; a JSON answer then breaks in the middle of its body.
`error_rate` is counted: of k calls that found this reply, floor(k · rate) have failed.
"""

from __future__ import annotations

import asyncio
import hashlib
import math
from collections.abc import Iterator
from typing import Literal

import msgspec

from gateway.errors import UpstreamRefused
from gateway.patience import Patience
from gateway.spec import Reply, Rule, UpstreamSpec
from gateway.upstream import wording
from gateway.upstream.base import Answer, UpstreamRequest
from gateway.upstream.playback import Part, Playback, Script
from gateway.upstream.wording import Asked, Wording

JSON = b"application/json"
EVENTS = b"text/event-stream; charset=utf-8"
GARBAGE = b"<html>the simulated upstream sends garbage, as its script says</html>"

# How OpenAI names the errors of these statuses.
_KINDS = (
    (400, "invalid_request_error"),
    (401, "authentication_error"),
    (403, "permission_error"),
    (404, "invalid_request_error"),
    (429, "rate_limit_error"),
)

# Replies in request bodies may carry an `error_rate` too; above this many counting begins anew.
MAX_COUNTED = 1024


class Simulated:
    """Implements `base.Upstream`. What changes here: calls counted by reply, and which answers run."""

    def __init__(self, spec: UpstreamSpec, *, patience: Patience, loop: asyncio.AbstractEventLoop) -> None:
        self.running: set[Playback] = set()
        self._patience = patience
        self._loop = loop
        self._rules = tuple(spec.rules)
        self._default = spec.reply or Reply()
        self._calls: dict[tuple[int, Reply], int] = {}

    async def send(self, request: UpstreamRequest) -> Answer:
        """Answer as the script says. Raises UpstreamRefused, UpstreamCut, UpstreamTimedOut."""
        script = self._script(request)
        answer = Playback(
            script, self.running, patience=self._patience, loop=self._loop, expires_at=request.expires_at
        )
        await answer.begin(script.opening)
        return answer

    def retire(self) -> None:
        """Nothing is kept, and answers under way end by themselves."""

    async def aclose(self) -> None:
        """End all answers under way. Idempotent."""
        for answer in tuple(self.running):
            answer.close()

    def _script(self, request: UpstreamRequest) -> Script:
        if request.path != "/chat/completions":
            return _error(request, Reply(status=404), f"a simulated upstream has no {request.path}")
        try:
            asked = msgspec.json.decode(request.body, type=Asked)
            place, reply = self._reply(asked, request.body)
        except msgspec.DecodeError as error:
            return _error(request, Reply(status=400), f"the request is not understood: {error}")
        reply = self._counted(place, reply)
        if reply.fault == "refuse":
            raise UpstreamRefused("the simulated upstream refuses connections, as its script says")
        if reply.status >= 400:
            return _error(request, reply, reply.text or f"the simulated upstream fails with {reply.status}")
        words = wording.word(asked, request.body, text=reply.text, chunks=reply.chunks, usage=reply.usage)
        parts = stream(reply, words, usage=asked.wants_usage) if asked.stream else whole(reply, words)
        return _script_of(request, reply, parts, content_type=EVENTS if asked.stream else JSON)

    def _reply(self, asked: Asked, body: bytes) -> tuple[int, Reply]:
        """The reply that holds, and where it was found (for counting)."""
        if asked.simulate is not None:
            return -1, msgspec.convert(asked.simulate, Reply)
        for place, rule in enumerate(self._rules):
            if _matches(rule, asked, body):
                return place, rule.reply
        return len(self._rules), self._default

    def _counted(self, place: int, reply: Reply) -> Reply:
        """The reply as it holds for this call: `error_rate` decides whether it fails."""
        if reply.error_rate is None:
            return reply
        if len(self._calls) >= MAX_COUNTED:
            self._calls.clear()
        count = self._calls[place, reply] = self._calls.get((place, reply), 0) + 1
        if not fails(count, reply.error_rate):
            return msgspec.structs.replace(reply, status=200, fault=None)
        if reply.fault is None and reply.status < 400:
            return msgspec.structs.replace(reply, status=500)
        return reply


def fails(count: int, rate: float) -> bool:
    """Whether the `count`-th call (from 1) is one that fails: evenly spread, floor(count · rate) in all."""
    nudge = 1e-9  # 0.29 * 100 is 28.999…
    return math.floor(count * rate + nudge) > math.floor((count - 1) * rate + nudge)


def whole(reply: Reply, words: Wording) -> Iterator[Part]:
    """A JSON answer's body."""
    if reply.fault == "garbage":
        yield Part(GARBAGE)
    elif reply.fault == "error_body":
        yield Part(_error_body(reply))
    elif reply.fault != "empty":
        body = wording.completion(words)
        if reply.fault is None:
            yield Part(body)
        else:
            yield Part(body[: len(body) // 2])
            yield Part(fault=_break(reply))


def stream(reply: Reply, words: Wording, *, usage: bool) -> Iterator[Part]:
    """A stream's events, up to its end or to its fault."""
    if reply.fault == "empty" and reply.after_chunks == 0:
        return
    yield Part(b"".join(wording.role_events(words, usage=usage)))
    sent = words.pieces if reply.fault is None else words.pieces[: reply.after_chunks]
    for piece in sent:
        for index in range(words.choices):
            event = wording.content_event(words, index, piece, usage=usage)
            yield Part(event, wait_seconds=reply.chunk_delay_seconds if index == 0 else 0.0)
    if reply.fault is None:
        yield Part(b"".join(wording.last_events(words, usage=usage)))
    else:
        yield _broken(reply)


def _broken(reply: Reply) -> Part:
    """What a stream with a fault has instead of its end."""
    if reply.fault == "garbage":
        return Part(b"data: %b\n\n" % GARBAGE)
    if reply.fault == "error_body":
        return Part(b"data: %b\n\n" % _error_body(reply))
    return Part(fault=_break(reply))


def _break(reply: Reply) -> Literal["hang", "cut"] | None:
    """The reply's fault, if it is one by which bytes stop coming."""
    match reply.fault:
        case "hang" | "cut" as fault:
            return fault
        case _:
            return None


def _matches(rule: Rule, asked: Asked, body: bytes) -> bool:
    if rule.model is not None and rule.model != asked.model:
        return False
    if rule.contains is None or rule.contains.encode() in body:
        return True
    # Senders may write é as \u00e9; looked for once more in the one spelling of our own.
    return rule.contains in msgspec.json.encode(msgspec.json.decode(body)).decode()


def _error(request: UpstreamRequest, reply: Reply, message: str) -> Script:
    kind = dict(_KINDS).get(reply.status, "server_error")
    return _script_of(request, reply, iter([Part(wording.error_body(message, kind=kind))]))


def _error_body(reply: Reply) -> bytes:
    return wording.error_body(reply.text or "the simulated upstream reports an error under a 200")


def _script_of(
    request: UpstreamRequest, reply: Reply, parts: Iterator[Part], *, content_type: bytes = JSON
) -> Script:
    headers = [
        (b"content-type", content_type),
        (b"x-request-id", b"req_" + hashlib.sha256(request.body).hexdigest()[:32].encode()),
    ]
    if reply.retry_after_seconds is not None:
        headers.append((b"retry-after", b"%d" % math.ceil(reply.retry_after_seconds)))
    opening = Part(wait_seconds=reply.delay_seconds, fault=None if reply.after_chunks else _break(reply))
    return Script(opening, reply.status, tuple(headers), parts)
