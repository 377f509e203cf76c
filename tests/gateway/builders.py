"""Snapshots, routes and exchanges with sensible defaults, so that a test shows only what matters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from flags.canonical import digest
from flags.codec import document_of
from flags.model import Flag, Kind, Layer, ObjectKey, Position, Rollout, StoredObject, Variant
from flags.snapshot import Snapshot
from gateway.auth import KEYLESS, Caller
from gateway.compiling import compile_serving
from gateway.decision import Serving
from gateway.exchange import Exchange
from gateway.price import Prices
from gateway.token import PERIOD_SECONDS, TokenSigner
from gateway.wires.base import Wire
from gateway.wires.chat import Chat

PROMPT = {"messages": [{"role": "system", "content": "You are v6."}]}
MODEL = {"upstream": "mock", "model": "gpt-4.1"}

# When it is in these tests, and who signs then.
NOW = 1_800_000_000
SIGNER = TokenSigner({NOW // PERIOD_SECONDS: b"k" * 32}, b"u" * 32)


def flag(
    key: str, layer: Layer | None, contents: Mapping[str, Any], **state: Any
) -> tuple[Flag, dict[str, Any]]:
    """A flag and its contents by hash; serves the first variant unless told otherwise."""
    first = next(iter(contents))
    variants = {name: Variant(name, digest(value)) for name, value in contents.items()}
    rule = state.pop("targeting", None)
    held = {digest(value): value for value in contents.values()}
    if rule is not None:
        held[digest(rule)] = rule
        state["targeting"] = digest(rule)
    return Flag(key, variants, **{"serve": first, "safe": first, "layer": layer, **state}), held


def serving(
    prompts: Mapping[str, Any] | None = None,
    models: Mapping[str, Any] | None = None,
    *,
    route: str = "support-bot",
    prompt_state: Mapping[str, Any] | None = None,
    model_state: Mapping[str, Any] | None = None,
    sticky: str = "user",
    prices: Prices | None = None,
    upstreams: Mapping[str, Any] | None = None,
    **spec: Any,
) -> Serving:
    """What a process serves with one route of a prompt and a model flag."""
    made = [flag(f"{route}.model", Layer.MODEL, models or {"gpt-4.1": MODEL}, **(model_state or {}))]
    if prompts != {}:
        made.append(flag(f"{route}.prompt", Layer.PROMPT, prompts or {"v6": PROMPT}, **(prompt_state or {})))
    objects = {
        ObjectKey(Kind.FLAG, f.key): StoredObject(ObjectKey(Kind.FLAG, f.key), document_of(f), 7)
        for f, _ in made
    }
    key = ObjectKey(Kind.ROUTE, route)
    objects[key] = StoredObject(key, {"spec": {"sticky": sticky, **spec}}, 7)
    for name, declared in (upstreams or {}).items():
        place = ObjectKey(Kind.UPSTREAM, name)
        objects[place] = StoredObject(place, {"spec": declared}, 7)
    contents = {name: value for _, held in made for name, value in held.items()}
    snapshot = Snapshot.build("default", Position(7, "h"), 7, objects, contents)
    return compile_serving(snapshot, prices=prices or Prices())


def rollout(variant: str, percent: float) -> Mapping[str, Any]:
    """State with a candidate."""
    return {"rollout": Rollout(variant, percent)}


def body(**fields: Any) -> bytes:
    """A chat request of one user message."""
    base = {"model": "support-bot", "messages": [{"role": "user", "content": "Where is my order?"}]}
    return msgspec.json.encode({**base, **fields})


class Hall:
    """A door that keeps what goes out through it."""

    def __init__(self) -> None:
        self.status = 0
        self.headers: dict[bytes, bytes] = {}
        self.parts: list[bytes] = []
        self.ended = self.aborted = False

    async def start(self, status: int, headers: Sequence[tuple[bytes, bytes]]) -> None:
        assert self.status == 0, "a second head"
        self.status, self.headers = status, dict(headers)

    async def write(self, data: bytes) -> None:
        assert self.status
        assert not self.ended
        self.parts.append(data)

    async def end(self, data: bytes = b"") -> None:
        assert not self.ended, "a second end"
        self.parts.append(data)
        self.ended = True

    def abort(self) -> None:
        self.ended = self.aborted = True

    @property
    def text(self) -> str:
        return b"".join(self.parts).decode()

    @property
    def json(self) -> Any:
        return msgspec.json.decode(b"".join(self.parts))


def exchange(
    content: bytes,
    headers: Mapping[str, str] | None = None,
    *,
    caller: Caller = KEYLESS,
    clock: Any = None,
    wire: Wire | None = None,
) -> Exchange:
    """A request that has just come in; its door is a Hall."""
    raw = {name.encode(): value.encode() for name, value in (headers or {}).items()}
    x = Exchange("req-1", raw, caller, Hall(), wire or Chat(), clock or (lambda: 0.0))
    x.body = content
    return x
