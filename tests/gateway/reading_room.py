"""A pipeline whose route searches a store: a Stage with a retriever and an index, and a spy before every upstream."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec

from flags.codec import document_of
from flags.model import Kind, Layer, ObjectKey, Position, StoredObject
from flags.snapshot import Snapshot
from gateway.compiling import compile_serving
from gateway.decision import Serving
from gateway.dispatch import Dispatcher
from gateway.exchange import Exchange
from gateway.index.shelf import Shelf
from gateway.patience import Patience
from gateway.pipeline import Pipeline
from gateway.retrieval.retrieve import Retrieval
from gateway.spec import Reply, Rule, UpstreamSpec
from gateway.upstream.base import Answer, Upstream, UpstreamRequest
from gateway.upstream.simulated import Simulated
from gateway.wires.search import Search
from tests.gateway.builders import MODEL, NOW, SIGNER, Hall, exchange, flag
from tests.gateway.stage import Stage

RETRIEVER: Mapping[str, Any] = {
    "kind": "openai", "upstream": "store", "top_k": 3, "timeout_seconds": 2.0, "on_error": "fail",
}  # fmt: skip
INDEX: Mapping[str, Any] = {"store": "vs_docs"}
QUOTING = {
    "messages": [
        {"role": "system", "content": "{% for p in passages %}[{{ p.file_id }}] {{ p.text }}\n{% endfor %}"}
    ]
}
SEARCH_PATH = "/vector_stores/vs_docs/search"


class Spy:
    """An upstream that keeps what it is asked."""

    def __init__(self, inner: Upstream) -> None:
        self.inner, self.requests = inner, list[UpstreamRequest]()

    def speaks(self, path: str) -> bool:
        return self.inner.speaks(path)

    async def send(self, request: UpstreamRequest) -> Answer:
        self.requests.append(request)
        return await self.inner.send(request)

    def retire(self) -> None:
        self.inner.retire()

    async def aclose(self) -> None:
        await self.inner.aclose()

    @property
    def bodies(self) -> list[Any]:
        return [msgspec.json.decode(each.body) for each in self.requests]


def served(
    retrievers: Mapping[str, Any] | None = None,
    indexes: Mapping[str, Any] | None = None,
    *,
    prompts: Mapping[str, Any] | None = None,
    models: Mapping[str, Any] | None = None,
    retriever_state: Mapping[str, Any] | None = None,
    index_state: Mapping[str, Any] | None = None,
    model_state: Mapping[str, Any] | None = None,
) -> Serving:
    """What a process serves with one route of a prompt, a model, a retriever and an index; `{}` leaves a layer out."""
    made = snapshot(
        retrievers,
        indexes,
        prompts=prompts,
        models=models,
        retriever_state=retriever_state,
        index_state=index_state,
        model_state=model_state,
    )
    return compile_serving(made)


def snapshot(
    retrievers: Mapping[str, Any] | None = None,
    indexes: Mapping[str, Any] | None = None,
    *,
    pipelines: Mapping[str, Any] | None = None,
    prompts: Mapping[str, Any] | None = None,
    models: Mapping[str, Any] | None = None,
    retriever_state: Mapping[str, Any] | None = None,
    index_state: Mapping[str, Any] | None = None,
    model_state: Mapping[str, Any] | None = None,
) -> Snapshot:
    """The flags of one route `support-bot`."""
    contents: list[tuple[Layer, Mapping[str, Any], Mapping[str, Any]]] = [
        (Layer.PIPELINE, pipelines or {}, {}),
        (Layer.PROMPT, {"v6": QUOTING} if prompts is None else prompts, {}),
        (Layer.RETRIEVER, {"r1": RETRIEVER} if retrievers is None else retrievers, retriever_state or {}),
        (Layer.INDEX, {"i1": INDEX} if indexes is None else indexes, index_state or {}),
        (Layer.MODEL, models or {"gpt-4.1": MODEL}, model_state or {}),
    ]
    made = [
        flag(f"support-bot.{layer}", layer, values, **state) for layer, values, state in contents if values
    ]
    objects = {
        ObjectKey(Kind.FLAG, f.key): StoredObject(ObjectKey(Kind.FLAG, f.key), document_of(f), 7)
        for f, _ in made
    }
    route = ObjectKey(Kind.ROUTE, "support-bot")
    objects[route] = StoredObject(route, {"spec": {}}, 7)
    held = {name: value for _, values in made for name, value in values.items()}
    return Snapshot.build("default", Position(7, "h"), 7, objects, held)


class ReadingRoom(Stage):
    """A stage with spies before `mock` (a model) and `store`, and a shelf of embedded indexes."""

    def __init__(self, what: Serving | None, patience: Patience, folder: Path) -> None:
        super().__init__(what, patience)
        self._patience = patience
        self.spies = {"mock": Spy(self.upstreams["mock"]), "store": Spy(self._simulated())}
        self.shelf = Shelf(folder)
        self.pipeline = Pipeline(
            lambda: self.served,
            Dispatcher(self.spies, draw=lambda: 1.0, sleep=self.sleep, breakers=self.breakers),
            self.recorder,
            signer=lambda: SIGNER,
            degraded=lambda: None,
            now=lambda: float(NOW),
            draw=lambda: 0.5,
            retrieval=Retrieval(self.spies, self.shelf),
        )

    def _simulated(self, **spec: Any) -> Simulated:
        return Simulated(UpstreamSpec(kind="simulated", **spec), patience=self._patience, loop=self.loop)

    def store(self, *rules: Rule, **reply: Any) -> None:
        """The store answers by `rules`, else by `reply`."""
        self.spies["store"].inner = self._simulated(rules=list(rules), reply=msgspec.convert(reply, Reply))

    async def search(
        self, headers: Mapping[str, str] | None = None, *, route: str = "support-bot", **fields: Any
    ) -> tuple[Exchange, Hall]:
        x = exchange(msgspec.json.encode(fields), headers, clock=self.clock, wire=Search(route))
        await self.pipeline.serve(x)
        assert isinstance(x.door, Hall)
        assert x.door.ended
        return x, x.door

    @property
    def system(self) -> str:
        """The system message that the model was asked with."""
        return str(self.spies["mock"].bodies[-1]["messages"][0]["content"])

    async def aclose(self) -> None:
        for spy in self.spies.values():
            await spy.aclose()
        await self.shelf.aclose()


@asynccontextmanager
async def open_room(folder: Path, passages: Sequence[Mapping[str, Any]]) -> AsyncIterator[ReadingRoom]:
    """A room whose store finds `passages`; its patience looks every 5 ms."""
    patience = Patience(asyncio.get_running_loop(), tick_seconds=0.005)
    room = ReadingRoom(served(), patience, folder)
    room.store(passages=passages)
    yield room
    await room.aclose()
    patience.aclose()
