"""Connections are kept, shared out and let go of."""

from __future__ import annotations

import asyncio

import pytest

from gateway.errors import UpstreamCut, UpstreamRefused, UpstreamTimedOut, UpstreamUnavailable
from gateway.patience import Patience
from gateway.upstream.endpoint import Endpoint
from gateway.upstream.native import NativeUpstream
from gateway.upstream.pool import Pool
from tests.gateway.upstream.asking import ask, everything
from tests.gateway.upstream.conftest import Make
from tests.scripted_upstream import (
    End,
    Script,
    ScriptedUpstream,
    close_before_head,
    cut_before_head,
    hang_before_head,
    head,
    json_answer,
    stream_answer,
)


async def eventually(true: object) -> None:
    """Let the loop run until `true()`; the test's own time-out is the bound."""
    while not true():
        await asyncio.sleep(0.001)


def echo(upstream: ScriptedUpstream) -> None:
    """Answer every request with its own body, in a stream of three writes."""
    upstream._choose = lambda received: stream_answer(
        received.body[:3], 0.001, received.body[3:5], 0.001, received.body[5:] or b"."
    )


async def echoed(upstream: NativeUpstream, number: int) -> bool:
    body = b"%08d" % number
    return await everything(await ask(upstream, body)) == body


async def test_200_requests_in_turn_share_one_connection(server: ScriptedUpstream, native: Make) -> None:
    echo(server)
    upstream = native()

    assert all([await echoed(upstream, number) for number in range(200)])
    assert server.connections == 1


async def test_concurrent_requests_get_their_own_answers_over_few_connections(
    server: ScriptedUpstream, native: Make
) -> None:
    echo(server)
    upstream = native(max_connections=16)

    answers = await asyncio.gather(*(echoed(upstream, number) for number in range(64 * 8)))

    assert all(answers)
    assert server.connections <= 16
    assert upstream.pool.idle_count == server.connections


async def test_the_connection_used_last_is_used_next(server: ScriptedUpstream, native: Make) -> None:
    upstream = native()
    first, second = await ask(upstream), await ask(upstream)
    await everything(first)
    await everything(second)

    await everything(await ask(upstream))

    assert [received.connection for received in server.requests] == [1, 2, 2]


async def test_a_connection_is_not_free_before_its_answer_was_taken(
    server: ScriptedUpstream, native: Make
) -> None:
    server.will(json_answer(b"one"), json_answer(b"two"))
    upstream = native()

    first = await ask(upstream)
    second = await ask(upstream)

    assert (await everything(first), await everything(second)) == (b"one", b"two")
    assert server.connections == 2


async def test_an_answer_that_closes_its_connection_is_whole(server: ScriptedUpstream, native: Make) -> None:
    server.will(json_answer(b"bye", connection="close"))
    upstream = native()

    assert await everything(await ask(upstream)) == b"bye"
    assert upstream.pool.size == 0


async def test_bytes_behind_an_answer_condemn_its_connection_alone(
    server: ScriptedUpstream, native: Make
) -> None:
    surplus = b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\npoison"
    server.will(Script((head(content_length=2) + b"ok" + surplus,)))
    upstream = native()

    assert await everything(await ask(upstream)) == b"ok"
    assert upstream.pool.size == 0


async def test_bytes_on_an_idle_connection_close_it(server: ScriptedUpstream, native: Make) -> None:
    server.will(Script((head(content_length=2) + b"ok", 0.01, b"HTTP/1.1 408 Slow\r\n\r\n")))
    upstream = native()
    await everything(await ask(upstream))

    await eventually(lambda: upstream.pool.size == 0)

    assert (await ask(upstream)).status == 200


async def test_an_idle_connection_that_the_peer_closes_is_gone_at_once(
    server: ScriptedUpstream, native: Make
) -> None:
    upstream = native()
    await everything(await ask(upstream))

    server.close_connections()

    await eventually(lambda: upstream.pool.size == 0)
    assert upstream.pool.idle_count == 0


