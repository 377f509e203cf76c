"""The steps of a rollback, done on a real store: what each finds of workers, suite, ledger, notices and figures."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
import pytest

from flags.change import Draft
from flags.errors import Refused, StoreUnavailable
from flags.fleet import WorkerInfo
from flags.model import Kind, ObjectKey, Position
from gateway.errors import NotReady
from gateway.governing.deeds import Deeds
from policies.governance.card import Evaluation
from policies.governance.finding import ESCALATE, UNHELPFUL, Finding
from policies.governance.record import Cause, Noted, Record, StepName, StepState
from policies.notices.delivery import Receipt, State
from policies.outcome import Blame, Ending
from policies.window import Stats, Window
from tests.flags.stores import ANN, Following
from tests.gateway.governing.records import FLAG, FLAG_KEY, a_worker, record_in, rolled_back

BY_POLICY = Cause("brake", "error_rate", requests=30, bad=0.6, limit=0.05)


def stats(good: float, failed: float) -> Stats:
    return Stats(endings={(Ending.OK, Blame.NONE): good, (Ending.FAILED, Blame.UPSTREAM): failed})


@dataclass
class Numbers:
    """Figures that a test sets: since ever, and of the last hour."""

    ever: dict[str, Stats] = field(default_factory=dict)
    lately: dict[str, Stats] = field(default_factory=dict)

    async def totals(self, subjects: Sequence[str] = ()) -> Window:
        return self._window(self.ever, subjects)

    async def windows(self, minutes: int = 60, subjects: Sequence[str] = ()) -> list[Window]:
        return [self._window(self.lately, subjects)]

    def _window(self, of: Mapping[str, Stats], subjects: Sequence[str]) -> Window:
        names = [subject.split("|")[2] for subject in subjects]
        return Window(0, 0, {}, {(FLAG, name): of[name] for name in names if name in of})


@dataclass
class Others:
    """A suite and the outbox, as a test says."""

    run: Evaluation | Exception | None = None
    receipts: list[Receipt] | None = None
    asked: list[tuple[str, str, str]] = field(default_factory=list)

    async def rerun(self, flag: str, *, by: str, reason: str) -> Evaluation | None:
        self.asked.append((flag, by, reason))
        if isinstance(self.run, Exception):
            raise self.run
        return self.run

    async def of(self, event_id: str, revision: int) -> Sequence[Receipt] | None:
        self.asked.append((event_id, str(revision), ""))
        return self.receipts


@dataclass
class Scene:
    """A rollback that stands in the ledger, and deeds that look at it."""

    following: Following
    numbers: Numbers
    others: Others
    deeds: Deeds

    async def record(self, **fields: Any) -> Record:
        revision = await rolled_back(self.following.store, **fields)
        await self.following.until(lambda: self.following.snapshot.position.revision >= revision)
        return msgspec.structs.replace(await record_in(self.following.store), opened=revision - 1)

    async def do(self, name: StepName, record: Record) -> Finding | None:
        return await self.deeds.do(name, "r1", record)


@pytest.fixture
async def scene(redis_url: str) -> AsyncIterator[Scene]:
    async with a_worker(redis_url, f"deeds-{uuid.uuid4().hex[:12]}") as one:
        numbers, others = Numbers(), Others()
        deeds = Deeds(
            one.store,
            numbers,
            snapshot=lambda: one.snapshot,
            evaluator=others,
            telling=others,
        )
        yield Scene(one, numbers, others, deeds)


class TestAcknowledge:
    async def test_all_living_workers_stand_at_the_change(self, scene: Scene) -> None:
        record = await scene.record()

        found = await scene.do(StepName.ACKNOWLEDGE, record)

        assert found is not None
        assert found.state is StepState.DONE
        assert found.detail.startswith("1 of 1 workers, ")
        assert found.detail.endswith(" ms after the Change")

    async def test_one_that_lives_and_lags_is_named(self, scene: Scene) -> None:
        record = await scene.record()
        await scene.following.store.beat(WorkerInfo("laggard"), Position(0, ""))

        found = await scene.do(StepName.ACKNOWLEDGE, record)

        assert found == Finding(StepState.OPEN, "1 of 2 workers; missing: laggard")

    async def test_one_that_died_is_not_awaited(self, scene: Scene) -> None:
        record = await scene.record()
        store = scene.following.store
        await store.beat(WorkerInfo("dead"), Position(0, ""))
        row = await store.calls.run(lambda redis: redis.hget(store.keys.workers, "dead"))
        beat, _, rest = row.partition(b" ")
        long_ago = b"%d %s" % (int(beat) - 6000, rest)
        await store.calls.run(lambda redis: redis.hset(store.keys.workers, "dead", long_ago))

        found = await scene.do(StepName.ACKNOWLEDGE, record)

        assert found is not None
        assert found.detail.startswith("1 of 1 workers")


class TestEvaluate:
    RUN = Evaluation("a" * 64, True, 1.0, 1.0, 12, 0, "rep-1", "2026-01-01T00:00:00.000Z", "me")

    async def test_the_flags_suite_is_run_and_linked(self, scene: Scene) -> None:
        scene.others.run = self.RUN

        found = await scene.do(StepName.EVALUATE, await scene.record())

        assert found is not None
        assert (found.state, found.link) == (StepState.DONE, "/admin/v1/evals/rep-1")
        assert scene.others.asked == [(FLAG, "automation/procedure", "rollback of v2: wrong answers")]

    @pytest.mark.parametrize(
        "problem", [NotReady("starting"), Refused("hash_changed", "it changed"), TimeoutError()]
    )
    async def test_a_run_that_could_not_be_made_is_tried_again(
        self, scene: Scene, problem: Exception
    ) -> None:
        scene.others.run = problem

        found = await scene.do(StepName.EVALUATE, await scene.record())

        assert found is not None
        assert (found.state, found.tells) == (StepState.OPEN, "")

    async def test_redis_away_is_no_try(self, scene: Scene) -> None:
        scene.others.run = StoreUnavailable("away")

        with pytest.raises(StoreUnavailable):
            await scene.do(StepName.EVALUATE, await scene.record())

    async def test_what_is_served_no_more_is_not_evaluated(self, scene: Scene) -> None:
        record = msgspec.structs.replace(await scene.record(), to="v2")

        found = await scene.do(StepName.EVALUATE, record)

        assert found == Finding(StepState.FAILED, "not done for v2: v1 is served by now")
        assert scene.others.asked == []

    @pytest.mark.parametrize("fields", [{"layer": None}, {"layer": None, "to": "v2"}, {"to": None}])
    async def test_what_no_route_answers_with_is_not_evaluated_and_that_is_no_failure(
        self, scene: Scene, fields: dict[str, str | None]
    ) -> None:
        found = await scene.do(StepName.EVALUATE, await scene.record(**fields))

        assert found is not None
        assert (found.state, found.tells, scene.others.asked) == (StepState.DONE, "", [])
        assert found.detail.startswith("nothing is measured of a flag without a layer")


class TestLog:
    async def test_the_entry_is_found_and_sealed(self, scene: Scene) -> None:
        found = await scene.do(StepName.LOG, await scene.record())

        assert found is not None
        assert found.state is StepState.DONE
        assert found.detail.startswith("revision 2 by ann, sealed ")

    async def test_it_is_found_though_the_record_was_met_later(self, scene: Scene) -> None:
        record = await scene.record()
        for _ in range(20):
            await scene.following.store.change(
                ANN, [FLAG_KEY], lambda _: [Draft("note", FLAG_KEY, None, affects=False)]
            )

        found = await scene.do(StepName.LOG, msgspec.structs.replace(record, opened=20))

        assert found is not None
        assert found.state is StepState.DONE

    async def test_it_is_found_in_a_long_ledger(self, scene: Scene) -> None:
        store = scene.following.store
        notes = [Draft("note", FLAG_KEY, None, affects=False)] * 300
        await store.change(ANN, [FLAG_KEY], lambda _: notes)
        record = await scene.record()
        await store.change(ANN, [FLAG_KEY], lambda _: notes)

        found = await scene.do(StepName.LOG, record)

        assert found is not None
        assert found.detail.startswith("revision 302 by ann")

    async def test_an_altered_entry_is_told(self, scene: Scene) -> None:
        record = await scene.record()
        store = scene.following.store
        (opened, text) = await store.read_log_bytes(0, 2)
        forged = text.replace(b'"actor":"ann"', b'"actor":"bob"')
        await store.calls.run(lambda redis: redis.delete(store.keys.ledger))
        await store.calls.run(lambda redis: redis.xadd(store.keys.ledger, {"e": opened}, id="1-0"))
        await store.calls.run(lambda redis: redis.xadd(store.keys.ledger, {"e": forged}, id="2-0"))

        found = await scene.do(StepName.LOG, record)

        assert found is not None
        assert (found.state, found.tells) == (StepState.FAILED, ESCALATE)

    async def test_an_entry_that_is_gone_is_told(self, scene: Scene) -> None:
        found = await scene.deeds.do(StepName.LOG, "other", await scene.record())

        assert found is not None
        assert (found.state, found.tells) == (StepState.FAILED, ESCALATE)


class TestChangelog:
    async def test_the_change_log_names_what_the_change_altered(self, scene: Scene) -> None:
        found = await scene.do(StepName.CHANGELOG, await scene.record())

        assert found is not None
        assert (found.state, found.link) == (StepState.DONE, "/admin/v1/flags/chat.prompt/changelog")
        assert "served" in found.detail

    async def test_without_an_entry_it_failed(self, scene: Scene) -> None:
        found = await scene.deeds.do(StepName.CHANGELOG, "other", await scene.record())

        assert found is not None
        assert (found.state, found.tells) == (StepState.FAILED, ESCALATE)


class TestNotify:
    async def test_nobody_is_configured(self, scene: Scene) -> None:
        found = await scene.do(StepName.NOTIFY, await scene.record())

        assert found == Finding(StepState.DONE, "nobody is configured to be told")

    async def test_those_configured_are_waited_for(self, scene: Scene) -> None:
        key = ObjectKey(Kind.NOTIFY, "team")
        await scene.following.store.change(
            ANN, [key], lambda _: [Draft("apply", key, {"spec": {}}, affects=False)]
        )
        record = await scene.record()

        assert await scene.do(StepName.NOTIFY, record) is None

        scene.others.receipts = [Receipt("r1", "team", State.TOLD, 1, 0, 0)]
        found = await scene.do(StepName.NOTIFY, record)

        assert found is not None
        assert found.detail.startswith("told: team ")


class TestHelped:
    async def noted(self, scene: Scene, **fields: Any) -> Record:
        record = await scene.record(**fields)
        return msgspec.structs.replace(record, noted=await scene.deeds.figures(record))

    async def test_only_what_came_after_the_change_counts(self, scene: Scene) -> None:
        scene.numbers.ever = {"v1": stats(1000, 500)}
        record = await self.noted(scene, cause=BY_POLICY)

        assert await scene.do(StepName.HELPED, record) is None
        scene.numbers.ever = {"v1": stats(1029, 500)}
        assert await scene.do(StepName.HELPED, record) is None
        scene.numbers.ever = {"v1": stats(1030, 500)}
        found = await scene.do(StepName.HELPED, record)

        assert found is not None
        assert (found.state, found.tells) == (StepState.DONE, "")
        assert found.detail.startswith(
            "it helped: error rate 0.0 % (limit 5.0 %, before: 60.0 %), of 30 requests"
        )

    async def test_as_bad_as_before_is_told(self, scene: Scene) -> None:
        record = await self.noted(scene, cause=BY_POLICY)
        scene.numbers.ever = {"v1": stats(12, 18)}

        found = await scene.do(StepName.HELPED, record)

        assert found is not None
        assert (found.state, found.tells) == (StepState.FAILED, UNHELPFUL)

    async def test_after_a_day_of_silence_it_says_so_and_claims_nothing(self, scene: Scene) -> None:
        record = await self.noted(scene, cause=BY_POLICY)
        scene.numbers.ever = {"v1": stats(7, 0)}

        late = msgspec.structs.replace(record, at="2020-01-01T00:00:00.000Z")
        found = await scene.do(StepName.HELPED, late)

        assert found == Finding(StepState.FAILED, "too few requests to say: 7 of 30")

    async def test_what_is_served_no_more_is_not_waited_for(self, scene: Scene) -> None:
        record = await self.noted(scene, cause=BY_POLICY, to="v2")

        found = await scene.do(StepName.HELPED, record)

        assert found == Finding(StepState.FAILED, "not done for v2: v1 is served by now")

    async def test_by_hand_the_version_that_was_left_is_taken_of_its_last_hour(self, scene: Scene) -> None:
        scene.numbers.ever, scene.numbers.lately = {"v2": stats(9000, 0)}, {"v2": stats(10, 10)}
        record = await self.noted(scene)
        scene.numbers.ever = {"v1": stats(20, 0)}

        found = await scene.do(StepName.HELPED, record)

        assert found is not None
        assert found.detail.startswith("it helped: error rate 0.0 % (limit 5.0 %, before: 50.0 %)")

    async def test_where_that_hour_was_quiet_all_it_ever_did_is_taken(self, scene: Scene) -> None:
        scene.numbers.ever, scene.numbers.lately = {"v2": stats(60, 40)}, {"v2": stats(1, 0)}

        noted: Noted = (await self.noted(scene)).noted or Noted(None, None)  # type: ignore[arg-type]

        assert (noted.left.judged, noted.left.failed) == (100, 40)

    async def test_without_figures_of_the_change_nothing_is_said(self, scene: Scene) -> None:
        assert await scene.do(StepName.HELPED, await scene.record()) is None

    @pytest.mark.parametrize("fields", [{"layer": None}, {"to": None}])
    async def test_what_no_request_goes_through_is_not_waited_for(
        self, scene: Scene, fields: dict[str, None]
    ) -> None:
        found = await scene.do(StepName.HELPED, await self.noted(scene, **fields))

        assert found is not None
        assert (found.state, found.tells) == (StepState.DONE, "")
        assert found.detail.startswith("nothing is measured of a flag without a layer")
