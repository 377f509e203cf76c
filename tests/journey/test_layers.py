"""All five layers in a real fleet: what is served, what goes back by hand and by itself, and what a shadow, a cache and a
Redis that dies may never do to a user."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import httpx
import pytest

from tests import plain
from tests.fleet import Fleet
from tests.journey.traffic import Apps, log_of, roll_out, rolled_back, until, wait_for_rollback
from tests.redis_server import RedisServer, binaries
from tests.scripted_upstream import (
    Received,
    Script,
    ScriptedUpstream,
    error_answer,
    hang_before_head,
    json_answer,
    scripted_upstream_in_thread,
)

QUESTION = "How long may I return a parcel?"
QUOTING = "{% for p in passages %}[{{ p.file_id }}] {{ p.text }}\n{% endfor %}"
BREAKING = ("hanging", "failing")
EMBEDDED = {"kind": "embedded", "mode": "text", "top_k": 1, "timeout_seconds": 5, "on_error": "fail"}
INDEXES = {"i3": {"store": "kb-3"}, "i4": {"store": "kb-4"}, "gone": {"store": "kb-5"}}
HITS = {
    "object": "vector_store.search_results.page",
    "search_query": [QUESTION],
    "data": [
        {
            "file_id": "file-terms",
            "filename": "terms.md",
            "score": 0.9,
            "attributes": {},
            "content": [{"type": "text", "text": "Within thirty days."}],
        }
    ],
    "has_more": False,
    "next_page": None,
}


def store(received: Received) -> Script | None:
    """A store that speaks OpenAI's search: one collection answers, one fails, one hangs."""
    if received.path.startswith("/hanging/"):
        return hang_before_head()
    if received.path.startswith("/failing/"):
        return error_answer(500)
    return json_answer(json.dumps(HITS if received.path.endswith("/search") else {"id": "vs_docs"}).encode())


def layer(name: str, variants: Mapping[str, Any], **state: Any) -> dict[str, Any]:
    return {"layer": name, "variants": dict(variants), **state}


def said(text: str) -> dict[str, Any]:
    return {"messages": [{"role": "system", "content": text}]}


def searching(upstream: str) -> dict[str, Any]:
    # Whoever meets the store that hangs waits so long for it.
    seconds = 0.2 if upstream == "hanging" else 5
    return {
        "kind": "openai",
        "upstream": upstream,
        "top_k": 3,
        "timeout_seconds": seconds,
        "on_error": "fail",
    }


