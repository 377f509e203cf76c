"""What operators send: bodies and queries of the admin API. Shapes only, no behaviour.

An unknown field is an error with its path. Free JSON is `Any`: msgspec cannot take our recursive Json.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from flags.model import Kind
from gateway.order import MAX_WAIT_SECONDS, WAIT_SECONDS
from gateway.spec_base import Name
from policies.schedule import MAX_STEPS

Reason = Annotated[str, Meta(min_length=1, max_length=2000, pattern=r"\S", description="why, for the ledger")]
Link = Annotated[str, Meta(max_length=2000, pattern=r"^https?://\S+$", description="where more stands")]
Wait = Annotated[float, Meta(ge=0, le=MAX_WAIT_SECONDS, description="seconds to wait for the workers")]
Percent = Annotated[float, Meta(ge=0, le=100, description="of the users, two decimals at most")]
Steps = Annotated[
    list[Percent],
    Meta(min_length=1, max_length=MAX_STEPS, description="rising percentages; after the last, all get it"),
]
# A step that lasts longer than a year is a slip of the pen.
MAX_HOLD_SECONDS = 31_536_000
Object = Annotated[
    str,
    Meta(
        pattern=rf"^(({'|'.join(Kind)})/[A-Za-z0-9][A-Za-z0-9._-]{{0,127}}|route/\*)$(?!\n)",
        description="<kind>/<name>, for example flag/support-bot.prompt",
    ),
]
Override = Annotated[bool, Meta(description="an admin, past the promotion rules; takes a reason")]
FreeDocument = Annotated[dict[str, Any], Meta(min_length=1)]
Revision = Annotated[int, Meta(ge=0, le=2**53 - 1)]


class SwitchBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Serve `variant` to all; `safe` moves only where it is named."""

    variant: Name
    safe: Name | None = None
    reason: Reason | None = None
    override: Override = False
    link: Link | None = None
    wait_seconds: Wait = WAIT_SECONDS


class RollbackBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Serve the safe version alone; `to` names another safe version first; `anyway`: even an index that does not fit."""

    reason: Reason
    to: Name | None = None
    anyway: bool = False
    override: Override = False
    link: Link | None = None
    wait_seconds: Wait = WAIT_SECONDS


class VariantBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Restore `variant`."""

    variant: Name
    reason: Reason
    link: Link | None = None
    wait_seconds: Wait = WAIT_SECONDS


class WithdrawBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Withdraw `variant`; `anyway`: even where an index that does not fit would be served instead."""

    variant: Name
    reason: Reason
    anyway: bool = False
    link: Link | None = None
    wait_seconds: Wait = WAIT_SECONDS


class RolloutBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Start or move a rollout (`variant`, and `percent` or `steps`), or steer the one that runs (`action`).

    With `steps`, automation raises the percentage, each held for `hold_seconds` and `min_requests`.
    """

    variant: Name | None = None
    percent: Percent | None = None
    steps: Steps | None = None
    hold_seconds: Annotated[float, Meta(ge=0, le=MAX_HOLD_SECONDS)] | None = None
    min_requests: Annotated[int, Meta(ge=0, le=2**53 - 1)] | None = None
    action: Literal["pause", "resume", "promote", "abort"] | None = None
    reason: Reason | None = None
    override: Override = False
    link: Link | None = None
    wait_seconds: Wait = WAIT_SECONDS


class ShadowBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Send `variant` a copy of `percent` of the requests; `percent` null, or neither of them, ends the shadow."""

    percent: (
        Annotated[float, Meta(ge=0, le=100, description="of the requests, two decimals at most")]
        | msgspec.UnsetType
        | None
    ) = msgspec.UNSET
    variant: Name | None = None
    reason: Reason | None = None
    link: Link | None = None
    wait_seconds: Wait = WAIT_SECONDS


class RevertBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Make `object` (`<kind>/<name>`) again what it was as of `to_revision`."""

    object: Object
    to_revision: Annotated[int, Meta(ge=1, le=2**53 - 1)]
    reason: Reason
    override: Override = False
    link: Link | None = None
    wait_seconds: Wait = WAIT_SECONDS


class DiffBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A declaration: the config file as JSON, its `{file: …}` contents already read in."""

    declaration: FreeDocument
    prune: bool = False
    reset_state: bool = False


class ApplyBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A declaration to write. `dry_run` only tells what would change."""

    declaration: FreeDocument
    prune: bool = False
    reset_state: bool = False
    dry_run: bool = False
    reason: Reason | None = None
    override: Override = False
    link: Link | None = None
    wait_seconds: Wait = WAIT_SECONDS


class PageQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which part of a list of names."""

    after: Annotated[str, Meta(max_length=128)] = ""
    limit: Annotated[int, Meta(ge=1, le=1000)] = 100


class LogQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Entries after a revision, of one flag or object where named."""

    after: Revision = 0
    limit: Annotated[int, Meta(ge=1, le=1000)] = 100
    flag: Name | None = None
    object: Object | None = None


class ExportQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The form of the export."""

    format: Literal["pointsman", "flagd"] = "pointsman"


class EventsQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where to begin; `Last-Event-ID` counts more. Without either: with the next Change."""

    after: Revision | None = None
