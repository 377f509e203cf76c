"""Signals through the operators' API: each taken once, and what policies do about them. Over a real store."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from flags.errors import StoreUnavailable
from flags.model import Document, Kind, ObjectKey
from gateway.auth import keyring
from tests.gateway.office import Office, by, model, prompt
from tests.gateway.signals.test_proof import SECRET, signed
from tests.gateway.signals.test_reading import ALERTMANAGER, EVENT

PROMPT = "support-bot.prompt"
STOP: Document = {"metric": "signal", "source": "prom", "named": "High*", "action": "rollback"}


@pytest.fixture
async def heard(office: Office) -> Office:
    """An office that listens to one source, with a candidate on trial."""
    await source(office)
    await office.operations.rollout(by(), PROMPT, "v7", 10)
    return office


@pytest.fixture
async def client(heard: Office) -> AsyncIterator[httpx.AsyncClient]:
    async with heard.client(authorization=f"Bearer {SECRET}") as made:
        yield made


async def source(office: Office, name: str = "prom", **spec: Any) -> None:
    office.environ["S"] = SECRET
    await office.put(ObjectKey(Kind.SIGNAL, name), {"spec": {"secret": "os.environ/S", **spec}})


async def policy(office: Office, name: str = "stop", **spec: Any) -> None:
    await office.put(ObjectKey(Kind.POLICY, name), {"spec": {**STOP, **spec}})


def alert(**labels: str) -> dict[str, Any]:
    one = ALERTMANAGER["alerts"][0]
    return {**ALERTMANAGER, "alerts": [{**one, "labels": {**one["labels"], **labels}}]}


async def test_an_alert_rolls_back_by_policy_and_once(heard: Office, client: httpx.AsyncClient) -> None:
    await policy(heard)

    first = await client.post("/signals", json=ALERTMANAGER)
    second = await client.post("/signals", json=ALERTMANAGER)

    assert (first.status_code, second.status_code) == (202, 202)
    (done,) = first.json()["signals"][0]["responses"]
    assert (done["did"], done["policy"], done["object"]) == ("rollback", "stop", f"flag/{PROMPT}")
    assert second.json()["signals"][0]["outcome"] == "seen"
    flag = await heard.flag()
    assert (flag.withdrawn, flag.served) == ({"v7"}, "v6")
    entries = [entry for entry in await heard.store.read_log(0, 100) if entry.actor == "policy/stop"]
    assert len(entries) == 1
    assert entries[0].reason == "the signal HighToxicity of prom (page) fires: toxic answers above 1 %"
    assert entries[0].link == "http://prometheus:9090/graph?g0.expr=x"


async def test_without_a_policy_it_is_told_and_nothing_is_done(
    heard: Office, client: httpx.AsyncClient
) -> None:
    (signal,) = (await client.post("/signals", json=ALERTMANAGER)).json()["signals"]

    (entry,) = [each for each in await heard.store.read_log(0, 100) if each.actor == "signal/prom"]
    assert signal["responses"][0]["did"] == "alert"
    assert (entry.action, entry.object) == ("signal", f"flag/{PROMPT}")
    assert (await heard.flag()).rollout is not None


async def test_what_is_resolved_is_noted_only(heard: Office, client: httpx.AsyncClient) -> None:
    await policy(heard)
    resolved = {**ALERTMANAGER, "alerts": [{**ALERTMANAGER["alerts"][0], "status": "resolved"}]}

    (signal,) = (await client.post("/signals", json=resolved)).json()["signals"]

    assert signal["outcome"] == "resolved"
    assert (await heard.flag()).rollout is not None
    assert (await heard.store.read_log(0, 100))[-1].action == "signal.resolved"


async def test_a_policy_of_another_name_is_not_met(heard: Office, client: httpx.AsyncClient) -> None:
    await policy(heard)

    await client.post("/signals", json=alert(alertname="LowDisk"))

    assert (await heard.flag()).rollout is not None


async def test_a_cloud_event_that_flags_a_version_quarantines_it(
    heard: Office, client: httpx.AsyncClient
) -> None:
    flagged = {**EVENT, "type": "org.example.audit.flagged"}

    answer = await client.post(
        "/signals", json=flagged, headers={"content-type": "application/cloudevents+json"}
    )

    flag = await heard.flag()
    assert [each["did"] for each in answer.json()["signals"][0]["responses"]] == ["quarantine"]
    assert flag.quarantined == {flag.variants["v7"].hash}
    assert (await heard.store.read_log(0, 100))[-1].actor == "signal/prom"


async def test_of_many_workers_told_at_once_one_takes_it(heard: Office, client: httpx.AsyncClient) -> None:
    await policy(heard)

    answers = await asyncio.gather(*(client.post("/signals", json=ALERTMANAGER) for _ in range(8)))

    outcomes = sorted(each.json()["signals"][0]["outcome"] for each in answers)
    assert outcomes == ["done"] + ["seen"] * 7


async def test_what_the_store_could_not_take_may_be_sent_again(
    heard: Office, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    await policy(heard)

    async def away(*_: object, **__: object) -> Any:
        raise StoreUnavailable("Redis is away")

    with monkeypatch.context() as broken:
        broken.setattr(heard.responder, "respond", away)
        lost = await client.post("/signals", json=ALERTMANAGER)
    again = await client.post("/signals", json=ALERTMANAGER)

    assert (lost.status_code, again.status_code) == (503, 202)
    assert (await heard.flag()).withdrawn == {"v7"}


@pytest.mark.parametrize(
    ("labels", "told"),
    [
        ({"pointsman_flag": "nothing"}, "flag 'nothing' is not defined (flags: support-bot."),
        ({"pointsman_route": "nowhere"}, "route 'nowhere' is not defined (routes: support-bot)"),
        ({"pointsman_variant": "v9"}, "has no variant 'v9' (variants: v5, v6, v7)"),
    ],
)
async def test_what_does_not_exist_is_told_and_nothing_of_the_message_is_done(
    heard: Office, client: httpx.AsyncClient, labels: dict[str, str], told: str
) -> None:
    await policy(heard)
    both = {**ALERTMANAGER, "alerts": [*ALERTMANAGER["alerts"], *alert(**labels)["alerts"]]}

    answer = await client.post("/signals", json=both)

    assert answer.status_code == 422
    assert told in answer.json()["error"]["message"]
    assert (await heard.flag()).rollout is not None


class TestAdmission:
    async def test_a_signature_is_enough(self, heard: Office) -> None:
        body = json.dumps(ALERTMANAGER).encode()
        async with heard.client(**{"x-pointsman-signature": signed(body)}) as client:
            assert (await client.post("/signals", content=body)).status_code == 202

    @pytest.mark.parametrize(
        "headers", [{}, {"authorization": "Bearer wrong"}, {"x-pointsman-actor": "alice"}]
    )
    async def test_nobody_else_is_let_in_also_without_any_key(
        self, heard: Office, headers: dict[str, str]
    ) -> None:
        before = (await heard.store.head()).position
        async with heard.client(**headers) as client:
            answer = await client.post("/signals", json=ALERTMANAGER)

        assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
        assert (await heard.store.head()).position == before

    async def test_of_several_sources_one_is_named(self, heard: Office) -> None:
        await source(heard, "guard", flag=PROMPT)
        async with heard.client(authorization=f"Bearer {SECRET}") as client:
            unnamed = await client.post("/signals", json=ALERTMANAGER)
            by_query = await client.post("/signals?source=guard", json=ALERTMANAGER)
            by_header = await client.post(
                "/signals", json=ALERTMANAGER, headers={"x-pointsman-signal-source": "prom"}
            )
            unknown = await client.post("/signals?source=nobody", json=ALERTMANAGER)

        assert [each.status_code for each in (unnamed, by_query, by_header, unknown)] == [401, 202, 202, 401]
        assert (by_query.json()["source"], by_header.json()["source"]) == ("guard", "prom")

    async def test_a_secret_that_is_not_there_lets_nobody_in(self, heard: Office) -> None:
        heard.environ.clear()
        async with heard.client(authorization="Bearer ") as client:
            assert (await client.post("/signals", json=ALERTMANAGER)).status_code == 401

    @pytest.mark.parametrize(("role", "status"), [("viewer", 403), ("operator", 202), ("admin", 202)])
    async def test_an_operators_token_may_send_too(self, redis_url: str, role: str, status: int) -> None:
        own = keyring({}, {"operators": [{"name": "olga", "token": "olgas-token", "role": role}]})
        office = await Office(redis_url, keys=own).start()
        await office.declare(prompt(), model(), routes=["support-bot"])
        async with office.client(authorization="Bearer olgas-token") as client:
            answer = await client.post("/signals", json=ALERTMANAGER)
        await office.aclose()

        assert answer.status_code == status

    async def test_a_message_that_is_too_large_is_refused(self, client: httpx.AsyncClient) -> None:
        answer = await client.post("/signals", content=b" " * (1024 * 1024 + 1))

        assert answer.status_code == 413


async def test_what_is_sent_again_and_again_is_never_new(heard: Office, client: httpx.AsyncClient) -> None:
    """An alert that still fires a day later does not roll back what a person restored meanwhile."""
    await policy(heard)
    await client.post("/signals", json=ALERTMANAGER)
    (key,) = await heard.store.calls.run(lambda redis: redis.keys(heard.store.keys.prefix + "signal:*"))
    await heard.store.calls.run(lambda redis: redis.pexpire(key, 60_000))

    await client.post("/signals", json=ALERTMANAGER)

    assert await heard.store.calls.run(lambda redis: redis.pttl(key)) > 80_000_000
