"""The stream of Changes: nothing missed, nothing twice, and an end when the server ends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import httpx

from tests.gateway.office import Office, by

PROMPT = "support-bot.prompt"


async def ids(response: httpx.Response, count: int) -> list[int]:
    """The ids of the next `count` events."""

    async def take(lines: AsyncIterator[str]) -> list[int]:
        found: list[int] = []
        async for line in lines:
            if line.startswith("id: "):
                found.append(int(line[4:]))
            if len(found) == count:
                break
        return found

    return await asyncio.wait_for(take(response.aiter_lines()), 10)


async def test_a_client_that_comes_back_misses_nothing(office: Office, served: str) -> None:
    await office.operations.switch(by(), PROMPT, "v7")

    async with httpx.AsyncClient(base_url=f"{served}/admin/v1") as client:
        async with client.stream("GET", "/events", headers={"last-event-id": "2"}) as response:
            assert response.headers["content-type"].startswith("text/event-stream")
            assert await ids(response, 2) == [3, 4]
        async with client.stream("GET", "/events?after=3") as response:
            assert await ids(response, 1) == [4]


async def test_a_new_client_begins_with_the_next_change(office: Office, served: str) -> None:
    async with (
        httpx.AsyncClient(base_url=f"{served}/admin/v1") as client,
        client.stream("GET", "/events") as response,
    ):
        done = await office.operations.switch(by(), PROMPT, "v7")
        assert await ids(response, 1) == [done.revision]


async def test_a_client_ahead_of_the_ledger_is_told_that_history_changed(served: str) -> None:
    async with (
        httpx.AsyncClient(base_url=f"{served}/admin/v1") as client,
        client.stream("GET", "/events?after=99") as response,
    ):
        lines = response.aiter_lines()
        assert [await anext(lines) for _ in range(3)] == [
            "event: history_changed",
            "id: 3",
            'data: {"revision":3}',
        ]


async def test_the_stream_ends_when_the_server_does(office: Office, served: str) -> None:
    async with (
        httpx.AsyncClient(base_url=f"{served}/admin/v1") as client,
        client.stream("GET", "/events?after=2") as response,
    ):
        office.stopped = True
        text = (await asyncio.wait_for(response.aread(), 10)).decode()

    assert "event: change\nid: 3\ndata: {" in text


async def test_a_bad_place_to_begin_is_refused(office: Office) -> None:
    async with office.client() as client:
        for headers, query in (({"last-event-id": "x"}, {}), ({}, {"after": "x"})):
            answer = await client.get("/events", headers=headers, params=query)
            assert answer.status_code == 422


async def test_a_client_that_has_seen_nothing_yet_gets_all_of_it(served: str) -> None:
    async with (
        httpx.AsyncClient(base_url=f"{served}/admin/v1") as client,
        client.stream("GET", "/events", headers={"last-event-id": "0"}) as response,
    ):
        assert await ids(response, 3) == [1, 2, 3]


async def test_a_look_at_the_head_alone_ends(served: str) -> None:
    async with httpx.AsyncClient(base_url=f"{served}/admin/v1") as client:
        answer = await asyncio.wait_for(client.head("/events"), 10)

    assert answer.headers["content-type"].startswith("text/event-stream")
