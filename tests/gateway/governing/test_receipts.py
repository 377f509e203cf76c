"""Who was told of a rollback: nothing is said before the outbox has come so far."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator

import pytest

from gateway.governing.receipts import Receipts
from policies.notices.delivery import Result, State
from tests.gateway.governing.records import rolled_back
from tests.policies.notices.outboxes import NOON, Clocked, clocked


@pytest.fixture
async def box(redis_url: str) -> AsyncIterator[Clocked]:
    """An outbox that has noted where the ledger ended."""
    async with clocked(redis_url, f"receipts-{uuid.uuid4().hex[:12]}") as found:
        await found.take_in()
        yield found


async def test_before_the_outbox_has_come_so_far_nothing_is_known(box: Clocked) -> None:
    revision = await rolled_back(box.store)

    assert await Receipts(box.outbox, box.store).of("r1", revision) is None


async def test_passed_without_anybody_to_tell_there_are_none(box: Clocked) -> None:
    revision = await rolled_back(box.store)
    await box.take_in()

    assert await Receipts(box.outbox, box.store).of("r1", revision) == []


async def test_each_channel_has_a_receipt_due_and_then_told(box: Clocked) -> None:
    revision, receipts = await rolled_back(box.store), Receipts(box.outbox, box.store)
    await box.take_in("team")

    due = await receipts.of("r1", revision)
    for delivery in await box.claimed():
        await box.outbox.settle(delivery, Result.TOLD, "200")
    told = await receipts.of("r1", revision)

    assert [(each.channel, each.state) for each in due or ()] == [("team", State.DUE)]
    assert [(each.channel, each.state) for each in told or ()] == [("team", State.TOLD)]


async def test_of_an_event_told_by_anothers_message_that_ones_counts(box: Clocked) -> None:
    """Two rollbacks of one flag in a row may be one message."""
    receipts = Receipts(box.outbox, box.store)
    for number in range(40):
        revision = await rolled_back(box.store, f"r{number}")
    await box.take_in("team")
    # The message that tells of several is sent when the hour is over.
    box.at(NOON + 7200)
    while deliveries := await box.claimed():
        for delivery in deliveries:
            await box.outbox.settle(delivery, Result.TOLD, "200")

    last = await receipts.of("r39", revision)

    assert [(each.channel, each.state) for each in last or ()] == [("team", State.TOLD)]
