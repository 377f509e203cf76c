"""A shadow is sent a copy of a share of the requests: measured, never seen, never in the way."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from flags.model import Shadow
from gateway.patience import Patience
from gateway.shadow import MOST_AT_ONCE
from policies.outcome import Ending, Outcome, Part
from policies.series import series_of
from tests.gateway.builders import MODEL, PROMPT, serving
from tests.gateway.stage import Stage, events

FAILING = {**MODEL, "model": "gpt-5", "params": {"simulate": {"status": 500}}}
SLOW = {**MODEL, "model": "gpt-5", "params": {"simulate": {"fault": "hang"}}}
GOOD = {**MODEL, "model": "gpt-5"}


@pytest.fixture
async def patience() -> AsyncIterator[Patience]:
    made = Patience(asyncio.get_running_loop())
    yield made
    made.aclose()


def shadowed(patience: Patience, model: Any = GOOD, *, percent: float = 100, **state: Any) -> Stage:
    models = {"gpt-4.1": MODEL, "gpt-5": model}
    return Stage(serving(models=models, model_state={"shadow": Shadow("gpt-5", percent), **state}), patience)


async def outcomes(stage: Stage) -> dict[Part, Outcome]:
    """What was recorded, once every shadow is through."""
    while stage.pipeline.shadows.running:
        await asyncio.sleep(0)
    return {each.part: each for each in stage.outcomes()}


async def test_a_shadow_is_asked_what_the_user_asked_and_its_answer_is_not_seen(patience: Patience) -> None:
    stage = shadowed(patience)

    x, hall = await stage.ask()
    found = await outcomes(stage)

    assert hall.json["model"] == "gpt-4.1"
    assert hall.headers[b"x-pointsman-versions"] == b"prompt=v6;model=gpt-4.1"
    assert hall.headers[b"x-pointsman-attempts"] == b"1"
    assert found[Part.WHOLE].releases == x.decision.releases
    (tried,) = found[Part.SHADOW].releases
    assert (tried.variant, found[Part.SHADOW].ending) == ("gpt-5", Ending.OK)
    assert found[Part.SHADOW].output_tokens


async def test_a_streams_shadow_is_read_to_its_end(patience: Patience) -> None:
    stage = shadowed(patience)

    _, hall = await stage.ask(stream=True)
    found = await outcomes(stage)

    assert events(hall)[-1] == "[DONE]"
    assert found[Part.SHADOW].ending is Ending.OK
    assert found[Part.SHADOW].first_content_seconds is not None


async def test_a_failing_shadow_is_charged_and_nobody_else_notices(patience: Patience) -> None:
    stage = shadowed(patience, FAILING)

    _, hall = await stage.ask()
    found = await outcomes(stage)

    assert hall.status == 200
    assert found[Part.WHOLE].ending is Ending.OK
    assert (found[Part.SHADOW].ending, found[Part.SHADOW].status) == (Ending.FAILED, 500)
    assert stage.breakers.permit("support-bot", "mock/gpt-5", stage.clock()) is not None


async def test_a_shadow_counts_for_its_version_and_as_no_request(patience: Patience) -> None:
    stage = shadowed(patience)

    await stage.ask()
    found = await outcomes(stage)
    series = dict(series_of(found.values()))

    assert series["r|support-bot"]["e:ok:none"] == 1
    assert series["v|support-bot.model|gpt-5"]["e:ok:none"] == 1
    assert series["v|support-bot.prompt|v6"]["e:ok:none"] == 1


@pytest.mark.parametrize(("percent", "mirrored"), [(50.0, False), (50.01, True), (0, False)])
async def test_the_share_is_of_the_requests(patience: Patience, percent: float, mirrored: bool) -> None:
    """The stage draws 0.5."""
    stage = shadowed(patience, percent=percent)

    await stage.ask()

    assert (Part.SHADOW in await outcomes(stage)) is mirrored


async def test_a_withdrawn_version_is_nobodys_shadow(patience: Patience) -> None:
    stage = shadowed(patience, withdrawn=frozenset({"gpt-5"}))

    await stage.ask()

    assert Part.SHADOW not in await outcomes(stage)


async def test_who_gets_the_version_anyway_has_no_shadow(patience: Patience) -> None:
    stage = shadowed(patience)

    await stage.ask({"x-pointsman-pin": "support-bot.model=gpt-5"})

    assert Part.SHADOW not in await outcomes(stage)


async def test_a_shadow_of_a_prompt_that_does_not_render_fails_alone(patience: Patience) -> None:
    broken = {"messages": [{"role": "system", "content": "{{ missing.deeply }}"}]}
    state = {"shadow": Shadow("v7", 100)}
    stage = Stage(serving({"v6": PROMPT, "v7": broken}, prompt_state=state), patience)

    _, hall = await stage.ask()
    found = await outcomes(stage)

    assert hall.status == 200
    assert found[Part.SHADOW].ending is Ending.FAILED


async def test_shadows_that_hang_fill_no_queue_and_are_broken_off_in_the_end(patience: Patience) -> None:
    stage = shadowed(patience, SLOW)

    for _ in range(MOST_AT_ONCE + 3):
        await stage.ask()
    await asyncio.sleep(0)

    assert (stage.pipeline.shadows.running, stage.pipeline.shadows.dropped) == (MOST_AT_ONCE, 3)
    await stage.pipeline.shadows.aclose()
    ended = [each.ending for each in stage.outcomes() if each.part is Part.SHADOW]
    assert ended == [Ending.ABANDONED] * MOST_AT_ONCE
