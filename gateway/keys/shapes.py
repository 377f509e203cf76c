"""What the operators' API says of keys, and takes. Shapes only, no behaviour; no secret but the one told once."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from gateway.auth import Role
from gateway.http.bodies import Link, Reason, Wait
from gateway.order import WAIT_SECONDS
from gateway.spec_base import Name, RouteName

# Ten years: longer is for ever, which is what leaving it out means.
MAX_SECONDS = 315_360_000
Lasting = Annotated[float, Meta(gt=0, le=MAX_SECONDS, description="seconds")]
# An old secret that holds for longer than a month was not rotated.
Grace = Annotated[float, Meta(ge=0, le=2_678_400, description="seconds that the old secret still holds")]


class CreateBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Make a key: an operator's token with `role`, else an app's key, for `routes` (all, where none is named); with
    `flags_only` for no route at all, only for reading flags: such a key may stand in a web page."""

    name: Name
    role: Role | None = None
    routes: Annotated[list[RouteName], Meta(min_length=1, max_length=1000)] | None = None
    pin: bool = False
    flags_only: bool = False
    expires_seconds: Lasting | None = None
    reason: Reason | None = None
    link: Link | None = None
    wait_seconds: Wait = WAIT_SECONDS


class RotateBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Give a key a new secret; the old one holds for `grace_seconds`."""

    grace_seconds: Grace = 0.0
    reason: Reason | None = None
    link: Link | None = None
    wait_seconds: Wait = WAIT_SECONDS


class RevokeBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """End a key."""

    reason: Reason | None = None
    link: Link | None = None
    wait_seconds: Wait = WAIT_SECONDS


class KeyTold(msgspec.Struct, frozen=True, omit_defaults=True):
    """A key that was made, rotated or revoked. `key` is the secret: it is told this once, and kept by nobody."""

    name: str
    revision: int
    acknowledged: int
    workers: int
    missing: list[str]
    key: str | None = None
    note: str | None = None


class KeyShape(msgspec.Struct, frozen=True):
    """One key that was made by `keys create`. `secrets` counts those that hold now, older ones in their grace too."""

    name: str
    kind: Literal["app", "operator"]
    role: Role | None
    routes: list[str] | None
    pin: bool
    created_by: str
    created_at: str
    rotated_at: str | None
    expires_at: str | None
    expired: bool
    secrets: int


class KeyList(msgspec.Struct, frozen=True):
    """All of them; `elsewhere` counts those of the environment and the key file, which are changed there."""

    keys: list[KeyShape]
    elsewhere: int
