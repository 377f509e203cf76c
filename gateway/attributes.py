"""What a request's headers say of who asks, in the words of other gateways and of W3C: attributes, and a targeting key.

So an app that moves here from LiteLLM, Portkey, Helicone, Bifrost or AISIX is known without a change. Pure; knows no
flag and no route. What was written for another gateway is never refused: what cannot be read is passed over.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from urllib.parse import unquote

import msgspec

from flags.model import NOTHING, Json

_PORTKEY = b"x-portkey-metadata"
# Headers that name the user, the first that does counts; Portkey's is an object and names it `_user`.
_USERS = (
    b"x-litellm-end-user-id", b"x-litellm-customer-id", _PORTKEY, b"helicone-user-id", b"x-aisix-routing-key",
)  # fmt: skip
# Headers whose value is one attribute; of two with the same name the later one counts.
_SINGLE: Mapping[bytes, str] = MappingProxyType(
    {
        b"x-bf-session-id": "session_id",
        b"x-portkey-trace-id": "trace_id",
        b"x-litellm-session-id": "session_id",
        b"x-litellm-trace-id": "trace_id",
    }
)
# Headers that hold a JSON object.
_OBJECTS = (b"x-litellm-spend-logs-metadata", _PORTKEY)
_TAGS = b"x-litellm-tags"
# Headers whose own name goes on with the attribute's.
_PREFIXES = (b"helicone-property-", b"x-bf-dim-")
# Bytes of one such header, and attributes (or tags) that are taken of a kind: far more than any of these gateways
# takes, and what a rule walks through stays small.
MAX_BYTES, MAX_ATTRIBUTES = 16_384, 100


def foreign_user(headers: Mapping[bytes, bytes]) -> str | None:
    """The user as other gateways' headers name them, None where none does."""
    # One look for all of them: most requests have none.
    if headers.keys().isdisjoint(_USERS):
        return None
    for name in _USERS:
        found = _object(headers, name).get("_user") if name == _PORTKEY else _text(headers, name)
        if isinstance(found, str | int) and not isinstance(found, bool) and found != "":
            return str(found)
    return None


def foreign_attributes(headers: Mapping[bytes, bytes], metadata: Mapping[str, Json]) -> Mapping[str, Json]:
    """What other gateways' headers add to `metadata`, the body's: tags are put together, all else stands over it."""
    found: dict[str, Json] = {}
    if not headers.keys().isdisjoint(_OBJECTS):
        for name in _OBJECTS:
            found.update(_object(headers, name))
        found.pop("_user", None)
    if not headers.keys().isdisjoint(_SINGLE):
        found.update({known: text for name, known in _SINGLE.items() if (text := _text(headers, name))})
    # One look at all names together costs a fifth of one at each.
    names = b" ".join(headers)
    if any(prefix in names for prefix in _PREFIXES):
        found.update(_prefixed(headers))
    if _TAGS in headers:
        found["tags"] = _tags(_text(headers, _TAGS), found.get("tags", metadata.get("tags")))
    return found


def baggage(headers: Mapping[bytes, bytes]) -> Mapping[str, Json]:
    """W3C baggage as attributes; members that are not `key=value` are skipped, as the standard says."""
    raw = headers.get(b"baggage")
    if raw is None:
        return NOTHING
    pairs = (member.split(";", 1)[0].partition("=") for member in raw.decode("latin-1").split(","))
    return {key.strip(): unquote(value.strip()) for key, equals, value in pairs if equals and key.strip()}


def _prefixed(headers: Mapping[bytes, bytes]) -> Iterator[tuple[str, Json]]:
    """`helicone-property-plan: gold` → plan: gold."""
    names = [name for name in headers if name.startswith(_PREFIXES)]
    for name in names[:MAX_ATTRIBUTES]:
        prefix = next(each for each in _PREFIXES if name.startswith(each))
        attribute, value = name[len(prefix) :].decode("latin-1").lower(), _text(headers, name)
        if attribute and value:
            yield attribute, value


def _tags(listed: str, others: Json) -> list[Json]:
    tags = [each for each in others if isinstance(each, str)] if isinstance(others, list) else []
    tags += [tag for part in listed.split(",") if (tag := part.strip())]
    return list(dict.fromkeys(tags[:MAX_ATTRIBUTES]))


def _text(headers: Mapping[bytes, bytes], name: bytes) -> str:
    raw = headers.get(name, b"")
    return raw.decode("utf-8", "replace").strip() if len(raw) <= MAX_BYTES else ""


def _object(headers: Mapping[bytes, bytes], name: bytes) -> Mapping[str, Json]:
    """The JSON object in a header; an empty one for anything else."""
    raw = headers.get(name)
    if raw is None or len(raw) > MAX_BYTES:
        return NOTHING
    try:
        value = msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return NOTHING
    return value if isinstance(value, dict) and len(value) <= MAX_ATTRIBUTES else NOTHING
