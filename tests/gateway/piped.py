"""Routes with a pipeline over all other layers, for tests."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flags.codec import document_of
from flags.model import Flag, Kind, Layer, ObjectKey, Position, StoredObject
from flags.snapshot import Snapshot
from gateway.compiling import compile_serving
from gateway.decision import Serving
from tests.gateway.builders import MODEL, flag

PIPELINE = "support-bot.pipeline"
V4 = {"pins": {"prompt": "v6", "model": "gpt-4.1", "retriever": "r1", "index": "i3"}}
V5 = {"pins": {"prompt": "v7", "model": "gpt-4o", "retriever": "r2", "index": "i4"}}
RETRIEVER = {"kind": "openai", "upstream": "mock", "top_k": 3, "timeout_seconds": 1.0, "on_error": "skip"}


def said(text: str) -> dict[str, Any]:
    """A prompt version."""
    return {"messages": [{"role": "system", "content": text}]}


def served(*made: tuple[Flag, Mapping[str, Any]], route: str = "support-bot", **spec: Any) -> Serving:
    """What a process serves with these flags and one route."""
    keys = {ObjectKey(Kind.FLAG, each.key): document_of(each) for each, _ in made}
    keys[ObjectKey(Kind.ROUTE, route)] = {"spec": spec}
    objects = {key: StoredObject(key, document, 7) for key, document in keys.items()}
    contents = {name: value for _, held in made for name, value in held.items()}
    return compile_serving(Snapshot.build("default", Position(7, "h"), 7, objects, contents))


def piped(pipelines: Mapping[str, Any] | None = None, *, searching: bool = False, **state: Any) -> Serving:
    """`support-bot` with a pipeline, two prompts and two models; `searching`: with a retriever and an index too.

    `state` is by layer: `prompt={"serve": "v7"}`.
    """
    contents: dict[Layer, Mapping[str, Any]] = {
        Layer.PIPELINE: pipelines or {"v4": V4, "v5": V5},
        Layer.PROMPT: {"v6": said("You are v6."), "v7": said("You are v7."), "v8": said("You are v8.")},
        Layer.MODEL: {"gpt-4.1": MODEL, "gpt-4o": {**MODEL, "model": "gpt-4o"}},
    }
    if searching:
        contents[Layer.RETRIEVER] = {"r1": RETRIEVER, "r2": {**RETRIEVER, "top_k": 5}}
        contents[Layer.INDEX] = {"i3": {"store": "vs_3"}, "i4": {"store": "vs_4"}}
    made = [
        flag(f"support-bot.{layer}", layer, found, **state.get(layer.value, {}))
        for layer, found in contents.items()
    ]
    return served(*made)
