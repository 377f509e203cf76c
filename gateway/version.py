"""A variant made ready to serve: what a snapshot can tell of it is made once, so that a request only puts bytes together.

No I/O, and no request is known here.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

import msgspec

from flags.errors import FlagError
from flags.model import Json, Layer
from gateway.balance import Balance
from gateway.content import index_content, model_content, pipeline_content, prompt_content, retriever_content
from gateway.price import Rate, Rates, Tariff, config_rate
from gateway.prompt import PreparedPrompt, prepare_prompt
from gateway.retrieval.retriever import PreparedIndex, PreparedRetriever, prepare_index, prepare_retriever
from gateway.spec import ModelContent, PipelineContent
from gateway.wires.params import NO_PARAMS, names_anywhere, params_by_wire
from policies.outcome import Release

log = logging.getLogger("pointsman.version")

# Pauses before a retry have full jitter below 100 ms · 2^n, at most 2 s: what a provider's hiccup needs, and
# what a user can bear.
BACKOFF_SECONDS, BACKOFF_LIMIT_SECONDS = 0.1, 2.0
# A model version with this name asks for the one that the app has sent: for a `*` route.
THE_APPS = b'"*"'


class Attempt(NamedTuple):
    """One target that may be asked: the upstream, and the JSON of the name by which it knows the model.

    `pause` is the longest wait before it; `fallback` tells that it is not the version's first upstream.
    """

    upstream: str
    model: bytes
    pause: float = 0.0
    fallback: bool = False
    # `openai/gpt-4.1`: by which a breaker knows it.
    target: str = ""
    # What its tokens cost; None: unknown.
    rate: Rate | None = None
    # Where it asks for the name that the app has sent: what that costs.
    rates: Rates | None = None

    def asked(self, name: str) -> Attempt:
        """With the price of the model that was asked for, where the app has named it."""
        return self if self.rates is None else self._replace(rate=self.rates(name))


@dataclass(frozen=True, slots=True)
class PreparedModel:
    """A model version, ready to be put into a body: `params` holds each parameter's JSON, by wire."""

    content: ModelContent
    attempts: tuple[Attempt, ...]
    params: Mapping[str, Mapping[str, bytes]]
    locked: frozenset[str]
    # The first attempts where they are several, any of which may be asked first, and how that is decided.
    equals: tuple[Attempt, ...] = ()
    balance: Balance | None = None

    def on(self, wire: str) -> Mapping[str, bytes]:
        """Its parameters on `wire`."""
        return self.params.get(wire, NO_PARAMS)


@dataclass(frozen=True, slots=True)
class PreparedPipeline:
    """A pipeline version: which version of other layers it pins, and each parameter's JSON, by wire."""

    pins: Mapping[Layer, str]
    params: Mapping[str, Mapping[str, bytes]]

    def on(self, wire: str) -> Mapping[str, bytes]:
        """Its parameters on `wire`."""
        return self.params.get(wire, NO_PARAMS)


@dataclass(frozen=True, slots=True)
class Unservable:
    """A content that this process cannot serve; a request that meets it is told why."""

    reason: str


Prepared: TypeAlias = (
    PreparedModel | PreparedPrompt | PreparedRetriever | PreparedIndex | PreparedPipeline | Unservable
)


class Version(NamedTuple):
    """One variant of a layer's flag, ready to answer a request and to be named in its headers."""

    prepared: Prepared
    release: Release
    # `prompt=v7`
    label: str
    # `support-bot.prompt:v7:1:`, as the decision token names it; a letter follows for how it was chosen.
    token: str


def prepare(layer: Layer, value: Json, name: str, tariff: Tariff) -> Prepared:
    """One content made ready, with what it costs by `tariff`.

    What cannot be is Unservable: a bad version must never stop the good ones.
    """
    try:
        if layer is Layer.MODEL:
            return prepare_model(model_content(value), tariff)
        if layer is Layer.PROMPT:
            return prepare_prompt(prompt_content(value))
        if layer is Layer.RETRIEVER:
            return prepare_retriever(retriever_content(value))
        if layer is Layer.INDEX:
            return prepare_index(index_content(value))
        return prepare_pipeline(pipeline_content(value))
    except FlagError as error:
        log.error("version %s cannot be served: %s", name, error)
        return Unservable(f"version {name} cannot be served: {error}")


def prepare_model(content: ModelContent, tariff: Tariff) -> PreparedModel:
    """Spell each parameter as JSON once, so that a request only splices bytes."""
    targets = attempts(content, tariff)
    return PreparedModel(
        content,
        targets,
        params_by_wire(content.params),
        names_anywhere(content.locked),
        equals=targets[: len(content.targets) + 1] if content.targets else (),
        balance=balance_of(content),
    )


def prepare_pipeline(content: PipelineContent) -> PreparedPipeline:
    """Its pins by layer, and its parameters as JSON."""
    pins = {Layer(layer): variant for layer, variant in content.pins.items()}
    return PreparedPipeline(pins, params_by_wire(content.params))


def attempts(content: ModelContent, tariff: Tariff) -> tuple[Attempt, ...]:
    """The targets of a model version: itself and its equals, `retries` more of them with pauses, then its fallbacks.

    Where there are equals, who comes first among them is decided for each request (gateway.balance). The version's own
    price holds for itself; everybody else's is the table's.
    """
    own = content.price
    first = _attempt(content.upstream, content.model, tariff)
    if own is not None:
        first = first._replace(rate=config_rate(own), rates=None)
    equals = [first, *[_attempt(each.upstream, each.model, tariff) for each in content.targets]]
    again = (
        equals[n % len(equals)]._replace(pause=min(BACKOFF_LIMIT_SECONDS, BACKOFF_SECONDS * 2**n))
        for n in range(content.retries)
    )
    others = (
        _attempt(each.upstream, each.model, tariff)._replace(fallback=True) for each in content.fallbacks
    )
    return (*equals, *again, *others)


def balance_of(content: ModelContent) -> Balance | None:
    """How requests are shared among the version's equal targets, where it has more than one."""
    if not content.targets:
        return None
    names = [target_of(each.upstream, each.model) for each in content.targets]
    return Balance(
        (target_of(content.upstream, content.model), *names),
        (content.weight, *(each.weight for each in content.targets)),
        by_latency=content.balance == "latency",
    )


def _attempt(upstream: str, model: str, tariff: Tariff) -> Attempt:
    name, rates = msgspec.json.encode(model), tariff.rates(upstream)
    attempt = Attempt(upstream, name, target=target_of(upstream, model))
    return attempt._replace(rates=rates) if name == THE_APPS else attempt._replace(rate=rates(model))


def target_of(upstream: str, model: str) -> str:
    """`openai/gpt-4.1`: what a breaker guards, and what operators call it."""
    return f"{upstream}/{model}"
