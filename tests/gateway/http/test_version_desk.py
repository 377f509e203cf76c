"""The endpoints for versions: who may say what, what stands in the ledger then, and two at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import httpx
import pytest

from flags.codec import document_of
from flags.model import Flag, Promotion
from gateway.auth import keyring
from tests.gateway.office import Office, key_of, prompt
from tests.gateway.versions.making import governed

PROMPT = "support-bot.prompt"
V7 = f"/flags/{PROMPT}/versions/v7"
RULES = Promotion(approvals=2)
ROLES = {"vera": "viewer", "olaf": "operator", "ada": "approver", "adam": "admin"}
KEYS = {
    "operators": [{"name": name, "token": f"token-of-{name}", "role": role} for name, role in ROLES.items()]
}


async def govern(office: Office, rules: Promotion | None = RULES, **state: Any) -> Flag:
    """The prompt flag with rules, its versions declared by carol."""
    flag = governed(rules, **state)
    await office.put(key_of(PROMPT), document_of(flag))
    return flag


def client(office: Office, actor: str) -> httpx.AsyncClient:
    return office.client(**{"x-pointsman-actor": actor})


async def says(office: Office, actor: str, verb: str, **body: Any) -> httpx.Response:
    async with client(office, actor) as http:
        return await http.post(f"{V7}/{verb}", json=body)


@asynccontextmanager
async def guarded(redis_url: str) -> AsyncIterator[Office]:
    """An office with a token for each role."""
    office = await Office(redis_url, keys=keyring({}, KEYS)).start()
    try:
        await office.declare(prompt())
        yield office
    finally:
        await office.aclose()


async def test_an_approval_answers_how_the_version_stands(office: Office) -> None:
    flag = await govern(office)

    answer = await says(office, "bob", "approve", reason="read it", link="https://x.example/1")

    found = answer.json()
    (approval,) = found.pop("approvals")
    (unmet,) = found.pop("unmet")
    assert found == {
        "flag": PROMPT,
        "variant": "v7",
        "hash": flag.variants["v7"].hash,
        "stage": "draft",
        "changed": True,
        "committed": True,
        "revision": found["revision"],
        "last_known_good": {"variant": None, "reason": "no version satisfies the promotion rules"},
        "warnings": [],
    }
    assert (approval["by"], approval["role"], approval["counts"]) == ("bob", "admin", True)
    assert (approval["reason"], approval["link"]) == ("read it", "https://x.example/1")
    assert (unmet["rule"], unmet["mend"]) == ("approved", f"pointsman approve {PROMPT} v7")


async def test_it_stands_in_the_ledger_and_changes_no_evaluation(office: Office) -> None:
    await govern(office)
    before = office.snapshot().revision

    revision = (await says(office, "bob", "approve")).json()["revision"]

    (entry,) = await office.store.read_log(revision - 1, 10)
    assert (entry.actor, entry.action, entry.object) == ("bob", "approve", f"version/{PROMPT}/v7")
    assert (entry.reason, entry.affects) == (f"approve {PROMPT} v7", ())
    assert office.snapshot().revision == before


async def test_two_approvers_at_once_both_count(office: Office) -> None:
    await govern(office)
    await office.warm_up()

    answers = await asyncio.gather(*(says(office, who, "approve") for who in ("bob", "dave", "eve", "fay")))

    assert [answer.status_code for answer in answers] == [200] * 4
    async with client(office, "bob") as http:
        found = (await http.get(V7)).json()
    assert sorted(each["by"] for each in found["approvals"]) == ["bob", "dave", "eve", "fay"]
    assert (found["stage"], found["unmet"], found["last_known_good"]) == ("approved", [], True)


async def test_the_same_person_twice_changes_nothing(office: Office) -> None:
    await govern(office)
    first = (await says(office, "bob", "approve")).json()

    again = (await says(office, "bob", "approve", reason="really")).json()

    assert (again["changed"], again["committed"], again["revision"]) == (False, False, first["revision"])
    assert [each["reason"] for each in again["approvals"]] == [f"approve {PROMPT} v7"]


async def test_the_author_is_refused_and_nothing_is_written(office: Office) -> None:
    await govern(office)
    head = await office.store.head()

    answer = await says(office, "carol", "approve")

    assert (answer.status_code, answer.json()["error"]["rule"]) == (422, "own_version")
    assert await office.store.head() == head


async def test_an_approval_does_not_pass_to_another_content_of_that_name(office: Office) -> None:
    flag = await govern(office, Promotion(approvals=1))
    seen = flag.variants["v7"].hash
    assert (await says(office, "bob", "approve", hash=seen)).json()["stage"] == "approved"

    # As prune and apply would: v7 goes, and comes again with another content.
    rest = {name: each for name, each in flag.variants.items() if name != "v7"}
    await office.put(key_of(PROMPT), document_of(replace(flag, variants=rest)))
    other = replace(flag.variants["v7"], hash=flag.variants["v5"].hash)
    await office.put(key_of(PROMPT), document_of(replace(flag, variants={**rest, "v7": other})))
    async with client(office, "bob") as http:
        now = (await http.get(V7)).json()
    late = await says(office, "dave", "approve", hash=seen)

    assert (now["approvals"], now["stage"]) == ([], "draft")
    assert (late.status_code, late.json()["error"]["rule"]) == (422, "hash_changed")
    assert f"lifecycle show {PROMPT} v7" in late.json()["error"]["mend"]


@pytest.mark.parametrize("verb", ["approve", "reject", "deprecate"])
async def test_what_is_said_takes_an_approver(redis_url: str, verb: str) -> None:
    async with guarded(redis_url) as office:
        codes = {}
        for name in ROLES:
            async with office.client(authorization=f"Bearer token-of-{name}") as http:
                assert (await http.get(V7)).status_code == 200
                codes[name] = (await http.post(f"{V7}/{verb}", json={"reason": "because"})).status_code

    assert codes == {"vera": 403, "olaf": 403, "ada": 200, "adam": 200}


async def test_without_tokens_whoever_is_not_the_author_is_what_the_rules_ask_for(office: Office) -> None:
    await govern(office, Promotion(approvals=1, roles=("approver",)))

    answer = (await says(office, "bob", "approve")).json()

    assert [(each["role"], each["counts"]) for each in answer["approvals"]] == [("approver", True)]
    assert (answer["unmet"], answer["last_known_good"]["variant"]) == ([], "v7")


async def test_with_tokens_another_role_than_the_one_that_is_asked_for_does_not_count(redis_url: str) -> None:
    async with guarded(redis_url) as office:
        await govern(office, Promotion(approvals=1, roles=("approver",)))
        async with office.client(authorization="Bearer token-of-adam") as http:
            answer = (await http.post(f"{V7}/approve", json={})).json()

    assert [(each["by"], each["counts"]) for each in answer["approvals"]] == [("adam", False)]
    assert [each["rule"] for each in answer["unmet"]] == ["approved"]


async def test_a_rejection_needs_a_reason_and_moves_the_last_known_good_at_once(office: Office) -> None:
    await govern(office, Promotion(approvals=1))
    assert (await says(office, "bob", "approve")).json()["last_known_good"]["variant"] == "v7"

    silent = await says(office, "dave", "reject")
    told = (await says(office, "dave", "reject", reason="rude")).json()

    assert (silent.status_code, silent.json()["error"]["path"]) == (422, "reason")
    assert (told["stage"], told["approvals"], told["last_known_good"]["variant"]) == ("rejected", [], None)
    assert [each["rule"] for each in told["unmet"]] == ["approved", "not_rejected"]


async def test_deprecating_safe_is_loud_and_can_be_taken_back(office: Office) -> None:
    await govern(office, Promotion(), serve="v6", safe="v7")

    silent = await says(office, "bob", "deprecate")
    told = (await says(office, "bob", "deprecate", reason="old")).json()
    back = (await says(office, "bob", "deprecate", undo=True)).json()
    again = (await says(office, "bob", "deprecate", undo=True)).json()

    assert (silent.status_code, silent.json()["error"]["path"]) == (422, "reason")
    assert (told["stage"], told["last_known_good"]["variant"]) == ("deprecated", "v6")
    assert "v7 is the safe version" in told["warnings"][0]
    assert (back["stage"], back["last_known_good"]["variant"], back["warnings"]) == ("draft", "v7", [])
    assert (back["changed"], again["changed"]) == (True, False)


async def test_what_is_withdrawn_is_not_approved(office: Office) -> None:
    await govern(office, withdrawn=frozenset({"v7"}))

    answer = await says(office, "bob", "approve")

    assert (answer.status_code, answer.json()["error"]["rule"]) == (422, "not_withdrawn")


async def test_an_unknown_flag_or_version_is_not_found(office: Office) -> None:
    async with client(office, "bob") as http:
        answers = [
            await http.get("/flags/nope/versions"),
            await http.get(f"/flags/{PROMPT}/versions/v9"),
            await http.get(f"/flags/{PROMPT}/versions/v6/diff/v9"),
            await http.post(f"/flags/{PROMPT}/versions/v9/approve", json={}),
            await http.post("/flags/nope/versions/v9/approve", json={}),
        ]

    assert [answer.status_code for answer in answers] == [404] * 5
    assert "variants: v5, v6, v7" in answers[1].json()["error"]["message"]


@pytest.mark.parametrize("found", ["abc", "0" * 63, "G" * 64])
async def test_a_hash_is_taken_whole_or_not_at_all(office: Office, found: str) -> None:
    answer = await says(office, "bob", "approve", hash=found)

    assert (answer.status_code, answer.json()["error"]["path"]) == (422, "hash")


async def test_the_list_and_the_difference_are_told(office: Office) -> None:
    async with client(office, "bob") as http:
        found = (await http.get(f"/flags/{PROMPT}/versions")).json()
        differs = (await http.get(f"/flags/{PROMPT}/versions/v6/diff/v7")).json()
        same = (await http.get(f"/flags/{PROMPT}/versions/v6/diff/v6")).json()
        one = (await http.get(V7)).json()

    assert {each["name"]: each["stage"] for each in found["versions"]} == {
        "v5": "draft",
        "v6": "production",
        "v7": "draft",
    }
    assert differs["text"].endswith("-You are v6.\n+You are v7.")
    assert (differs["from"], differs["to"], differs["same"]) == ("v6", "v7", False)
    assert (same["parts"], same["same"]) == ([], True)
    assert one["content"] == {"messages": [{"role": "system", "content": "You are v7."}]}


async def test_a_flag_tells_its_last_known_good_version_and_what_safe_lacks(office: Office) -> None:
    await govern(office, Promotion(approvals=1))
    await says(office, "bob", "approve")

    async with client(office, "bob") as http:
        found = (await http.get(f"/flags/{PROMPT}")).json()

    assert found["last_known_good"]["variant"] == "v7"
    assert "was approved by bob (admin)" in found["last_known_good"]["reason"]
    assert [each.partition(":")[0] for each in found["ungoverned"]] == ["approved"]
    assert {name: each["lifecycle"] for name, each in found["variants"].items()} == {
        "v5": "draft",
        "v6": "production",
        "v7": "approved",
    }
