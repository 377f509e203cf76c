"""Who may do what: every endpoint of the operators' API, with every role. A new endpoint needs its decision here."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from types import MappingProxyType

import pytest

from gateway.auth import Role, keyring
from gateway.http.admin import ENDPOINTS
from tests.gateway.office import Office, model, prompt

# The least role that may call it, decided by hand: the table in gateway/http/admin.py must say the same.
DECIDED: Mapping[str, str] = MappingProxyType(
    {
        # Looking.
        "GET /status": "viewer",
        "GET /workers": "viewer",
        "GET /flags": "viewer",
        "GET /flags/{key}": "viewer",
        "GET /flags/{key}/versions": "viewer",
        "GET /flags/{key}/versions/{variant}": "viewer",
        "GET /flags/{key}/versions/{variant}/diff/{other}": "viewer",
        "GET /flags/{key}/changelog": "viewer",
        "GET /gauges": "viewer",
        "GET /history": "viewer",
        "GET /evidence": "viewer",
        "GET /evidence/{key}": "viewer",
        "GET /routes": "viewer",
        "GET /routes/{key}": "viewer",
        "GET /policies": "viewer",
        "GET /policies/{key}": "viewer",
        "GET /upstreams": "viewer",
        "GET /upstreams/{key}": "viewer",
        "GET /breakers": "viewer",
        "GET /log": "viewer",
        "GET /audit": "viewer",
        "GET /audit/anchor": "viewer",
        "GET /events": "viewer",
        "GET /rollbacks": "viewer",
        "GET /rollbacks/{id}": "viewer",
        "GET /notices": "viewer",
        "GET /notices/{id}": "viewer",
        "GET /evals/{id}": "viewer",
        "GET /export": "viewer",
        "GET /openapi.json": "viewer",
        "POST /diff": "viewer",
        "POST /explain": "viewer",
        "POST /flags/{key}/explain": "viewer",
        # Throwing switches, pulling the brake, declaring (with --prune and --reset-state too: all of it can be undone).
        "POST /flags/{key}/switch": "operator",
        "POST /flags/{key}/rollback": "operator",
        "POST /flags/{key}/withdraw": "operator",
        "POST /flags/{key}/restore": "operator",
        "POST /flags/{key}/rollout": "operator",
        "POST /flags/{key}/shadow": "operator",
        "POST /routes/{key}/rollback": "operator",
        "POST /routes/{key}/breakers": "operator",
        "POST /revert": "operator",
        "POST /apply": "operator",
        "POST /rollbacks/{id}/tick": "operator",
        "POST /notices/test": "operator",
        "POST /notices/resend": "operator",
        "POST /notices/{id}/resend": "operator",
        "POST /notices/{id}/drop": "operator",
        "POST /evals": "operator",
        "POST /evals/report": "operator",
        "POST /signals": "operator",
        # Saying of versions whether they may be gone to.
        "POST /flags/{key}/versions/{variant}/approve": "approver",
        "POST /flags/{key}/versions/{variant}/reject": "approver",
        "POST /flags/{key}/versions/{variant}/deprecate": "approver",
        "POST /flags/{key}/quarantine": "approver",
        # Who may come in, and what of the record goes elsewhere.
        "GET /keys": "admin",
        "POST /keys": "admin",
        "POST /keys/{key}/rotate": "admin",
        "POST /keys/{key}/revoke": "admin",
        "POST /audit/trim": "admin",
    }
)
PEOPLE: Mapping[Role, str] = MappingProxyType({role: f"token-of-the-{role}" for role in Role})
# What its answer waits for is not over by itself.
ENDLESS = frozenset({"GET /events"})


@pytest.fixture
async def guarded(redis_url: str) -> AsyncIterator[Office]:
    """An office where each role has somebody."""
    people = [{"name": role.value, "token": token, "role": role.value} for role, token in PEOPLE.items()]
    made = await Office(redis_url, keys=keyring({}, {"operators": people})).start()
    await made.declare(prompt(), model(), routes=["support-bot"])
    yield made
    await made.aclose()


def test_every_endpoint_has_its_decision_and_stands_by_it() -> None:
    stands = {f"{each.method} {each.path}": each.needs.value for each in ENDPOINTS}

    assert stands == dict(DECIDED)


@pytest.mark.parametrize("role", list(Role))
async def test_a_role_opens_what_was_decided_and_no_more(guarded: Office, role: Role) -> None:
    headers = {"authorization": f"Bearer {PEOPLE[role]}"}
    async with guarded.client(**headers) as client:
        for name, least in DECIDED.items():
            method, _, path = name.partition(" ")
            if role.reaches(Role(least)) and name in ENDLESS:
                continue
            for field in ("key", "variant", "other", "id"):
                path = path.replace(f"{{{field}}}", "nothing-of-that-name")

            # An unknown field in every body: nothing is done even where it may be.
            answer = await client.request(method, path, json={"no_such_field": 1})

            allowed = role.reaches(Role(least))
            assert (answer.status_code == 403) is not allowed, f"{role} {name}: {answer.text}"
            assert answer.status_code != 401, name
            if not allowed:
                told = answer.json()["error"]
                article = "an" if least in ("operator", "approver", "admin") else "a"
                assert told["code"] == "forbidden"
                assert told["message"].endswith(f"it takes {article} {least}"), told["message"]


async def test_what_was_forbidden_was_not_done(guarded: Office) -> None:
    before = (await guarded.store.head()).position

    async with guarded.client(authorization=f"Bearer {PEOPLE[Role.VIEWER]}") as client:
        await client.post("/flags/support-bot.prompt/switch", json={"variant": "v7"})
        await client.post("/keys", json={"name": "mine", "role": "admin"})

    assert (await guarded.store.head()).position == before


@pytest.mark.parametrize("object_key", ["key/ci", "rollback/0a1b"])
async def test_nothing_but_what_a_file_declares_is_reverted(guarded: Office, object_key: str) -> None:
    body = {"object": object_key, "to_revision": 1, "reason": "back to what it was"}

    async with guarded.client(authorization=f"Bearer {PEOPLE[Role.ADMIN]}") as client:
        answer = await client.post("/revert", json=body)

    assert (answer.status_code, answer.json()["error"]["path"]) == (422, "object")
