"""On every wire that has room for a prompt, what the user asked is searched, and a failure is told in its dialect."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from gateway.patience import Patience
from gateway.wires.base import Wire
from gateway.wires.chat import Chat
from gateway.wires.completions import Completions
from gateway.wires.embeddings import Embeddings
from gateway.wires.messages import Messages
from gateway.wires.responses import Responses
from tests.gateway.builders import Hall, exchange
from tests.gateway.reading_room import ReadingRoom, served

SAID = [{"role": "user", "content": "Where is my order?"}]
ASKED: list[tuple[Wire, dict[str, Any]]] = [
    (Chat(), {"messages": SAID}),
    (Messages(), {"messages": SAID, "max_tokens": 9}),
    (Responses(), {"input": "Where is my order?"}),
    (Completions(), {"prompt": "Where is my order?"}),
]
ON_EACH = pytest.mark.parametrize(("wire", "fields"), ASKED, ids=[wire.name for wire, _ in ASKED])


@pytest.fixture
async def room(tmp_path: Path) -> AsyncIterator[ReadingRoom]:
    patience = Patience(asyncio.get_running_loop(), tick_seconds=0.005)
    made = ReadingRoom(served(), patience, tmp_path)
    made.store(passages=[{"text": "It is on its way.", "file_id": "orders.md"}])
    yield made
    await made.aclose()
    patience.aclose()


async def asked(room: ReadingRoom, wire: Wire, fields: dict[str, Any]) -> Hall:
    x = exchange(msgspec.json.encode({"model": "support-bot", **fields}), clock=room.clock, wire=wire)
    await room.pipeline.serve(x)
    assert isinstance(x.door, Hall)
    return x.door


@ON_EACH
async def test_the_question_is_searched_and_the_passages_reach_the_model(
    room: ReadingRoom, wire: Wire, fields: dict[str, Any]
) -> None:
    hall = await asked(room, wire, fields)

    assert hall.status == 200
    assert room.spies["store"].bodies[0]["query"] == "Where is my order?"
    assert b"It is on its way." in room.spies["mock"].requests[0].body


@ON_EACH
async def test_a_failure_is_told_in_the_wires_dialect(
    room: ReadingRoom, wire: Wire, fields: dict[str, Any]
) -> None:
    room.store(status=500)
    hall = await asked(room, wire, fields)

    assert hall.status == 502
    assert "retrieval failed: upstream store: answered 500" in hall.json["error"]["message"]
    assert ("type" in hall.json) == (wire.name == "messages")


async def test_an_embedding_searches_nothing(room: ReadingRoom) -> None:
    hall = await asked(room, Embeddings(), {"input": "Where is my order?"})

    assert hall.status == 200
    assert hall.headers[b"x-pointsman-versions"] == b"model=gpt-4.1"
    assert not room.spies["store"].requests
