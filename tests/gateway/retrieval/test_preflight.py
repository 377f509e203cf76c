"""Whether an index is there and fits: asked of stores that say yes, say no, or say nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from gateway.content import index_content, retriever_content
from gateway.index.shelf import Shelf
from gateway.patience import Patience
from gateway.retrieval.preflight import FIT, Fit, Misfit, Preflight, Unknown, worst
from gateway.spec import Reply, Rule, UpstreamSpec
from gateway.upstream.base import Upstream
from gateway.upstream.native import NativeUpstream
from gateway.upstream.simulated import Simulated
from tests.gateway.fake_qdrant import FakeQdrant, answer
from tests.gateway.index.library import a_build
from tests.scripted_upstream import ScriptedUpstream

RETRIEVER = {"kind": "openai", "upstream": "store", "top_k": 3, "timeout_seconds": 2, "on_error": "fail"}
NEAR = {
    **RETRIEVER, "kind": "qdrant", "upstream": "qdrant", "embedding": {"upstream": "store", "model": "e3"},
}  # fmt: skip
EMBEDDED = {"kind": "embedded", "top_k": 3, "timeout_seconds": 2, "on_error": "fail"}


class World:
    """A preflight, and what it asks."""

    def __init__(self, folder: Path, patience: Patience) -> None:
        self.folder, self._patience = folder, patience
        self.upstreams: dict[str, Upstream] = {}
        self.shelf = Shelf(folder)
        self.preflight = Preflight(self.upstreams, self.shelf, clock=asyncio.get_running_loop().time)

    def store(self, *rules: Rule, **reply: Any) -> None:
        spec = UpstreamSpec(kind="simulated", rules=list(rules), reply=msgspec.convert(reply, Reply))
        self.upstreams["store"] = Simulated(spec, patience=self._patience, loop=asyncio.get_running_loop())

    def over_http(self, name: str, server: ScriptedUpstream) -> None:
        spec = UpstreamSpec(kind="openai", base_url=server.base_url)
        self.upstreams[name] = NativeUpstream(spec, patience=self._patience, loop=asyncio.get_running_loop())

    def qdrant(self, fake: FakeQdrant) -> None:
        self.upstreams["qdrant"] = fake.upstream(self._patience)

    async def check(self, retriever: Any = RETRIEVER, **index: Any) -> Any:
        content = index_content({"store": "docs", **index})
        return await self.preflight.check(content, [retriever_content(retriever)])


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    patience = Patience(asyncio.get_running_loop(), tick_seconds=0.005)
    made = World(tmp_path, patience)
    made.store(dimensions=4)
    yield made
    for upstream in made.upstreams.values():
        await upstream.aclose()
    await made.shelf.aclose()
    patience.aclose()


async def test_a_store_that_answers_a_search_is_there(world: World) -> None:
    assert await world.check() == FIT


async def test_a_store_that_nobody_has_is_a_misfit(world: World) -> None:
    world.store(Rule(Reply(status=404), path="/vector_stores/docs/search"))

    found = await world.check()

    assert found == Misfit("upstream store has no vector store docs")


@pytest.mark.parametrize("reply", [{"status": 500}, {"status": 401}, {"fault": "refuse"}, {"fault": "cut"}])
async def test_a_store_that_cannot_tell_is_unknown(world: World, reply: dict[str, Any]) -> None:
    world.store(**reply)

    assert isinstance(await world.check(), Unknown)


async def test_a_store_that_hangs_is_unknown_in_time(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.retrieval.preflight.PREFLIGHT_SECONDS", 0.05)
    world.store(fault="hang")

    assert isinstance(await world.check(), Unknown)


async def test_an_upstream_that_this_process_does_not_know_is_unknown(world: World) -> None:
    assert isinstance(await world.check({**RETRIEVER, "upstream": "new"}), Unknown)


@pytest.mark.parametrize(
    ("about", "said", "fit"),
    [
        ({"status": "completed", "file_counts": {"completed": 12}}, {"documents": 12}, True),
        ({"status": "completed", "file_counts": {"completed": 11}}, {"documents": 12}, False),
        ({"status": "expired"}, {}, False),
        ({}, {"documents": 12, "dimensions": 8}, True),
        ([], {}, True),
    ],
)
async def test_what_openai_says_of_its_store_is_compared(
    world: World, about: Any, said: dict[str, Any], fit: bool
) -> None:
    async with ScriptedUpstream(choose=lambda _: answer(about)) as server:
        world.over_http("store", server)
        found = await world.check(**said)

        assert isinstance(found, Fit if fit else Misfit)
        assert server.requests[0].head.startswith(b"GET /v1/vector_stores/docs ")


async def test_models_that_are_said_must_be_the_same(world: World) -> None:
    async with FakeQdrant({"docs": {"size": 4}}) as fake:
        world.qdrant(fake)

        assert await world.check(NEAR, embedding_model="e3", dimensions=4) == FIT
        found = await world.check(NEAR, embedding_model="ada", dimensions=4)

    assert isinstance(found, Misfit)
    assert "embedded by ada" in found.reason


@pytest.mark.parametrize(
    ("vectors", "vector", "said", "fit"),
    [
        ({"size": 4}, None, {}, True),
        ({"size": 4}, None, {"dimensions": 4}, True),
        ({"size": 4}, None, {"dimensions": 8}, False),
        ({"size": 8}, None, {}, False),
        ({"size": 8}, None, {"dimensions": 8}, False),
        ({"a": {"size": 4}, "b": {"size": 8}}, "a", {}, True),
        ({"a": {"size": 4}, "b": {"size": 8}}, "b", {}, False),
        ({"a": {"size": 4}}, "c", {}, False),
        ({"a": {"size": 4}}, None, {}, False),
        ({"size": 4}, "a", {}, False),
        ({"size": 4}, None, {"documents": 101}, False),
    ],
)
async def test_a_collection_must_have_the_vector_and_as_long_as_the_model_makes_them(
    world: World, vectors: Any, vector: str | None, said: dict[str, Any], fit: bool
) -> None:
    async with FakeQdrant({"docs": vectors}) as fake:
        world.qdrant(fake)
        found = await world.check({**NEAR, "vector": vector}, **said)

    assert isinstance(found, Fit if fit else Misfit), found


async def test_a_collection_that_vanished_is_a_misfit(world: World) -> None:
    async with FakeQdrant({}) as fake:
        world.qdrant(fake)

        assert await world.check(NEAR) == Misfit("upstream qdrant has no collection docs")


async def test_where_no_vector_can_be_made_it_is_unknown(world: World) -> None:
    world.store(status=503)
    async with FakeQdrant({"docs": {"size": 4}}) as fake:
        world.qdrant(fake)

        assert isinstance(await world.check(NEAR), Unknown)


async def test_an_embedded_index_is_read_from_its_manifest(world: World) -> None:
    a_build(world.folder, name="docs")

    assert await world.check(EMBEDDED, documents=3) == FIT
    assert isinstance(await world.check(EMBEDDED, documents=4), Misfit)
    assert isinstance(await world.check({**EMBEDDED, "mode": "vector"}), Misfit)
    assert isinstance(await world.check(EMBEDDED, store="gone"), Misfit)
    assert isinstance(await world.check(EMBEDDED, store="../docs"), Misfit)


async def test_an_embedded_index_that_is_broken_is_a_misfit(world: World) -> None:
    out, _ = a_build(world.folder, name="docs")
    out.write_bytes(out.read_bytes()[:1000])

    assert isinstance(await world.check(EMBEDDED), Misfit)


async def test_one_that_fits_nobody_asks_twice_for_versions_that_differ_in_nothing_it_matters(
    world: World,
) -> None:
    async with FakeQdrant({"docs": {"size": 4}}) as fake:
        world.qdrant(fake)
        retrievers = [retriever_content({**NEAR, "top_k": k}) for k in (1, 2, 3)]
        found = await world.preflight.check(index_content({"store": "docs"}), retrievers)

        assert (found, len(fake.requests)) == (FIT, 1)


async def test_an_index_that_nobody_searches_fits() -> None:
    preflight = Preflight({}, None, clock=lambda: 0.0)

    assert await preflight.check(index_content({"store": "docs"}), []) == FIT


def test_the_worst_counts() -> None:
    assert worst([FIT, Unknown("u"), Misfit("m")]) == Misfit("m")
    assert worst([FIT, Unknown("u")]) == Unknown("u")
    assert worst([]) == FIT
