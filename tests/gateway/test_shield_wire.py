"""The shield over a real wire: whatever a provider does to a candidate, the user gets the control's answer."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable

import pytest

from gateway.patience import Patience
from gateway.spec import UpstreamSpec
from gateway.upstream.native import NativeUpstream
from policies.outcome import CostSource, Ending, Part
from tests import scripted_upstream as wire
from tests.gateway.builders import MODEL, rollout, serving
from tests.gateway.stage import Stage
from tests.scripted_upstream import Received, Script, ScriptedUpstream

QUICK = {**MODEL, "timeout_seconds": 0.2}
# The control has all the time that a loaded machine may take.
SERVED = serving(
    models={"gpt-4.1": MODEL, "gpt-4o": {**QUICK, "model": "gpt-4o"}}, model_state=rollout("gpt-4o", 99.99)
)


@pytest.fixture
async def patience() -> AsyncIterator[Patience]:
    timer = Patience(asyncio.get_running_loop(), tick_seconds=0.005)
    yield timer
    timer.aclose()


def for_candidate(script: Script) -> Callable[[Received], Script | None]:
    """The candidate's calls are answered by `script`, all others well."""
    return lambda received: script if received.json["model"] == "gpt-4o" else None


def native(stage: Stage, upstream: ScriptedUpstream, patience: Patience) -> NativeUpstream:
    """Have the stage ask `upstream` over the wire."""
    spec = UpstreamSpec(kind="openai", base_url=upstream.base_url)
    asked = NativeUpstream(spec, patience=patience, loop=stage.loop)
    stage.upstreams["mock"] = asked  # type: ignore[assignment]
    return asked


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    "fault",
    [
        wire.error_answer(400, message="temperature: not with this model"),
        wire.error_answer(401),
        wire.error_answer(429, retry_after=30),
        wire.error_answer(503),
        wire.error_body(),
        wire.json_answer(b""),
        wire.json_answer(b"<html>", content_type="text/html"),
        wire.hang_before_head(),
        wire.cut_before_head(),
        wire.close_before_head(),
        wire.cut_mid_body(),
        wire.garbage(),
        wire.unread(),
        wire.stream_answer(end=wire.End.CLOSE),
        wire.stream_answer(wire.events()[0], end=wire.End.HANG),
    ],
)
async def test_the_user_sees_nothing_of_it_and_the_candidate_is_charged(
    patience: Patience, fault: Script, stream: bool
) -> None:
    stage = Stage(SERVED, patience)
    async with ScriptedUpstream(choose=for_candidate(fault)) as upstream:
        asked = native(stage, upstream, patience)
        _, hall = await stage.ask(stream=stream)
        await asked.aclose()

    assert hall.status == 200
    assert hall.headers[b"x-pointsman-shielded"] == b"1"
    assert "scripted" in hall.text
    tried, shield = stage.outcomes()
    assert (tried.part, tried.ending, tried.excused) == (Part.TRIED, Ending.FAILED, False)
    assert [release.variant for release in tried.releases] == ["gpt-4o"]
    assert (shield.part, shield.ending) == (Part.SHIELD, Ending.OK)


async def test_what_the_provider_says_that_it_charges_is_the_cost(patience: Patience) -> None:
    body = json.loads(wire.completion())
    body["usage"] |= {"cost": 0.0125, "prompt_tokens_details": {"cached_tokens": 4}}
    body["usage"] |= {"completion_tokens_details": {"reasoning_tokens": 1}}
    stage = Stage(SERVED, patience)
    async with ScriptedUpstream() as upstream:
        upstream.will(wire.json_answer(json.dumps(body).encode()))
        asked = native(stage, upstream, patience)
        await stage.ask()
        await asked.aclose()

    outcome = stage.outcome()
    assert (outcome.cost_usd, outcome.cost_source) == (0.0125, CostSource.PROVIDER)
    assert (outcome.cached_tokens, outcome.reasoning_tokens) == (4, 1)
