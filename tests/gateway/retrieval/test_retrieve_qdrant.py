"""Qdrant over HTTP: the query's vector first, then the points near it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from gateway.patience import Patience
from policies.outcome import Blame
from tests.gateway.fake_qdrant import FakeQdrant, answer
from tests.gateway.reading_room import ReadingRoom, Spy, served
from tests.scripted_upstream import hang_before_head

NEAR = {
    "kind": "qdrant",
    "upstream": "qdrant",
    "top_k": 2,
    "timeout_seconds": 2.0,
    "on_error": "fail",
    "embedding": {"upstream": "store", "model": "e3"},
    "filters": {"type": "ne", "key": "team", "value": "sales"},
    "score_threshold": 0.25,
}
DOCS = {"store": "docs v2"}


@pytest.fixture
async def qdrant() -> AsyncIterator[FakeQdrant]:
    async with FakeQdrant({"docs%20v2": {"size": 4}}) as fake:
        yield fake


@pytest.fixture
async def room(tmp_path: Path, qdrant: FakeQdrant) -> AsyncIterator[ReadingRoom]:
    patience = Patience(asyncio.get_running_loop(), tick_seconds=0.005)
    made = ReadingRoom(served({"r1": NEAR}, {"i1": DOCS}), patience, tmp_path)
    made.store(dimensions=4)
    made.spies["qdrant"] = Spy(qdrant.upstream(patience))
    yield made
    await made.aclose()
    patience.aclose()


async def test_a_question_becomes_a_vector_and_points_become_passages(
    room: ReadingRoom, qdrant: FakeQdrant
) -> None:
    x, hall = await room.ask({"x-pointsman-cite": "1"})

    (embedding,) = room.spies["store"].bodies
    assert embedding == {"model": "e3", "input": "Where is my order?", "encoding_format": "float"}
    (asked,) = qdrant.requests
    assert (asked.path, asked.headers["api-key"]) == ("/collections/docs%20v2/points/query", "q-key")
    assert len(asked.json.pop("query")) == 4
    assert {name: value for name, value in asked.json.items() if name != "query"} == {
        "limit": 2,
        "with_payload": True,
        "filter": {"must": [{"must_not": [{"key": "team", "match": {"value": "sales"}}]}]},
        "score_threshold": 0.25,
    }
    assert room.system == "[returns.md] Thirty days.\n[2] To your card.\n"
    assert x.passages[0].attributes == {"team": "ops"}
    assert hall.headers[b"x-pointsman-citations"] == b"returns.md,2"


@pytest.mark.parametrize(
    ("document", "status", "blame"),
    [
        ({"status": {"error": "Wrong input: Vector dimension error: expected dim: 4, got 8"}}, 400, Blame.RELEASE),
        ({"status": {"error": "Not found: Collection `docs` doesn't exist!"}}, 404, Blame.RELEASE),
        ({"status": {"error": "forbidden"}}, 403, Blame.RELEASE),
        ({"status": {"error": "Service internal error"}}, 500, Blame.UPSTREAM),
        ({"status": {"error": "hidden under a 200"}}, 200, Blame.UPSTREAM),
        ({"result": {"points": [{"id": 1, "payload": {"body": "no text here"}}]}}, 200, Blame.UPSTREAM),
    ],
)  # fmt: skip
async def test_what_qdrant_refuses_is_told_without_its_address(
    room: ReadingRoom, qdrant: FakeQdrant, document: Any, status: int, blame: Blame
) -> None:
    qdrant.will(answer(document, status))
    _, hall = await room.ask()

    assert (hall.status, hall.json["error"]["code"]) == (502, "retrieval_failed")
    assert "upstream qdrant" in hall.json["error"]["message"]
    assert str(qdrant.port) not in hall.text
    assert room.outcome().blame is blame


@pytest.mark.parametrize("reply", [{"status": 500}, {"fault": "hang"}, {"fault": "garbage"}])
async def test_without_a_vector_nothing_is_searched(
    room: ReadingRoom, qdrant: FakeQdrant, reply: dict[str, Any]
) -> None:
    room.served = served({"r1": {**NEAR, "timeout_seconds": 0.05}}, {"i1": DOCS})
    room.store(**reply)
    _, hall = await room.ask()

    assert hall.status == (504 if reply == {"fault": "hang"} else 502)
    assert "upstream store" in hall.json["error"]["message"]
    assert not qdrant.requests


async def test_a_qdrant_that_hangs_is_given_up_in_time(room: ReadingRoom, qdrant: FakeQdrant) -> None:
    room.served = served({"r1": {**NEAR, "timeout_seconds": 0.1}}, {"i1": DOCS})
    qdrant.will(hang_before_head())
    _, hall = await room.ask()

    assert hall.status == 504
    assert "did not answer in time" in hall.json["error"]["message"]


async def test_orders_among_strings_are_refused_to_an_app_that_searches_by_itself(room: ReadingRoom) -> None:
    _, hall = await room.search(query="q", filters={"type": "gt", "key": "day", "value": "2026"})

    assert hall.status == 400
    assert "orders only numbers" in hall.json["error"]["message"]


async def test_several_queries_are_searched_by_as_many_vectors(room: ReadingRoom, qdrant: FakeQdrant) -> None:
    _, hall = await room.search(query=["one", "two", "three"])

    assert hall.status == 200
    assert (len(room.spies["store"].requests), len(qdrant.requests)) == (3, 3)
    assert len(hall.json["data"]) == 2
