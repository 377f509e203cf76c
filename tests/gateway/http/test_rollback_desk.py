"""Records of rollbacks over the operators' API: listed, shown, ticked by people."""

from __future__ import annotations

from typing import Any

import pytest

from flags.change import Draft
from gateway.auth import keyring
from policies.governance import procedure
from policies.governance.finding import Finding
from policies.governance.record import StepName, StepState, record_key
from tests.flags.stores import ANN
from tests.gateway.office import Office, by

PROMPT = "support-bot.prompt"
LINK = "https://ci.example/run/1"
STEPS = ["locate", "restore", "acknowledge", "evaluate", "log", "changelog", "notify", "helped"]


async def rolled_back(office: Office, to: str = "v7") -> str:
    """Switch to `to` and roll it back; the id of the Change."""
    await office.operations.restore(by(), PROMPT, to)
    await office.operations.switch(by(), PROMPT, to)
    done = await office.operations.rollback(by("alice", "wrong answers"), PROMPT)
    assert done.id is not None
    return done.id


async def step(office: Office, change_id: str, name: StepName, finding: Finding) -> None:
    """A step, as a clerk would write it."""
    committed = await office.store.change(
        ANN, [record_key(change_id)], lambda view: procedure.written(view, change_id, {name: finding})
    )
    await office.store.acknowledged(committed.position, 5, committed.workers)


async def get(office: Office, path: str) -> Any:
    async with office.client() as client:
        return (await client.get(path)).json()


async def post(office: Office, path: str, body: Any, **headers: str) -> Any:
    async with office.client(**headers) as client:
        return await client.post(path, json=body)


class TestShow:
    async def test_a_rollback_is_shown_with_its_steps_in_order(self, office: Office) -> None:
        change_id = await rolled_back(office)

        found = await get(office, f"/rollbacks/{change_id}")

        assert (found["id"], found["flag"], found["from"], found["to"]) == (change_id, PROMPT, "v7", "v6")
        assert (found["reason"], found["actor"], found["label"]) == (
            "wrong answers",
            "alice",
            "v6.0.0-rollback",
        )
        assert (found["routes"], found["closed"]) == (["support-bot"], None)
        assert [each["name"] for each in found["steps"]] == STEPS
        assert [each["done"] for each in found["steps"]] == [True, True, *[False] * 6]
        assert len(found["hash"]) == 64

    async def test_a_step_tells_when_what_and_where(self, office: Office) -> None:
        change_id = await rolled_back(office)
        await step(office, change_id, StepName.EVALUATE, Finding(StepState.FAILED, "did NOT pass", "/report"))

        (found,) = [
            each
            for each in (await get(office, f"/rollbacks/{change_id}"))["steps"]
            if each["name"] == "evaluate"
        ]

        assert (found["done"], found["state"]) == (False, "failed")
        assert (found["detail"], found["link"]) == ("did NOT pass", "/report")
        assert found["time"].endswith("Z")

    async def test_a_rollback_that_has_no_record_is_404_with_what_to_do(self, office: Office) -> None:
        async with office.client() as client:
            answer = await client.get("/rollbacks/deadbeef")

        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "not_found")
        assert "pointsman log" in answer.json()["error"]["mend"]


class TestList:
    async def test_the_newest_comes_first_and_pages_follow(self, office: Office) -> None:
        ids = [
            await rolled_back(office, "v7"),
            await rolled_back(office, "v5"),
            await rolled_back(office, "v7"),
        ]

        first = await get(office, "/rollbacks?limit=2")
        second = await get(office, f"/rollbacks?limit=2&after={first['next']}")

        assert [each["id"] for each in first["items"]] == ids[:0:-1]
        assert [each["id"] for each in second["items"]] == ids[:1]
        assert second["next"] is None

    async def test_of_one_flag(self, office: Office) -> None:
        await rolled_back(office)

        mine = await get(office, f"/rollbacks?flag={PROMPT}")
        others = await get(office, "/rollbacks?flag=support-bot.model")

        assert [len(mine["items"]), len(others["items"])] == [1, 0]

    async def test_an_unknown_place_to_go_on_from_is_404(self, office: Office) -> None:
        async with office.client() as client:
            assert (await client.get("/rollbacks?after=nope")).status_code == 404

    async def test_a_record_that_this_version_cannot_read_is_left_out(self, office: Office) -> None:
        odd = [Draft("rollback.open", record_key("odd"), {"of": "tomorrow"}, affects=False)]
        committed = await office.store.change(ANN, [record_key("odd")], lambda _: odd)
        await office.store.acknowledged(committed.position, 5, committed.workers)

        assert (await get(office, "/rollbacks"))["items"] == []


