"""What is done about an incident from elsewhere, over a real store."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

from flags.ledger import entry_json
from flags.model import Document, Kind, ObjectKey, Rollout, RolloutState
from flags.snapshot import Snapshot
from policies import verbs
from policies.incidents.incident import Incident
from policies.incidents.responder import Responder
from policies.recount import Recount
from tests.policies.conftest import Hire
from tests.policies.working import PROMPT, Worker, a_flag

STOP: Document = {"metric": "signal", "action": "rollback"}
_ids = itertools.count()


def responder(worker: Worker) -> Responder:
    def served() -> Snapshot:
        assert worker.watcher.snapshot is not None
        return worker.watcher.snapshot

    return Responder(worker.store, worker.measures, snapshot=served, new_id=lambda: f"{next(_ids):032x}")


def incident(**told: Any) -> Incident:
    return Incident(
        "signal", **{"id": "src/1", "reason": "it burns", "source": "src", "name": "Toxic", **told}
    )


async def declared(worker: Worker, *, policies: dict[str, Document] | None = None, **flag: Any) -> None:
    state = flag or {"rollout": Rollout("v7", 10)}
    await worker.declare(a_flag(**state), policies={"stop": STOP} if policies is None else policies)


async def test_a_signal_rolls_back_through_the_governed_way(worker: Worker) -> None:
    await declared(worker)

    (found,) = await responder(worker).respond(incident(flag=PROMPT, link="https://x.example/1"))

    flag = await worker.flag()
    assert (found.did, found.policy, found.object) == ("rollback", "stop", f"flag/{PROMPT}")
    assert (flag.withdrawn, flag.quarantined) == ({"v7"}, {flag.variants["v7"].hash})
    assert flag.braked_at
    (first,) = await worker.log("policy/stop")
    opened = [entry.object for entry in await worker.log() if entry.action == "rollback.open"]
    assert (first.action, opened) == ("rollback", [f"rollback/{first.id}"])
    assert (first.link, first.evidence and first.evidence["event"]) == ("https://x.example/1", "src/1")


async def test_of_two_workers_told_of_the_same_one_rolls_back(hire: Hire) -> None:
    one, two = await hire("w1"), await hire("w2")
    await declared(one)
    await two.caught_up()

    found = await asyncio.gather(*(responder(each).respond(incident(flag=PROMPT)) for each in (one, two)))

    assert sorted(each.did for (each,) in found).count("rollback") == 1
    assert len([entry for entry in await one.log("policy/") if entry.action == "rollback"]) == 1


async def test_a_pause_stops_the_rollout_once(worker: Worker) -> None:
    await declared(worker, policies={"stop": {"metric": "signal", "action": "pause"}})

    first = await responder(worker).respond(incident(flag=PROMPT))
    await worker.caught_up()
    second = await responder(worker).respond(incident(flag=PROMPT))

    flag = await worker.flag()
    assert flag.rollout is not None
    assert flag.rollout.state is RolloutState.PAUSED
    assert [each.did for each in (*first, *second)] == ["pause", "nothing"]


async def test_a_dry_run_only_tells_and_once(worker: Worker) -> None:
    await declared(worker, policies={"stop": {**STOP, "dry_run": True}})

    found = [(await responder(worker).respond(incident(flag=PROMPT)))[0].did for _ in range(2)]

    assert found == ["alert", "nothing"]
    (entry,) = await worker.log("policy/stop")
    assert (entry.action, entry.after) == ("alert", None)
    assert entry.reason == "would have done: rollback (dry run): it burns"
    assert (await worker.flag()).rollout is not None


async def test_an_alert_is_a_note_under_the_events_own_name(worker: Worker) -> None:
    await declared(worker, policies={"tell": {"metric": "signal", "action": "alert"}})

    await responder(worker).respond(incident(route="bot"))

    (entry,) = await worker.log("policy/tell")
    assert (entry.action, entry.reason) == ("signal", "it burns")


async def test_without_any_policy_it_is_told_by_its_source(worker: Worker) -> None:
    await declared(worker, policies={})

    (found,) = await responder(worker).respond(incident(route="bot"))
    (second,) = await responder(worker).respond(incident(route="bot", id="src/2"))

    (entry,) = await worker.log("signal/src")
    assert second.did == "nothing"
    assert (found.did, found.policy, entry.action, entry.object) == ("alert", None, "signal", "route/bot")


async def test_automation_acts_once_a_cooldown_and_tells_what_it_did_not_do(worker: Worker) -> None:
    await declared(worker)
    await responder(worker).respond(incident(flag=PROMPT))
    await worker.do(lambda flag: verbs.start(flag, "v5", 10))

    (found,) = await responder(worker).respond(incident(flag=PROMPT, id="src/2"))

    assert (found.did, found.again) == ("alert", True)
    assert found.reason.startswith("nothing was done, automation acted a moment ago")
    assert (await worker.flag()).rollout == Rollout("v5", 10)


async def test_where_the_safe_version_does_not_fit_it_alerts(worker: Worker) -> None:
    await declared(worker, serve="v7")
    asked = responder(worker)

    async def nothing_fits(flag: str, variant: str, /) -> bool:
        return False

    asked.fits = nothing_fits
    (found,) = await asked.respond(incident(flag=PROMPT))

    assert found.did == "alert"
    assert (await worker.flag()).withdrawn == frozenset()


async def test_an_audits_flag_quarantines_the_version(worker: Worker) -> None:
    await declared(worker, serve="v7")

    found = await responder(worker).quarantine(incident(flag=PROMPT, variant="v7"), actor="signal/audit")

    flag = await worker.flag()
    assert (found.did, flag.served, flag.quarantined) == ("quarantine", "v6", {flag.variants["v7"].hash})


async def test_an_audits_flag_on_the_only_safe_version_is_told_and_changes_nothing(worker: Worker) -> None:
    await declared(worker, serve="v7")
    before = await worker.flag()

    found = await responder(worker).quarantine(incident(flag=PROMPT, variant="v6"), actor="signal/audit")

    assert found.did == "alert"
    assert found.reason.startswith("not put into quarantine: ")
    assert await worker.flag() == before


async def test_the_recount_leaves_what_was_told_from_outside_alone(worker: Worker) -> None:
    await declared(worker)
    await responder(worker).respond(incident(flag=PROMPT))
    recount = Recount()

    for entry in await worker.log():
        recount.take(entry_json(entry))

    assert recount.problems == []


async def test_a_policy_that_was_changed_meanwhile_does_nothing(worker: Worker) -> None:
    await declared(worker)
    asked = responder(worker)
    old = worker.watcher.snapshot
    assert old is not None
    key = ObjectKey(Kind.POLICY, "stop")

    asked._snapshot = lambda: old
    await worker.declare(a_flag(rollout=Rollout("v7", 10)), policies={"stop": {**STOP, "dry_run": True}})
    await asked.respond(incident(flag=PROMPT))

    assert (await worker.flag()).rollout is not None
    assert key in old.objects


async def test_of_a_storm_of_signals_alike_the_ledger_keeps_one_a_minute(worker: Worker) -> None:
    await declared(worker, rollout=None)
    ears = responder(worker)
    incidents = [incident(flag=PROMPT, id=f"src/{number}") for number in range(20)]

    found = [(await ears.respond(each))[0] for each in incidents]
    other = (await ears.respond(incident(flag=PROMPT, id="src/x", name="Slow")))[0]

    assert [each.did for each in found] == ["alert", *["nothing"] * 19]
    # Sent again later, each of them is taken anew.
    assert all(each.again for each in found[1:])
    assert other.did == "alert"
    assert len(await worker.log("policy/stop")) == 2
