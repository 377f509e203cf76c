"""A provider's bad days on the streaming wires: the right error in the caller's dialect, and exactly one Outcome."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import msgspec
import pytest

from gateway.errors import UpstreamCut
from gateway.exchange import Exchange
from gateway.patience import Patience
from gateway.spec import UpstreamSpec
from gateway.upstream.native import NativeUpstream
from gateway.wires.base import Wire
from gateway.wires.messages import Messages
from gateway.wires.responses import Responses
from policies.outcome import Blame, Ending
from tests import scripted_wires as wires
from tests.gateway.builders import MODEL, Hall, exchange, serving
from tests.gateway.stage import Stage
from tests.scripted_upstream import Script, ScriptedUpstream
from tests.scripts import json_answer, stream_answer

SERVED = serving({}, {"m": {**MODEL, "timeout_seconds": 5.0}})
ASKED = {
    "model": "support-bot",
    "stream": True,
    "input": "x",
    "messages": [{"role": "user", "content": "x"}],
    "max_tokens": 5,
}
SPOKEN = {wires.RESPONSES: Responses(), wires.MESSAGES: Messages()}
KINDS = {wires.RESPONSES: "openai", wires.MESSAGES: "anthropic"}
BOTH = pytest.mark.parametrize("wire", list(SPOKEN), ids=lambda wire: wire.path)


@pytest.fixture
async def patience() -> AsyncIterator[Patience]:
    timer = Patience(asyncio.get_running_loop(), tick_seconds=0.005)
    yield timer
    timer.aclose()


async def through(
    patience: Patience, wire: wires.Wire, script: Script, **fields: object
) -> tuple[Stage, Exchange, Hall]:
    """What becomes of one request whose provider answers with `script`."""
    stage = Stage(SERVED, patience)
    async with ScriptedUpstream() as upstream:
        upstream.will(script)
        address = upstream.base_url if KINDS[wire] == "openai" else upstream.base_url.removesuffix("/v1")
        spec = UpstreamSpec(kind=KINDS[wire], base_url=address)
        asked = NativeUpstream(spec, patience=patience, loop=stage.loop)
        stage.upstreams["mock"] = asked  # type: ignore[assignment]
        spoken: Wire = SPOKEN[wire]
        x = exchange(msgspec.json.encode({**ASKED, **fields}), clock=stage.clock, wire=spoken)
        await stage.pipeline.serve(x)
        await asked.aclose()
    assert isinstance(x.door, Hall)
    assert x.door.ended
    return stage, x, x.door


@BOTH
@pytest.mark.parametrize(
    "day", ["usage_on_content", "repeated_ids", "split_characters", "without_last_event"]
)
async def test_what_is_only_odd_passes_byte_by_byte(patience: Patience, wire: wires.Wire, day: str) -> None:
    script = wires.BAD_DAYS[day](wire)
    stage, _, hall = await through(patience, wire, script)
    outcome = stage.outcome()

    if day == "without_last_event" and wire is wires.RESPONSES:
        assert (outcome.ending, outcome.blame) == (Ending.FAILED, Blame.UPSTREAM)
        return
    assert (outcome.ending, outcome.input_tokens, outcome.output_tokens) == (Ending.OK, 7, 3)
    if day == "repeated_ids":
        same = [wire.piece(text, 0) for text in wires.TEXTS]
        assert hall.text.encode() == b"".join([*wire.opening(), *same, *wire.ending(*wires.TEXTS)])
    assert "error" not in hall.text.replace('"error":null', "")


@BOTH
@pytest.mark.parametrize("day", ["error_under_200", "error_before_text"])
async def test_an_error_before_any_content_is_a_502_in_the_callers_dialect(
    patience: Patience, wire: wires.Wire, day: str
) -> None:
    stage, _, hall = await through(patience, wire, wires.BAD_DAYS[day](wire))

    assert hall.status == 502
    assert ("type" in hall.json) is (wire is wires.MESSAGES)
    assert hall.json["error"]["message"]
    assert stage.outcome().blame is Blame.UPSTREAM


@BOTH
@pytest.mark.parametrize(
    "day", ["error_after_text", "closed_early", "closed_unframed", "closed_within_event"]
)
async def test_what_breaks_off_ends_with_an_error_and_counts_as_failed(
    patience: Patience, wire: wires.Wire, day: str
) -> None:
    stage, _, hall = await through(patience, wire, wires.BAD_DAYS[day](wire))
    outcome = stage.outcome()

    assert (outcome.ending, outcome.blame) == (Ending.FAILED, Blame.UPSTREAM)
    if hall.status == 200:
        events = hall.text.split("\n\n")[:-1]
        assert events[-1].startswith("event: error") or events[-1] == "data: [DONE]"
        assert any(event.startswith("event: error") for event in events)
        assert (events[-1] == "data: [DONE]") is (wire is wires.RESPONSES)


@BOTH
async def test_a_stream_that_closes_after_its_first_content_ends_in_the_callers_dialect(
    patience: Patience, wire: wires.Wire
) -> None:
    stage, _, hall = await through(
        patience, wire, stream_answer(*wire.opening(), wire.piece("Hi", 0), 0.05, wire.piece("!", 1))
    )
    error = UpstreamCut("the upstream closed its stream before it had ended")

    assert hall.status == 200
    assert hall.text.encode().endswith(SPOKEN[wire].dialect.error_event(error))
    assert stage.outcome().ending is Ending.FAILED


@BOTH
async def test_a_whole_answer_is_told_with_its_tokens(patience: Patience, wire: wires.Wire) -> None:
    stage, _, hall = await through(patience, wire, json_answer(wire.whole()), stream=False)
    outcome = stage.outcome()

    assert (hall.status, hall.text.encode()) == (200, wire.whole())
    assert (outcome.ending, outcome.input_tokens, outcome.output_tokens) == (Ending.OK, 7, 1)


async def test_a_response_that_fails_under_a_200_is_a_502(patience: Patience) -> None:
    body = msgspec.json.encode({"id": "r", "status": "failed", "error": {"code": "x", "message": "broken"}})
    _, _, hall = await through(patience, wires.RESPONSES, json_answer(body), stream=False)

    assert (hall.status, "broken" in hall.text) == (502, True)


async def test_a_response_in_the_background_is_a_good_answer(patience: Patience) -> None:
    body = b'{"id": "r", "status": "queued", "error": null, "output": []}'
    stage, _, hall = await through(
        patience, wires.RESPONSES, json_answer(body), stream=False, background=True
    )

    assert (hall.status, stage.outcome().ending) == (200, Ending.OK)
