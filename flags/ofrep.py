"""OFREP 0.3's documents: a request's body as a Context, a Resolution as an answer, and the tags by which clients ask
whether anything changed. Pure: knows no HTTP but these words, no keys, no clock.

Clients are strict in ways that the protocol is not: the Python one reads `variant` and `reason` of every success
unguarded, and `errorDetails` of every failure; a typed one takes 1 for no float. So all of these are always there.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from hashlib import blake2b
from typing import Any, NamedTuple, TypeAlias

import msgspec

from flags.compiled import CompiledFlag
from flags.model import Context, Document, ErrorCode, Json, Resolution

# A context is some hundred bytes. What a rule does with it is bounded by its values, and by flags.steps.
MAX_BODY_BYTES = 1024 * 1024
# Levels of objects and arrays: data that is nested deeper is no user's, and rules walk it recursively.
MAX_DEPTH = 64
# Attributes at the top: they are copied once for each flag that has a rule.
MAX_ATTRIBUTES = 1000
# Values of all levels together, each at least one object to Python: rules join, compare and look through them, 3 ms each.
MAX_VALUES = 10_000
# The context's digest, in bytes: two contexts of one client must never share a tag.
DIGEST_BYTES = 16
# A revision has fewer digits; more are no revision, and cost to read.
MAX_REVISION_DIGITS = 15

_sorted = msgspec.json.Encoder(order="deterministic").encode
encode = msgspec.json.Encoder().encode


class Problem(NamedTuple):
    """Why a body holds no context."""

    code: ErrorCode
    details: str


class Success(msgspec.Struct, frozen=True, gc=False):
    """One flag's answer. Without `value` the caller's own default applies (ADR-0006)."""

    key: str
    reason: str
    variant: str
    metadata: Mapping[str, Json]
    # Free JSON: msgspec cannot take our recursive Json.
    value: Any = msgspec.UNSET


class Failure(msgspec.Struct, frozen=True, omit_defaults=True, gc=False, rename="camel"):
    """What could not be answered: one flag, or without a `key` the whole request."""

    error_code: str
    error_details: str
    key: str | None = None
    metadata: Mapping[str, Json] | None = None


class EventEndpoint(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    """A stream's address below the client's own base URL: of that one the origin alone counts."""

    request_uri: str


class EventStream(msgspec.Struct, frozen=True, omit_defaults=True, gc=False, rename="camel"):
    """Where a client learns of changes: exactly one of `url` and `endpoint`."""

    # Spelled out by every answer: no default, which would be left out.
    type: str
    inactivity_delay_sec: int
    url: str | None = None
    endpoint: EventEndpoint | None = None


class Bulk(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    """All flags' answers for one context: each a Success or a Failure, encoded already."""

    flags: list[msgspec.Raw]
    metadata: Mapping[str, Json]
    event_streams: list[EventStream] | msgspec.UnsetType = msgspec.UNSET


Answer: TypeAlias = Success | Failure


def read_context(body: bytes, own: Document) -> Context | Problem:
    """Who asks, by a request's body; `own` are the caller's attributes, which stand under `key` whatever was sent.

    No body, and no `context` in it, is the empty context. A missing or empty `targetingKey` is none.
    """
    if not body:
        return Context(None, {"key": dict(own)})
    try:
        document = msgspec.json.decode(body)
    except msgspec.ValidationError as error:
        return Problem(ErrorCode.INVALID_CONTEXT, f"a number that nobody can hold: {error}")
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        return Problem(ErrorCode.PARSE_ERROR, f"the body is no JSON: {error}")
    except RecursionError:
        return too_deep()
    if not isinstance(document, dict):
        return Problem(
            ErrorCode.PARSE_ERROR, f"expected a JSON object, for example {EXAMPLE}; found {_kind(document)}"
        )
    found = document.get("context")
    if found is None:
        found = {}
    if not isinstance(found, dict):
        return Problem(
            ErrorCode.INVALID_CONTEXT,
            f"context: expected an object, for example {EXAMPLE}; found {_kind(found)}",
        )
    return _too_much(found, body) or _context(found, own)


EXAMPLE = '{"context": {"targetingKey": "user-7"}}'


def too_deep() -> Problem:
    """The context nests deeper than it may."""
    return Problem(ErrorCode.INVALID_CONTEXT, f"context: nests deeper than {MAX_DEPTH} levels")


