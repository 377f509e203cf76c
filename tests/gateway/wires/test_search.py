"""Retrieval alone: OpenAI's search endpoint over a route's own retriever and index."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import openai
import pytest

from gateway.compiling import compile_serving
from gateway.spec import Reply, Rule
from policies.outcome import Blame, Ending, Part
from tests.fleet import Fleet
from tests.gateway.builders import rollout
from tests.gateway.reading_room import INDEX, RETRIEVER, ReadingRoom, open_room, served, snapshot

PASSAGES = [
    {"text": "Thirty days.", "file_id": "returns.md", "filename": "returns.md", "score": 0.9, "attributes": {"team": "ops"}},
    {"text": "To your card.", "file_id": "refunds.md", "score": 0.5},
]  # fmt: skip
CONFIG = """
upstreams:
  store: {kind: simulated, reply: {passages: [{text: Thirty days., file_id: returns.md, score: 0.9}]}}
flags:
  support-bot.model: {layer: model, variants: {m: {upstream: store, model: m}}}
  support-bot.retriever:
    layer: retriever
    variants:
      r1: {kind: openai, upstream: store, top_k: 3, timeout_seconds: 2s, on_error: fail}
  support-bot.index: {layer: index, variants: {i1: {store: vs_docs}}}
  bare.model: {layer: model, variants: {m: {upstream: store, model: m}}}
