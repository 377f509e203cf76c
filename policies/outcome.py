"""How one Decision ended. Knows the words, not the wire: nothing here reads a request or an answer."""

from __future__ import annotations

from enum import StrEnum

import msgspec


class Ending(StrEnum):
    """CONTRACT §8: ok, failed, abandoned (the client left), refused (before any upstream was asked)."""

    OK = "ok"
    FAILED = "failed"
    ABANDONED = "abandoned"
    REFUSED = "refused"


class Blame(StrEnum):
    """Whose fault an ending was. `release`: the version's own configuration or template."""

    CLIENT = "client"
    UPSTREAM = "upstream"
    RELEASE = "release"
    GATEWAY = "gateway"
    NONE = "none"


class Part(StrEnum):
    """What an Outcome is of its request. A shielded request has two: `tried` is evidence and counts as no request;
    `shield` counts as the request, and is no evidence; so does `cached`, for which no upstream was asked. A `shadow` is
    beside the request, and neither; so is an `eval`, which no user asked."""

    WHOLE = "whole"
    TRIED = "tried"
    SHIELD = "shield"
    SHADOW = "shadow"
    CACHED = "cached"
    EVAL = "eval"


# What comes beside the one Outcome by which a request is counted, and what may be evidence.
NO_REQUEST = frozenset({Part.TRIED, Part.SHADOW, Part.EVAL})
EVIDENCE = frozenset({Part.WHOLE, Part.TRIED})


class How(StrEnum):
    """How a release was chosen, one letter: by the rollout's coin (on either side), a targeting rule, a pin, or plainly.

    `beside` stands in a `tried` outcome alone: the coin chose the control, and another layer's version was tried.
    `shadow` is what was sent a copy of somebody's request.
    """

    COIN = "c"
    TARGETED = "t"
    PINNED = "p"
    PLAIN = "d"
    BESIDE = "b"
    SHADOW = "s"


class CostSource(StrEnum):
    """Where a cost comes from; unknown is not zero."""

    PROVIDER = "provider"
    TABLE = "table"
    CONFIG = "config"
    UNKNOWN = "unknown"


class Release(msgspec.Struct, frozen=True, gc=False, order=True):
    """What statistics and rollbacks speak of: one variant of one flag, in one of its lives."""

    flag: str
    variant: str
    generation: int


class Outcome(msgspec.Struct, frozen=True, gc=False):
    """The end of one Decision; there is exactly one for each (a Struct: one is made per request).

    Seconds count from the request's arrival (of a shield: from the failure that called for it). Tokens are None
    where the provider told none, the cost where nobody knows a price.
    """

    request_id: str
    route: str
    releases: tuple[Release, ...]
    ending: Ending
    blame: Blame
    status: int
    seconds: float
    first_content_seconds: float | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    # Of the input and output tokens, those from the provider's cache and those that nobody sees.
    cached_tokens: int | None = None
    reasoning_tokens: int | None = None
    cost_usd: float | None = None
    cost_source: CostSource = CostSource.UNKNOWN
    attempts: int = 0
    # One How letter for each of `releases`, in their order.
    how: str = ""
    # The snapshot's revision that decided: what was decided before a flag's last change is no evidence on it.
    revision: int = 0
    # A keyed hash of who asked; "" where the app named nobody (each such request is its own unit).
    unit: str = ""
    part: Part = Part.WHOLE
    # The version's first attempt failed, whatever came of the others: retries must not make the control look better
    # than a candidate, which is not retried.
    stumbled: bool = False
    # The control failed on the same request, or the shield rests because it did ten times running: a failure that
    # counts neither way.
    excused: bool = False
    overhead_seconds: float = 0.0
    # The provider answered only that it will not (a content filter, a refusal): an answer, and none that helps.
    refused: bool = False
    # The target that answered, and the model and fingerprint that it reports; None where nobody told.
    reported: tuple[str, str | None, str | None] | None = None


class Score(msgspec.Struct, frozen=True, gc=False):
    """What somebody thought of an answer. `value` as sent; `decided_at` in Unix seconds, from the decision token.

    `key` tells scores of the same request and metric: the second is a duplicate.
    """

    key: str
    route: str
    releases: tuple[Release, ...]
    how: str
    unit: str
    metric: str
    value: float
    decided_at: int = 0
