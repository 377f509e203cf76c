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


class Release(msgspec.Struct, frozen=True, gc=False, order=True):
    """What statistics and rollbacks speak of: one variant of one flag, in one of its lives."""

    flag: str
    variant: str
    generation: int


class Outcome(msgspec.Struct, frozen=True, gc=False):
    """The end of one Decision; there is exactly one for each (a Struct: one is made per request).

    Seconds count from the request's arrival. Tokens are None where the provider told none.
    `coins` are the flags (of `releases`) that the rollout's coin decided, on either side.
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
    attempts: int = 0
    coins: tuple[str, ...] = ()