def config(address: str) -> dict[str, Any]:
    """Each test has a route of its own, so that none finds what another left behind."""
    rules = [
        {"contains": "BROKEN", "reply": {"status": 500}},
        {"contains": '"temperature":7', "reply": {"status": 500}},
        {"contains": "You are v1", "reply": {"text": "said by v1"}},
        {"contains": "You are v2", "reply": {"text": "said by v2"}},
    ]
    one = {"m1": {"upstream": "mock", "model": "m1"}}
    two = {**one, "m2": {"upstream": "mock", "model": "m2"}}
    wrong = {"upstream": "mock", "model": "m1", "params": {"temperature": 7}}
    quoting = layer("prompt", {"v1": said(QUOTING)})
    both = {"v1": said("You are v1."), "v2": said("You are v2.")}
    old = {"prompt": "v1", "model": "m1", "retriever": "r1", "index": "i3"}
    new = {"prompt": "v2", "model": "m2", "retriever": "r2", "index": "i4"}
    return {
        "upstreams": {
            "mock": {"kind": "simulated", "rules": rules, "reply": {"delay_seconds": 0.002}},
            **{
                name: {"kind": "openai", "base_url": f"{address}/{name}/v1"}
                for name in ("store", *BREAKING)
            },
        },
        "flags": {
            "help.pipeline": layer("pipeline", {"p1": {"pins": {}, "params": {"max_tokens": 40}}}),
            "help.prompt": quoting,
            "help.retriever": layer("retriever", {"r1": EMBEDDED}),
            "help.index": layer("index", INDEXES, serve="i4"),
            "help.model": layer("model", one),
            "guide.prompt": quoting,
            "guide.retriever": layer("retriever", {"r1": EMBEDDED}),
            "guide.index": layer("index", INDEXES, serve="i4", safe="i3"),
            "guide.model": layer("model", one),
            "shop.pipeline": layer("pipeline", {"p1": {"pins": {"retriever": "r1"}}}),
            "shop.prompt": quoting,
            "shop.retriever": layer("retriever", {"r1": searching("store")}),
            "shop.index": layer("index", {"i1": {"store": "vs_docs"}}),
            "shop.model": layer("model", one),
            **{
                f"{name}.retriever": layer(
                    "retriever", {"r1": searching("store"), "r2": searching(name)}, serve="r1"
                )
                for name in BREAKING
            },
            "desk.pipeline": layer(
                "pipeline", {"p1": {"pins": old}, "p2": {"pins": new, "params": {"temperature": 7}}}, serve="p1"
            ),
            "desk.prompt": layer("prompt", both, serve="v1"),
            "desk.retriever": layer("retriever", {"r1": EMBEDDED, "r2": {**EMBEDDED, "top_k": 2}}, serve="r1"),
            "desk.index": layer("index", INDEXES, serve="i3"),
            "desk.model": layer("model", two, serve="m1"),
            "quiet.model": layer("model", {**one, "wrong": wrong}, serve="m1"),
            "kept.prompt": layer("prompt", both, serve="v2", safe="v1"),
            "kept.model": layer("model", one),
        },
        "routes": {
            **{name: {} for name in ("help", "guide", "shop", "desk", "quiet")},
            # An automatic rollback rests for its cooldown: each has a flag of its own, over the same versions.
            **{name: {"prompt": "shop.prompt", "index": "shop.index", "model": "shop.model"} for name in BREAKING},
            "kept": {"cache": {"seconds": 60}},
        },
    }  # fmt: skip


def built(fleet: Fleet, name: str, days: str) -> str:
    """An embedded index of one text; the id of its file."""
    folder = fleet.folder / name
    folder.mkdir()
    (folder / f"returns-{name}.md").write_text(f"# Returns\n\nYou may return a parcel within {days} days.\n")
    fleet.json("index", "build", str(folder), "--name", name)
    (passage,) = fleet.json("index", "search", name, QUESTION, "--top-k", "1")["passages"]
    return str(passage["file_id"])


@pytest.fixture(scope="module")
def provider() -> Iterator[ScriptedUpstream]:
    with scripted_upstream_in_thread(store) as running:
        yield running


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with RedisServer(tmp_path_factory.mktemp("redis"), sorted(binaries().items())[0][1]) as running:
        yield running


@pytest.fixture(scope="module")
def files() -> dict[str, str]:
    """The file in each embedded index, by the index's version."""
    return {}


@pytest.fixture(scope="module")
def fleet(
    tmp_path_factory: pytest.TempPathFactory,
    provider: ScriptedUpstream,
    redis: RedisServer,
    files: dict[str, str],
) -> Iterator[Fleet]:
    """Two workers, for all of these; the ledger must hold at the end too."""
    made = Fleet(tmp_path_factory.mktemp("fleet"), json.dumps(config(provider.address)), redis=redis.url)
    files.update(i3=built(made, "kb-3", "thirty"), i4=built(made, "kb-4", "ninety"))
    with made as running:
        until(lambda: len(running.workers()) == 2, "both workers alive")
        yield running
        assert running.json("audit", "verify", "--recompute")["ok"]


@pytest.fixture
def apps(fleet: Fleet) -> Iterator[Apps]:
    asking = Apps(fleet)
    yield asking
    asking.close()


def ask(fleet: Fleet, route: str, **headers: str) -> httpx.Response:
    """One request on a connection of its own, so that any worker may answer."""
    body = {"model": route, "messages": [{"role": "user", "content": QUESTION}]}
    return plain.post(f"{fleet.url}/v1/chat/completions", json=body, headers=headers, timeout=30)


