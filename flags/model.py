"""The nouns of feature flags, frozen. Nothing here knows how they are stored, evaluated or sent."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import NamedTuple, TypeAlias

import msgspec

# Any JSON value. Named, so that no `Any` is needed where JSON is meant.
Json: TypeAlias = bool | int | float | str | Sequence["Json"] | Mapping[str, "Json"] | None
Document: TypeAlias = Mapping[str, Json]

# CONTRACT: names of flags, variants, routes and policies. The first character keeps names out of
# option syntax, the length keeps them in headers and keys.
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")

# The one object whose name is none: the route of all names that are no route.
EVERY_ROUTE = "route/*"
# A version's card lies under its flag's name and its own.
CARD_NAME = re.compile(rf"{NAME.pattern}/{NAME.pattern}")

NOTHING: Document = MappingProxyType({})


class Layer(StrEnum):
    """What can be versioned and rolled back, in the order in which a request meets it."""

    PIPELINE = "pipeline"
    PROMPT = "prompt"
    RETRIEVER = "retriever"
    INDEX = "index"
    MODEL = "model"


class Kind(StrEnum):
    """The kinds of object that a namespace holds. A ledger entry's `object` is `<kind>/<name>`.

    The last four no file declares: a version's card (`version/<flag>/<variant>`: its evals, approvals and marks), the
    record of a governed rollback, a key or token that was made by `keys create`, and the ledger itself (notes only).
    """

    UPSTREAM = "upstream"
    METRIC = "metric"
    FLAG = "flag"
    ROUTE = "route"
    POLICY = "policy"
    NOTIFY = "notify"
    SIGNAL = "signal"
    VERSION = "version"
    ROLLBACK = "rollback"
    KEY = "key"
    LEDGER = "ledger"


class ObjectKey(NamedTuple):
    """The identity of a stored object."""

    kind: Kind
    name: str

    def __str__(self) -> str:
        return f"{self.kind}/{self.name}"

    @classmethod
    def parse(cls, text: str) -> ObjectKey:
        """`flag/support-bot.prompt` → its key. Raises ValueError when the kind or the name is none."""
        kind, _, name = text.partition("/")
        form = CARD_NAME if kind == Kind.VERSION else NAME
        if not form.fullmatch(name) and text != EVERY_ROUTE:
            raise ValueError(
                f"{text!r} is no object: expected <kind>/<name>, for example flag/support-bot.prompt"
            )
        return cls(Kind(kind), name)


@dataclass(frozen=True, slots=True)
class StoredObject:
    """One object as the store and the ledger have it: names, state and hashes; contents lie elsewhere."""

    key: ObjectKey
    document: Document
    revision: int


@dataclass(frozen=True, slots=True)
class Variant:
    """One version of a flag. `hash` is the SHA-256 (hex) of its content's canonical JSON (RFC 8785)."""

    name: str
    hash: str
    # Counted from 1; raised when the variant begins a new life (restored, rolled out, switched to).
    generation: int = 1
    created_by: str = ""
    created_at: str = ""
    # When it last began to be what is served to all; "" if never.
    served_at: str = ""


class RolloutState(StrEnum):
    RUNNING = "running"
    PAUSED = "paused"


@dataclass(frozen=True, slots=True)
class Rollout:
    """A candidate and the share of users it gets. `percent` has two decimals at most (0 to 100)."""

    variant: str
    percent: float
    # Which of `steps` (from 0) `percent` is; None for a rollout by hand.
    step: int | None = None
    state: RolloutState = RolloutState.RUNNING
    # Percentages that automation goes through, after `hold_seconds` and `min_requests` of the candidate at each.
    steps: tuple[float, ...] = ()
    hold_seconds: float = 0.0
    min_requests: int = 0

    @property
    def weight(self) -> int:
        """The candidate's part of 10,000."""
        return round(self.percent * 100)


@dataclass(frozen=True, slots=True)
class Shadow:
    """A variant that is sent a copy of a share of the requests; nobody sees its answers. `percent` as of a Rollout."""

    variant: str
    percent: float

    @property
    def weight(self) -> int:
        """The copied requests' part of 10,000."""
        return round(self.percent * 100)


@dataclass(frozen=True, slots=True)
class Soak:
    """How long a variant must have served all traffic, and how many judged requests, before it becomes safe."""

    seconds: float = 86_400.0
    requests: int = 1_000


class Embedding(NamedTuple):
    """The upstream and the model that make vectors of texts."""

    upstream: str
    model: str