class TestTick:
    async def test_ci_is_ticked_with_its_link_and_shown_on_every_worker(self, office: Office) -> None:
        change_id = await rolled_back(office)

        answer = await post(
            office,
            f"/rollbacks/{change_id}/tick",
            {"step": "ci", "link": LINK},
            **{"x-pointsman-actor": "carol"},
        )

        (ci,) = [
            each for each in (await get(office, f"/rollbacks/{change_id}"))["steps"] if each["name"] == "ci"
        ]
        assert answer.status_code == 200
        assert (ci["done"], ci["link"]) == (True, LINK)
        assert ci["detail"] == f"ticked by carol: rollback tick {change_id} ci"
        entry = (await office.store.read_log(0, 99))[-1]
        assert (entry.action, entry.actor, entry.link, entry.affects) == ("rollback.tick", "carol", LINK, ())

    async def test_a_failed_step_is_ticked_by_a_person(self, office: Office) -> None:
        change_id = await rolled_back(office)
        await step(
            office, change_id, StepName.HELPED, Finding(StepState.FAILED, "too few requests to say: 3 of 20")
        )

        answer = await post(
            office, f"/rollbacks/{change_id}/tick", {"step": "helped", "link": LINK, "reason": "seen by hand"}
        )

        helped = answer.json()["steps"][-1]
        assert helped["done"] is True
        assert helped["detail"].endswith("seen by hand (was: too few requests to say: 3 of 20)")

    async def test_a_second_tick_changes_nothing(self, office: Office) -> None:
        change_id = await rolled_back(office)
        await post(office, f"/rollbacks/{change_id}/tick", {"step": "ci", "link": LINK})

        again = await post(
            office, f"/rollbacks/{change_id}/tick", {"step": "ci", "link": "https://other.example/"}
        )

        assert again.json()["changed"] is False
        assert again.json()["steps"][-1]["link"] == LINK

    @pytest.mark.parametrize(
        ("body", "path"),
        [
            ({"step": "ci"}, "link"),
            ({"link": LINK}, "step"),
            ({"step": "CI row", "link": LINK}, "step"),
            ({"step": "ci", "link": "javascript:alert(1)"}, "link"),
        ],
    )
    async def test_what_is_wrong_is_named(self, office: Office, body: Any, path: str) -> None:
        change_id = await rolled_back(office)

        answer = await post(office, f"/rollbacks/{change_id}/tick", body)

        assert (answer.status_code, answer.json()["error"]["path"]) == (422, path)

    @pytest.mark.parametrize("change_id", ["nope", "%2e%2e", "a b"])
    async def test_a_record_that_is_not_there_is_404(self, office: Office, change_id: str) -> None:
        answer = await post(office, f"/rollbacks/{change_id}/tick", {"step": "ci", "link": LINK})

        assert answer.status_code == 404

    async def test_a_viewer_may_not(self, office: Office) -> None:
        change_id = await rolled_back(office)
        document = {"operators": [{"name": "vera", "token": "vera-secret", "role": "viewer"}]}
        office.own_keys = keyring({}, document)
        headers = {"authorization": "Bearer vera-secret"}

        answer = await post(office, f"/rollbacks/{change_id}/tick", {"step": "ci", "link": LINK}, **headers)

        assert answer.status_code == 403
