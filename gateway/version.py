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
from gateway.content import model_content, prompt_content
from gateway.price import Rate, Tariff, config_rate
from gateway.prompt import PreparedPrompt, prepare_prompt
from gateway.spec import ModelContent
from policies.outcome import Release

log = logging.getLogger("pointsman.version")

# Pauses before a retry have full jitter below 100 ms · 2^n, at most 2 s: what a provider's hiccup needs, and
# what a user can bear.
BACKOFF_SECONDS, BACKOFF_LIMIT_SECONDS = 0.1, 2.0


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


@dataclass(frozen=True, slots=True)
class PreparedModel:
    """A model version, ready to be put into a body: `fields` holds each parameter's JSON."""

    content: ModelContent
    attempts: tuple[Attempt, ...]
    fields: Mapping[str, bytes]
    locked: frozenset[str]


@dataclass(frozen=True, slots=True)
class Unservable:
    """A content that this process cannot serve; a request that meets it is told why."""

    reason: str


Prepared: TypeAlias = PreparedModel | PreparedPrompt | Unservable


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
    except FlagError as error:
        log.error("version %s cannot be served: %s", name, error)
        return Unservable(f"version {name} cannot be served: {error}")
    return Unservable(f"version {name}: layer {layer} is not served by this version of Pointsman")


def prepare_model(content: ModelContent, tariff: Tariff) -> PreparedModel:
    """Spell each parameter as JSON once, so that a request only splices bytes."""
    fields = {key: msgspec.json.encode(value) for key, value in content.params.items()}
    return PreparedModel(content, attempts(content, tariff), fields, frozenset(content.locked))


def attempts(content: ModelContent, tariff: Tariff) -> tuple[Attempt, ...]:
    """The targets of a model version in order: itself, itself again `retries` times, then its fallbacks.

    The version's own price holds for itself; a fallback's is the table's.
    """
    own = content.price
    rate = tariff.rate(content.upstream, content.model) if own is None else config_rate(own)
    first = Attempt(
        content.upstream,
        msgspec.json.encode(content.model),
        target=target_of(content.upstream, content.model),
        rate=rate,
    )
    again = (
        first._replace(pause=min(BACKOFF_LIMIT_SECONDS, BACKOFF_SECONDS * 2**n))
        for n in range(content.retries)
    )
    others = (
        Attempt(
            each.upstream,
            msgspec.json.encode(each.model),
            fallback=True,
            target=target_of(each.upstream, each.model),
            rate=tariff.rate(each.upstream, each.model),
        )
        for each in content.fallbacks
    )
    return (first, *again, *others)


def target_of(upstream: str, model: str) -> str:
    """`openai/gpt-4.1`: what a breaker guards, and what operators call it."""
    return f"{upstream}/{model}"
