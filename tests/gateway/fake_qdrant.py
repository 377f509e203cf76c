"""A Qdrant of one collection, over real HTTP: what it is asked is kept, what it answers is set."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import msgspec

from gateway.patience import Patience
from gateway.spec import UpstreamSpec
from gateway.upstream.native import NativeUpstream
from tests.scripted_upstream import Received, Script, ScriptedUpstream, json_answer

POINTS = (
    {"id": 1, "score": 0.9, "payload": {"text": "Thirty days.", "file_id": "returns.md", "team": "ops"}},
    {"id": 2, "score": 0.5, "payload": {"text": "To your card."}},
)


class FakeQdrant(ScriptedUpstream):
    """`collections` maps names to the `vectors` of their making; `points` is what every query finds."""

    def __init__(self, collections: Mapping[str, Any]) -> None:
        super().__init__(choose=self._answer)
        self.collections = dict(collections)
        self.points: Any = POINTS
        self.points_count = 100

    def upstream(self, patience: Patience) -> NativeUpstream:
        spec = UpstreamSpec(kind="qdrant", base_url=self.address)
        return NativeUpstream(spec, api_key="q-key", patience=patience, loop=asyncio.get_running_loop())

    def _answer(self, received: Received) -> Script:
        _, _, name, *rest = received.path.split("/")
        if name not in self.collections:
            return answer({"status": {"error": f"Not found: Collection `{name}` doesn't exist!"}}, 404)
        if rest == ["points", "query"]:
            return answer({"result": {"points": self.points}, "status": "ok", "time": 0.001})
        config = {"params": {"vectors": self.collections[name]}}
        return answer({"result": {"status": "green", "points_count": self.points_count, "config": config}})


def answer(document: Any, status: int = 200) -> Script:
    return json_answer(msgspec.json.encode(document), status=status)
