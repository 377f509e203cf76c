"""What a config file says of flags for others than the gateway's own routes. Shapes only, no behaviour."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

from msgspec import Meta

from gateway.spec_base import Spec

# A page's origin as browsers send it, or * for any page. (Others are refused by gateway.config.checks_origins, in words.)
Origin: TypeAlias = Annotated[
    str,
    Meta(max_length=512, description="https://app.example, or * for any"),
]


class OfrepSpec(Spec, frozen=True):
    """How flags are evaluated over HTTP (OFREP).

    `cors`: the origins of web pages that may ask. `requests_per_second`: for each key (each address, where nobody has a
    key) and worker. `streams`: how many open event streams each worker holds at most; `streams_per_key`: how many of these for
    one key (one address, where nobody has a key); nine tenths, where nothing is said.
    """

    cors: list[Origin] = []
    requests_per_second: Annotated[float, Meta(gt=0, le=1_000_000)] | None = None
    streams: Annotated[int, Meta(ge=0, le=1_000_000)] = 10_000
    streams_per_key: Annotated[int, Meta(ge=1, le=1_000_000)] | None = None

    @property
    def share(self) -> int:
        """The streams that one key may hold: a page's key, which everybody can read, leaves room for the others."""
        return self.streams - self.streams // 10 if self.streams_per_key is None else self.streams_per_key


class DecisionsSpec(Spec, frozen=True):
    """Who decides a route's versions in the store's place.

    `openfeature` names a function without arguments that makes an OpenFeature provider, `module:factory`; a worker calls
    it only where its own config file (or POINTSMAN_DECISIONS) names it. `blocking`: the provider may wait for a network,
    so it is asked beside the loop, and what has not come after `timeout_seconds` is not used. `randomized`: an answer by
    TARGETING_MATCH was drawn at random among users, as flagd's `fractional` does without saying SPLIT. `layers`: those that
    it decides, where it does not decide all; the others are the store's.
    """

    openfeature: Annotated[
        str, Meta(pattern=r"^[A-Za-z_][A-Za-z0-9_.]*:[A-Za-z_][A-Za-z0-9_]*$(?!\n)", max_length=256)
    ]
    blocking: bool = False
    timeout_seconds: Annotated[float, Meta(gt=0, le=10, description="seconds")] = 0.25
    randomized: bool = False
    layers: list[Literal["pipeline", "prompt", "retriever", "index", "model"]] | None = None

    def decides(self, layer: str) -> bool:
        """Whether the layer's versions are its to choose."""
        return self.layers is None or layer in self.layers
