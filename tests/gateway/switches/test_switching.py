"""What each switch does to a request on its way, decided once for it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

from flags.model import Rollout, Shadow
from gateway.auth import KEYLESS
from gateway.cache import Cache
from gateway.decision import Serving
from gateway.patience import Patience
from gateway.switches.board import Stand, Switchboard, switchboard
from policies.outcome import Ending, Part
from tests.gateway.builders import MODEL, Hall, body, exchange, serving
from tests.gateway.reading_room import RETRIEVER, open_room
from tests.gateway.reading_room import served as searching
from tests.gateway.stage import Stage
from tests.gateway.switches.boards import snapshot

FAILING = {**MODEL, "model": "gpt-5", "params": {"simulate": {"status": 500}}}


@pytest.fixture
async def patience() -> AsyncIterator[Patience]:
    timer = Patience(asyncio.get_running_loop(), tick_seconds=0.005)
    yield timer
    timer.aclose()


class Drawer:
    """A cache's shelf. What changes: what lies there, and how often somebody looked."""

    def __init__(self) -> None:
        self.kept: dict[str, bytes] = {}
        self.looks = 0

    async def get(self, key: str) -> bytes | None:
        self.looks += 1
        return self.kept.get(key)

    async def put(self, key: str, value: bytes, seconds: float) -> None:
        self.kept[key] = value


def standing(served: Serving, **stand: Any) -> Serving:
    """With switches that stand so for everybody."""
    return replace(served, switches=Switchboard(Stand(**stand)))


async def settled(stage: Stage) -> dict[Part, Any]:
    while stage.pipeline.shadows.running:
        await asyncio.sleep(0)
    return {each.part: each for each in stage.outcomes()}


async def test_without_the_cache_nothing_is_read_or_kept(patience: Patience) -> None:
    drawer = Drawer()
    cache = Cache(drawer, clock=lambda: 0.0)
    cached = serving(cache={"seconds": 60})
    stage = Stage(standing(cached, cache=False), patience, cache)

    await stage.ask()
    await cache.settled()

    assert (drawer.looks, drawer.kept) == (0, {})
    stage.served = cached
    await stage.ask()
    await cache.settled()
    assert (drawer.looks, len(drawer.kept)) == (1, 1)


@pytest.mark.parametrize(
    ("own", "share", "copies"), [(100, 0, 0), (10, 80, 1), (100, None, 1), (0.01, None, 0)]
)
async def test_a_shadows_share_may_be_another(
    patience: Patience, own: float, share: float | None, copies: int
) -> None:
    models = {"gpt-4.1": MODEL, "gpt-5": {**MODEL, "model": "gpt-5"}}
    served = serving(models=models, model_state={"shadow": Shadow("gpt-5", own)})
    stage = Stage(standing(served, shadow=share), patience)

    await stage.ask()

    assert list(await settled(stage)).count(Part.SHADOW) == copies


@pytest.mark.parametrize(("seconds", "alive"), [(0.0, False), (None, True), (3.0, True)])
async def test_a_stream_shows_signs_of_life_after_the_switchs_seconds(
    patience: Patience, seconds: float | None, alive: bool
) -> None:
    stage = Stage(standing(serving(), keep_alive=seconds), patience)
    x = exchange(body(stream=True), clock=stage.clock)
    ask = x.wire.read(x.body)
    decision = await stage.pipeline.resolve(ask, x)

    stage.pipeline.accompany(decision, ask, x)

    assert (x.alive is not None) is alive
    if x.alive is not None:
        assert x.alive.expires_at - x.alive.since == pytest.approx(seconds or 15.0)
        x.alive.close()


@pytest.mark.parametrize(("shield", "status", "attempts"), [(True, 200, b"2"), (False, 500, b"1")])
async def test_without_the_shield_what_a_candidate_fails_is_the_answer(
    patience: Patience, shield: bool, status: int, attempts: bytes
) -> None:
    served = serving(
        models={"gpt-4.1": MODEL, "gpt-5": FAILING}, model_state={"rollout": Rollout("gpt-5", 100)}
    )
    stage = Stage(standing(served, shield=shield), patience)

    _, hall = await stage.ask(user="u1")

    assert (hall.status, hall.headers[b"x-pointsman-attempts"]) == (status, attempts)


