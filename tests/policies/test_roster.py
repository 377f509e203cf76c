"""The docket follows the snapshots, and so does the list of flags that automation may move."""

from __future__ import annotations

import asyncio
from functools import partial

from flags.canonical import digest
from flags.change import Draft
from flags.codec import document_of
from flags.ledger import Author
from flags.model import Flag, Kind, Layer, ObjectKey, Variant
from policies import verbs
from policies.roster import Roster
from policies.schedule import Schedule
from tests.policies.working import ERRORS, PROMPT, Worker, a_flag


async def test_every_change_is_followed(worker: Worker) -> None:
    await worker.declare(a_flag())
    roster = worker.automation.roster
    quiet = set(roster.docket.cases)

    await worker.do(partial(verbs.start, name="v7", share=10))
    trial = set(roster.docket.cases)
    await worker.do(verbs.promote)

    assert quiet == {"route/bot"}
    assert trial == {"route/bot", "bot.prompt/v7/2"}
    assert set(roster.docket.cases) == {"bot.prompt/v7/2/served"}
    assert roster.docket.cases["bot.prompt/v7/2/served"].control is None


async def test_a_policy_that_changes_changes_every_case(worker: Worker) -> None:
    await worker.declare(a_flag())
    roster = worker.automation.roster
    assert "errors" in {policy.name for policy in roster.docket.cases["route/bot"].policies}
    key = ObjectKey(Kind.POLICY, "errors")

    stricter = Draft("declare", key, {"spec": {**ERRORS, "limit": 0.01}}, affects=False)
    await worker.store.change(Author("ann", "stricter"), [key], lambda _: [stricter])
    await worker.caught_up()

    (policy,) = [each for each in roster.docket.cases["route/bot"].policies if each.name == "errors"]
    assert policy.limit == 0.01
    stored = roster.declared("errors")
    assert stored is not None
    assert stored.document["spec"]["limit"] == 0.01


async def test_only_what_automation_may_move_is_on_its_list(worker: Worker) -> None:
    await worker.declare(a_flag())
    roster, seen = worker.automation.roster, []

    for verb in (
        partial(verbs.start, name="v7", share=10),
        partial(verbs.start, name="v7", share=Schedule([10])),
        verbs.pause,
        verbs.resume,
        verbs.promote,
        partial(verbs.rollback),
    ):
        await worker.do(verb)
        seen.append(PROMPT in roster.moving)

    assert seen == [False, True, False, True, True, False]


async def test_what_a_pipeline_pins_is_read_from_its_content(worker: Worker) -> None:
    content = {"pins": {"prompt": "v6"}, "params": {}}
    pipeline = Flag(
        "bot.pipeline", {"p1": Variant("p1", digest(content))}, serve="p1", safe="p1", layer=Layer.PIPELINE
    )
    await worker.declare(a_flag())
    await worker.do(partial(verbs.start, name="v7", share=10))
    of_flag = worker.automation.roster.docket.of_flag
    key = ObjectKey(Kind.FLAG, pipeline.key)
    draft = Draft("declare", key, document_of(pipeline), {digest(content): content})

    await worker.store.change(Author("ann", "pins"), [key], lambda _: [draft])
    await worker.caught_up()

    assert of_flag[PROMPT].under == ()
    assert worker.automation.roster.docket.of_flag[PROMPT].under == ("bot.pipeline",)


async def test_whoever_needs_the_docket_of_what_is_served_waits_for_it_and_for_no_other(
    worker: Worker,
) -> None:
    await worker.declare(a_flag())
    snapshot, roster = worker.watcher.snapshot, Roster()
    assert snapshot is not None
    await roster.caught_up()
    roster.follow(snapshot, None)
    waiting = asyncio.ensure_future(roster.caught_up())
    await asyncio.sleep(0)
    early = waiting.done()

    running = asyncio.ensure_future(roster.run())
    await waiting
    running.cancel()
    await asyncio.wait({running})
    roster.follow(snapshot, None)
    await roster.caught_up()

    assert not early
    assert set(roster.docket.cases) == {"route/bot"}
