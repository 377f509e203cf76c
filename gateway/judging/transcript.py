"""What a request said and what was answered, for the log `pointsman.content`: a door that keeps the answer's beginning.

Only requests for which the switch `gateway.content-logging` is on have one. Headers and keys never come here; what a
body itself names like a secret is masked.
"""

from __future__ import annotations

import codecs
import logging
import re
from collections.abc import Mapping

import msgspec

from gateway.exchange import Door, Exchange
from gateway.judging.messages import answered_in, asked_in
from gateway.judging.overheard import Overheard
from gateway.judging.text import WIRES, text_of
from policies.outcome import Ending

log = logging.getLogger("pointsman.content")

# Of a request and of an answer each: some 16,000 tokens. A log line is no archive.
SHOWN_BYTES = 64 * 1024
# Of a stream, whose tokens come in some 200 bytes each. What is kept is memory until the request is over.
STREAM_BYTES = 1024 * 1024
# A string under a name such as apps send along for a provider (LiteLLM's `api_key`) or a tool (MCP's `authorization`),
# also within JSON that is a string itself, as tools' arguments are. At the bound it may lack its end. Names are bounded,
# so that a long text without quotes is not gone over twice.
NAMES = (
    rb"(?:api|private|access|signing)[-_]?key|secret|passw(?:or)?d|passphrase|credential|authorization|cookie|bearer"
    rb"|(?:access|api|auth|bot|id|refresh|session)[-_]?token"
)
_NAME = rb"[^\"\\]{0,64}(?:" + NAMES + rb")[^\"\\]{0,64}"
SECRET = re.compile(
    rb"""(?i)("%b"\s*:\s*)"(?:[^"\\]|\\.)*"?""" % _NAME
    + rb"""|((\\{1,3})"%b\\{1,3}"\s*:\s*)\\{1,3}"[^"\\]*(?:\\{1,3}"?)?""" % _NAME
)


def _masked(found: re.Match[bytes]) -> bytes:
    plain, within, stroke = found.groups()
    return plain + b'"***"' if plain is not None else b'%b%b"***%b"' % (within, stroke, stroke)


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


class Transcript(Overheard):
    """The answer's beginning: of a stream more of it, for its events take more than its text."""

    __slots__ = ("stream",)

    def __init__(self, door: Door, *, stream: bool) -> None:
        super().__init__(door, STREAM_BYTES if stream else SHOWN_BYTES)
        self.stream = stream


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
        answer_cut=answer_cut or not transcript.whole,
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
    begins = SECRET.sub(_masked, data[:SHOWN_BYTES])
    try:
        # A character that the bound cuts in two is left out.
        return codecs.getincrementaldecoder("utf-8")().decode(begins, final=not cut), cut
    except UnicodeDecodeError:
        return None, cut