@pytest.mark.parametrize("dies", [close_before_head(), cut_before_head()])
async def test_a_kept_connection_that_dies_before_its_answer_is_replaced_once(
    server: ScriptedUpstream, native: Make, dies: Script
) -> None:
    server.will(json_answer(b"1"), dies, json_answer(b"2"))
    upstream = native()
    await everything(await ask(upstream))

    assert await everything(await ask(upstream)) == b"2"
    assert [received.connection for received in server.requests] == [1, 1, 2]


async def test_a_fresh_connection_that_dies_is_not_replaced(server: ScriptedUpstream, native: Make) -> None:
    server.will(json_answer(b"1"), close_before_head(), close_before_head())
    upstream = native()
    await everything(await ask(upstream))

    with pytest.raises(UpstreamCut):
        await ask(upstream)
    assert len(server.requests) == 3


async def test_a_kept_connection_that_dies_within_its_answer_is_not_replaced(
    server: ScriptedUpstream, native: Make
) -> None:
    server.will(json_answer(b"1"), Script((b"HTTP/1.1 2", End.CLOSE)))
    upstream = native()
    await everything(await ask(upstream))

    with pytest.raises(UpstreamCut, match="within the head"):
        await ask(upstream)
    assert len(server.requests) == 2


# Limits


async def test_who_comes_when_all_are_in_use_waits_for_the_first_that_is_free(
    server: ScriptedUpstream, native: Make
) -> None:
    upstream = native(max_connections=1)
    first = await ask(upstream)
    waiting = [asyncio.ensure_future(ask(upstream, b"%d" % number)) for number in range(3)]
    await asyncio.sleep(0)

    await everything(first)
    for each in waiting:
        await everything(await each)

    assert [received.body for received in server.requests] == [b"{}", b"0", b"1", b"2"]
    assert server.connections == 1


async def test_nobody_waits_for_a_connection_longer_than_for_a_new_one(
    server: ScriptedUpstream, native: Make
) -> None:
    server.will(hang_before_head())
    upstream = native(max_connections=1)
    busy = asyncio.ensure_future(ask(upstream))
    await eventually(lambda: server.requests)

    with pytest.raises(UpstreamUnavailable, match="max_connections") as caught:
        await ask(upstream, connect_seconds=0.02)

    assert caught.value.status == 503
    busy.cancel()


async def test_a_connection_that_fails_frees_its_place_for_the_next(
    server: ScriptedUpstream, native: Make
) -> None:
    server.will(close_before_head())
    upstream = native(max_connections=1)

    results = await asyncio.gather(ask(upstream), ask(upstream), return_exceptions=True)

    assert isinstance(results[0], UpstreamCut)
    assert results[1].status == 200


async def test_who_is_cancelled_in_the_queue_leaves_it(server: ScriptedUpstream, native: Make) -> None:
    upstream = native(max_connections=1)
    first = await ask(upstream)
    leaver, stayer = asyncio.ensure_future(ask(upstream)), asyncio.ensure_future(ask(upstream))
    await asyncio.sleep(0)

    leaver.cancel()
    await everything(first)

    assert (await stayer).status == 200
    assert len(server.requests) == 2


@pytest.mark.parametrize("close", [False, True])
async def test_who_is_cancelled_just_when_given_a_place_passes_it_on(
    server: ScriptedUpstream, native: Make, *, close: bool
) -> None:
    upstream = native(max_connections=1)
    first = await ask(upstream)
    leaver, stayer = asyncio.ensure_future(ask(upstream)), asyncio.ensure_future(ask(upstream))
    await asyncio.sleep(0)

    if not close:
        await everything(first)
    first.close()
    leaver.cancel()

    assert (await stayer).status == 200
    assert upstream.pool.size == 1


# Making connections