def cited(fleet: Fleet, route: str, requests: int = 12) -> set[tuple[str, str]]:
    """What that many answers, of whichever worker, were made of and cite."""
    answers = [ask(fleet, route, **{"x-pointsman-cite": "1"}) for _ in range(requests)]
    assert {each.status_code for each in answers} == {200}
    return {(each.headers["x-pointsman-versions"], each.headers["x-pointsman-citations"]) for each in answers}


def test_every_layer_is_served_over_an_embedded_index_and_named(fleet: Fleet, files: dict[str, str]) -> None:
    assert cited(fleet, "help") == {
        ("pipeline=p1;prompt=v1;retriever=r1;index=i4;model=m1", files["i4"])
    }  # fmt: skip


def test_every_layer_is_served_over_a_store_that_speaks_openais_search(
    fleet: Fleet, provider: ScriptedUpstream
) -> None:
    found = cited(fleet, "shop")

    assert found == {("pipeline=p1;prompt=v1;retriever=r1;index=i1;model=m1", "file-terms")}
    asked = [each for each in provider.requests if each.path.endswith("/search")]
    assert {each.path for each in asked} == {"/store/v1/vector_stores/vs_docs/search"}
    assert {each.json["query"] for each in asked} == {QUESTION}


def test_an_index_goes_back_on_every_worker_and_one_that_is_gone_is_refused(
    fleet: Fleet, files: dict[str, str]
) -> None:
    assert {citations for _, citations in cited(fleet, "guide", 4)} == {files["i4"]}

    done = fleet.json("rollback", "guide.index", "--reason", "wrong answers")

    assert (done["to"], done["acknowledged"], done["missing"]) == ("i3", 2, [])
    assert cited(fleet, "guide") == {("prompt=v1;retriever=r1;index=i3;model=m1", files["i3"])}
    refused = [
        fleet.command("rollout", "guide.index", "gone", "--percent", "10", "--json"),
        fleet.command("rollback", "guide.index", "--to", "gone", "--reason", "further", "--json"),
        applied(fleet, serve="gone"),
    ]
    assert [each.returncode for each in refused] == [3, 3, 3], [each.stderr for each in refused]
    assert {json.loads(each.stderr)["error"]["rule"] for each in refused} == {"index_unfit"}
    assert "--anyway" in refused[1].stderr
    assert {versions for versions, _ in cited(fleet, "guide", 4)} == {
        "prompt=v1;retriever=r1;index=i3;model=m1"
    }
    forced = fleet.command("rollback", "guide.index", "--to", "gone", "--reason", "further", "--anyway")
    assert (forced.returncode, "does not fit" in forced.stderr) == (0, True)
    assert ask(fleet, "guide").status_code == 502


def applied(fleet: Fleet, **state: str) -> Any:
    """`apply` of a new flag for indexes."""
    flags = {
        "new.index": layer("index", INDEXES, **state),
        "new.retriever": layer("retriever", {"r1": EMBEDDED}),
    }
    document = {"flags": flags, "routes": {"new": {"model": "shop.model"}}}
    path = fleet.folder / "new.yaml"
    path.write_text(json.dumps(document))
    return fleet.command("apply", "-f", str(path), "--json")


@pytest.mark.parametrize("store", BREAKING)
def test_a_retriever_whose_store_breaks_is_rolled_back_and_no_user_sees_it(
    fleet: Fleet, apps: Apps, store: str
) -> None:
    """The store is the candidate's alone; whoever gets the candidate is answered by the other."""
    flag = f"{store}.retriever"
    roll_out(fleet, flag, "r2", 40)

    with apps.asking(model=store) as got:
        entry = wait_for_rollback(fleet, flag)

    assert entry["after"]["withdrawn"] == ["r2"]
    assert {each.status for each in got} == {200}
    assert any(each.shielded for each in got)
    assert {each.versions["retriever"] for each in apps.ask_many(20, model=store)} == {"r1"}


