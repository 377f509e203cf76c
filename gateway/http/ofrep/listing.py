"""Which flags a caller may see. Knows callers and what is served; no request, and no answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from flags.compiled import CompiledFlag
from flags.ofrep import digest
from gateway.auth import Caller
from gateway.decision import Serving
from gateway.http.ofrep.encoded import Encoded
from gateway.switches.table import KEYS as SWITCHES

# Different sets of routes whose flags are kept listed; apps share few.
MOST_LISTINGS = 256


@dataclass(frozen=True, slots=True)
class Listing:
    """What one caller sees: `flags` sorted by key, and of these the `timed` ones, whose answers time alone can change.

    `name` tells two listings of the same flags apart.
    """

    flags: Mapping[str, CompiledFlag]
    timed: tuple[CompiledFlag, ...]
    name: bytes
    # The one part that changes: it fills as answers are asked for.
    encoded: Encoded


def listing_of(serving: Serving, caller: Caller, encoded: Encoded | None = None) -> Listing:
    """The flags that `caller` may see, but for the gateway's own switches, which every page would get with its flags.

    `encoded` keeps their answers; None: it is for this listing alone.
    """
    flags = serving.snapshot.flags
    seen = {
        key: flags[key] for key in sorted(flags) if key not in SWITCHES and sees(serving, caller, flags[key])
    }
    timed = tuple(flag for flag in seen.values() if flag.timed)
    kept = Encoded(serving.snapshot.stamp) if encoded is None else encoded
    return Listing(seen, timed, digest(key.encode() for key in seen).encode(), kept)


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


class Listings:
    """The listings of what is served now, made once each. What changes here: the listings, and what they are of."""

    __slots__ = ("_encoded", "_listings", "_of")

    def __init__(self) -> None:
        self._of: Serving | None = None
        # Answers hang on no caller: all listings keep them together, so that many callers need no more memory than one.
        self._encoded: Encoded | None = None
        self._listings: dict[frozenset[str] | None, Listing] = {}

    def __repr__(self) -> str:
        return f"<Listings: {len(self._listings)} listed>"

    def of(self, serving: Serving, caller: Caller) -> Listing:
        """As `listing_of`."""
        if self._of is not serving or len(self._listings) >= MOST_LISTINGS:
            self._of, self._listings, self._encoded = serving, {}, Encoded(serving.snapshot.stamp)
        found = self._listings.get(caller.routes)
        if found is None:
            found = self._listings[caller.routes] = listing_of(serving, caller, self._encoded)
        return found