async def test_nobody_listening_is_refused_and_nothing_is_left_behind(native: Make) -> None:
    async with ScriptedUpstream() as gone:
        url = gone.base_url
    upstream = native(base_url=url)

    with pytest.raises(UpstreamRefused, match="no connection to the upstream: Connection refused"):
        await ask(upstream)
    assert upstream.pool.size == 0


async def test_a_name_that_nobody_knows_is_refused(native: Make) -> None:
    with pytest.raises(UpstreamRefused, match=r"not known|failure in name resolution"):
        await ask(native(base_url="http://nowhere.invalid/v1"))


class NeverConnecting:
    """An event loop's side that `Pool` uses, whose connections are never made. (A loopback always answers.)"""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop

    async def create_connection(self, *_: object, **__: object) -> None:
        await self._loop.create_future()

    def __getattr__(self, name: str) -> object:
        return getattr(self._loop, name)


@pytest.mark.parametrize(
    ("connect_seconds", "seconds", "phase"), [(0.02, 30, "connect"), (30, 0.02, "first_content")]
)
async def test_a_connection_that_is_not_made_in_time_times_out(
    patience: Patience, connect_seconds: float, seconds: float, phase: str
) -> None:
    loop = asyncio.get_running_loop()
    pool = Pool(Endpoint.parse("http://127.0.0.1:1/"), patience, NeverConnecting(loop), max_connections=1)

    with pytest.raises(UpstreamTimedOut) as caught:
        await pool.take(connect_seconds, loop.time() + seconds)

    assert caught.value.phase == phase
    assert pool.size == 0


# Growing old, and the end


async def test_connections_idle_for_too_long_are_closed(server: ScriptedUpstream, native: Make) -> None:
    upstream = native()
    upstream.pool.idle_seconds = 0.01
    answers = [await ask(upstream) for _ in range(3)]
    for answer in answers:
        await everything(answer)
    assert upstream.pool.size == 3

    await eventually(lambda: upstream.pool.size == 0)
    await eventually(lambda: not server.open)


async def test_a_retired_upstream_lets_answers_under_way_end(server: ScriptedUpstream, native: Make) -> None:
    server.will(json_answer(b"idle"), stream_answer(b"a", 0.01, b"b"))
    upstream = native()
    kept = await ask(upstream)
    streaming = await ask(upstream)
    await everything(kept)

    upstream.retire()

    assert upstream.pool.idle_count == 0
    assert await everything(streaming) == b"ab"
    assert upstream.pool.size == 0


async def test_a_closed_upstream_opens_no_connection_for_those_who_wait(
    server: ScriptedUpstream, native: Make
) -> None:
    server.will(hang_before_head())
    upstream = native(max_connections=1)
    busy, waiting = asyncio.ensure_future(ask(upstream)), asyncio.ensure_future(ask(upstream))
    await eventually(lambda: server.requests)

    await upstream.aclose()

    with pytest.raises(UpstreamCut):
        await busy
    for late in (waiting, ask(upstream)):
        with pytest.raises(UpstreamUnavailable, match="closed"):
            await late
    assert upstream.pool.size == 0
    assert server.connections == 1


async def test_a_connection_made_while_the_upstream_is_closed_is_closed_too(native: Make) -> None:
    upstream = native()
    opening = asyncio.ensure_future(ask(upstream))
    await asyncio.sleep(0)
    assert upstream.pool.size == 1

    await upstream.aclose()

    with pytest.raises(UpstreamUnavailable):
        await opening
    assert upstream.pool.size == 0


async def test_a_closed_upstream_ends_answers_under_way(server: ScriptedUpstream, native: Make) -> None:
    server.will(stream_answer(b"a", End.HANG))
    upstream = native()
    answer = await ask(upstream)
    await answer.chunk()

    await upstream.aclose()
    await upstream.aclose()

    with pytest.raises(UpstreamCut):
        await answer.chunk()
    await server.requests[0].closed.wait()