def _context(found: dict[str, Json], own: Document) -> Context | Problem:
    if len(found) > MAX_ATTRIBUTES:
        return Problem(
            ErrorCode.INVALID_CONTEXT,
            f"context: found {len(found):,} attributes; at most {MAX_ATTRIBUTES:,} are taken",
        )
    key = found.pop("targetingKey", None)
    if key is not None and not isinstance(key, str):
        return Problem(
            ErrorCode.INVALID_CONTEXT, f"context.targetingKey: expected a string, found {_kind(key)}"
        )
    # It would be hidden by the evaluation's own; taken away, it does not make two tags of one context either.
    found.pop("$flagd", None)
    found["key"] = dict(own)
    return Context(key or None, found)


def _too_much(found: Json, body: bytes) -> Problem | None:
    """What is wrong with a context that nests too deep or has too many values."""
    # Only where there are brackets or commas enough could there be: most bodies are not walked.
    brackets = body.count(b"{") + body.count(b"[")
    if brackets <= MAX_DEPTH and brackets + body.count(b",") <= MAX_VALUES:
        return None
    level, values = [found], 0
    for _ in range(MAX_DEPTH + 1):
        values += len(level)
        if values > MAX_VALUES:
            return Problem(
                ErrorCode.INVALID_CONTEXT, f"context: at most {MAX_VALUES:,} values are taken, found more"
            )
        level = [each for value in level for each in _inside(value)]
        if not level:
            return None
    return too_deep()


def _inside(value: Json) -> Iterable[Json]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()


def _kind(value: Json) -> str:
    if value is None:
        return "null"
    names = {bool: "a boolean", int: "a number", float: "a number", str: "a string", list: "an array"}
    return names.get(type(value), "an object")


def answer(flag: CompiledFlag, resolution: Resolution, stamp: Mapping[str, Json]) -> Answer:
    """`resolution` of `flag` as a client reads it. `stamp` is what every answer's metadata tells (`Snapshot.stamp`)."""
    own = flag.flag.metadata
    metadata = {**own, **stamp} if own else stamp
    if resolution.error is not None:
        return Failure(resolution.error, resolution.message or "", resolution.flag, metadata)
    if resolution.variant is None:
        return Success(resolution.flag, resolution.reason, "", metadata)
    value = resolution.value
    if flag.floats and type(value) is int:
        value = float(value)
    return Success(resolution.flag, resolution.reason, resolution.variant, metadata, value)


def not_found(key: str, stamp: Mapping[str, Json]) -> Failure:
    """The answer for a flag that does not exist, or does not for this caller."""
    return Failure(ErrorCode.FLAG_NOT_FOUND, f"flag {key[:128]!r} does not exist here", key, stamp)


def failure_of(problem: Problem, key: str | None) -> Failure:
    """The failure that tells of `problem`."""
    return Failure(problem.code, problem.details, key)


def digest(parts: Iterable[bytes]) -> str:
    """A short name for `parts`, in hex."""
    hashed = blake2b(digest_size=DIGEST_BYTES)
    for part in parts:
        # With its length, so that no two lists of parts are one text.
        hashed.update(b"%d:" % len(part))
        hashed.update(part)
    return hashed.hexdigest()


def context_bytes(context: Context) -> bytes:
    """One spelling of `context`, whatever the order of its members."""
    return _sorted([context.targeting_key, context.attributes])


def config_tag(revision: int, fingerprint: str) -> str:
    """The tag of the flags themselves, as events tell it: an ETag without the context."""
    return f'"{revision}-{fingerprint}"'


def etag(revision: int, fingerprint: str, rest: str) -> str:
    """The tag of one bulk answer; `rest` is the digest of all else that it hangs on."""
    return f'"{revision}-{fingerprint}-{rest}"'


def matches(if_none_match: str, tag: str) -> bool:
    """Whether a client that sent this header has the answer with `tag` (RFC 9110 §13.1.2: weakly compared).

    A tag without its quotes counts too: the protocol's own examples leave them out.
    """
    wanted = tag.strip('"')
    listed = (each.strip().removeprefix("W/").strip('"') for each in if_none_match.split(","))
    return any(each in ("*", wanted) for each in listed)


def revision_of(tag: str) -> int | None:
    """The revision that a tag of ours begins with; None for any other."""
    digits = tag.strip().removeprefix("W/").strip('"').partition("-")[0]
    return (
        int(digits)
        if digits.isascii() and digits.isdecimal() and len(digits) <= MAX_REVISION_DIGITS
        else None
    )