@dataclass(frozen=True, slots=True)
class Promotion:
    """What a version must satisfy before it may be safe, or be promoted: policy as code (DESIGN §1).

    `suite` is the hash of the suite's content, None where no evals are asked for, `evals` the file that it came from.
    `roles` are those whose approvals count; without any, approvers and admins.
    """

    suite: str | None = None
    evals: str = ""
    min_pass_rate: float = 0.95
    min_score: float | None = None
    # How often each case is asked.
    repeat: int = 1
    # The route by which the suite is asked, the one that judges its answers, and who compares meanings.
    route: str | None = None
    judge: str | None = None
    embedding: Embedding | None = None
    approvals: int = 0
    roles: tuple[str, ...] = ()
    # `switch` is refused as well, not only told.
    strict: bool = False
    # How often the suite runs against what is served; None: only when it is asked for.
    every_seconds: float | None = None
    environment: str = "prod"


class Followed(NamedTuple):
    """Which file a flag follows (`flagd/<file name>`), and the hash of its text there when it was last written.

    `rollout` is the candidate that the file rolls out, if any: what an operator rolls out is another's.
    """

    file: str
    text: str
    rollout: str | None = None


@dataclass(frozen=True, slots=True)
class Flag:
    """A named switch: its variants (declared) and who gets which (operated).

    `serve` is flagd's `defaultVariant`; None means that the caller's own default applies, and only
    flags without a layer may have it. `safe` is where a rollback lands. `targeting` is the hash of
    the rule's canonical JSON. `declared` is the hash of the text it was last declared from. `written` is the
    hash of how a flagd file spelled it, which no evaluation looks at.
    Times are RFC 3339 of Redis' clock, "" where unknown.
    """

    key: str
    variants: Mapping[str, Variant]
    serve: str | None
    safe: str | None
    layer: Layer | None = None
    enabled: bool = True
    rollout: Rollout | None = None
    withdrawn: frozenset[str] = frozenset()
    targeting: str | None = None
    metadata: Document = field(default_factory=lambda: NOTHING)
    declared: str | None = None
    # When what is served (serve, safe, rollout, withdrawn, enabled) last changed.
    changed_at: str = ""
    # When automation last rolled it back, or paused its rollout.
    braked_at: str = ""
    # Hashes of contents that automation rolled back, until a human restores one.
    quarantined: frozenset[str] = frozenset()
    soak: Soak = Soak()
    shadow: Shadow | None = None
    promotion: Promotion | None = None
    written: str | None = None
    followed: Followed | None = None
    revision: int = 0

    @property
    def served(self) -> str | None:
        """What a request without a pin, outside rollout and targeting, gets now."""
        return self.safe if self.serve in self.withdrawn else self.serve


class Reason(StrEnum):
    """OpenFeature's resolution reasons, those that we give."""

    STATIC = "STATIC"
    DEFAULT = "DEFAULT"
    TARGETING_MATCH = "TARGETING_MATCH"
    SPLIT = "SPLIT"
    DISABLED = "DISABLED"
    STALE = "STALE"
    ERROR = "ERROR"


class ErrorCode(StrEnum):
    """OpenFeature's error codes."""

    PROVIDER_NOT_READY = "PROVIDER_NOT_READY"
    FLAG_NOT_FOUND = "FLAG_NOT_FOUND"
    PARSE_ERROR = "PARSE_ERROR"
    TYPE_MISMATCH = "TYPE_MISMATCH"
    TARGETING_KEY_MISSING = "TARGETING_KEY_MISSING"
    INVALID_CONTEXT = "INVALID_CONTEXT"
    GENERAL = "GENERAL"


class Context(msgspec.Struct, frozen=True, gc=False):
    """Who asks. `targeting_key` None means that no key was given (OFREP); attributes are JSON."""

    targeting_key: str | None
    attributes: Mapping[str, Json] = NOTHING


class Resolution(msgspec.Struct, frozen=True, gc=False):
    """One flag's answer for one context (a Struct, because one is made per layer and request).

    `variant` is what answers, after *withdrawn → safe*; `wanted` is what the rules had chosen when
    that differs. `pinned` tells that the caller's pin chose. With an `error`, `variant` is None.
    """

    flag: str
    variant: str | None
    value: Json
    reason: Reason
    generation: int = 0
    wanted: str | None = None
    pinned: bool = False
    error: ErrorCode | None = None
    message: str | None = None


class Position(NamedTuple):
    """Where in the ledger somebody stands: the last entry's revision and hash ("" at the beginning)."""

    revision: int
    hash: str


START = Position(0, "")
