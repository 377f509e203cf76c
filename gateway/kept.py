"""An answer as it is kept for requests that are exactly alike: what is alike, and what of it is kept. Pure.

Knows decisions, fields and bytes, no store. A key names every version that takes part, its life and its content, so
that what a withdrawn version has said is never found by a request that another one serves.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from hashlib import blake2b

import msgspec

from gateway.answer import Whole
from gateway.ask import Ask
from gateway.decision import Decision
from gateway.taps.peek import JsonPeek

# Other wires have lasting effects, or answers too large for a memory.
WIRES = frozenset({"chat", "completions", "embeddings", "messages", "responses"})
# Headers of the app on which an answer depends.
DECIDING = (b"openai-beta", b"anthropic-beta", b"anthropic-version")
FALSE, TRUE = msgspec.Raw(b"false"), msgspec.Raw(b"true")
# 128 bits: an accident is out of the question, and so is, with BLAKE2, one on purpose.
KEY_BYTES = 16


class Copy:
    """One request's part in the cache: whether it may be read and kept, and what of the answer was relayed so far.

    `hit`: what is relayed came from the cache. Nothing is kept of an answer that grows beyond `limit` bytes.
    """

    __slots__ = ("_parts", "_size", "head", "hit", "key", "limit", "reads", "seconds", "writes")

    def __init__(self, limit: int, seconds: float, *, reads: bool, writes: bool) -> None:
        self.limit, self.seconds, self.reads, self.writes = limit, seconds, reads, writes
        self.hit = False
        self.key = ""
        # Of the response's head what belongs to its body.
        self.head: Sequence[tuple[bytes, bytes]] = ()
        self._parts: list[bytes] = []
        self._size = 0

    def __repr__(self) -> str:
        return f"<Copy {self.key} hit={self.hit} writes={self.writes} {self._size} bytes>"

    def take(self, data: bytes) -> None:
        """Keep a part of what is relayed."""
        if not self.writes:
            return
        self._size += len(data)
        if self._size > self.limit:
            self.writes, self._parts = False, []
        else:
            self._parts.append(data)

    def body(self) -> bytes:
        """All that was relayed."""
        return b"".join(self._parts)


class Kept(msgspec.Struct, frozen=True, array_like=True):
    """What lies in the store, MessagePack."""

    head: list[tuple[bytes, bytes]]
    body: bytes
    input_tokens: int | None = None
    output_tokens: int | None = None
    cached_tokens: int | None = None
    reasoning_tokens: int | None = None

    def answer(self) -> Whole:
        """It as an answer; a stream too is here from head to end."""
        peek = JsonPeek(self.input_tokens, self.output_tokens, self.cached_tokens, self.reasoning_tokens)
        return Whole(200, self.head, self.body, peek)


encode = msgspec.msgpack.Encoder().encode
decode = msgspec.msgpack.Decoder(Kept).decode


def copy_for(ask: Ask, headers: Mapping[bytes, bytes], *, seconds: float, max_bytes: int) -> Copy | None:
    """The part in the cache of a request to a route that has one; None where such requests take none.

    `cache-control: no-store` is neither read nor kept; `no-cache`, and Portkey's `x-portkey-cache-force-refresh: true`,
    is not read, and renewed.
    """
    if ask.wire.name not in WIRES or stored(ask):
        return None
    told = {word.strip().lower() for word in headers.get(b"cache-control", b"").split(b",")}
    kept = b"no-store" not in told
    anew = headers.get(b"x-portkey-cache-force-refresh", b"").strip().lower() == b"true"
    return Copy(max_bytes, seconds, reads=kept and not anew and b"no-cache" not in told, writes=kept)


def stored(ask: Ask) -> bool:
    """Whether the provider is to store the answer: it then has effects beyond itself. Responses are, unless told not
    to be."""
    store = ask.fields.get("store")
    if ask.wire.name == "responses":
        return store != FALSE or not ask.wire.replayable(ask)
    return store == TRUE


def key_of(
    decision: Decision,
    ask: Ask,
    fields: Mapping[str, msgspec.Raw],
    headers: Mapping[bytes, bytes],
    places: Iterable[str],
) -> str:
    """What is exactly alike: the wire, the route, every version that answers (life and content), `places` (how the
    upstreams stand), what of the headers decides, and the rendered body."""
    parts: list[bytes | msgspec.Raw] = [
        ask.wire.name.encode(),
        decision.route.name.encode(),
        b"usage" if ask.wants_usage else b"",
        *[headers.get(name, b"") for name in DECIDING],
        *[place.encode() for place in places],
    ]
    flags = {layer.layer: layer.flag.flag for layer in decision.route.layers}
    for chosen in decision.layers:
        release = chosen.version.release
        content = flags[chosen.layer].variants[release.variant].hash
        parts.append(f"{release.flag}/{release.variant}/{release.generation}/{content}".encode())
    for name in sorted(fields):
        parts += (name.encode(), fields[name])
    return digest(parts)


def digest(parts: Iterable[bytes | msgspec.Raw]) -> str:
    """One name for a list of parts; each goes in with its length, so that none runs into the next."""
    found = blake2b(digest_size=KEY_BYTES)
    for part in parts:
        view = memoryview(part)
        found.update(view.nbytes.to_bytes(8, "big"))
        found.update(view)
    return found.hexdigest()
