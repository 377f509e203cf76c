"""Making, rotating and revoking keys, through the operators' API over a real store."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from gateway.auth import keyring
from tests.gateway.office import Office, model, prompt

ADMIN = "an-admins-token"


@pytest.fixture
async def client(office: Office) -> AsyncIterator[httpx.AsyncClient]:
    """Somebody on a loopback without keys."""
    async with office.client(**{"x-pointsman-actor": "alice"}) as made:
        yield made


async def make(client: httpx.AsyncClient, name: str = "ci", token: str = "", **body: Any) -> Any:
    headers = {"authorization": f"Bearer {token}"} if token else {}
    return (await client.post("/keys", json={"name": name, **body}, headers=headers)).json()


def bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


async def test_a_key_is_told_once_and_kept_by_nobody(office: Office, client: httpx.AsyncClient) -> None:
    told = await make(client, routes=["support-bot"], pin=True)

    assert told["key"].startswith("pm-app-")
    assert told["note"] == "from now on every app needs a key: calls without one are refused (401)"
    caller = office.keys.caller(told["key"].encode())
    assert (caller.name, caller.may_pin, caller.routes) == ("ci", True, {"support-bot"})
    listed = (await client.get("/keys")).text
    ledger = b"".join(await office.store.read_log_bytes(0, 100)).decode()
    assert told["key"] not in listed + ledger
    assert hashlib.sha256(told["key"].encode()).hexdigest() in ledger
    assert (await office.store.read_log(0, 100))[-1].actor == "alice"


async def test_the_first_token_must_be_an_admins_that_holds_for_ever(client: httpx.AsyncClient) -> None:
    for body in ({"role": "viewer"}, {"role": "approver"}, {"role": "admin", "expires_seconds": 60}):
        told = await make(client, **body)
        assert told["error"]["rule"] == "last_admin", body

    told = await make(client, role="admin")

    assert told["note"].startswith("from now on every operator needs a token")


async def test_from_the_first_token_on_tokens_are_asked_for_and_name_the_actor(
    office: Office, client: httpx.AsyncClient
) -> None:
    root = (await make(client, "root", role="admin"))["key"]

    without = await client.get("/status")
    with_one = await client.post("/keys", json={"name": "ops", "role": "operator"}, headers=bearer(root))
    ops = with_one.json()["key"]
    refused = await client.post("/keys", json={"name": "more"}, headers=bearer(ops))

    assert (without.status_code, with_one.status_code, refused.status_code) == (401, 200, 403)
    assert refused.json()["error"]["message"] == "ops is an operator and may not do this: it takes an admin"
    entry = (await office.store.read_log(0, 100))[-1]
    assert (entry.actor, entry.action, entry.object) == ("root", "key.create", "key/ops")


async def test_the_last_admin_is_not_revoked_while_others_need_a_token(client: httpx.AsyncClient) -> None:
    root = (await make(client, "root", role="admin"))["key"]
    await make(client, "ops", root, role="operator")

    refused = await client.post("/keys/root/revoke", json={}, headers=bearer(root))
    await client.post("/keys/ops/revoke", json={}, headers=bearer(root))
    last = await client.post("/keys/root/revoke", json={}, headers=bearer(root))

    assert (refused.status_code, refused.json()["error"]["rule"]) == (422, "last_admin")
    assert last.json()["note"].startswith("this was the last operator's key")
    assert (await client.get("/status")).status_code == 200


async def test_a_revoked_key_opens_nothing_on_any_worker(office: Office, client: httpx.AsyncClient) -> None:
    key = (await make(client, "one"))["key"]
    other = (await make(client, "two"))["key"]

    told = (await client.post("/keys/one/revoke", json={})).json()

    assert (told["acknowledged"], told["workers"]) == (2, 2)
    assert office.keys.caller(other.encode()).name == "two"
    with pytest.raises(Exception, match="not known"):
        office.keys.caller(key.encode())


async def test_a_rotated_key_has_a_new_secret_and_the_old_one_its_grace(
    office: Office, client: httpx.AsyncClient
) -> None:
    old = (await make(client))["key"]

    new = (await client.post("/keys/ci/rotate", json={"grace_seconds": 3600})).json()["key"]
    assert office.keys.caller(old.encode()) == office.keys.caller(new.encode())
    newest = (await client.post("/keys/ci/rotate", json={})).json()["key"]

    for gone in (old, new):
        with pytest.raises(Exception, match=r"not known|expired"):
            office.keys.caller(gone.encode())
    assert office.keys.caller(newest.encode()).name == "ci"


async def test_rotating_again_and_again_keeps_few_secrets(office: Office, client: httpx.AsyncClient) -> None:
    await make(client)
    for _ in range(10):
        await client.post("/keys/ci/rotate", json={"grace_seconds": 3600})

    assert len(office.keys.apps) == 5


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ({"name": "ci", "routes": ["nowhere"]}, "routes"),
        ({"name": "ci", "role": "admin", "pin": True}, "role"),
        ({"name": "ci", "role": "king"}, "role"),
        ({"name": "../ci"}, "name"),
        ({"name": "ci", "expires_seconds": 0}, "expires_seconds"),
        ({"name": "ci", "flags_only": True, "routes": ["support-bot"]}, "flags_only"),
        ({"name": "ci", "flags_only": True, "pin": True}, "flags_only"),
        ({"name": "ci", "flags_only": True, "role": "viewer"}, "flags_only"),
    ],
)
async def test_what_cannot_be_made_is_told_with_its_place(
    client: httpx.AsyncClient, body: dict[str, Any], path: str
) -> None:
    answer = await client.post("/keys", json=body)

    assert (answer.status_code, answer.json()["error"]["path"]) == (422, path)


async def test_a_name_is_used_once(client: httpx.AsyncClient) -> None:
    await make(client)

    assert (await make(client))["error"]["rule"] == "key_exists"
    unknown = await client.post("/keys/nobody/revoke", json={})
    assert (unknown.status_code, "keys: ci" in unknown.json()["error"]["message"]) == (404, True)


async def test_the_list_tells_what_each_may_and_until_when(client: httpx.AsyncClient) -> None:
    await make(client, "app", routes=["support-bot"], expires_seconds=300_000_000)
    await make(client, "plain")
    app, plain = (await client.get("/keys")).json()["keys"]

    assert (app["name"], app["kind"], app["routes"], app["expired"]) == ("app", "app", ["support-bot"], False)
    assert (plain["routes"], plain["expires_at"], plain["created_by"]) == (None, None, "alice")


async def test_a_key_for_flags_alone_has_no_route_and_stays_so_when_rotated(
    office: Office, client: httpx.AsyncClient
) -> None:
    made = await make(client, "page", flags_only=True)
    before = office.keys.reader(made["key"].encode()).caller
    rotated = (await client.post("/keys/page/rotate", json={})).json()
    after = office.keys.reader(rotated["key"].encode()).caller

    assert (await client.get("/keys")).json()["keys"][0]["routes"] == []
    assert before == after
    assert after.routes == frozenset()


async def test_an_admin_of_the_key_file_is_enough_for_any_first_token(redis_url: str) -> None:
    own = keyring(
        {}, {"operators": [{"name": "file", "token": ADMIN}], "apps": [{"name": "a", "key": "app-key-1"}]}
    )
    office = await Office(redis_url, keys=own).start()
    await office.declare(prompt(), model(), routes=["support-bot"])
    async with office.client(**bearer(ADMIN)) as client:
        told = await make(client, "vera", role="viewer", expires_seconds=60)
        listed = (await client.get("/keys")).json()
    await office.aclose()

    assert "note" not in told
    assert listed["elsewhere"] == 2
    (vera,) = listed["keys"]
    assert (vera["kind"], vera["role"], vera["created_by"], vera["secrets"]) == (
        "operator",
        "viewer",
        "file",
        1,
    )
    assert vera["expires_at"] is not None


async def test_two_admins_who_revoke_each_other_at_once_leave_one(
    office: Office, client: httpx.AsyncClient
) -> None:
    one = (await make(client, "one", role="admin"))["key"]
    two = (await make(client, "two", one, role="admin"))["key"]
    await make(client, "ops", one, role="operator")

    answers = await asyncio.gather(
        client.post("/keys/two/revoke", json={}, headers=bearer(one)),
        client.post("/keys/one/revoke", json={}, headers=bearer(two)),
    )

    assert sorted(each.status_code for each in answers) in ([200, 401], [200, 409], [200, 422])
    assert sum(entry.who.role.value == "admin" for entry in office.keys.operators.values()) == 1
