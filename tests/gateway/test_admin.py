"""The operators' API: what each answer looks like, and that no input gets past the door unchecked."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace

import msgspec
import pytest

from flags.codec import document_of
from flags.model import Kind, Layer, ObjectKey
from gateway.auth import keyring
from gateway.http.admin import ENDPOINTS
from gateway.http.endpoint import MAX_BODY_BYTES, Endpoint
from tests.gateway.builders import flag
from tests.gateway.office import Office, by, key_of, model, prompt

PROMPT = "support-bot.prompt"
WHY = {"reason": "because"}


async def test_a_flag_tells_who_gets_what(office: Office) -> None:
    await office.operations.rollout(by(), PROMPT, "v7", 12.5)

    async with office.client() as client:
        flag = (await client.get(f"/flags/{PROMPT}")).json()

    variants, gauges = flag.pop("variants"), flag.pop("gauges")
    assert flag == {
        "key": PROMPT,
        "layer": "prompt",
        "enabled": True,
        "serve": "v6",
        "safe": "v6",
        "served": "v6",
        "withdrawn": [],
        "rollout": {"variant": "v7", "percent": 12.5, "step": None, "state": "running"},
        "targeting": None,
        "routes": ["support-bot"],
        "revision": flag["revision"],
        "last_known_good": {
            "variant": "v6",
            "reason": "the flag has no promotion rules, so its safe version counts as it",
        },
        "ungoverned": [],
        "shadow": None,
    }
    assert (variants["v7"]["generation"], variants["v7"]["lifecycle"]) == (2, "draft")
    assert [(each["variant"], each["role"]) for each in gauges] == [("v6", "served"), ("v7", "candidate")]
    assert len(variants["v7"]["hash"]) == 64


async def test_the_verbs_answer_as_the_contract_says(office: Office) -> None:
    fields = {
        *("id", "flag", "routes", "from", "to", "changed", "committed", "revision"),
        *("acknowledged", "workers", "missing", "milliseconds", "served"),
    }
    async with office.client() as client:
        for path, body in (
            ("flags/support-bot.prompt/switch", {"variant": "v7"}),
            ("flags/support-bot.prompt/rollback", WHY),
            ("flags/support-bot.prompt/restore", {"variant": "v7", **WHY}),
            ("flags/support-bot.prompt/switch", {"variant": "v6", "safe": "v6", "wait_seconds": 1}),
            ("flags/support-bot.prompt/rollout", {"variant": "v7", "percent": 5}),
            ("flags/support-bot.prompt/rollout", {"action": "pause"}),
            ("flags/support-bot.prompt/withdraw", {"variant": "v7", **WHY, "link": "https://x.example/1"}),
            ("flags/support-bot.model/switch", {"variant": "gpt-4o"}),
            ("routes/support-bot/rollback", WHY),
            ("revert", {"object": "flag/support-bot.prompt", "to_revision": 2, **WHY}),
        ):
            answer = await client.post(f"/{path}", json=body)
            assert answer.status_code == 200, answer.text
            assert answer.json().keys() == fields
            assert answer.json()["acknowledged"] == 2


async def test_a_change_names_its_actor_and_is_never_without_a_reason(office: Office) -> None:
    async with office.client(**{"x-pointsman-actor": "alice"}) as client:
        await client.post(f"/flags/{PROMPT}/switch", json={"variant": "v7"})
        page = (await client.get("/log", params={"after": 3})).json()

    (entry,) = page["entries"]
    assert (entry["actor"], entry["reason"]) == ("alice", f"switch {PROMPT} v7")
    assert page["next"] is None


async def test_status_shows_every_route_and_every_worker(office: Office) -> None:
    async with office.client() as client:
        status = (await client.get("/status")).json()

    assert status["routes"]["support-bot"] == {
        "prompt": {
            "flag": PROMPT,
            "served": "v6",
            "safe": "v6",
            "rollout": None,
            "shadow": None,
            "pinned_by": None,
            "enabled": True,
        },
        "model": {
            "flag": "support-bot.model",
            "served": "gpt-4.1",
            "safe": "gpt-4.1",
            "rollout": None,
            "shadow": None,
            "pinned_by": None,
            "enabled": True,
        },
    }
    assert [worker["id"] for worker in status["workers"]] == ["w1", "w2"]
    assert (status["degraded"], status["revision"]) == (False, office.snapshot().revision)


async def test_objects_are_listed_in_pages(office: Office) -> None:
    await office.put(ObjectKey(Kind.UPSTREAM, "mock"), {"spec": {"kind": "simulated"}})

    async with office.client() as client:
        first = (await client.get("/flags", params={"limit": 1})).json()
        second = (await client.get("/flags", params={"after": first["next"]})).json()
        upstreams = (await client.get("/upstreams")).json()
        upstream = (await client.get("/upstreams/mock")).json()

    assert [flag["key"] for flag in first["items"] + second["items"]] == ["support-bot.model", PROMPT]
    assert second["next"] is None
    assert upstreams["items"] == [upstream]
    assert upstream["document"] == {"spec": {"kind": "simulated"}}


async def test_the_log_comes_in_pages_and_by_flag(office: Office) -> None:
    await office.operations.switch(by(), PROMPT, "v7")
    card = ObjectKey(Kind.VERSION, f"{PROMPT}/v7")

    async with office.client() as client:
        first = (await client.get("/log", params={"limit": 3})).json()
        rest = (await client.get("/log", params={"after": first["next"]})).json()
        only = (await client.get("/log", params={"flag": PROMPT})).json()
        await office.put(card, {"hash": "0" * 64})
        both = (await client.get("/log", params={"flag": PROMPT})).json()

    assert [e["revision"] for e in first["entries"] + rest["entries"]] == [1, 2, 3, 4]
    assert {e["object"] for e in only["entries"]} == {f"flag/{PROMPT}"}
    assert {e["object"] for e in both["entries"]} == {f"flag/{PROMPT}", str(card)}
    assert rest["entries"][0]["prev"] == first["entries"][-1]["hash"]


@pytest.mark.parametrize(
    ("path", "body", "status", "code", "at"),
    [
        ("flags/support-bot.prompt/switch", b"{", 400, "invalid_request", None),
        ("flags/support-bot.prompt/switch", b"\xff\xfe", 400, "invalid_request", None),
        ("explain", b'{"route": "r", "attributes": {"a": ' + b"[" * 100_000, 400, "invalid_request", None),
        ("flags/support-bot.prompt/switch", b"[]", 422, "invalid", None),
        ("flags/support-bot.prompt/switch", b"", 422, "invalid", "variant"),
        ("flags/support-bot.prompt/switch", b'{"variant": 7}', 422, "invalid", "variant"),
        ("flags/support-bot.prompt/switch", b'{"variant": "v7", "now": true}', 422, "invalid", "now"),
        ("flags/support-bot.prompt/switch", b'{"variant": "../v7"}', 422, "invalid", "variant"),
        (
            "flags/support-bot.prompt/switch",
            b'{"variant": "v7", "wait_seconds": 61}',
            422,
            "invalid",
            "wait_seconds",
        ),
        ("flags/support-bot.prompt/rollback", b"{}", 422, "invalid", "reason"),
        ("flags/support-bot.prompt/rollback", b'{"reason": "  "}', 422, "invalid", "reason"),
        (
            "flags/support-bot.prompt/rollback",
            b'{"reason": "x", "link": "javascript:x"}',
            422,
            "invalid",
            "link",
        ),
        (
            "flags/support-bot.prompt/rollout",
            b'{"variant": "v7", "percent": 100.5}',
            422,
            "invalid",
            "percent",
        ),
        (
            "flags/support-bot.prompt/rollout",
            b'{"variant": "v7", "percent": 1.234}',
            422,
            "invalid",
            "percent",
        ),
        ("flags/support-bot.prompt/rollout", b'{"variant": "v7"}', 422, "invalid", "percent"),
        ("flags/support-bot.prompt/rollout", b'{"action": "pause", "percent": 1}', 422, "invalid", "action"),
        ("flags/support-bot.prompt/rollout", b'{"action": "explode"}', 422, "invalid", "action"),
        ("flags/support-bot.prompt/switch", b'{"variant": "v9"}', 404, "not_found", None),
        ("flags/absent/switch", b'{"variant": "v7"}', 404, "not_found", None),
        ("flags/%00/switch", b'{"variant": "v7"}', 404, "not_found", None),
        ("routes/absent/rollback", b'{"reason": "x"}', 404, "not_found", None),
        ("absent", b"{}", 404, "not_found", None),
        ("revert", b'{"object": "flag", "to_revision": 1, "reason": "x"}', 422, "invalid", "object"),
        ("revert", b'{"object": "flag/x", "to_revision": 0, "reason": "x"}', 422, "invalid", "to_revision"),
        (
            "revert",
            b'{"object": "flag/x", "to_revision": 1e99, "reason": "x"}',
            422,
            "invalid",
            "to_revision",
        ),
        ("flags/support-bot.prompt/rollback", b'{"reason": "\\ud800"}', 400, "invalid_request", None),
        ("explain", b'{"route": "support-bot", "pins": {"x": "v1"}}', 422, "invalid", "pins.x"),
        ("explain", b'{"route": "absent"}', 404, "not_found", None),
        ("explain", b'{"route": "r", "pins": {"a": "x y"}}', 422, "invalid", "pins[...]"),
        ("apply", b'{"declaration": {}}', 422, "invalid", "declaration"),
        ("revert", b'{"object": "nope/x", "to_revision": 1, "reason": "x"}', 422, "invalid", "object"),
    ],
)
async def test_bad_input_is_told_where_it_is_and_changes_nothing(
    office: Office, path: str, body: bytes, status: int, code: str, at: str | None
) -> None:
    before = await office.store.head()

    async with office.client() as client:
        answer = await client.post(f"/{path}", content=body)

    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error.get("path")) == (status, code, at), answer.text
    assert await office.store.head() == before


async def test_of_two_at_once_one_is_told_what_the_other_did(office: Office) -> None:
    await office.warm_up()
    async with office.client() as client:
        answers = await asyncio.gather(
            *(client.post(f"/flags/{PROMPT}/switch", json={"variant": v}) for v in ("v5", "v7"))
        )

    (told,) = [answer.json()["error"] for answer in answers if answer.status_code == 409]
    assert (told["code"], told["rule"]) == ("conflict", "conflict")
    (theirs,) = told["theirs"]
    assert theirs["action"] == "switch"


async def test_a_rule_that_refuses_is_named_with_what_to_do(office: Office) -> None:
    async with office.client() as client:
        answer = await client.post(f"/flags/{PROMPT}/withdraw", json={"variant": "v6", **WHY})

    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["rule"]) == (422, "refused", "variant_is_safe")
    assert "rollback" in error["mend"]


async def test_a_wrong_method_is_told_which_are_right(office: Office) -> None:
    async with office.client() as client:
        answer = await client.delete(f"/flags/{PROMPT}")

    assert (answer.status_code, answer.headers["allow"]) == (405, "GET")
    assert answer.json()["error"]["code"] == "method_not_allowed"


@pytest.mark.parametrize("query", [{"limit": 0}, {"limit": 1001}, {"limit": "x"}, {"after": -1}, {"nope": 1}])
async def test_a_bad_query_is_told_where_it_is(office: Office, query: dict[str, object]) -> None:
    async with office.client() as client:
        answer = await client.get("/log", params=query)

    assert answer.status_code == 422
    assert answer.json()["error"]["path"] == next(iter(query))


async def test_a_body_that_is_too_large_is_refused_before_it_is_read(office: Office) -> None:
    async with office.client() as client:
        answer = await client.post(
            "/revert", headers={"content-length": str(MAX_BODY_BYTES + 1)}, content=b"{}"
        )

    assert answer.status_code == 413


async def test_explain_gives_the_reason_of_each_layer(office: Office) -> None:
    await office.operations.rollout(by(), PROMPT, "v7", 100)
    body = {"route": "support-bot", "targeting_key": "user-1", "attributes": {"plan": "pro"}}

    async with office.client() as client:
        told = (await client.post("/explain", json=body)).json()

    layer = told["layers"]["prompt"]
    assert (layer["variant"], layer["reason"], layer["weight"]) == ("v7", "SPLIT", 10_000)
    assert f"bucket {layer['bucket']} of 10000" in layer["why"]
    assert told["headers"]["x-pointsman-versions"] == "prompt=v7;model=gpt-4.1"
    assert (told["targeting_key"], told["attributes"]) == ("user-1", {"plan": "pro"})


class TestKeys:
    @pytest.fixture
    async def guarded(self, redis_url: str) -> Office:
        tokens = {"POINTSMAN_OPERATOR_TOKENS": "alice:0123456789abcdef"}
        document = {"operators": [{"name": "vera", "token": "viewer-viewer", "role": "viewer"}]}
        made = await Office(redis_url, keys=keyring(tokens, document)).start()
        await made.declare(prompt(), model(), routes=["support-bot"])
        yield made
        await made.aclose()

    async def test_nobody_comes_in_without_a_token_on_any_path(self, guarded: Office) -> None:
        async with guarded.client(authorization="Bearer wrong") as client:
            for endpoint in ENDPOINTS:
                path = endpoint.path.replace("{key}", PROMPT)
                answer = await client.request(endpoint.method, path, json={})
                assert answer.status_code == 401, path
                assert answer.headers["www-authenticate"] == "Bearer"

    async def test_the_owner_of_the_token_is_the_actor_whoever_is_claimed(self, guarded: Office) -> None:
        headers = {"authorization": "Bearer 0123456789abcdef", "x-pointsman-actor": "mallory"}
        async with guarded.client(**headers) as client:
            done = (await client.post(f"/flags/{PROMPT}/switch", json={"variant": "v7"})).json()

        (entry,) = await guarded.store.read_log(done["revision"] - 1, 1)
        assert entry.actor == "alice"

    async def test_a_viewer_reads_and_does_not_write(self, guarded: Office) -> None:
        async with guarded.client(**{"x-api-key": "viewer-viewer"}) as client:
            read = await client.get("/status")
            write = await client.post(f"/flags/{PROMPT}/switch", json={"variant": "v7"})

        assert (read.status_code, write.status_code) == (200, 403)


class TestForeignPages:
    """Without tokens, a web page of somebody else must not reach the switches through a browser here."""

    @pytest.mark.parametrize(
        "headers",
        [
            {"origin": "https://evil.example"},
            {"origin": "null"},
            {"sec-fetch-site": "same-origin", "host": "evil.example:4000"},
            {"host": "evil.example:4000"},
        ],
    )
    async def test_are_kept_out(self, office: Office, headers: dict[str, str]) -> None:
        async with office.client(**headers) as client:
            answer = await client.get("/status")

        assert answer.status_code == 403

    async def test_but_pages_of_this_machine_are_not(self, office: Office) -> None:
        async with office.client(
            origin="http://localhost:4000", **{"sec-fetch-site": "same-origin"}
        ) as client:
            answer = await client.get("/status")

        assert answer.status_code == 200


async def test_without_the_store_writes_are_503_and_status_still_tells(redis_url: str) -> None:
    made = await Office(redis_url).start()
    await made.declare(prompt(), routes=["support-bot"])
    away = Office("redis://127.0.0.1:1/0")
    away.watchers = made.watchers
    try:
        async with away.client() as client:
            write = await client.post(f"/flags/{PROMPT}/switch", json={"variant": "v7"})
            status = await client.get("/status")
    finally:
        await away.store.aclose()
        await made.aclose()

    assert (write.status_code, write.json()["error"]["code"]) == (503, "store_unavailable")
    assert (status.status_code, status.json()["degraded"]) == (200, True)
    assert status.json()["routes"]["support-bot"]["prompt"]["served"] == "v6"


NASTY = [
    None,
    True,
    -1,
    0.1,
    1e308,
    2**70,
    "",
    "\x00",
    "é",
    "../x",
    "x" * 5000,
    [],
    [[]],
    {},
    {"a": {"b": None}},
]
GOOD: dict[str, object] = {
    "variant": "v7",
    "reason": "because",
    "object": "flag/support-bot.prompt",
    "to_revision": 1,
    "route": "support-bot",
    "declaration": {"routes": {"other": {}}},
    "percent": 5,
    "wait_seconds": 0,
}


@pytest.mark.parametrize("endpoint", [each for each in ENDPOINTS if each.body], ids=lambda each: each.path)
async def test_whatever_stands_in_a_field_is_never_our_fault(office: Office, endpoint: Endpoint) -> None:
    fields = [field.encode_name for field in msgspec.structs.fields(endpoint.body)]
    usual = {name: GOOD[name] for name in fields if name in GOOD}
    path = endpoint.path.replace("{key}", PROMPT)

    async with office.client() as client:
        for name in fields:
            for value in NASTY:
                answer = await client.post(path, content=json.dumps({**usual, name: value}))
                assert answer.status_code < 500, (name, value, answer.text)


@pytest.mark.parametrize(
    "section", ["upstreams", "flags", "evaluators", "routes", "metrics", "policies", "notify", "keys"]
)
async def test_whatever_is_declared_is_never_our_fault(office: Office, section: str) -> None:
    async with office.client() as client:
        for inner in NASTY:
            for value in (inner, {"x": inner}, {"x": {"variants": inner}}, {"x": {"variants": {"v": inner}}}):
                body = {"declaration": {section: value}, "wait_seconds": 0}
                answer = await client.post("/apply", content=json.dumps(body))
                assert answer.status_code < 500, (value, answer.text)


async def test_a_rollout_in_steps_tells_where_it_stands(office: Office) -> None:
    async with office.client() as client:
        sent = {"variant": "v7", "steps": [1, 25.5, 100], "hold_seconds": 60, "min_requests": 5}
        answer = await client.post("/flags/support-bot.prompt/rollout", json=sent)
        shape = (await client.get("/flags/support-bot.prompt")).json()
        (entry,) = await office.store.read_log(answer.json()["revision"] - 1, 1)

    assert shape["rollout"] == {
        "variant": "v7",
        "percent": 1,
        "step": 0,
        "state": "running",
        "steps": [1, 25.5, 100],
        "since": entry.time,
        "hold_seconds": 60,
        "min_requests": 5,
    }
    assert entry.reason == "rollout support-bot.prompt v7 --steps 1,25.5,100 --hold 60s --min-requests 5"


@pytest.mark.parametrize(
    ("sent", "path"),
    [
        ({"variant": "v7", "steps": [5, 5]}, "steps[1]"),
        ({"variant": "v7", "steps": []}, "steps"),
        ({"variant": "v7", "steps": [5], "percent": 5}, "percent"),
        ({"variant": "v7", "percent": 5, "hold_seconds": 5}, "hold_seconds"),
        ({"action": "pause", "steps": [5]}, "action"),
    ],
)
async def test_steps_that_are_none_are_refused(office: Office, sent: dict[str, object], path: str) -> None:
    async with office.client() as client:
        answer = await client.post("/flags/support-bot.prompt/rollout", json=sent)

    assert answer.status_code == 422
    assert answer.json()["error"]["path"] == path


async def test_a_quarantined_version_is_shown_as_such(office: Office) -> None:
    flag = await office.flag()
    bad = frozenset({flag.variants["v7"].hash})
    await office.put(key_of(PROMPT), document_of(replace(flag, withdrawn=frozenset({"v7"}), quarantined=bad)))

    async with office.client() as client:
        variants = (await client.get("/flags/support-bot.prompt")).json()["variants"]

    assert {name: each["lifecycle"] for name, each in variants.items()} == {
        "v5": "draft",
        "v6": "production",
        "v7": "quarantined",
    }


@pytest.mark.parametrize(
    ("path", "body", "told"),
    [
        (
            "/flags/support-bot.prompt/rollout",
            {"action": "halt"},
            "expected one of abort, pause, promote, resume",
        ),
        (
            "/routes/support-bot/breakers",
            {"target": "mock/gpt-4.1", "state": "shut", "reason": "r"},
            "expected one of auto, off, open",
        ),
        ("/flags/support-bot.prompt/rollback", {"reason": " "}, "that says something"),
    ],
)
async def test_a_wrong_word_is_told_with_the_right_ones(
    office: Office, path: str, body: dict[str, str], told: str
) -> None:
    async with office.client() as client:
        answer = await client.post(path, json=body)

    assert answer.status_code == 422
    assert told in answer.json()["error"]["message"]


async def test_a_shadow_is_set_shown_and_ended(office: Office) -> None:
    async with office.client() as client:
        set_ = await client.post(f"/flags/{PROMPT}/shadow", json={"variant": "v7", "percent": 5})
        shape = (await client.get(f"/flags/{PROMPT}")).json()
        status = (await client.get("/status")).json()
        ended = await client.post(f"/flags/{PROMPT}/shadow", json={"percent": None})
        again = await client.post(f"/flags/{PROMPT}/shadow", json={"percent": None})

    assert (set_.status_code, set_.json()["from"], set_.json()["to"]) == (200, None, "v7")
    assert shape["shadow"] == {"variant": "v7", "percent": 5.0}
    assert shape["variants"]["v7"]["generation"] == 1
    assert status["routes"]["support-bot"]["prompt"]["shadow"] == {"variant": "v7", "percent": 5.0}
    assert (ended.json()["from"], ended.json()["to"], ended.json()["changed"]) == ("v7", None, True)
    assert again.json()["changed"] is False
    first, second = (await office.store.read_log(0, 100))[-2:]
    assert [first.action, second.action] == ["shadow", "shadow"]
    assert (first.reason, second.reason) == (f"shadow {PROMPT} v7 --percent 5", f"shadow {PROMPT} --off")


async def test_a_shadow_that_cannot_be_is_refused_and_nothing_changes(office: Office) -> None:
    await office.operations.withdraw(by(), PROMPT, "v7")
    before = await office.flag()
    async with office.client() as client:
        nobody = await client.post(f"/flags/{PROMPT}/shadow", json={"percent": 5})
        gone = await client.post(f"/flags/{PROMPT}/shadow", json={"variant": "v7", "percent": 5})
        empty = await client.post(f"/flags/{PROMPT}/shadow", json={"variant": "v5"})

    assert (nobody.status_code, nobody.json()["error"]["path"]) == (422, "variant")
    assert (gone.status_code, gone.json()["error"]["rule"]) == (422, "variant_withdrawn")
    assert (empty.status_code, empty.json()["error"]["path"]) == (422, "percent")
    assert await office.flag() == before


async def test_the_route_of_all_names_has_its_place_in_the_api(office: Office) -> None:
    await office.put(ObjectKey(Kind.ROUTE, "*"), {"spec": {"prompt": PROMPT, "model": "support-bot.model"}})
    await office.operations.switch(by(), PROMPT, "v7")
    async with office.client() as client:
        shape = await client.get("/routes/%2A")
        status = (await client.get("/status")).json()
        told = await client.post("/explain", json={"route": "vendor/gpt-9"})
        rolled_back = await client.post("/routes/%2A/rollback", json=WHY)

    assert (shape.status_code, shape.json()["key"]) == (200, "*")
    assert status["routes"]["*"]["prompt"]["served"] == "v7"
    assert (told.json()["route"], told.json()["layers"]["prompt"]["variant"]) == ("*", "v7")
    assert (rolled_back.json()["flag"], rolled_back.json()["to"]) == (PROMPT, "v6")
    assert rolled_back.json()["routes"] == ["*", "support-bot"]


async def test_rolling_back_a_route_means_its_pipeline(office: Office) -> None:
    pins = {"v4": {"pins": {"prompt": "v6"}}, "v5": {"pins": {"prompt": "v7"}}}
    await office.declare(flag("support-bot.pipeline", Layer.PIPELINE, pins, serve="v5", safe="v4"))
    await office.operations.switch(by(), PROMPT, "v5")
    async with office.client() as client:
        before = (await client.get("/status")).json()["routes"]["support-bot"]
        done = (await client.post("/routes/support-bot/rollback", json=WHY)).json()
        after = (await client.get("/status")).json()["routes"]["support-bot"]

    assert (done["flag"], done["from"], done["to"]) == ("support-bot.pipeline", "v5", "v4")
    assert (before["prompt"]["served"], before["prompt"]["pinned_by"]) == ("v7", "v5")
    assert (after["prompt"]["served"], after["prompt"]["pinned_by"]) == ("v6", "v4")
    assert after["pipeline"]["pinned_by"] is None
