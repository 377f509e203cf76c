"""Who asks, and what they pin: the evaluation context from body, headers and key (CONTRACT §2). Pure."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from flags.model import NAME, NOTHING, Context, Json
from gateway.ask import Ask
from gateway.attributes import baggage, foreign_attributes, foreign_user
from gateway.auth import KEYLESS, Caller
from gateway.decision import Route, Serving
from gateway.errors import BadRequest, Forbidden

NO_PINS: Mapping[str, str] = NOTHING  # type: ignore[assignment]  # an empty mapping of any kind


def read_context(
    ask: Ask, route: Route, headers: Mapping[bytes, bytes], caller: Caller, request_id: str
) -> Context:
    """Who asks (CONTRACT §2): the first of header, `user`, `safety_identifier`, `metadata.user_id`, the user that another
    gateway's header names; else this request. Of attributes those count most that were meant for this gateway."""
    sent = header_context(headers)
    metadata = ask.metadata() if "metadata" in ask.fields else NOTHING
    key = targeting_key(ask, route, headers, caller, metadata) or request_id
    if not route.reads_attributes:
        return Context(key)
    return Context(key, _attributes(headers, caller, metadata, sent))


def switch_context(
    context: Context, ask: Ask, route: Route, headers: Mapping[bytes, bytes], caller: Caller
) -> Context:
    """`context` as the gateway's own switches see it: with all attributes, whatever the route's rules look at, and
    `route`, the route's name, for which nothing that a request sends can stand."""
    attributes: Mapping[str, Json] = context.attributes
    if not route.reads_attributes:
        metadata = ask.metadata() if "metadata" in ask.fields else NOTHING
        attributes = _attributes(headers, caller, metadata, header_context(headers))
    return Context(context.targeting_key, {**attributes, "route": route.name})


def _attributes(
    headers: Mapping[bytes, bytes], caller: Caller, metadata: Mapping[str, Json], sent: Mapping[str, Json]
) -> dict[str, Json]:
    return {
        **metadata,
        **foreign_attributes(headers, metadata),
        **baggage(headers),
        **sent,
        # Last, so that nothing that a request sends stands in its place.
        "key": dict(caller.attributes),
    }


def targeting_key(
    ask: Ask, route: Route, headers: Mapping[bytes, bytes], caller: Caller, metadata: Mapping[str, Json]
) -> str | None:
    """The key that a user's answers stick to, None where the app named none."""
    if route.sticky == "api_key" and caller is not KEYLESS:
        return f"key:{caller.name}"
    header = headers.get(b"x-pointsman-targeting-key")
    if header:
        return header.decode("utf-8", "replace")
    user = ask.text("user") or ask.text("safety_identifier")
    if user:
        return user
    user_id = metadata.get("user_id")
    if isinstance(user_id, str | int) and user_id != "":
        return str(user_id)
    return foreign_user(headers)


def header_context(headers: Mapping[bytes, bytes]) -> Mapping[str, Json]:
    """`x-pointsman-context` as an object. Raises BadRequest for anything else."""
    raw = headers.get(b"x-pointsman-context")
    if raw is None:
        return NOTHING
    try:
        value = msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadRequest(
            f"x-pointsman-context: not valid JSON: {error}", param="x-pointsman-context"
        ) from error
    if not isinstance(value, dict):
        raise BadRequest("x-pointsman-context: expected a JSON object", param="x-pointsman-context")
    return value


def read_pins(headers: Mapping[bytes, bytes], serving: Serving, caller: Caller) -> Mapping[str, str]:
    """The caller's pins by flag key. Raises Forbidden where the caller may not pin, BadRequest for unknown names."""
    raw = headers.get(b"x-pointsman-pin")
    if raw is None:
        return NO_PINS
    if not caller.may_pin:
        raise Forbidden("x-pointsman-pin: this key may not pin versions", param="x-pointsman-pin")
    pins = {}
    for part in raw.decode("latin-1").split(";"):
        if not part.strip():
            continue
        flag, equals, variant = (piece.strip() for piece in part.partition("="))
        if not equals or not NAME.fullmatch(flag):
            raise BadRequest(
                f"x-pointsman-pin: expected flag=variant, found {part[:200]!r}", param="x-pointsman-pin"
            )
        known = serving.snapshot.flags.get(flag)
        if known is None:
            raise BadRequest(f"x-pointsman-pin: flag {flag!r} does not exist", param="x-pointsman-pin")
        if variant not in known.flag.variants:
            names = ", ".join(sorted(known.flag.variants))
            message = f"x-pointsman-pin: flag {flag!r} has no variant {variant[:128]!r} (variants: {names})"
            raise BadRequest(message, param="x-pointsman-pin")
        pins[flag] = variant
    return pins
