"""Finds and replaces the one field of a multipart form that is ours: the model's name. All other bytes stay as they came.

Knows RFC 7578 and RFC 2046 §5.1 as far as that needs, no route and no upstream. (Parsers of forms give files, and a
writer would make other bytes of them; a provider gets the app's own.)
"""

from __future__ import annotations

import re
from typing import NamedTuple

from gateway.errors import BadRequest

# RFC 2046 §5.1.1: a boundary has 70 characters at most; quoted, it may hold others than a token's.
_BOUNDARY = re.compile(rb'(?i)boundary=(?:"([^"\r\n]{1,70})"|([^\s;",]{1,70}))')
_NAME = re.compile(rb'(?i)content-disposition:[^\r\n]*[;\s]name="?([^"\r\n;]*)"?')
# The parts' heads are a few lines; more is no form.
MAX_HEAD_BYTES = 16 * 1024
MAX_PARTS = 1000
MAX_VALUE_BYTES = 1024


class Field(NamedTuple):
    """Where a field's value stands in the body."""

    value: str
    start: int
    end: int


def boundary_of(content_type: bytes) -> bytes:
    """What stands between the parts. Raises BadRequest where the header does not tell."""
    found = _BOUNDARY.search(content_type)
    if found is None:
        raise BadRequest("content-type: multipart/form-data without a boundary", param="content-type")
    return bytes(found[1] or found[2])


def find_field(body: bytes, boundary: bytes, name: str) -> Field | None:
    """The first field `name` of the form, None where it has none. Raises BadRequest for what is no form."""
    wanted, mark = name.encode(), b"--" + boundary
    start = 0 if body.startswith(mark) else _after(body, body.find(b"\r\n" + mark))
    for _ in range(MAX_PARTS):
        start += len(mark)
        if body.startswith(b"--", start):
            return None
        head_end = body.find(b"\r\n\r\n", start, start + MAX_HEAD_BYTES)
        end = body.find(b"\r\n" + mark, max(head_end, start))
        if head_end < 0 or end < 0:
            raise BadRequest("the body is no multipart form: a part has no end")
        found = _NAME.search(body, start, head_end + 2)
        if found is not None and found[1] == wanted:
            return _field(body, head_end + 4, end, name)
        start = end + 2
    raise BadRequest(f"the body is no form that is taken: it has more than {MAX_PARTS} parts")


def with_field(body: bytes, boundary: bytes, name: str, value: str) -> bytes:
    """The same form with `value` in the field `name`: replaced, or put before the other parts."""
    field = find_field(body, boundary, name)
    raw = value.encode()
    if field is not None:
        return b"".join((body[: field.start], raw, body[field.end :]))
    part = b'--%b\r\nContent-Disposition: form-data; name="%b"\r\n\r\n%b\r\n' % (boundary, name.encode(), raw)
    first = body.find(b"--" + boundary)
    return b"".join((body[:first], part, body[first:]))


def _after(body: bytes, line_end: int) -> int:
    if line_end < 0:
        raise BadRequest("the body is no multipart form: its boundary does not occur in it")
    return line_end + 2


def _field(body: bytes, start: int, end: int, name: str) -> Field:
    value = body[start:end]
    if start > end or len(value) > MAX_VALUE_BYTES:
        raise BadRequest(f"{name}: expected a short text in the form", param=name)
    try:
        return Field(value.decode(), start, end)
    except UnicodeDecodeError as error:
        raise BadRequest(f"{name}: not valid UTF-8", param=name) from error
