"""What operators get back about notices, as JSON. Shapes only, no behaviour."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec

from policies.notices.delivery import Board, Receipt, State


class NoticeShape(msgspec.Struct, frozen=True):
    """One event on its way to one channel. Times are RFC 3339; `due_at` is null where it is not tried again.

    `found` is what the channel answered, or what went wrong last; `more` counts events alike that it tells of too.
    """

    id: str
    channel: str
    state: str
    kind: str
    title: str
    object: str
    revision: int
    attempts: int
    first_at: str
    at: str
    due_at: str | None
    found: str
    more: int


class NoticesShape(msgspec.Struct, frozen=True):
    """The outbox: what waits (soonest first), what was told and what is dead (newest first); the counts are of all."""

    waiting: int
    dead_letters: int
    due: list[NoticeShape]
    told: list[NoticeShape]
    dead: list[NoticeShape]


class ResentShape(msgspec.Struct, frozen=True):
    """How many dead deliveries are tried again (or were dropped)."""

    changed: int


class TestedShape(msgspec.Struct, frozen=True):
    """The test notice that is on its way; `GET /notices/{id}` tells how it went."""

    id: str
    channel: str


class ToldShape(msgspec.Struct, frozen=True):
    """How far one event is, by channel. `merged` is the event whose message tells of this one too."""

    id: str
    settled: bool
    merged: str | None
    receipts: list[NoticeShape]


def notices_shape(board: Board) -> NoticesShape:
    """The board as JSON has it."""
    due, told, dead = ([shape_of(each) for each in board.of(s)] for s in (State.DUE, State.TOLD, State.DEAD))
    return NoticesShape(board.waiting, board.dead, due, told, dead)


def shape_of(receipt: Receipt) -> NoticeShape:
    """One delivery as JSON has it."""
    event = receipt.event
    return NoticeShape(
        id=receipt.id,
        channel=receipt.channel,
        state=receipt.state.value,
        kind=event.kind.value if event else "",
        title=event.title if event else "",
        object=event.object if event else "",
        revision=event.revision if event else 0,
        attempts=receipt.attempts,
        first_at=_time(receipt.first_ms),
        at=_time(receipt.at_ms),
        due_at=_time(receipt.due_ms) if receipt.due_ms else None,
        found=receipt.found,
        more=receipt.more,
    )


def _time(milliseconds: int) -> str:
    at = datetime.fromtimestamp(milliseconds / 1000, tz=UTC)
    return f"{at:%Y-%m-%dT%H:%M:%S}.{milliseconds % 1000:03d}Z"
