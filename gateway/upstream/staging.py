"""From an answer's words and a reply's faults to the parts that are played. Knows no wire format and no time."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import islice
from typing import Literal

from gateway.spec import Reply
from gateway.upstream.base import Headers
from gateway.upstream.playback import Part, Script
from gateway.upstream.wording import GARBAGE, Voice, Whole
from gateway.upstream.wording_errors import error_for, request_id

UNDER_A_200 = "the simulated upstream reports an error under a 200"


def staged(reply: Reply, told: Whole | Voice, path: str, digest: str) -> Script:
    """The whole answer to the request with this path and digest, up to its end or to its fault."""
    parts = stream(reply, told) if isinstance(told, Voice) else whole(reply, told.body, path)
    return script_of(reply, parts, told.content_type, request_id(path, digest))


def script_of(reply: Reply, parts: Iterator[Part], content_type: bytes, headers: Headers) -> Script:
    """An answer whose head comes after the reply's delay, or never."""
    fields = [(b"content-type", content_type), *headers]
    if reply.retry_after_seconds is not None:
        fields.append((b"retry-after", b"%d" % math.ceil(reply.retry_after_seconds)))
    opening = Part(wait_seconds=reply.delay_seconds, fault=None if reply.after_chunks else _break(reply))
    return Script(opening, reply.status, tuple(fields), parts)


def whole(reply: Reply, body: bytes, path: str) -> Iterator[Part]:
    """The body of an answer that comes at once; an error in its place is in the path's dialect."""
    if reply.fault == "garbage":
        yield Part(GARBAGE)
    elif reply.fault == "error_body":
        yield Part(error_for(path, reply.text or UNDER_A_200))
    elif reply.fault is None:
        yield Part(body)
    elif reply.fault != "empty":
        yield Part(body[: len(body) // 2])
        yield Part(fault=_break(reply))


def stream(reply: Reply, voice: Voice) -> Iterator[Part]:
    """A stream's events, up to its end or to its fault."""
    if reply.fault == "empty" and reply.after_chunks == 0:
        return
    yield Part(voice.opening())
    for events in islice(voice.content(), None if reply.fault is None else reply.after_chunks):
        wait_seconds = reply.chunk_delay_seconds
        for event in events:
            yield Part(event, wait_seconds=wait_seconds)
            wait_seconds = 0.0
    if reply.fault is None:
        yield Part(voice.ending())
    else:
        yield _broken(reply, voice)


def _broken(reply: Reply, voice: Voice) -> Part:
    """What a stream with a fault has instead of its end."""
    if reply.fault == "garbage":
        return Part(voice.garbage())
    if reply.fault == "error_body":
        return Part(voice.error(reply.text or UNDER_A_200))
    return Part(fault=_break(reply))


def _break(reply: Reply) -> Literal["hang", "cut"] | None:
    """The reply's fault, if it is one by which bytes stop coming."""
    match reply.fault:
        case "hang" | "cut" as fault:
            return fault
        case _:
            return None