routes: {support-bot: {}, bare: {}}
"""


@pytest.fixture
async def room(tmp_path: Path) -> AsyncIterator[ReadingRoom]:
    async with open_room(tmp_path, PASSAGES) as made:
        yield made


async def test_a_search_answers_with_a_page_and_the_versions_that_found_it(room: ReadingRoom) -> None:
    _, hall = await room.search({"x-pointsman-cite": "1"}, query="How long?")

    assert hall.status == 200
    assert hall.json == {
        "object": "vector_store.search_results.page",
        "search_query": ["How long?"],
        "data": [
            {
                "file_id": "returns.md",
                "filename": "returns.md",
                "score": 0.9,
                "attributes": {"team": "ops"},
                "content": [{"type": "text", "text": "Thirty days."}],
            },
            {
                "file_id": "refunds.md",
                "filename": "simulated.txt",
                "score": 0.5,
                "attributes": {},
                "content": [{"type": "text", "text": "To your card."}],
            },
        ],
        "has_more": False,
        "next_page": None,
    }
    assert hall.headers[b"x-pointsman-versions"] == b"retriever=r1;index=i1"
    assert hall.headers[b"x-pointsman-decision"]
    assert hall.headers[b"x-pointsman-citations"] == b"returns.md,refunds.md"
    outcome = room.outcome()
    assert (outcome.ending, outcome.blame, len(outcome.releases)) == (Ending.OK, Blame.NONE, 2)


async def test_what_an_app_asks_narrows_what_the_version_says(room: ReadingRoom) -> None:
    own, more = ({"type": "eq", "key": key, "value": "x"} for key in ("team", "year"))
    room.served = served({"r1": {**RETRIEVER, "filters": own, "score_threshold": 0.6}})
    await room.search(
        query="q",
        max_num_results=20,
        filters=more,
        ranking_options={"score_threshold": 0.3, "ranker": "auto"},
        rewrite_query=True,
    )

    assert room.spies["store"].bodies == [
        {
            "query": "q",
            "max_num_results": 20,
            "filters": {"type": "and", "filters": [own, more]},
            "ranking_options": {"score_threshold": 0.6, "ranker": "auto"},
            "rewrite_query": True,
        }
    ]


async def test_several_queries_are_searched_each_and_merged(room: ReadingRoom) -> None:
    _, hall = await room.search(query=["one", "two", "one"])

    assert sorted(each["query"] for each in room.spies["store"].bodies) == ["one", "two"]
    assert [each["file_id"] for each in hall.json["data"]] == ["returns.md", "refunds.md"]
    assert hall.json["search_query"] == ["one", "two", "one"]


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({}, None),
        ({"query": ""}, "query"),
        ({"query": [" "]}, "query"),
        ({"query": []}, "query"),
        ({"query": 5}, "query"),
        ({"query": ["q"] * 17}, "query"),
        ({"query": "q", "max_num_results": 0}, "max_num_results"),
        ({"query": "q", "max_num_results": 51}, "max_num_results"),
        ({"query": "q", "filters": {"type": "like", "key": "a", "value": "b"}}, "filters.type"),
        ({"query": "q", "filters": "x"}, "filters"),
        ({"query": "q", "ranking_options": {"score_threshold": "high"}}, "ranking_options.score_threshold"),
        ({"query": "q", "rewrite_query": "yes"}, "rewrite_query"),
    ],
)
async def test_a_malformed_search_is_the_callers_and_asks_nobody(
    room: ReadingRoom, fields: dict[str, Any], param: str | None
) -> None:
    _, hall = await room.search(**fields)

    assert hall.status == 400
    assert hall.json["error"]["type"] == "invalid_request_error"
    if param is not None:
        assert hall.json["error"]["param"] == param
    assert not room.spies["store"].requests


async def test_filters_that_the_store_refuses_are_the_callers(room: ReadingRoom) -> None:
    room.store(status=400)
    _, hall = await room.search(query="q", filters={"type": "eq", "key": "odd[", "value": 1})

    assert (hall.status, hall.json["error"]["param"]) == (400, "filters")
    assert room.outcome().blame is Blame.CLIENT


@pytest.mark.parametrize("missing", ["retriever", "index"])
async def test_a_route_without_a_retriever_or_an_index_has_nothing_to_search(
    room: ReadingRoom, missing: str
) -> None:
    room.served = served({}) if missing == "retriever" else served(None, {})
    _, hall = await room.search(query="q")

    assert (hall.status, hall.json["error"]["code"]) == (404, "vector_store_not_found")
    assert f"no {missing}" in hall.json["error"]["message"]


async def test_an_unknown_route_is_not_found(room: ReadingRoom) -> None:
    _, hall = await room.search(route="nope", query="q")

    assert hall.status == 404


async def test_a_search_that_fails_is_told_in_openais_words(room: ReadingRoom) -> None:
    room.store(status=503)
    _, hall = await room.search(query="q")

    assert (hall.status, hall.json["error"]["code"]) == (502, "retrieval_failed")
    assert room.outcome().blame is Blame.UPSTREAM


async def test_one_of_several_queries_that_fails_fails_the_search(room: ReadingRoom) -> None:
    room.store(Rule(Reply(status=500), contains="bad"), passages=PASSAGES)
    _, hall = await room.search(query=["good", "bad"])

    assert hall.status == 502


async def test_what_a_candidate_retriever_fails_its_control_answers(room: ReadingRoom) -> None:
    other = {**RETRIEVER, "filters": {"type": "eq", "key": "fail", "value": True}}
    room.served = served({"r1": RETRIEVER, "r2": other}, retriever_state=rollout("r2", 99.99))
    room.store(Rule(Reply(status=500), contains="fail"), passages=PASSAGES)
    _, hall = await room.search({"x-pointsman-targeting-key": "ann"}, query="q")

    assert (hall.status, hall.headers[b"x-pointsman-shielded"]) == (200, b"1")
    tried, shield = room.outcomes()
    assert (tried.part, shield.part) == (Part.TRIED, Part.SHIELD)
    assert [release.variant for release in tried.releases] == ["r2"]


async def test_the_versions_template_makes_the_query_here_too(room: ReadingRoom) -> None:
    room.served = served({"r1": {**RETRIEVER, "query": "about {{ question }}"}}, {"i1": INDEX})
    await room.search(query="cards")

    assert room.spies["store"].bodies[0]["query"] == "about cards"


async def test_a_pipeline_pins_what_is_searched_here_and_in_a_chat(room: ReadingRoom) -> None:
    room.served = compile_serving(
        snapshot(
            {"r1": RETRIEVER, "r2": {**RETRIEVER, "top_k": 1}},
            {"i1": INDEX, "i2": {"store": "vs_new"}},
            pipelines={"p1": {"pins": {"retriever": "r2", "index": "i2"}}},
        )
    )
    _, hall = await room.search(query="q")
    await room.ask()

    assert hall.headers[b"x-pointsman-versions"] == b"pipeline=p1;retriever=r2;index=i2"
    for asked in room.spies["store"].requests:
        assert (asked.path, b'"max_num_results":1' in asked.body) == ("/vector_stores/vs_new/search", True)


def test_the_openai_sdk_searches_a_route_as_if_it_were_a_vector_store(tmp_path: Path) -> None:
    with (
        Fleet(tmp_path, CONFIG, workers=1) as fleet,
        openai.OpenAI(api_key="none", base_url=f"{fleet.url}/v1", max_retries=0) as client,
    ):
        found = client.vector_stores.search(
            "support-bot",
            query="How long?",
            max_num_results=5,
            filters={"type": "eq", "key": "team", "value": "ops"},
            ranking_options={"score_threshold": 0.1},
        )
        with pytest.raises(openai.NotFoundError) as bare:
            client.vector_stores.search("bare", query="How long?")
        with pytest.raises(openai.BadRequestError):
            client.vector_stores.search("support-bot", query="")

    (only,) = found.data
    assert (only.file_id, only.score, only.content[0].text) == ("returns.md", 0.9, "Thirty days.")
    assert bare.value.code == "vector_store_not_found"
