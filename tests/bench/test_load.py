"""The load generator counts right answers as answers and all others as failures, whatever they cost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import msgspec

from tests.bench import wire
from tests.bench.bench_rollback import Answers, Command, Drill, Pressure, late
from tests.bench.load import Load, Plan, Result, quantile
from tests.bench.upstream import Provider
from tests.redis_server import free_port

SECONDS = 0.2


def a_plan(port: int, *, stream: bool = False) -> Plan:
    """A short load of one kind."""
    return Plan(
        port=port,
        path="/v1/chat/completions",
        headers={},
        body=wire.request_body("support-bot", 900, stream=stream),
        mark=wire.STREAM_MARK if stream else wire.JSON_MARK,
        times=wire.CONTENT_EVENTS if stream else 1,
        connections=4,
        seconds=SECONDS,
    )


@asynccontextmanager
async def provider(answer: bytes | None = None) -> AsyncIterator[int]:
    """The mock provider in this very loop; its port."""
    port = free_port()
    server = await asyncio.get_running_loop().create_server(
        lambda: Provider(answer or wire.json_answer(), wire.stream_writes(), 0.0), "127.0.0.1", port
    )
    async with server:
        yield port


async def test_right_answers_are_counted_and_none_fails() -> None:
    async with provider() as port:
        result = await Load(a_plan(port)).run()

    assert result.answers > 0
    assert result.failed == {}


async def test_a_stream_counts_once_with_all_its_events() -> None:
    async with provider() as port:
        result = await Load(a_plan(port, stream=True)).run()

    assert result.answers > 0
    assert result.failed == {}
    assert result.events == result.answers * (wire.CONTENT_EVENTS + 4)


async def test_an_answer_without_its_mark_is_a_failure_and_no_answer() -> None:
    async with provider() as port:
        result = await Load(msgspec.structs.replace(a_plan(port), mark=b"never there")).run()

    assert result.answers == 0
    assert result.failed["wrong answer"] > 0


async def test_another_status_is_a_failure_told_by_its_number() -> None:
    refused = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n"
    async with provider(refused) as port:
        result = await Load(a_plan(port)).run()

    assert result.answers == 0
    assert result.failed["status 503"] > 0


async def test_at_a_rate_the_requests_are_those_that_were_due() -> None:
    plan = msgspec.structs.replace(a_plan(0), rate=100.0)
    async with provider() as port:
        result = await Load(msgspec.structs.replace(plan, port=port)).run()

    assert 1 <= result.answers <= 100 * SECONDS + 1


async def test_every_answer_is_written_down_with_its_version(tmp_path: Path) -> None:
    told = wire.json_answer().replace(b"x-request-id: req_mock", b"x-pointsman-versions: prompt=v2;model=m1")
    file = tmp_path / "records"
    async with provider(told) as port:
        result = await Load(msgspec.structs.replace(a_plan(port), records=str(file))).run()

    answers = Answers.read(file, result.versions)
    assert len(answers.began) == result.answers
    assert set(answers.version) == {"v2"}
    assert all(began <= ended for began, ended, _ in answers)


def test_only_what_began_between_a_rollback_and_its_undoing_is_late() -> None:
    command = Command(sent=9.0, returned=10.0, undone=11.0, milliseconds=1.0, acknowledged=4, workers=4)
    answers = Answers((9.9, 10.5, 10.5, 11.5), (10.6, 10.6, 10.6, 11.6), ("v2", "v2", "v1", "v2"))
    drill = Drill(Pressure("any", None), (command,), answers, Result())

    assert late(drill) == 1
    assert late(replace(drill, commands=())) == 0


def test_a_quantile_of_nothing_is_no_number() -> None:
    assert quantile([], 0.5) != quantile([], 0.5)
    assert quantile([1.0, 2.0, 3.0], 1.0) == 3.0
