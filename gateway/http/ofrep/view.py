"""Which flags a caller may see. Knows callers and what is served; no request, and no answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from flags.compiled import CompiledFlag
from flags.ofrep import digest, stamped
from gateway.auth import Caller
from gateway.http.ofrep.encoded import Encoded
from gateway.route import Serving
from gateway.switches.table import KEYS as SWITCHES

# Different sets of routes whose flags are kept listed; apps share few.
MOST_VIEWS = 256


@dataclass(frozen=True, slots=True)
class View:
    """What one caller sees: `flags` sorted by key, and of these the `timed` ones, whose answers time alone can change.

    `name` tells two views of the same flags apart.
    """

    flags: Mapping[str, CompiledFlag]
    timed: tuple[CompiledFlag, ...]
    name: bytes
    # The one part that changes: it fills as answers are asked for.
    encoded: Encoded


def view_of(serving: Serving, caller: Caller) -> View:
    """The flags that `caller` may see, but for the gateway's own switches, which every page would get with its flags."""
    flags = serving.snapshot.flags
    seen = {
        key: flags[key] for key in sorted(flags) if key not in SWITCHES and sees(serving, caller, flags[key])
    }
    timed = tuple(flag for flag in seen.values() if flag.timed)
    stamp = stamped(serving.snapshot.revision, serving.snapshot.namespace)
    return View(seen, timed, digest(key.encode() for key in seen).encode(), Encoded(stamp))


def sees(serving: Serving, caller: Caller, flag: CompiledFlag) -> bool:
    """Whether `flag` exists for `caller`. For one with all routes all do; for others what has no layer and is no switch of
    the gateway, and the layer flags of their routes."""
    if caller.routes is None:
        return True
    if flag.flag.layer is None:
        return flag.flag.key not in SWITCHES
    return any(
        flag.flag.key in route.may_use
        for name in caller.routes
        if (route := serving.routes.get(name)) is not None
    )


class Views:
    """The views of what is served now, made once each. What changes here: the views, and what they are of."""

    __slots__ = ("_of", "_views")

    def __init__(self) -> None:
        self._of: Serving | None = None
        self._views: dict[frozenset[str] | None, View] = {}

    def __repr__(self) -> str:
        return f"<Views: {len(self._views)} listed>"

    def of(self, serving: Serving, caller: Caller) -> View:
        """As `view_of`."""
        if self._of is not serving or len(self._views) >= MOST_VIEWS:
            self._of, self._views = serving, {}
        found = self._views.get(caller.routes)
        if found is None:
            found = self._views[caller.routes] = view_of(serving, caller)
        return found