@pytest.mark.parametrize(("retries", "attempts"), [(None, b"3"), (0.0, b"1"), (1.0, b"2"), (5.0, b"3")])
async def test_retries_are_as_many_as_the_switch_leaves(
    patience: Patience, retries: float | None, attempts: bytes
) -> None:
    served = serving(models={"m": {**FAILING, "retries": 2}})
    stage = Stage(standing(served, retries=retries), patience)

    _, hall = await stage.ask()

    assert hall.headers[b"x-pointsman-attempts"] == attempts


async def test_a_fallback_is_no_retry(patience: Patience) -> None:
    fallback = {"upstream": "spare", "model": "gpt-4.1"}
    served = serving(models={"m": {**FAILING, "retries": 2, "fallbacks": [fallback]}})
    stage = Stage(standing(served, retries=0.0), patience)

    _, hall = await stage.ask()

    assert hall.headers[b"x-pointsman-upstream"] == b"spare"
    assert hall.headers[b"x-pointsman-attempts"] == b"2"


async def test_a_switch_stands_alike_for_all_of_a_request(patience: Patience) -> None:
    """Decided once: a snapshot that comes meanwhile is the next request's."""
    stage = Stage(serving(cache={"seconds": 60}), patience)
    x = exchange(body(), clock=stage.clock)
    ask = x.wire.read(x.body)

    decision = await stage.pipeline.resolve(ask, x)
    stage.served = standing(serving(cache={"seconds": 60}), cache=False)
    stage.pipeline.accompany(decision, ask, x)

    assert x.stand.cache


def rule(condition: Any) -> dict[str, Any]:
    return {"gateway.cache": {"targeting": {"if": [condition, "off"]}}}


@pytest.mark.parametrize(
    ("condition", "off"),
    [
        ({"==": [{"var": "route"}, "support-bot"]}, True),
        ({"==": [{"var": "route"}, "elsewhere"]}, False),
        ({"==": [{"var": "targetingKey"}, "u1"]}, True),
        ({"==": [{"var": "plan"}, "gold"]}, True),
        ({"==": [{"var": "tier"}, 3]}, True),
        ({"==": [{"var": "key.team"}, "blue"]}, True),
        ({"==": [{"var": "key.team"}, "forged"]}, False),
    ],
)
async def test_a_rule_looks_at_the_route_the_key_and_the_request(
    patience: Patience, condition: Any, off: bool
) -> None:
    stage = Stage(replace(serving(), switches=switchboard(snapshot(rule(condition)))), patience)
    caller = replace(KEYLESS, attributes={"team": "blue"})
    sent = {"route": "elsewhere", "plan": "gold", "key": {"team": "forged"}}
    headers = {"x-pointsman-context": '{"tier": 3, "key": {"team": "forged"}, "route": "elsewhere"}'}
    x = exchange(body(user="u1", metadata=sent), headers, clock=stage.clock, caller=caller)

    await stage.pipeline.resolve(x.wire.read(x.body), x)

    assert x.stand.cache is not off


async def test_a_shadows_copy_goes_by_its_requests_switches_and_is_not_logged(
    patience: Patience, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "pointsman.content")
    models = {"gpt-4.1": MODEL, "gpt-5": {**FAILING, "retries": 2}}
    served = serving(models=models, model_state={"shadow": Shadow("gpt-5", 100)})
    stage = Stage(standing(served, retries=0.0, content_logging=True), patience)
    x = exchange(body(), clock=stage.clock)

    await stage.pipeline.serve(x)
    found = await settled(stage)

    assert found[Part.SHADOW].attempts == 1
    assert len([each for each in caplog.records if each.name == "pointsman.content"]) == 1


async def logged(
    stage: Stage, caplog: pytest.LogCaptureFixture, headers: dict[str, str] | None = None, **fields: Any
) -> list[Any]:
    """What the content log says of one request."""
    caplog.set_level(logging.INFO, "pointsman.content")
    caplog.clear()
    x = exchange(body(**fields), headers, clock=stage.clock)
    await stage.pipeline.serve(x)
    return [msgspec.json.decode(each.message) for each in caplog.records if each.name == "pointsman.content"]


