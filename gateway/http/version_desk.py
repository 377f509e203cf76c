"""What the operators' endpoints for versions do: a parsed call in, a shape out. Knows HTTP only as `Call`.

What may be said of a version is decided in gateway.versions.marking, on the card as it is when it is written.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Annotated, TypeAlias

import msgspec
from msgspec import Meta

from flags.change import Draft, View
from flags.errors import Invalid
from flags.ledger import Author
from flags.model import Flag, Kind, ObjectKey
from gateway.auth import Role
from gateway.http.bodies import Link, Reason, Wait
from gateway.http.endpoint import Call, Endpoint
from gateway.order import WAIT_SECONDS, Order
from gateway.switches.shipped import flag_in
from gateway.versions import marking, views
from gateway.versions.shapes import ContentDiff, Marked, VersionDetail, VersionList
from policies.governance.card import Card, Mark, card_key, card_keys, cards_in, written

# The whole of it: of a shorter one, somebody who wants to can make another content (12 digits: in seconds).
Hash = Annotated[str, Meta(pattern="^[0-9a-f]{64}$", description="of the content that was looked at")]
Say: TypeAlias = Callable[[Flag, Card, Mark], Card]


class ApproveBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Approve a version; with `hash` only if its content is still that one."""

    reason: Reason | None = None
    link: Link | None = None
    hash: Hash | None = None
    wait_seconds: Wait = WAIT_SECONDS


class RejectBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Take every approval of a version away."""

    reason: Reason
    link: Link | None = None
    hash: Hash | None = None
    wait_seconds: Wait = WAIT_SECONDS


class DeprecateBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Say that a version is not to be gone to any more, and why; `undo` takes that back."""

    reason: Reason | None = None
    link: Link | None = None
    hash: Hash | None = None
    undo: bool = False
    wait_seconds: Wait = WAIT_SECONDS


async def versions(call: Call) -> VersionList:
    """All versions of a flag. Raises NotFound."""
    return views.version_list(views.life_in(call.snapshot, call.path["key"]))


async def version(call: Call) -> VersionDetail:
    """One version, its content included. Raises NotFound."""
    snapshot = call.snapshot
    life = views.life_in(snapshot, call.path["key"])
    return views.version_detail(life, call.path["variant"], snapshot.contents)


async def diff(call: Call) -> ContentDiff:
    """How two versions differ. Raises NotFound and Refused."""
    snapshot = call.snapshot
    flag = views.life_in(snapshot, call.path["key"]).flag
    before, after = call.path["variant"], call.path["other"]
    # Long texts take a while to compare, and requests must not wait for that.
    return await asyncio.to_thread(views.content_diff, flag, before, after, snapshot.contents)


async def approve(call: Call) -> Marked:
    """A person stands for a version. Raises Refused for its author, and where its content is another by now."""
    return await _said(call, "approve", marking.approve)


async def reject(call: Call) -> Marked:
    """Nobody stands for a version any more."""
    return await _said(call, "reject", lambda _, card, mark: marking.reject(card, mark), against=True)


async def deprecate(call: Call) -> Marked:
    """A version is not to be gone to any more, or may be again. Raises Invalid where nothing says why."""
    body: DeprecateBody = call.body
    if body.undo:
        return await _said(call, "deprecate.undo", lambda _, card, __: marking.undeprecate(card))
    if body.reason is None:
        raise Invalid("reason", "expected why it is deprecated, found nothing")
    return await _said(call, "deprecate", lambda _, card, mark: marking.deprecate(card, mark), against=True)


async def _said(call: Call, action: str, say: Say, *, against: bool = False) -> Marked:
    """Write on a version's card what is said of it, decided anew until it is written: two at once both count."""
    body: ApproveBody | RejectBody | DeprecateBody = call.body
    key, name = call.path["key"], call.path["variant"]
    order = _order(call, action, key, name)
    latest: list[tuple[Flag, dict[str, Card]]] = []

    def decide(view: View) -> Sequence[Draft]:
        flag = flag_in(view, key)
        marking.variant_of(flag, name)
        cards = cards_in(view, flag)
        card = cards[name]
        marking.same_content(flag, card, body.hash)
        author = order.author
        mark = Mark(author.actor, view.time, author.reason, _role(call, flag), author.link)
        after = say(flag, card, mark)
        # Kept for the answer: of several tries the last is the one that was written.
        latest.append((flag, {**cards, name: after}))
        return [] if after == card else [written(action, after)]

    operations = call.house.operations
    committed = await operations.store.change(order.author, _reads(call), decide, insist=True)
    # So that who asks another worker next is told of it.
    await operations.acknowledged(committed, order)
    flag, cards = latest[-1]
    return views.marked(
        views.Life.of(flag, cards),
        name,
        changed=bool(committed.entries),
        revision=committed.position.revision,
        warnings=marking.consequences(flag, name, cards) if against else [],
    )


def _role(call: Call, flag: Flag) -> str:
    """What the caller is. Where no operator has a token, everybody may do all but approve their own version: then they are
    what the flag's rules ask for."""
    asked = () if flag.promotion is None or call.house.keys.operators else flag.promotion.roles
    return asked[0] if asked else call.operator.role.value


def _reads(call: Call) -> list[ObjectKey]:
    """The flag and the cards of its versions: the last known good one is told in the answer, and depends on all."""
    key = call.path["key"]
    compiled = call.snapshot.flags.get(key)
    known = [] if compiled is None else card_keys(compiled.flag)
    return [*dict.fromkeys((ObjectKey(Kind.FLAG, key), card_key(key, call.path["variant"]), *known))]


def _order(call: Call, action: str, key: str, name: str) -> Order:
    body: ApproveBody | RejectBody | DeprecateBody = call.body
    command = f"{action.replace('.undo', ' --undo')} {key} {name}"
    return Order(Author(call.operator.name, (body.reason or command).strip(), body.link), body.wait_seconds)


def _say(
    verb: str, call: Callable[[Call], Awaitable[object]], summary: str, body: type[msgspec.Struct]
) -> Endpoint:
    path = f"/flags/{{key}}/versions/{{variant}}/{verb}"
    return Endpoint("POST", path, call, summary, Marked, body=body, needs=Role.APPROVER)


ENDPOINTS: tuple[Endpoint, ...] = (
    Endpoint("GET", "/flags/{key}/versions", versions, "The versions of a flag, newest first", VersionList),
    Endpoint("GET", "/flags/{key}/versions/{variant}", version, "One version and its content", VersionDetail),
    Endpoint(
        "GET",
        "/flags/{key}/versions/{variant}/diff/{other}",
        diff,
        "How the contents of two versions differ",
        ContentDiff,
    ),
    _say("approve", approve, "Approve a version", ApproveBody),
    _say("reject", reject, "Take all approvals of a version away", RejectBody),
    _say("deprecate", deprecate, "Say that a version is not to be gone to any more", DeprecateBody),
)
