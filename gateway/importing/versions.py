"""Deployments of one name become a version of a model flag: targets and their shares, waiting, retries, fallbacks, price.

Knows no section of the file and no route's name.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from flags.model import Json
from gateway.importing.models import SHARES, Deployment
from gateway.importing.report import Notes

# A request that has met so many fallbacks has long run out of time.
MAX_FALLBACKS = 20


@dataclass(frozen=True, slots=True)
class Defaults:
    """What holds for every model that does not say otherwise."""

    retries: int | None = None
    total_seconds: float | None = None
    first_seconds: float | None = None
    balance: Literal["weighted", "latency"] = "weighted"


def split(group: Sequence[Deployment], notes: Notes) -> tuple[Sequence[Deployment], Sequence[Deployment]]:
    """Who serves, and who only stands by: those of weight 0, and of a later `order` than the first."""
    first = min(each.figures.get("order", 0.0) for each in group)
    serving = [
        each for each in group
        if each.figures.get("order", 0.0) == first and each.figures.get("weight") != 0
    ]  # fmt: skip
    for each in group:
        if "order" in each.figures:
            notes.taken(
                f"{each.path}.litellm_params.order", "the first in order are targets, the others fallbacks"
            )
    if not serving:
        return group, ()
    standing_by = [each for each in group if each not in serving]
    for each in standing_by:
        notes.changed(each.path, "a fallback: by its weight or order it is asked only when the others fail")
    return serving, standing_by


def version(
    serving: Sequence[Deployment], fallbacks: Sequence[dict[str, Json]], defaults: Defaults, notes: Notes
) -> dict[str, Json]:
    """The content of a version whose targets are `serving`, equal but for their shares."""
    first, *others = serving
    shares = _shares(serving, notes)
    content: dict[str, Json] = {
        **first.target,
        "params": dict(first.params),
        **_patience(first, defaults),
        "weight": shares[0],
        "targets": [{**each.target, "weight": share} for each, share in zip(others, shares[1:], strict=True)],
        "balance": defaults.balance if others else "weighted",
        "fallbacks": list(fallbacks),
        "price": _price(serving, notes),
    }
    for each in others:
        if each.params != first.params or _patience(each, defaults) != _patience(first, defaults):
            message = f"the parameters and timeouts of {first.path} hold: targets of one version share them"
            notes.changed(each.path, message, "where they must differ, make it a version of its own")
    return {name: value for name, value in content.items() if value not in (None, [], {}, _USUAL.get(name))}


# What a version has where nothing is said.
_USUAL = {"weight": 1.0, "balance": "weighted", "retries": 0, "total_seconds": 600.0}


def _patience(one: Deployment, defaults: Defaults) -> dict[str, Json]:
    retries = one.figures.get("num_retries", one.figures.get("max_retries", defaults.retries))
    return {
        "timeout_seconds": one.figures.get("stream_timeout", defaults.first_seconds),
        "total_seconds": one.figures.get("timeout", defaults.total_seconds),
        "retries": None if retries is None else int(retries),
    }


def _shares(serving: Sequence[Deployment], notes: Notes) -> list[float]:
    """By the field that the first one has, as LiteLLM's shuffle does; equal where there is none."""
    by = next((each.share[0] for each in serving if each.share), None) if len(serving) > 1 else None
    for each in serving:
        for name in SHARES:
            path = f"{each.path}.litellm_params.{name}"
            if name not in each.figures:
                continue
            if name == "weight":
                notes.taken(path, "its weight among the targets")
            elif name == by:
                notes.changed(path, "its weight among the targets; as a limit it does not hold here")
            else:
                notes.left(path, "targets have no limits here", "the provider's own limits hold")
    return [each.figures.get(by, 1.0) or 1.0 if by else 1.0 for each in serving]


def _price(serving: Sequence[Deployment], notes: Notes) -> dict[str, Json] | None:
    prices = [each.price for each in serving]
    alike = all(price == prices[0] for price in prices)
    for each in serving:
        for path in each.prices:
            if not alike:
                message = "a version has one price, and its targets' differ, so its cost would be wrong"
                notes.left(path, message, "make each target a version of its own")
            elif each.price is None:
                notes.left(path, "a price is one for input and one for output", "add price to the version")
            else:
                notes.taken(path, "the version's price, for a million tokens")
    return prices[0] if alike else None
