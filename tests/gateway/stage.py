"""A pipeline over simulated upstreams, and what it recorded: one request from top to bottom."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import msgspec

from gateway.breaking.breakers import Breakers
from gateway.cache import Cache
from gateway.decision import Serving
from gateway.dispatch import Dispatcher
from gateway.exchange import Exchange
from gateway.patience import Patience
from gateway.pipeline import Pipeline
from gateway.spec import UpstreamSpec
from gateway.upstream.simulated import Simulated
from policies.outcome import Outcome
from policies.recorder import Recorder
from tests.gateway.builders import NOW, SIGNER, Hall, body, exchange


class Stage:
    """A pipeline, its upstreams `mock` and `spare`, and its recorder."""

    def __init__(self, served: Serving | None, patience: Patience, cache: Cache | None = None) -> None:
        self.loop = asyncio.get_running_loop()
        self.recorder = Recorder()
        self.served = served
        self.upstreams = {
            name: Simulated(UpstreamSpec(kind="simulated"), patience=patience, loop=self.loop)
            for name in ("mock", "spare")
        }
        self.slept: list[float] = []
        # Seconds that the exchanges' clock is ahead of the loop's.
        self.later = 0.0
        self.breakers = Breakers(clock=self.clock, draw=lambda: 1.0)
        self.pipeline = Pipeline(
            lambda: self.served,
            Dispatcher(self.upstreams, draw=lambda: 1.0, sleep=self.sleep, breakers=self.breakers),
            self.recorder,
            signer=lambda: SIGNER,
            degraded=lambda: None,
            now=lambda: float(NOW),
            draw=lambda: 0.5,
            patience=patience,
            cache=cache,
        )

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)

    def clock(self) -> float:
        return self.loop.time() + self.later

    async def ask(self, headers: Mapping[str, str] | None = None, **fields: Any) -> tuple[Exchange, Hall]:
        x = exchange(body(**fields), headers, clock=self.clock)
        await self.pipeline.serve(x)
        assert isinstance(x.door, Hall)
        assert x.door.ended
        return x, x.door

    def outcomes(self) -> tuple[Outcome, ...]:
        return self.recorder.take()

    def outcome(self) -> Outcome:
        """The one Outcome that there must be."""
        (only,) = self.recorder.take()
        return only


def events(hall: Hall) -> list[Any]:
    """The stream's events, `[DONE]` as text."""
    datas = [line.removeprefix("data: ") for line in hall.text.split("\n\n") if line]
    return [data if data == "[DONE]" else msgspec.json.decode(data) for data in datas]
