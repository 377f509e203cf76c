"""People who complain: counted once each, by the fleet, and acted on at the limit. Over a real store."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from flags.model import Document, Layer, Rollout
from flags.snapshot import Snapshot
from policies import verbs
from policies.incidents.complaints import Complaints
from policies.incidents.responder import Responder
from policies.outcome import Release, Score
from tests.policies.conftest import Hire
from tests.policies.working import PROMPT, Worker, a_flag

GO: Document = {"metric": "complaint", "limit": 3, "action": "rollback"}
_ids = itertools.count()


def counting(worker: Worker) -> Complaints:
    def served() -> Snapshot:
        assert worker.watcher.snapshot is not None
        return worker.watcher.snapshot

    made = Responder(worker.store, worker.measures, snapshot=served, new_id=lambda: f"{next(_ids):032x}")
    return Complaints(worker.store, made, served)


def complaint(*releases: Release, unit: str = "ann", **told: Any) -> Score:
    fields = {
        "key": f"req-{next(_ids)}/complaint",
        "route": "bot",
        "how": "c",
        "metric": "complaint",
        "value": 1.0,
    }
    return Score(releases=releases, unit=unit, decided_at=1, **{**fields, **told})


async def complain(complaints: Complaints, *scores: Score) -> None:
    complaints.note(scores)
    await complaints.count()


async def rolled_out(worker: Worker, **policies: Document) -> Release:
    await worker.declare(a_flag(rollout=Rollout("v7", 10)), policies=policies)
    return worker.release("v7")


async def test_as_many_different_people_as_the_limit_roll_the_candidate_back(worker: Worker) -> None:
    release = await rolled_out(worker, go=GO)
    complaints = counting(worker)

    await complain(complaints, complaint(release, unit="ann"), complaint(release, unit="bob"))
    assert (await worker.flag()).rollout is not None
    await complain(complaints, complaint(release, unit="eve"))

    flag = await worker.flag()
    (entry,) = await worker.log("policy/go")
    assert (entry.action, flag.withdrawn, flag.served) == ("rollback", {"v7"}, "v6")
    assert entry.reason == "3 different people complained of v7 of bot.prompt within 3600 s (limit 3)"


async def test_one_person_counts_once_however_often(worker: Worker) -> None:
    release = await rolled_out(worker, go=GO)

    await complain(counting(worker), *(complaint(release, unit="ann") for _ in range(10)))

    assert (await worker.flag()).rollout is not None


async def test_who_named_nobody_counts_by_request_and_the_same_request_once(worker: Worker) -> None:
    release = await rolled_out(worker, go=GO)
    complaints, again = counting(worker), complaint(release, unit="")

    await complain(complaints, again, again, again, complaint(release, unit=""))
    assert (await worker.flag()).rollout is not None
    await complain(complaints, complaint(release, unit=""))

    assert (await worker.flag()).withdrawn == {"v7"}


async def test_the_fleet_counts_together(hire: Hire) -> None:
    one, two = await hire("w1"), await hire("w2")
    release = await rolled_out(one, go=GO)
    await two.caught_up()

    for worker, unit in ((one, "ann"), (two, "bob"), (one, "eve")):
        await complain(counting(worker), complaint(release, unit=unit))

    assert (await one.flag()).withdrawn == {"v7"}


async def test_a_new_life_of_a_version_begins_without_complaints(worker: Worker) -> None:
    old = await rolled_out(worker, go=GO)
    complaints = counting(worker)
    await complain(complaints, *(complaint(old, unit=unit) for unit in ("ann", "bob")))
    await worker.do(verbs.abort)
    await worker.do(lambda flag: verbs.start(flag, "v7", 10))

    await complain(complaints, complaint(worker.release("v7"), unit="eve"), complaint(old, unit="joe"))

    assert (await worker.flag()).rollout is not None


async def test_the_policy_that_ships_tells_of_three_once(worker: Worker) -> None:
    release = await rolled_out(worker)
    complaints = counting(worker)

    for unit in ("ann", "bob", "eve", "joe"):
        await complain(complaints, complaint(release, unit=unit))

    (entry,) = await worker.log("policy/complaints")
    assert (entry.action, entry.object) == ("complaint", f"flag/{PROMPT}")
    assert (await worker.flag()).rollout is not None


async def test_with_nothing_to_go_back_to_the_route_is_told_of(worker: Worker) -> None:
    await worker.declare(a_flag(), policies={"go": GO})
    release = Release(PROMPT, "v6", 1)

    await complain(counting(worker), *(complaint(release, unit=unit) for unit in ("ann", "bob", "eve")))

    (entry,) = await worker.log("policy/go")
    assert (entry.action, entry.object) == ("alert", "route/bot")
    assert entry.reason.startswith(
        "nothing to roll back: 3 different people complained of what route bot answers"
    )


@pytest.mark.parametrize(
    "told",
    [{"value": 0.0}, {"metric": "accuracy"}, {"route": "other"}],
    ids=["content", "other metric", "other route"],
)
async def test_what_is_no_complaint_of_the_policys_route_counts_nothing(
    worker: Worker, told: dict[str, Any]
) -> None:
    release = await rolled_out(worker, go={**GO, "limit": 1, "routes": ["bot"]})

    await complain(counting(worker), complaint(release, **told))

    assert await worker.log("policy/go") == []


async def test_the_policys_layer_is_blamed_where_several_could_go_back(worker: Worker) -> None:
    prompt = a_flag(rollout=Rollout("v7", 10), changed_at="2030-01-02T00:00:00.000Z")
    model = a_flag("bot.model", Layer.MODEL, rollout=Rollout("v7", 10), changed_at="2030-01-01T00:00:00.000Z")
    await worker.declare(prompt, model, policies={"go": {**GO, "limit": 1, "layer": "model"}})
    releases = (worker.release("v7"), worker.release("v7", "bot.model"))

    await complain(counting(worker), complaint(*releases))

    assert (await worker.flag("bot.model")).withdrawn == {"v7"}
    assert (await worker.flag()).rollout is not None


async def test_what_could_not_be_counted_waits(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    release = await rolled_out(worker, go={**GO, "limit": 1})
    complaints = counting(worker)
    complaints.note([complaint(release)])

    with monkeypatch.context() as away:
        away.setattr(complaints._store.keys.__class__, "complaints", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            await complaints.count()
    assert repr(complaints) == "<Complaints 1 waiting>"
    await complaints.count()

    assert (await worker.flag()).withdrawn == {"v7"}
    assert repr(complaints) == "<Complaints 0 waiting>"


async def test_who_complained_before_the_window_counts_no_more(worker: Worker) -> None:
    release = await rolled_out(worker, go=GO)
    complaints = counting(worker)
    await complain(complaints, complaint(release, unit="ann"), complaint(release, unit="bob"))
    (key,) = await worker.store.calls.run(
        lambda redis: redis.keys(worker.store.keys.prefix + "complaints:*go@*")
    )
    await worker.store.calls.run(lambda redis: redis.zadd(key, {"ann": 1, "old": 1}))

    await complain(complaints, complaint(release, unit="eve"))

    assert await worker.store.calls.run(lambda redis: redis.zcard(key)) == 2
    assert await worker.store.calls.run(lambda redis: redis.pttl(key)) > 3_500_000
    assert (await worker.flag()).rollout is not None
