"""A whole worker whose route a provider decides: measured, judged, rolled back here, and told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx

from flags.ledger import Entry
from tests.gateway.deciding import providers
from tests.gateway.deciding.decided import MODEL, Asking, ask, decided_by, entries, flag, looked, until
from tests.gateway.deciding.providers import FLAG
from tests.redis_server import RedisServer


async def test_a_version_that_all_are_given_is_served_and_safe_stays(
    redis_server: RedisServer, tmp_path: Path
) -> None:
    reference = "tests.gateway.deciding.providers:always_v7"
    async with decided_by(redis_server, tmp_path, reference) as (house, url):
        answered = await ask(url, 8)
        await until(lambda: flag(house, FLAG).served == "v7", lambda: looked(house.likening))
        written = await entries(house, "observed")

    assert set(answered) == {"prompt=v7;model=gpt"}
    assert flag(house, FLAG).safe == "v6"
    assert [(each.actor, each.object) for each in written] == [(f"provider/{reference}", f"flag/{FLAG}")]
    assert "v7 is what all are given" in written[0].reason


def poor_for_half() -> Any:
    made = providers.splitting(50.0, "poor", "gpt")
    made._flags = {MODEL: made._flags[FLAG]}
    return made


async def test_a_bad_version_of_a_providers_rollout_is_rolled_back_here_and_people_are_told(
    redis_server: RedisServer, tmp_path: Path
) -> None:
    reference = "tests.gateway.deciding.test_journey:poor_for_half"
    async with decided_by(redis_server, tmp_path, reference) as (house, url):
        more = Asking(house, url, 40)
        await until(lambda: flag(house, MODEL).rollout is not None, more)
        begun = flag(house, MODEL)
        await until(lambda: "poor" in flag(house, MODEL).withdrawn, more)
        after = await ask(url, 40, more.asked)
        told: list[Entry] = []

        async def tell() -> None:
            await more()
            told[:] = await entries(house, "diverted")

        await until(lambda: bool(told), tell)
        rollbacks = await entries(house, "rollback")
        observed = await entries(house, "observed")

    assert begun.rollout is not None
    assert begun.rollout.variant == "poor"
    assert begun.rollout.percent >= 50
    assert {each.actor for each in rollbacks} == {"policy/error-brake"}
    assert set(after) == {"prompt=v6;model=gpt"}
    assert flag(house, MODEL).safe == "gpt"
    # The provider goes on giving it, and nobody tries it again.
    assert len(observed) <= 2
    assert told[0].reason == (
        f"poor is withdrawn here and diverted to gpt; {reference} still gives it: change it there"
    )
    assert len(told) == 1


SWITCHED: list[tuple[str, str, str]] = []


def switchable() -> Any:
    class Switchable(type(providers.constant("v7"))):  # type: ignore[misc]  # the SDK's own, with a method more
        async def switch(self, flag_key: str, variant: str, reason: str) -> None:
            SWITCHED.append((flag_key, variant, reason))
            self._flags = providers.constant(variant)._flags

    return Switchable(providers.constant("v7")._flags)


async def test_a_provider_that_can_be_switched_is_switched_once(
    redis_server: RedisServer, tmp_path: Path
) -> None:
    SWITCHED.clear()
    reference = "tests.gateway.deciding.test_journey:switchable"
    async with decided_by(redis_server, tmp_path, reference) as (house, url):
        await ask(url, 8)
        await until(lambda: flag(house, FLAG).served == "v7", lambda: looked(house.likening))
        async with httpx.AsyncClient(base_url=url) as client:
            refused = await client.post(
                f"/admin/v1/flags/{FLAG}/switch", json={"variant": "v6", "reason": "x"}
            )
            done = await client.post(f"/admin/v1/flags/{FLAG}/rollback", json={"reason": "v7 is rude"})
            explained = await client.post(
                "/admin/v1/explain", json={"route": "support-bot", "targeting_key": "u"}
            )
        more = Asking(house, url, 5, begin=100)
        await until(lambda: bool(SWITCHED), more)
        told: list[Entry] = []

        async def tell() -> None:
            await more()
            told[:] = await entries(house, "diverted")

        await until(lambda: bool(told), tell)

    assert (refused.status_code, refused.json()["error"]["rule"]) == (422, "decided_elsewhere")
    assert reference in refused.json()["error"]["message"]
    assert (done.status_code, done.json()["to"]) == (200, "v6")
    assert "v7 was chosen, but it is withdrawn" in explained.json()["layers"]["prompt"]["why"]
    assert SWITCHED == [(FLAG, "v6", "v7 is rude")]
    assert told[0].reason.endswith(f"{reference} was asked to serve v6, and took it")
