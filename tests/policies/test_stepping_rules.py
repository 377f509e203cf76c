"""Automation under promotion rules: what it does not promote or make safe without papers, and that it says so once."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest

from flags.ledger import Author, Entry
from flags.model import Promotion, Soak
from policies import verbs
from policies.governance.card import approved, card_key, card_of, written
from policies.schedule import Schedule
from tests.policies.conftest import Hire
from tests.policies.governance.making import mark
from tests.policies.test_stepping import moved
from tests.policies.working import PROMPT, Worker, a_flag

RULES = Promotion(approvals=1)
AT_ONCE = Schedule([5, 100], hold_seconds=0, min_requests=10)


@pytest.fixture
async def worker(hire: Hire) -> Worker:
    """One worker, with a flag whose versions need an approval and have none."""
    worker = await hire()
    flag = a_flag(promotion=RULES, soak=Soak(0, 20))
    dated = {name: replace(each, created_at="2030-01-01T00:00:00Z") for name, each in flag.variants.items()}
    await worker.declare(replace(flag, variants=dated))
    await worker.automation.tick()
    return worker


async def approve(worker: Worker, name: str) -> None:
    flag = await worker.flag()
    card = approved(card_of(PROMPT, flag.variants[name], None), mark("bob"))
    key = card_key(PROMPT, name)
    await worker.store.change(Author("bob", "read it"), [key], lambda _: [written("approve", card)])
    await worker.caught_up()


async def alerts(worker: Worker) -> list[Entry]:
    return [entry for entry in await worker.log("automation/") if entry.action == "alert"]


async def test_a_candidate_without_papers_goes_through_its_steps_and_is_not_promoted(worker: Worker) -> None:
    await worker.do(partial(verbs.start, name="v7", share=AT_ONCE))
    worker.serve("v7", 12)
    worker.serve("v6", 30)

    assert not await moved(worker)

    flag = await worker.flag()
    assert (flag.served, flag.rollout is not None) == ("v6", True)
    (alert,) = await alerts(worker)
    assert (alert.actor, alert.object, alert.affects) == ("automation/rollout", f"flag/{PROMPT}", ())
    assert alert.reason.startswith("it waits: v7 may not be promoted: approved: ")


async def test_what_it_waits_for_is_told_once_and_it_goes_on_when_that_is_given(worker: Worker) -> None:
    await worker.do(partial(verbs.start, name="v7", share=AT_ONCE))
    worker.serve("v7", 12)
    worker.serve("v6", 30)
    assert not await moved(worker)
    assert not await moved(worker)
    told = await alerts(worker)

    await approve(worker, "v7")

    assert await moved(worker)
    assert ((await worker.flag()).served, len(told)) == ("v7", 1)


async def test_what_served_for_its_soak_becomes_safe_only_with_papers(worker: Worker) -> None:
    await worker.do(partial(verbs.switch, name="v7"))
    worker.serve("v7", 30)
    assert not await moved(worker)
    (alert,) = await alerts(worker)
    before = (await worker.flag()).safe

    await approve(worker, "v7")

    assert await moved(worker)
    assert (before, (await worker.flag()).safe) == ("v6", "v7")
    assert alert.reason.startswith("it waits: v7 may not be safe: approved: ")
    assert alert.actor == "automation/soak"
