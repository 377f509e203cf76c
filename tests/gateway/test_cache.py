"""Answers kept for requests that are exactly alike: what is alike, what is kept, and that it is never in the way."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from typing import Any
from uuid import uuid4

import msgspec
import pytest

from flags.connect import connect
from flags.errors import StoreUnavailable
from flags.store import Store
from gateway.cache import LOOK_UPS, REST_SECONDS, WAITING, Cache, RedisShelf
from gateway.decision import Serving
from gateway.kept import Kept, decode, digest, encode
from gateway.patience import Patience
from policies.observe import failed
from policies.outcome import EVIDENCE, CostSource, Ending, Part
from tests.gateway.builders import MODEL, PROMPT, Hall, rollout, serving
from tests.gateway.stage import Stage

V7 = {"messages": [{"role": "system", "content": "You are v7."}]}
CACHE = {"seconds": 60, "max_bytes": 4096}


class Memory:
    """A shelf that remembers, and can be told to fail or to hang."""

    def __init__(self) -> None:
        self.kept: dict[str, bytes] = {}
        self.asked = 0
        self.fails = False
        self.hangs: asyncio.Event | None = None

    async def get(self, key: str) -> bytes | None:
        self.asked += 1
        if self.hangs is not None:
            await self.hangs.wait()
        if self.fails:
            raise StoreUnavailable("away")
        return self.kept.get(key)

    async def put(self, key: str, value: bytes, seconds: float) -> None:
        if self.hangs is not None:
            await self.hangs.wait()
        if self.fails:
            raise StoreUnavailable("away")
        self.kept[key] = value


class Office:
    """A stage with a cache over a shelf in memory."""

    def __init__(self, patience: Patience, served: Serving | None = None, **spec: Any) -> None:
        self.shelf = Memory()
        self.now = 0.0
        self.cache = Cache(self.shelf, clock=lambda: self.now)
        self.stage = Stage(served or route(**spec), patience, self.cache)

    async def ask(self, headers: Mapping[str, str] | None = None, **fields: Any) -> Hall:
        _, hall = await self.stage.ask(headers, **fields)
        await self.cache.settled()
        return hall

    async def told(self, headers: Mapping[str, str] | None = None, **fields: Any) -> bytes | None:
        return (await self.ask(headers, **fields)).headers.get(b"x-pointsman-cache")


def route(**more: Any) -> Serving:
    return serving(**{"cache": CACHE, **more})


@pytest.fixture
async def patience() -> AsyncIterator[Patience]:
    timer = Patience(asyncio.get_running_loop(), tick_seconds=0.005)
    yield timer
    timer.aclose()


@pytest.fixture
async def office(patience: Patience) -> Office:
    return Office(patience)


async def test_the_second_of_two_requests_that_are_alike_is_a_hit(office: Office) -> None:
    first, second = await office.ask(), await office.ask()

    assert first.headers[b"x-pointsman-cache"] == b"miss"
    assert second.headers[b"x-pointsman-cache"] == b"hit"
    assert second.headers[b"x-pointsman-attempts"] == b"0"
    assert second.headers[b"content-type"] == first.headers[b"content-type"]
    assert second.text == first.text


async def test_a_stream_is_said_again_byte_by_byte(office: Office) -> None:
    first, second = await office.ask(stream=True), await office.ask(stream=True)

    assert second.headers[b"x-pointsman-cache"] == b"hit"
    assert second.headers[b"content-type"].startswith(b"text/event-stream")
    assert second.headers[b"cache-control"] == b"no-cache"
    assert second.text == first.text
    assert second.text.endswith("data: [DONE]\n\n")


async def test_a_hit_is_one_request_that_cost_nothing_and_is_no_evidence(office: Office) -> None:
    await office.ask()
    await office.ask()
    made, hit = office.stage.outcomes()

    assert (made.part, hit.part) == (Part.WHOLE, Part.CACHED)
    assert (hit.ending, hit.attempts, hit.cost_usd, hit.cost_source) == (Ending.OK, 0, 0.0, CostSource.CONFIG)
    assert (hit.input_tokens, hit.output_tokens) == (made.input_tokens, made.output_tokens)
    assert hit.part not in EVIDENCE
    assert failed(hit) is False


@pytest.mark.parametrize(
    "other",
    [
        {"temperature": 0.3},
        {"user": "bob"},
        {"messages": [{"role": "user", "content": "Where is it?"}]},
        {"stream": True},
        {"prompt_variables": {"a": 1}, "messages": [{"role": "user", "content": "x"}]},
    ],
)
async def test_a_request_that_differs_in_anything_is_another(office: Office, other: dict[str, Any]) -> None:
    await office.ask()

    assert await office.told(**other) == b"miss"


async def test_a_stream_with_the_usage_chunk_is_another_than_one_without(office: Office) -> None:
    """Both are asked of the provider in the same words."""
    await office.ask(stream=True)
    told = await office.ask(stream=True, stream_options={"include_usage": True})

    assert told.headers[b"x-pointsman-cache"] == b"miss"
    assert '"usage"' in told.text


async def test_beta_headers_make_another_request(office: Office) -> None:
    await office.ask({"openai-beta": "a"})

    assert await office.told({"openai-beta": "b"}) == b"miss"
    assert await office.told({"openai-beta": "a"}) == b"hit"


# Versions


async def test_a_rollback_never_serves_what_the_withdrawn_version_said(patience: Patience) -> None:
    prompts = {"v7": V7, "v6": PROMPT}
    office = Office(patience, route(prompts=prompts))
    await office.ask()
    office.stage.served = route(
        prompts=prompts, prompt_state={"serve": "v6", "safe": "v6", "withdrawn": frozenset({"v7"})}
    )
    after = await office.ask()

    assert after.headers[b"x-pointsman-cache"] == b"miss"
    assert b"prompt=v6" in after.headers[b"x-pointsman-versions"]


async def test_a_version_that_comes_back_begins_a_new_life(patience: Patience) -> None:
    office = Office(patience)
    await office.ask()
    again = route()
    found = again.routes["support-bot"]
    first, *others = found.layers
    reborn = {
        name: version._replace(release=msgspec.structs.replace(version.release, generation=2))
        for name, version in first.versions.items()
    }
    layers = (replace(first, versions=reborn, always=None), *others)
    again.routes["support-bot"] = replace(found, layers=layers)  # type: ignore[index]  # a dict, as compiled
    office.stage.served = again

    assert await office.told() == b"miss"


async def test_the_same_name_with_another_content_is_another_version(patience: Patience) -> None:
    """A flag that was deleted and declared anew may have a v6 of its first generation again; and a model's version
    leaves no trace of its fallbacks in the body."""
    office = Office(patience, route(models={"gpt-4.1": MODEL}))
    await office.ask()
    office.stage.served = route(models={"gpt-4.1": {**MODEL, "total_seconds": 7}})

    assert await office.told() == b"miss"


async def test_an_upstream_that_was_moved_gives_other_answers(patience: Patience) -> None:
    office = Office(patience)
    await office.ask()
    office.stage.served = route(upstreams={"mock": {"kind": "simulated"}})

    assert await office.told() == b"miss"


# What is kept


@pytest.mark.parametrize(
    "reply", [{"status": 500}, {"status": 400}, {"fault": "cut", "after_chunks": 1}, {"fault": "garbage"}]
)
@pytest.mark.parametrize("stream", [False, True])
async def test_only_what_ended_well_is_kept(patience: Patience, reply: dict[str, Any], stream: bool) -> None:
    office = Office(patience, route(models={"m": {**MODEL, "params": {"simulate": reply}}}))
    await office.ask(stream=stream)

    assert office.shelf.kept == {}


@pytest.mark.parametrize("stream", [False, True])
async def test_what_is_larger_than_the_route_allows_is_not_kept(patience: Patience, stream: bool) -> None:
    office = Office(patience, route(cache={"seconds": 60, "max_bytes": 100}))
    hall = await office.ask(stream=stream)

    assert len(hall.text) > 100
    assert office.shelf.kept == {}


async def test_a_route_without_a_cache_says_nothing_of_one(patience: Patience) -> None:
    office = Office(patience, serving())

    assert await office.told() is None
    assert office.shelf.asked == 0


async def test_what_the_provider_is_to_store_is_asked_of_it_each_time(office: Office) -> None:
    assert await office.told(store=True) is None
    assert office.shelf.asked == 0


# What an app may say


async def test_no_store_is_neither_read_nor_kept(office: Office) -> None:
    await office.ask({"cache-control": "No-Store"})
    kept = dict(office.shelf.kept)
    await office.ask()
    told = await office.told({"cache-control": "max-age=0, no-store"})

    assert (kept, told) == ({}, b"miss")


@pytest.mark.parametrize(
    "headers", [{"cache-control": "no-cache"}, {"x-portkey-cache-force-refresh": "true"}]
)
async def test_no_cache_is_not_read_and_renewed(office: Office, headers: dict[str, str]) -> None:
    await office.ask()
    (key,) = office.shelf.kept
    office.shelf.kept[key] = b"old"
    told = await office.told(headers)

    assert told == b"miss"
    assert decode(office.shelf.kept[key]).body


# On trial


async def test_a_control_is_asked_though_its_answer_lies_here(patience: Patience) -> None:
    """In an outage what lies here would say that the control is well, and the candidate alone be charged."""
    models = {"gpt-4.1": MODEL, "gpt-4o": {**MODEL, "model": "b", "params": {"simulate": {"status": 500}}}}
    office = Office(patience, route(models=models))
    await office.ask()
    office.stage.served = route(models=models, model_state=rollout("gpt-4o", 99.99))
    hall = await office.ask()
    *_, tried, shield = office.stage.outcomes()

    assert hall.headers[b"x-pointsman-shielded"] == b"1"
    assert hall.headers[b"x-pointsman-cache"] == b"miss"
    assert (tried.part, shield.part, shield.attempts) == (Part.TRIED, Part.SHIELD, 2)


# Never in the way


async def test_after_a_failure_the_cache_rests_and_requests_go_on(office: Office) -> None:
    office.shelf.fails = True
    hall = await office.ask()
    await office.ask()
    resting = office.shelf.asked
    office.now += REST_SECONDS
    office.shelf.fails = False
    await office.ask()

    assert (hall.status, resting, office.shelf.asked) == (200, 1, 2)
    assert await office.told() == b"hit"


async def test_what_lies_there_and_cannot_be_read_is_a_miss(office: Office) -> None:
    await office.ask()
    office.shelf.kept = dict.fromkeys(office.shelf.kept, b"\xc1")

    assert await office.told() == b"miss"


async def test_look_ups_under_way_are_bounded(office: Office) -> None:
    office.shelf.hangs = asyncio.Event()
    waiting = [asyncio.create_task(office.stage.ask(user=str(n))) for n in range(LOOK_UPS)]
    while office.shelf.asked < LOOK_UPS:
        await asyncio.sleep(0)
    _, hall = await office.stage.ask()
    asked = office.shelf.asked
    office.shelf.hangs.set()
    await asyncio.gather(*waiting)
    await office.cache.aclose()

    assert (hall.status, asked) == (200, LOOK_UPS)


async def test_what_waits_to_be_written_is_bounded_and_given_up_at_the_end(office: Office) -> None:
    await office.ask()
    office.shelf.kept.clear()
    office.shelf.hangs = asyncio.Event()
    copy = office.stage.ask
    office.now = -1.0
    for n in range(WAITING + 3):
        x, _ = await no_look_up(office, copy, n)
        assert x is not None
    dropped = office.cache.dropped
    await office.cache.aclose()

    assert dropped == 2
    assert office.shelf.kept == {}


async def no_look_up(office: Office, ask: Any, n: int) -> Any:
    return await ask({"cache-control": "no-cache"}, user=str(n))


def test_parts_of_a_key_do_not_run_into_each_other() -> None:
    assert digest([b"ab", b"c"]) != digest([b"a", b"bc"])


def test_what_is_kept_is_read_as_it_was_written() -> None:
    kept = Kept([(b"content-type", b"application/json")], b"\x00{}", 1, None, 3, 4)

    assert decode(encode(kept)) == kept


# Redis itself


async def test_an_answer_in_redis_ends_by_itself_and_stays_in_its_namespace(redis_url: str) -> None:
    store = Store(connect(redis_url), f"cache-{uuid4().hex[:8]}")
    other = Store(connect(redis_url), f"cache-{uuid4().hex[:8]}")
    shelf = RedisShelf(store)
    await shelf.put("k", b"\x00\xff", 60)
    left = await store.calls.run(lambda redis: redis.pttl(store.keys.answer("k")))
    found, elsewhere = await shelf.get("k"), await RedisShelf(other).get("k")
    await store.calls.run(lambda redis: redis.delete(store.keys.answer("k")))
    await store.aclose()
    await other.aclose()

    assert (found, elsewhere) == (b"\x00\xff", None)
    assert 0 < left <= 60_000


async def test_a_redis_that_is_away_is_told_at_once() -> None:
    store = Store(connect("redis://127.0.0.1:1/0"), "away")
    with pytest.raises(StoreUnavailable):
        await RedisShelf(store).get("k")
    await store.aclose()
