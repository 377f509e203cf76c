"""Which factories of providers this process may call, and calling them. Knows no route and no request.

To import a module is to trust it: a name that only the store holds, which any operator's token may write, loads nothing.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
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


def unfound(references: Iterable[str]) -> Iterator[str]:
    """A sentence on each factory whose top-level module is not found by this Python. Nothing is imported."""
    for reference in sorted(references):
        module = reference.partition(":")[0].partition(".")[0]
        if not _is_found(module):
            yield f"decisions of {reference}: this Python finds no module {module!r} (install it, or set PYTHONPATH)"


def _is_found(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ValueError:
        # It is running (`__main__`), so it is there.
        return True


@contextmanager
def foreign(reference: str) -> Iterator[None]:
    """The edge to foreign code: whatever it raises becomes NotLoaded, which is told, and the store decides."""
    try:
        yield
    except BaseException as error:  # SystemExit too: what ends a script must not end a thread of ours
        raise NotLoaded(f"{reference}: {type(error).__name__}: {error}") from error


def load(reference: str) -> FeatureProvider:
    """What the factory `module:factory` makes. Raises NotLoaded."""
    module, _, name = reference.partition(":")
    with foreign(reference):
        made = getattr(importlib.import_module(module), name)()
    if inspect.isawaitable(made):
        raise NotLoaded(f"{reference} is a coroutine; expected a plain function that returns a provider")
    if not callable(getattr(made, "resolve_string_details", None)):
        raise NotLoaded(f"{reference} returned {type(made).__name__}; expected an OpenFeature provider")
    provider: FeatureProvider = made
    return provider
