"""What a request said and what was answered, for the log `pointsman.content`: a door that keeps the answer's beginning.

Only requests for which the switch `gateway.content-logging` is on have one. Headers and keys never come here; what a
body itself names like a secret is masked.
"""

from __future__ import annotations

import codecs
import logging
import re
from collections.abc import Mapping, Sequence

import msgspec

from gateway.exchange import Door, Exchange
from gateway.judging.messages import answered_in, asked_in
from gateway.judging.text import WIRES, text_of
from policies.outcome import Ending

log = logging.getLogger("pointsman.content")

# Of a request and of an answer each: some 16,000 tokens. A log line is no archive.
SHOWN_BYTES = 64 * 1024
# Of a stream, whose tokens come in some 200 bytes each. What is kept is memory until the request is over.
STREAM_BYTES = 1024 * 1024
# A string under a name such as apps send along for a provider (LiteLLM's `api_key`) or a tool (MCP's `authorization`). At
# the bound it may lack its end. Names are bounded, so that a long text without quotes is not gone over twice.
SECRET = re.compile(
    rb"""(?i)("[^"\\]{0,64}(?:api_?key|secret|password|credential|authorization|access_token)[^"\\]{0,64}"\s*:\s*)"""
    rb"""\"(?:[^"\\]|\\.)*\"?"""
)
MASKED = rb'\1"***"'


class Line(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """One line of the log, JSON. `request` and `answer` are missing where they are no text."""

    request_id: str
    route: str
    revision: int
    versions: Mapping[str, str]
    wire: str
    ending: str
    status: int
    # A keyed hash of who asked; nobody's name.
    unit: str = ""
    stream: bool = False
    request: str | None = None
    request_bytes: int = 0
    # True: there was more than is shown.
    request_cut: bool = False
    answer: str | None = None
    answer_bytes: int = 0
    answer_cut: bool = False


class Transcript:
    """A door that keeps what goes through it, up to a bound. What changes here: the parts kept, and how much went by."""

    __slots__ = ("_door", "_kept", "_most", "_parts", "size", "stream", "whole")

    def __init__(self, door: Door, *, stream: bool) -> None:
        self._door, self._most = door, STREAM_BYTES if stream else SHOWN_BYTES
        self.stream = stream
        self._parts: list[bytes] = []
        self._kept = 0
        # Bytes that went through; False where the answer was broken off.
        self.size, self.whole = 0, True

    def __repr__(self) -> str:
        return f"<Transcript {self._kept} of {self.size} bytes kept>"

    @property
    def body(self) -> bytes:
        """The beginning of the answer."""
        return b"".join(self._parts)

    @property
    def cut(self) -> bool:
        """Whether there is more than was kept."""
        return self.size > self._kept

    async def start(self, status: int, headers: Sequence[tuple[bytes, bytes]]) -> None:
        """Let the head through."""
        await self._door.start(status, headers)

    async def write(self, data: bytes) -> None:
        """Let a part through, and keep it while there is room."""
        self._keep(data)
        await self._door.write(data)

    async def end(self, data: bytes = b"") -> None:
        """Let the last part through, and keep it while there is room."""
        self._keep(data)
        await self._door.end(data)

    def abort(self) -> None:
        """Break the answer off."""
        self.whole = False
        self._door.abort()

    def _keep(self, data: bytes) -> None:
        self.size += len(data)
        room = self._most - self._kept
        if room > 0 and data:
            part = bytes(data[:room])
            self._parts.append(part)
            self._kept += len(part)


def tell(transcript: Transcript, x: Exchange) -> None:
    """Write the line of a request that is over; its trace, where it has one, is told as well."""
    line = line_of(transcript, x)
    log.info("%s", msgspec.json.encode(line).decode())
    if x.trace is not None and x.wire.name in WIRES:
        text, ended = said_in(transcript.body, x.wire.name), x.ending is Ending.OK
        x.trace.said(asked_in(x.body, x.wire.name), answered_in(text, transcript.body, ended=ended))


def line_of(transcript: Transcript, x: Exchange) -> Line:
    """What the log is told of a request: its body and its answer, each up to a bound."""
    request, request_cut = shown(x.body)
    answer, answer_cut = _answer(transcript, x.wire.name)
    layers = () if x.decision is None else x.decision.layers
    return Line(
        request_id=x.request_id,
        route=x.route or "",
        revision=0 if x.decision is None else x.decision.revision,
        versions={chosen.layer.value: chosen.version.release.variant for chosen in layers},
        wire=x.wire.name,
        ending=x.ending.value,
        status=x.status,
        unit=x.unit,
        stream=transcript.stream,
        request=request,
        request_bytes=len(x.body),
        request_cut=request_cut,
        answer=answer,
        answer_bytes=transcript.size,
        answer_cut=answer_cut or transcript.cut or not transcript.whole,
    )


def _answer(transcript: Transcript, wire: str) -> tuple[str | None, bool]:
    """A whole answer as it went out; of a stream the text that its events add up to, where they add up to some."""
    body = transcript.body
    if transcript.stream and wire in WIRES and not body.startswith(b"{"):
        text = said_in(body, wire)
        if text:
            return text[:SHOWN_BYTES], len(text) > SHOWN_BYTES
    return shown(body)


def said_in(body: bytes, wire: str) -> str:
    """The answer's text. A provider may cut a character's surrogates apart, into two events: put together again they are
    one, and what is left of others is replaced, for neither JSON nor a log takes half a character."""
    return text_of(body, wire).encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def shown(data: bytes) -> tuple[str | None, bool]:
    """The beginning of `data` as text without secrets, None where it is none; and whether there is more of it."""
    cut = len(data) > SHOWN_BYTES
    begins = SECRET.sub(MASKED, data[:SHOWN_BYTES])
    try:
        # A character that the bound cuts in two is left out.
        return codecs.getincrementaldecoder("utf-8")().decode(begins, final=not cut), cut
    except UnicodeDecodeError:
        return None, cut
