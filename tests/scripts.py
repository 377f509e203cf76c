"""Answers in steps, for a server that does as it is told: bytes, pauses and ends. Knows no wire format but errors."""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import Enum


class End(Enum):
    """What may happen to the connection at a point of an answer."""

    HANG = "hang"  # send nothing more, until the peer closes
    CUT = "cut"  # reset the connection
    CLOSE = "close"  # end it in order (FIN)


Step = bytes | float | End


@dataclass(frozen=True, slots=True)
class Script:
    """An answer in steps: bytes are sent (and drained), numbers are seconds to wait, an End ends it.

    Without `reads_body` the request's body is left in the socket until the steps are through.
    """

    steps: tuple[Step, ...]
    reads_body: bool = True


def head(status: int = 200, content_type: str = "application/json", **headers: str | int) -> bytes:
    """The head of a response; `content_length=3` becomes `content-length: 3`."""
    fields = {"content-type": content_type} | {
        name.replace("_", "-"): value for name, value in headers.items()
    }
    lines = [f"HTTP/1.1 {status} Scripted", *(f"{name}: {value}" for name, value in fields.items()), "", ""]
    return "\r\n".join(lines).encode()


def json_answer(body: bytes, *, status: int = 200, wait_seconds: float = 0.0, **headers: str | int) -> Script:
    """A whole answer with a content-length."""
    return Script((wait_seconds, head(status, content_length=len(body), **headers) + body))


def error_answer(status: int, *, retry_after: int | None = None, message: str = "scripted") -> Script:
    """An error in OpenAI's shape."""
    body = json.dumps(
        {"error": {"message": message, "type": "scripted", "param": None, "code": None}}
    ).encode()
    return json_answer(body, status=status, **({} if retry_after is None else {"retry_after": retry_after}))


def error_body() -> Script:
    """A 200 that holds an error."""
    return json_answer(
        b'{"error": {"message": "scripted", "type": "server_error", "param": null, "code": null}}'
    )


def stream_answer(*pieces: Step, end: bytes | End = b"0\r\n\r\n") -> Script:
    """A chunked event stream; each bytes is one write and one chunk, numbers are pauses."""
    steps = (chunked(piece) if isinstance(piece, bytes) else piece for piece in pieces)
    return Script((head(200, "text/event-stream", transfer_encoding="chunked"), *steps, end))


def chunked(data: bytes) -> bytes:
    """One chunk of a chunked body."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def hang_before_head() -> Script:
    """Take the request, answer nothing."""
    return Script((End.HANG,))


def cut_before_head() -> Script:
    """Take the request, reset the connection."""
    return Script((End.CUT,))


def close_before_head() -> Script:
    """Take the request, close in order: as a server does that had just given the connection up."""
    return Script((End.CLOSE,))


def cut_mid_body(body: bytes = b"0123456789") -> Script:
    """Promise more than comes."""
    return Script((head(content_length=len(body) + 1) + body, End.CLOSE))


def garbage() -> Script:
    """Bytes that are no HTTP."""
    return Script((b"\x16\x03\x01 this is not HTTP\r\n\r\n", End.HANG))


def unread() -> Script:
    """Never read the request's body."""
    return Script((End.HANG,), reads_body=False)
