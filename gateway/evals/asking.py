"""Asks a route in this process, through the whole pipeline, for one whole answer: for evals, and for who judges.

Resolved, retrieved, rendered, dispatched and recorded as a request is; but neither cached, shielded nor mirrored, judged
by no policy, told to no breaker, and counted as no request. Knows no case and no assertion.
"""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

import msgspec

from flags.model import NOTHING, Context, Json
from gateway.answer import Dispatched
from gateway.ask import Ask
from gateway.auth import Caller
from gateway.decision import Asked, Decision, Serving
from gateway.errors import GatewayError, NotReady
from gateway.exchange import Exchange
from gateway.relay import relay
from gateway.route import decide, find_route
from gateway.taps.peek import error_in
from gateway.wires.chat import Chat, text_of
from gateway.wires.chat import Part as Piece
from policies.evals.answer import Answer
from policies.outcome import Blame, Ending, Outcome, Part

log = logging.getLogger("pointsman.evals")

# What is taken of one answer: models write some 500 KB at most, and many answers are here at once.
ANSWER_BYTES = 2 * 1024 * 1024
NOBODY_PINNED: Mapping[str, str] = MappingProxyType({})
# Ours: it may pin, and use every route.
EVALS = Caller("evals", may_pin=True)
NO_HEADERS: Mapping[bytes, bytes] = MappingProxyType({})
NOBODY = Context(None)
CHAT = Chat()

# Render and dispatch one decision.
Serve = Callable[[Decision, Ask, Exchange], Awaitable[Dispatched]]

_encode = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True)
class Inquiry:
    """What is asked of `route`: messages, prompt variables and other fields of a chat body.

    `pins` name variants by flag, and hold for withdrawn ones too. `about` is the flag whose version is measured; None: none
    is, and only what was spent is told.
    """

    route: str
    messages: Sequence[Json]
    variables: Mapping[str, Json] = field(default_factory=lambda: NOTHING)
    pins: Mapping[str, str] = field(default_factory=lambda: NOBODY_PINNED)
    params: Mapping[str, Json] = field(default_factory=lambda: NOTHING)
    about: str | None = None

    @property
    def body(self) -> bytes:
        """As an app would send it."""
        fields: dict[str, Json] = {**self.params, "model": self.route, "messages": self.messages}
        if self.variables:
            fields["prompt_variables"] = self.variables
        return _encode(fields)


class Asking:
    """Asks routes. It keeps nothing: `serving` is read once per inquiry, as it is once per request."""

    def __init__(
        self,
        serve: Serve,
        serving: Callable[[], Serving | None],
        record: Callable[[Outcome], None],
        *,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
        new_id: Callable[[], str] = lambda: f"eval-{uuid.uuid4().hex}",
    ) -> None:
        """`serve` renders and dispatches, `record` takes what became of it. `clock` counts seconds, `now` gives Unix time."""
        self._serve, self.serving, self._record = serve, serving, record
        self._clock, self._now, self._new_id = clock, now, new_id

    async def ask(self, inquiry: Inquiry) -> Answer:
        """The answer, or one with the error that came in its place."""
        kept = Kept()
        x = Exchange(self._new_id(), NO_HEADERS, EVALS, kept, CHAT, self._clock)
        x.part = Part.EVAL
        try:
            await self._answer(inquiry, x)
        except GatewayError as error:
            error.settled()
            x.ends(Ending.FAILED, error.blame, error.status)
            kept.error = error.message
        except asyncio.CancelledError:
            x.ends(Ending.ABANDONED, Blame.NONE, 499)
            raise
        except Exception:  # the edge: a bug of ours must cost a case, and be seen
            log.exception("eval request %s failed inside the gateway", x.request_id)
            kept.error = "internal error; the server's log says more"
        finally:
            if x.decision is not None:
                self._record(told(x.outcome(x.decision), inquiry.about))
        return answered(kept, x)

    async def _answer(self, inquiry: Inquiry, x: Exchange) -> None:
        serving = self.serving()
        if serving is None:
            raise NotReady("starting: no flags are known yet", retry_after_seconds=1)
        ask = CHAT.read(inquiry.body)
        route = find_route(serving, inquiry.route, EVALS)
        x.route = route.name
        # Nobody asks, so no rollout's coin is tossed: what is not pinned is what is served.
        asked = Asked(NOBODY, inquiry.pins, int(self._now()), CHAT.layers, past_withdrawn=True)
        x.decision = decide(serving, route, asked)
        await relay(await self._serve(x.decision, ask, x), x, ())


