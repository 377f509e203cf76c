"""Which factories of providers this process may call, and calling them. Knows no route and no request.

To import a module is to trust it: a name that only the store holds, which any operator's token may write, loads nothing.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from flags.model import Document, Json

if TYPE_CHECKING:
    from openfeature.provider import FeatureProvider

# A comma list of module:factory.
TRUSTED = "POINTSMAN_DECISIONS"


class NotLoaded(Exception):
    """Raised when a factory makes no provider, with the reason."""


@runtime_checkable
class Switchable(Protocol):
    """A provider whose flags can be switched from here (ours to ask for; OpenFeature has no such thing)."""

    def switch(self, flag_key: str, variant: str, reason: str) -> object:
        """Serve `variant` of `flag_key` to all; may be a coroutine. Raises where it could not."""
        ...


def trusted(routes: Iterable[Document], environ: Mapping[str, str]) -> frozenset[str]:
    """The factories that the routes of this process's own config file name, and those of its environment."""
    named = {reference for each in routes if (reference := reference_of(each)) is not None}
    told = (part.strip() for part in environ.get(TRUSTED, "").split(","))
    return frozenset(named | {part for part in told if part})


def reference_of(route: Document) -> str | None:
    """The factory that a route's declaration names as who decides; None: the store does."""
    decisions: Json = route.get("decisions")
    found = decisions.get("openfeature") if isinstance(decisions, Mapping) else None
    return found if isinstance(found, str) else None


def load(reference: str) -> FeatureProvider:
    """What the factory `module:factory` makes. Raises NotLoaded."""
    module, _, name = reference.partition(":")
    try:
        made = getattr(importlib.import_module(module), name)()
    except Exception as error:  # foreign code: whatever it raises is told, and the store decides
        raise NotLoaded(f"{reference}: {type(error).__name__}: {error}") from error
    if inspect.isawaitable(made):
        raise NotLoaded(f"{reference} is a coroutine; expected a plain function that returns a provider")
    if not callable(getattr(made, "resolve_string_details", None)):
        raise NotLoaded(f"{reference} returned {type(made).__name__}; expected an OpenFeature provider")
    provider: FeatureProvider = made
    return provider
