"""Which version answers a request: the evaluation context, the pins, and one Resolution per layer. Pure; no clock, no I/O."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple, TypeVar
from urllib.parse import unquote

import msgspec

from flags.model import NAME, NOTHING, Context, Json, Layer, Reason, Resolution
from flags.resolve import resolve
from gateway.ask import Ask
from gateway.auth import KEYLESS, Caller
from gateway.errors import BadRequest, Forbidden, NotReady, UnknownRoute
from gateway.prompt import PreparedPrompt
from gateway.route import PreparedModel, Route, RouteLayer, Serving, Unservable, Version
from policies.outcome import Release

NO_PINS: Mapping[str, str] = NOTHING  # type: ignore[assignment]  # an empty mapping of any kind

P = TypeVar("P", PreparedModel, PreparedPrompt)


class Chosen(NamedTuple):
    """One layer's answer: the version that serves it, ready to be used."""

    layer: Layer
    resolution: Resolution
    version: Version


@dataclass(frozen=True, slots=True)
class Decision:
    """All layers' answers for one request, from one snapshot."""

    route: Route
    revision: int
    layers: tuple[Chosen, ...]

    @property
    def versions(self) -> str:
        """`prompt=v7;model=gpt-4.1`: what answers, in the layers' order."""
        return ";".join([chosen.version.label for chosen in self.layers])

    @property
    def releases(self) -> tuple[Release, ...]:
        """What this decision is evidence for."""
        return tuple([chosen.version.release for chosen in self.layers])

    @property
    def coins(self) -> tuple[str, ...]:
        """The flags that the rollout's coin decided, on either side."""
        return tuple([r.flag for _, r, _ in self.layers if r.reason is Reason.SPLIT])

    def token(self) -> str:
        """The releases as the decision token names them."""
        return "~".join([self.route.name, *[chosen.version.token for chosen in self.layers]])

    @property
    def model(self) -> PreparedModel:
        """The model version that answers. Raises NotReady where none can."""
        found = self._prepared(Layer.MODEL, PreparedModel)
        if found is None:
            raise NotReady(f"route {self.route.name}: its model flag is disabled, or it has none")
        return found

    @property
    def prompt(self) -> PreparedPrompt | None:
        """The prompt version put before the app's messages, None where the route has no such layer."""
        return self._prepared(Layer.PROMPT, PreparedPrompt)

    def _prepared(self, layer: Layer, wanted: type[P]) -> P | None:
        for chosen in self.layers:
            if chosen.layer is layer:
                if isinstance(chosen.version.prepared, wanted):
                    return chosen.version.prepared
                assert isinstance(chosen.version.prepared, Unservable)
                raise NotReady(chosen.version.prepared.reason)
        return None


def find_route(serving: Serving, name: str, caller: Caller) -> Route:
    """The route called `name`. Raises UnknownRoute with those that exist (and that the caller may use)."""
    route = serving.routes.get(name)
    if route is not None and (caller.may_use(name)):
        return route
    known = sorted(r for r in serving.routes if caller.may_use(r))
    listed = ", ".join(known[:20]) + (f" and {len(known) - 20} more" if len(known) > 20 else "")
    raise UnknownRoute(f"model {name[:128]!r} is no route here; known: {listed or 'none'}", param="model")


def decide(serving: Serving, route: Route, context: Context, pins: Mapping[str, str], now: int) -> Decision:
    """Resolve every layer of `route` from one snapshot: the pipeline's first step, and the only one that chooses."""
    layers = []
    for layer in route.layers:
        chosen = choose(layer, context, now, pins.get(layer.flag.flag.key) if pins else None)
        if chosen is not None:
            layers.append(chosen)
    return Decision(route, serving.snapshot.revision, tuple(layers))


def choose(layer: RouteLayer, context: Context, now: int, pin: str | None) -> Chosen | None:
    """One layer's version. A disabled flag leaves its layer out; a rule that fails falls back to what is served."""
    resolution = resolve(layer.flag, context, now, pin)
    if resolution.variant is None:
        flag = layer.flag.flag
        served = flag.served
        if resolution.reason is Reason.DISABLED or served is None:
            return None
        generation = flag.variants[served].generation
        resolution = Resolution(
            flag.key, served, layer.flag.values[served], Reason.ERROR, generation, message=resolution.message
        )
    assert resolution.variant is not None
    return Chosen(layer.layer, resolution, layer.versions[resolution.variant])


def read_context(
    ask: Ask, route: Route, headers: Mapping[bytes, bytes], caller: Caller, request_id: str
) -> Context:
    """Who asks (CONTRACT §2): the first of header, `user`, `safety_identifier`, `metadata.user_id`; else this request."""
    sent = header_context(headers)
    metadata = ask.metadata() if "metadata" in ask.fields else NOTHING
    key = targeting_key(ask, route, headers, caller, metadata) or request_id
    if not route.reads_attributes:
        return Context(key)
    attributes: dict[str, Json] = {**metadata, **baggage(headers), **sent, "key": dict(caller.attributes)}
    return Context(key, attributes)


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
    return str(user_id) if isinstance(user_id, str | int) and user_id != "" else None


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


def baggage(headers: Mapping[bytes, bytes]) -> Mapping[str, Json]:
    """W3C baggage as attributes; members that are not `key=value` are skipped, as the standard says."""
    raw = headers.get(b"baggage")
    if raw is None:
        return NOTHING
    pairs = (member.split(";", 1)[0].partition("=") for member in raw.decode("latin-1").split(","))
    return {key.strip(): unquote(value.strip()) for key, equals, value in pairs if equals and key.strip()}


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