async def test_content_is_logged_where_the_switch_is_on_and_nowhere_else(
    patience: Patience, caplog: pytest.LogCaptureFixture
) -> None:
    stage = Stage(standing(serving(), content_logging=True), patience)

    (line,) = await logged(stage, caplog, {"authorization": "Bearer sk-app"}, user="u1")

    assert line["route"] == "support-bot"
    assert line["versions"] == {"prompt": "v6", "model": "gpt-4.1"}
    assert (line["wire"], line["status"], line["ending"], line["revision"]) == ("chat", 200, "ok", 7)
    assert msgspec.json.decode(line["request"])["user"] == "u1"
    assert msgspec.json.decode(line["answer"])["model"] == "gpt-4.1"
    assert "sk-app" not in str(line)
    stage.served = serving()
    assert not await logged(stage, caplog, user="u1")


async def test_a_streams_text_is_logged_put_together_and_the_app_gets_its_stream(
    patience: Patience, caplog: pytest.LogCaptureFixture
) -> None:
    stage = Stage(serving(), patience)
    _, plain = await stage.ask()
    said = plain.json["choices"][0]["message"]["content"]
    stage.served = standing(serving(), content_logging=True)

    (line,) = await logged(stage, caplog, stream=True)

    assert line["stream"]
    assert line["answer"] == said
    assert line["answer_bytes"] > len(said)


async def test_an_answer_that_was_broken_off_is_logged_as_cut(
    patience: Patience, caplog: pytest.LogCaptureFixture
) -> None:
    cut = {"fault": "cut", "after_chunks": 1, "chunks": 3}
    stage = Stage(standing(serving(), content_logging=True), patience)

    (line,) = await logged(stage, caplog, stream=True, simulate=cut)

    assert line["ending"] == Ending.FAILED


async def test_a_refusal_before_any_route_is_not_logged(
    patience: Patience, caplog: pytest.LogCaptureFixture
) -> None:
    stage = Stage(standing(serving(), content_logging=True), patience)

    assert not await logged(stage, caplog, model="nobody")


async def test_the_apps_door_sees_the_same_bytes(patience: Patience) -> None:
    stage = Stage(standing(serving(), content_logging=True), patience)
    x = exchange(body(), clock=stage.clock)
    hall = x.door

    await stage.pipeline.serve(x)

    assert isinstance(hall, Hall)
    assert x.transcript is not None
    assert x.transcript.body == hall.text.encode()


async def test_without_retrieval_prompts_get_no_passages_and_its_layers_are_not_measured(
    tmp_path: Path,
) -> None:
    async with open_room(tmp_path, [{"text": "Thirty days.", "file_id": "returns.md"}]) as room:
        room.served = standing(searching(), retrieval=False)

        _, hall = await room.ask()

        assert hall.headers[b"x-pointsman-retrieval"] == b"skipped"
        assert hall.headers[b"x-pointsman-versions"] == b"prompt=v6;model=gpt-4.1"
        assert not room.spies["store"].requests
        measured = {each.flag for each in room.outcome().releases}
        assert measured == {"support-bot.prompt", "support-bot.model"}


async def test_a_search_is_answered_without_the_switch(tmp_path: Path) -> None:
    """Where what is found is the answer there is nothing to answer without it."""
    async with open_room(tmp_path, [{"text": "Thirty days.", "file_id": "returns.md"}]) as room:
        room.served = standing(searching(), retrieval=False)

        _, hall = await room.search(query="How long?")

        assert hall.status == 200
        assert hall.json["data"]


async def test_a_resting_layers_shadow_rests_as_well(tmp_path: Path) -> None:
    async with open_room(tmp_path, [{"text": "Thirty days.", "file_id": "returns.md"}]) as room:
        shadowed = searching(
            {"r1": RETRIEVER, "r2": {**RETRIEVER, "top_k": 1}}, retriever_state={"shadow": Shadow("r2", 100)}
        )
        room.served = standing(shadowed, retrieval=False)

        await room.ask()

        assert list(await settled(room)) == [Part.WHOLE]
