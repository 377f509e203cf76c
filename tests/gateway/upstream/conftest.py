"""Tests of this folder speak to real sockets, so each runs on both event loops that the gateway may run on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping

import pytest
import uvloop

from gateway.patience import Patience
from gateway.spec import UpstreamSpec
from gateway.upstream.native import NativeUpstream
from tests.scripted_upstream import ScriptedUpstream


@pytest.hookimpl(optionalhook=True)
def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    return {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


@pytest.fixture
async def server() -> AsyncIterator[ScriptedUpstream]:
    async with ScriptedUpstream() as upstream:
        yield upstream


@pytest.fixture
async def patience() -> AsyncIterator[Patience]:
    patience = Patience(asyncio.get_running_loop(), 0.005)
    yield patience
    patience.aclose()


# `native(kind=…, base_url=…, api_key=…)`
Make = Callable[..., NativeUpstream]


@pytest.fixture
async def native(server: ScriptedUpstream, patience: Patience) -> AsyncIterator[Make]:
    """Make upstreams for the server's address; all are closed at the end."""
    made: list[NativeUpstream] = []

    def make(*, api_key: str | None = None, **fields: object) -> NativeUpstream:
        spec = UpstreamSpec(**({"kind": "openai", "base_url": server.base_url} | fields))
        made.append(NativeUpstream(spec, api_key=api_key, patience=patience, loop=asyncio.get_running_loop()))
        return made[-1]

    yield make
    for upstream in made:
        await upstream.aclose()
