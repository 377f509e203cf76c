"""Which answers are judged, how many at once, and what becomes of a judge that fails."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from gateway.house import House
from gateway.judging.online import MOST_AT_ONCE, OnlineJudge
from gateway.judging.overheard import Overheard
from gateway.shadow import Nowhere
from gateway.switches.board import Stand, Switchboard
from policies.evals.grader import GraderAway
from policies.outcome import Score
from tests.gateway.open_house import open_house

CONFIG = """
upstreams:
  mock:
    kind: simulated
    rules:
      - {contains: fails, reply: {status: 500}}
      - {contains: breaks, reply: {fault: cut, after_chunks: 1, chunks: 3}}
flags:
  bot.model: {layer: model, serve: m, variants: {m: {upstream: mock, model: m, retries: 0}}}
  judge.model: {layer: model, serve: m, variants: {m: {upstream: mock, model: m}}}
metrics:
  stars: {type: number, range: [1, 5], better: higher, description: "How kind is it?"}
routes:
  bot: {judge: {percent: 10, route: judge, metrics: [accuracy, stars]}, cache: {seconds: 60}}
  judge: {}
"""
GOOD = json.dumps({"scores": {"accuracy": 0.5, "stars": 4}})


@dataclass
class Bench:
    """A house whose judge is this. What changes: what it says, whether it waits, and what it was asked."""

    house: House
    app: httpx.AsyncClient
    says: str | Exception = GOOD
    drawn: float = 0.0
    asked: list[dict[str, Any]] = field(default_factory=list)
    free: asyncio.Event = field(default_factory=asyncio.Event)
    scores: list[Score] = field(default_factory=list)
    words: list[str] = field(default_factory=list)

    async def ask(self, instruction: str, material: str) -> str:
        self.asked.append(json.loads(material))
        await self.free.wait()
        if isinstance(self.says, Exception):
            raise self.says
        return self.says

    def add_score(self, score: Score) -> None:
        self.scores.append(score)

    def heard(self, word: str) -> None:
        self.words.append(word)

    async def request(self, text: str = "Hello?", path: str = "/v1/chat/completions", **more: Any) -> None:
        body = {"model": "bot", "messages": [{"role": "user", "content": text}], **more}
        try:
            await self.app.post(path, json=body)
        except httpx.RemoteProtocolError:
            assert text == "breaks"

    async def done(self) -> None:
        self.free.set()
        assert self.house.pipeline.judge is not None
        while self.house.pipeline.judge.running:
            await asyncio.sleep(0)


@pytest.fixture
async def bench(redis_url: str, tmp_path: Path) -> AsyncIterator[Bench]:
    async with (
        open_house(redis_url, tmp_path, CONFIG) as (house, url),
        httpx.AsyncClient(base_url=url) as app,
    ):
        made = Bench(house, app)
        house.pipeline.judge = OnlineJudge(
            made,
            lambda _: made,
            snapshot=house.snapshot,
            draw=lambda: made.drawn,
            now=lambda: 1_800_000_000.9,
        )
        yield made
        await house.pipeline.judge.aclose()


async def test_a_sampled_answer_is_scored_under_a_key_of_the_judges_own(bench: Bench) -> None:
    await bench.request(user="ann")
    await bench.done()

    (accuracy, stars) = bench.scores
    assert accuracy.key.endswith("/accuracy/judge")
    assert accuracy.key.startswith("req-")
    assert (accuracy.value, stars.value, stars.metric) == (0.5, 4.0, "stars")
    assert (accuracy.route, accuracy.decided_at) == ("bot", 1_800_000_000)
    assert [each.flag for each in accuracy.releases] == ["bot.model"]
    assert accuracy.unit
    assert bench.words == ["judged"]


@pytest.mark.parametrize("stream", [True, False])
async def test_the_judge_sees_question_answer_and_rubrics(bench: Bench, stream: bool) -> None:
    await bench.request("Where is it?", stream=stream)
    await bench.done()

    (seen,) = bench.asked
    assert seen["question"] == "Where is it?"
    assert seen["answer"]
    assert "Where is it?" not in seen["rubrics"]
    assert seen["rubrics"]["stars"]["asks"] == "How kind is it?"


async def test_a_coin_decides_by_percent(bench: Bench) -> None:
    bench.drawn = 0.0999
    await bench.request("one")
    bench.drawn = 0.1
    await bench.request("two")
    await bench.done()

    assert [each["question"] for each in bench.asked] == ["one"]


@pytest.mark.parametrize(("share", "judged"), [(0.0, 0), (50.0, 1), (None, 0)])
async def test_the_switch_has_another_share_in_place_of_the_judges_own(
    bench: Bench, share: float | None, judged: int
) -> None:
    assert bench.house.serving is not None
    bench.house.serving = replace(bench.house.serving, switches=Switchboard(Stand(judge=share)))
    bench.drawn = 0.4

    await bench.request("one")
    await bench.done()

    assert len(bench.asked) == judged


@pytest.mark.parametrize("text", ["fails", "breaks"])
async def test_what_fails_is_not_judged(bench: Bench, text: str) -> None:
    await bench.request(text, stream=text == "breaks")
    await bench.done()

    assert (bench.asked, bench.words) == ([], [])


async def test_an_answer_from_the_cache_is_not_judged_again(bench: Bench) -> None:
    bench.free.set()
    await bench.request(temperature=0)
    await bench.done()
    first = len(bench.asked)
    for _ in range(50):
        await bench.request(temperature=0)
    await bench.done()

    # What is not stored yet when it is asked again is a new answer.
    assert first == 1
    assert len(bench.asked) < 51


async def test_four_at_once_are_judged_and_no_queue_grows(bench: Bench) -> None:
    for number in range(MOST_AT_ONCE + 3):
        await bench.request(f"question {number}")
    await bench.done()

    assert len(bench.asked) == MOST_AT_ONCE
    assert sorted(bench.words) == ["judge_busy"] * 3 + ["judged"] * MOST_AT_ONCE


@pytest.mark.parametrize(
    "says", ["0.9", '{"scores": {"accuracy": 7}}', GraderAway("it is away"), ValueError("a bug")]
)
async def test_a_judge_that_fails_gives_no_score_and_is_counted(bench: Bench, says: str | Exception) -> None:
    bench.says = says

    await bench.request()
    await bench.done()

    assert (bench.scores, bench.words) == ([], ["judge_failed"])


async def test_a_wire_without_texts_is_not_judged(bench: Bench) -> None:
    await bench.app.post("/v1/embeddings", json={"model": "bot", "input": "x"})
    await bench.done()

    assert bench.asked == []


async def test_what_is_kept_of_an_answer_is_bounded() -> None:
    door = Overheard(Nowhere(), most=5)

    await door.write(b"123")
    await door.end(b"45")
    fits, body = door.whole, door.body
    await door.write(b"6")

    assert (fits, body) == (True, b"12345")
    assert (door.whole, door.body) == (False, b"12345")


async def test_half_of_an_answer_is_not_whole() -> None:
    door = Overheard(Nowhere())

    await door.write(b"123")
    door.abort()

    assert not door.whole
