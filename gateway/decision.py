"""What deciding knows and what it makes: routes as they are served, what is asked, and each layer's answer.

Types only, compiled or made elsewhere; who decides, and how, stands in gateway.route.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import NamedTuple, TypeVar

import msgspec

from flags.compiled import CompiledFlag
from flags.model import Context, Layer, Reason, Resolution
from flags.snapshot import Snapshot
from gateway.ask import Ask
from gateway.errors import NotReady
from gateway.prompt import PreparedPrompt
from gateway.retrieval.retriever import PreparedIndex, PreparedRetriever
from gateway.spec import CacheSpec
from gateway.spec_flags import DecisionsSpec
from gateway.spec_rulebook import JudgeSpec
from gateway.switches.board import AS_SHIPPED, Switchboard
from gateway.version import PreparedModel, PreparedPipeline, Unservable, Version
from policies.outcome import How, Release

P = TypeVar("P", PreparedModel, PreparedPrompt, PreparedRetriever, PreparedIndex, PreparedPipeline)

EVERY_LAYER = frozenset(Layer)
# The pins of a route without a pipeline.
NOTHING_PINNED: Mapping[str, Mapping[Layer, Chosen | None]] = MappingProxyType({})
NO_PINS: Mapping[Layer, Chosen | None] = MappingProxyType({})
NOTHING_GIVEN: Mapping[str, Given] = MappingProxyType({})


class Mirror(NamedTuple):
    """A version that is sent a copy of `weight` of 10,000 requests (gateway.shadow)."""

    version: Version
    weight: int


@dataclass(frozen=True, slots=True)
class RouteLayer:
    """One layer of a route: its flag, and each variant made ready."""

    layer: Layer
    flag: CompiledFlag
    versions: Mapping[str, Version]
    # The variant that is on trial or could go back, and what the shield serves in its place (gateway.shield).
    subject: str | None = None
    control: Version | None = None
    # What is sent a copy of some requests; None: nothing is.
    shadow: Mirror | None = None
    # What it gives to every request that pins nothing; None: that hangs on the request.
    always: Chosen | None = None


class Chosen(NamedTuple):
    """One layer's answer: the version that serves it, ready to be used.

    `control` answers in its place where this one is on trial and fails; None: nothing does.
    """

    layer: Layer
    resolution: Resolution
    version: Version
    how: How = How.PLAIN
    control: Version | None = None


class Given(NamedTuple):
    """What a provider of decisions gave for a flag: one of its variants, and how that was chosen.

    `variant` None: nothing that can be served, and `message` says why.
    """

    variant: str | None
    reason: Reason = Reason.ERROR
    how: How = How.PLAIN
    message: str | None = None


@dataclass(frozen=True, slots=True)
class Route:
    """A route as it is served now. `layers` stand in the order in which a request meets them."""

    name: str
    layers: tuple[RouteLayer, ...]
    # The keys of the flags that its layers use, or would use if they existed.
    may_use: tuple[str, ...] = ()
    sticky: str = "user"
    # Whether any rule looks at attributes: where none does, a request's metadata need not be read.
    reads_attributes: bool = False
    # What each version of the pipeline pins on this route, by its name; None: that layer's flag is disabled.
    pinned: Mapping[str, Mapping[Layer, Chosen | None]] = field(default_factory=lambda: NOTHING_PINNED)
    # Whether any layer has a shadow.
    shadowed: bool = False
    # Seconds of silence after which a stream carries a sign of life; 0: never.
    keep_alive_seconds: float = 0.0
    # How answers are kept for requests that are exactly alike; None: they are not.
    cache: CacheSpec | None = None
    # Whether it has what finding passages takes: a retriever and an index.
    searches: bool = False
    # Who judges a share of its answers; None: nobody.
    judge: JudgeSpec | None = None
    # Who decides its versions in the store's place; None: nobody.
    decisions: DecisionsSpec | None = None


@dataclass(frozen=True, slots=True)
class Serving:
    """What this process serves from, swapped whole: no request mixes two of these."""

    snapshot: Snapshot
    routes: Mapping[str, Route]
    switches: Switchboard = AS_SHIPPED


class Asked(NamedTuple):
    """On what a decision rests besides its snapshot: what deciding again takes."""

    context: Context
    pins: Mapping[str, str]
    now: int
    applying: Collection[Layer] = EVERY_LAYER
    # Whether pins hold for withdrawn versions too.
    past_withdrawn: bool = False
    # What somebody else decided, by flag, where the route's decisions are not the store's.
    given: Mapping[str, Given] = NOTHING_GIVEN


class Decision(msgspec.Struct, frozen=True, gc=False):
    """All layers' answers for one request, from one snapshot (a Struct: one is made per request)."""

    route: Route
    revision: int
    layers: tuple[Chosen, ...]
    # Kept where a pipeline is on trial alone: with another pipeline every layer is another.
    asked: Asked | None = None

    @property
    def versions(self) -> str:
        """`prompt=v7;model=gpt-4.1`: what answers, in the layers' order."""
        return ";".join([chosen.version.label for chosen in self.layers])

    @property
    def releases(self) -> tuple[Release, ...]:
        """What this decision is evidence for."""
        return tuple([chosen.version.release for chosen in self.layers])

    @property
    def how(self) -> str:
        """How each of `releases` was chosen, a letter each."""
        return "".join([chosen.how for chosen in self.layers])

    @property
    def on_trial(self) -> bool:
        """Whether a version answers that the shield stands before."""
        for chosen in self.layers:  # noqa: SIM110  # a generator costs three times as much, on every request
            if chosen.control is not None:
                return True
        return False

    def token(self, unit: str) -> str:
        """Who asked and what answered, as the decision token names them."""
        parts = [self.route.name, unit or "-"]
        parts += [chosen.version.token + chosen.how for chosen in self.layers]
        return "~".join(parts)

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

    @property
    def retriever(self) -> PreparedRetriever | None:
        """The retriever version, None where the route has no such layer. Raises NotReady where it cannot be used."""
        return self._prepared(Layer.RETRIEVER, PreparedRetriever)

    @property
    def index(self) -> PreparedIndex | None:
        """The index version that it searches, None where the route has no such layer. Raises NotReady."""
        return self._prepared(Layer.INDEX, PreparedIndex)

    @property
    def pipeline(self) -> PreparedPipeline | None:
        """The pipeline version that pins the others, None where the route has no such layer."""
        return self._prepared(Layer.PIPELINE, PreparedPipeline) if self.route.pinned else None

    def _prepared(self, layer: Layer, wanted: type[P]) -> P | None:
        for chosen in self.layers:
            if chosen.layer is layer:
                if isinstance(chosen.version.prepared, wanted):
                    return chosen.version.prepared
                assert isinstance(chosen.version.prepared, Unservable)
                raise NotReady(chosen.version.prepared.reason)
        return None


class Mirrored(NamedTuple):
    """A copy of a request for a shadow, and what answers it."""

    decision: Decision
    ask: Ask