class Kept:
    """A door behind which the answer is kept. What changes here: its status, its body, and why there is none."""

    def __init__(self) -> None:
        self.status, self.body, self.error = 0, b"", ""

    async def start(self, status: int, headers: Sequence[tuple[bytes, bytes]]) -> None:
        """Keep the status."""
        self.status = status

    async def write(self, data: bytes) -> None:
        """Keep a part, as long as there is room."""
        if len(self.body) + len(data) > ANSWER_BYTES:
            self.error = f"the answer is longer than {ANSWER_BYTES:,} bytes, the most that is taken"
            return
        self.body += data

    async def end(self, data: bytes = b"") -> None:
        """Keep the last part."""
        await self.write(data)

    def abort(self) -> None:
        """It is not whole."""
        self.error = self.error or "the answer was broken off"


class _Function(msgspec.Struct, frozen=True, gc=False):
    name: str = ""
    arguments: str = ""


class _ToolCall(msgspec.Struct, frozen=True, gc=False):
    function: _Function = _Function()


class _Message(msgspec.Struct, frozen=True, gc=False):
    content: str | list[Piece] | None = None
    refusal: str | None = None
    tool_calls: list[_ToolCall] | None = None


class _Choice(msgspec.Struct, frozen=True, gc=False):
    message: _Message = _Message()


class _Completion(msgspec.Struct, frozen=True, gc=False):
    choices: list[_Choice] = []


_decode = msgspec.json.Decoder(_Completion).decode


def answered(kept: Kept, x: Exchange) -> Answer:
    """What was answered, as evals see it. A fallback's answer is none: it says nothing of the version's own model."""
    error = kept.error or None
    text = ""
    if error is None and kept.status >= 400:
        error = f"status {kept.status}: {error_in(kept.body)}"
    elif error is None and x.fallback is not None:
        error = f"the version's own target failed, and its fallback {x.fallback} answered"
    elif error is None:
        try:
            text = said(kept.body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as unread:
            error = f"the answer is no chat completion: {unread}"
    return Answer(
        text,
        x.clock() - x.began,
        x.cost()[0],
        versions={} if x.decision is None else versions_of(x.decision),
        error=error,
        input_tokens=x.input_tokens,
        output_tokens=x.output_tokens,
        retrieved=tuple(passage.text for passage in x.passages),
    )


def said(body: bytes) -> str:
    """The text of a completion; tool calls, where that is what came, as JSON. Raises msgspec.DecodeError."""
    message = next((choice.message for choice in _decode(body).choices), None)
    if message is None:
        raise msgspec.DecodeError("it has no choices")
    if message.content or not message.tool_calls:
        return text_of(message.content) or message.refusal or ""
    calls = [
        {"name": each.function.name, "arguments": _arguments(each.function.arguments)}
        for each in message.tool_calls
    ]
    return _encode(calls).decode()


def _arguments(text: str) -> object:
    """The arguments as JSON where they are some."""
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):
        return text


def versions_of(decision: Decision) -> dict[str, str]:
    """What answered, by layer, as `x-pointsman-versions` says it."""
    return {chosen.layer.value: chosen.version.release.variant for chosen in decision.layers}


def told(outcome: Outcome, about: str | None) -> Outcome:
    """Of an eval's outcome, what is told: the one version that it is about; the money is the route's."""
    at = [place for place, release in enumerate(outcome.releases) if release.flag == about]
    return msgspec.structs.replace(
        outcome,
        releases=tuple(outcome.releases[place] for place in at),
        how="".join(outcome.how[place] for place in at),
        excused=True,
    )