def test_a_pipeline_that_breaks_answers_is_rolled_back_and_all_layers_move_at_once(
    fleet: Fleet, apps: Apps
) -> None:
    roll_out(fleet, "desk.pipeline", "p2", 30)

    with apps.asking(model="desk") as got:
        entry = wait_for_rollback(fleet, "desk.pipeline")

    old = {"pipeline": "p1", "prompt": "v1", "retriever": "r1", "index": "i3", "model": "m1"}
    assert (entry["object"], entry["after"]["withdrawn"]) == ("flag/desk.pipeline", ["p2"])
    assert {each.status for each in got} == {200}
    # Who met the candidate was answered by the old pipeline on all layers: nobody got a mixture.
    assert [each.versions for each in got if each.versions != old] == []
    assert [each.versions for each in apps.ask_many(20, model="desk")] == [old] * 20
    assert [each["object"] for each in rolled_back(fleet) if each["object"].startswith("flag/desk")] == [
        "flag/desk.pipeline"
    ]


def test_a_shadow_that_fails_is_seen_in_the_figures_and_by_nobody_else(fleet: Fleet, apps: Apps) -> None:
    fleet.json("shadow", "quiet.model", "wrong", "--percent", "100")

    got = apps.ask_many(30, model="quiet")

    assert {(each.status, each.shielded, each.versions["model"]) for each in got} == {(200, False, "m1")}
    until(lambda: endings(fleet, "wrong") == {"failed": 30}, "the copies are counted")
    assert endings(fleet, "m1") == {"ok": 30}
    assert fleet.json("status")["routes"]["quiet"]["model"]["shadow"] == {"variant": "wrong", "percent": 100}
    assert [entry for entry in rolled_back(fleet) if entry["object"] == "flag/quiet.model"] == []
    fleet.json("shadow", "quiet.model", "--off")
    assert log_of(fleet, "shadow")


def endings(fleet: Fleet, variant: str) -> dict[str, int]:
    """How requests ended under a version of `quiet`'s model, as `status --json` tells."""
    versions = fleet.json("status")["gauges"]["quiet"]["layers"]["model"]["versions"]
    return next(
        (
            {ending: count for ending, count in each["endings"].items() if count}
            for each in versions
            if each["variant"] == variant
        ),
        {},
    )


def test_a_kept_answer_is_never_one_of_a_withdrawn_version(fleet: Fleet) -> None:
    def text(answer: httpx.Response) -> str:
        return str(answer.json()["choices"][0]["message"]["content"])

    until(lambda: ask(fleet, "kept").headers["x-pointsman-cache"] == "hit", "an answer was kept")
    assert text(ask(fleet, "kept")) == "said by v2"

    fleet.json("rollback", "kept.prompt", "--reason", "wrong answers")
    after = [ask(fleet, "kept") for _ in range(12)]

    assert {text(each) for each in after} == {"said by v1"}
    assert {each.headers["x-pointsman-versions"] for each in after} == {"prompt=v1;model=m1"}
    assert after[0].headers["x-pointsman-cache"] == "miss"
    until(lambda: ask(fleet, "kept").headers["x-pointsman-cache"] == "hit", "an answer was kept again")


def test_redis_killed_under_retrieval_and_cache_fails_no_request(
    fleet: Fleet, apps: Apps, redis: RedisServer, files: dict[str, str]
) -> None:
    with apps.asking(model="help") as searched, apps.asking(model="kept") as kept:
        redis.kill()
        until(lambda: "redis" in plain.get(f"{fleet.url}/readyz").json()["degraded"], "degraded is told")
        before = len(searched), len(kept)
        until(lambda: len(searched) > before[0] + 20 and len(kept) > before[1] + 20, "they are served on")
        assert {citations for _, citations in cited(fleet, "help", 4)} == {files["i4"]}
        redis.start()
        until(lambda: not plain.get(f"{fleet.url}/readyz").json()["degraded"], "recovered")
        until(lambda: len(fleet.workers()) == 2, "both workers are back")

    assert {each.status for each in (*searched, *kept)} == {200}
    assert {each.degraded for each in searched} == {"", "redis"}
