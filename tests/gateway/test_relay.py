"""What an app is told of trying again, and what its own bounds do to an answer on its way."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from gateway.answer import Whole
from gateway.decision import Serving
from gateway.patience import Patience
from gateway.relay import relay
from policies.outcome import Blame, Ending, Part
from tests.gateway.breaking.test_breakers import standings
from tests.gateway.builders import MODEL, Hall, exchange, rollout, serving
from tests.gateway.stage import Stage, events


@pytest.fixture
async def patience() -> AsyncIterator[Patience]:
    timer = Patience(asyncio.get_running_loop(), tick_seconds=0.005)
    yield timer
    timer.aclose()


def answering(reply: dict[str, Any], **content: Any) -> Serving:
    return serving(prompts={}, models={"m": {**MODEL, "params": {"simulate": reply}, **content}})


def on_trial(reply: dict[str, Any]) -> Serving:
    models = {"gpt-4.1": MODEL, "gpt-4o": {**MODEL, "model": "b", "params": {"simulate": reply}}}
    return serving(prompts={}, models=models, model_state=rollout("gpt-4o", 99.99))


# Whether the SDK should ask again


@pytest.mark.parametrize(
    ("content", "headers", "told"),
    [
        ({}, {}, None),
        ({"retries": 1}, {}, b"false"),
        ({}, {"x-pointsman-max-attempts": "1"}, b"false"),
        ({"retries": 2}, {"x-litellm-num-retries": "0"}, b"false"),
    ],
    ids=["one attempt of one", "two attempts", "as many as the app allows", "as LiteLLM says it"],
)
async def test_what_was_tried_as_often_as_may_be_is_not_to_be_repeated_by_an_sdk(
    patience: Patience, content: dict[str, Any], headers: dict[str, str], told: bytes | None
) -> None:
    stage = Stage(answering({"fault": "cut"}, **content), patience)
    _, hall = await stage.ask(headers)

    assert hall.status == 502
    assert hall.headers.get(b"x-should-retry") == told


async def test_an_app_whose_time_is_up_is_told_not_to_repeat_at_once(patience: Patience) -> None:
    stage = Stage(answering({"fault": "hang"}), patience)
    x, hall = await stage.ask({"x-pointsman-timeout-seconds": "0.05"})

    assert (hall.status, hall.headers[b"x-should-retry"]) == (504, b"false")
    assert (x.ending, x.blame) == (Ending.ABANDONED, Blame.CLIENT)


async def test_where_the_answer_says_when_to_come_again_the_sdk_may(patience: Patience) -> None:
    stage = Stage(answering({}, upstream="nowhere"), patience)
    _, hall = await stage.ask({"x-pointsman-max-attempts": "1"})

    assert hall.status == 503
    assert b"retry-after" in hall.headers
    assert b"x-should-retry" not in hall.headers


async def test_a_providers_own_hints_are_passed_on_as_they_came() -> None:
    x = exchange(b"")
    hints = [(b"x-should-retry", b"true"), (b"retry-after-ms", b"1500"), (b"retry-after", b"2")]
    await relay(Whole(429, hints, b"{}"), x, ())

    assert isinstance(x.door, Hall)
    assert [x.door.headers[name] for name, _ in hints] == [value for _, value in hints]


# What an app grants


async def test_a_bound_that_is_none_is_refused_by_name_before_anybody_is_asked(patience: Patience) -> None:
    stage = Stage(answering({}), patience)
    x, hall = await stage.ask({"x-pointsman-timeout-seconds": "soon"})

    assert (hall.status, hall.json["error"]["param"]) == (400, "x-pointsman-timeout-seconds")
    assert hall.headers[b"x-pointsman-route"] == b"support-bot"
    assert (x.attempts, x.ending) == (0, Ending.REFUSED)


async def test_another_gateways_nonsense_is_not_ours_to_refuse(patience: Patience) -> None:
    _, hall = await Stage(answering({}), patience).ask({"x-litellm-timeout": "soon"})

    assert hall.status == 200


async def test_with_one_attempt_allowed_a_candidates_failure_is_the_answer(patience: Patience) -> None:
    stage = Stage(on_trial({"status": 500}), patience)
    _, hall = await stage.ask({"x-pointsman-max-attempts": "1"})
    outcome = stage.outcome()

    assert (hall.status, hall.headers[b"x-pointsman-attempts"]) == (500, b"1")
    assert (outcome.part, outcome.ending, outcome.blame) == (Part.WHOLE, Ending.FAILED, Blame.UPSTREAM)


async def test_with_two_the_control_has_the_other(patience: Patience) -> None:
    stage = Stage(on_trial({"status": 500}), patience)
    _, hall = await stage.ask({"x-pointsman-max-attempts": "2"})

    assert (hall.status, hall.headers[b"x-pointsman-attempts"]) == (200, b"2")


async def test_a_candidate_that_hangs_is_charged_though_the_app_is_in_a_hurry(patience: Patience) -> None:
    """Its control answered in the other half of the same time. Else it would never be found out where all apps are."""
    stage = Stage(on_trial({"fault": "hang"}), patience)
    _, hall = await stage.ask({"x-pointsman-timeout-seconds": "0.1"})
    tried, shield = stage.outcomes()

    assert (hall.status, tried.part, shield.part) == (200, Part.TRIED, Part.SHIELD)
    assert (tried.excused, tried.blame) == (False, Blame.UPSTREAM)


async def test_an_apps_deadline_in_the_middle_of_a_stream_ends_it_and_charges_nobody(
    patience: Patience,
) -> None:
    stage = Stage(answering({"text": "a b c d", "fault": "hang", "after_chunks": 1}), patience)
    x, hall = await stage.ask({"x-pointsman-timeout-seconds": "0.05"}, stream=True)
    told = events(hall)

    assert told[-1] == "[DONE]"
    assert "total" in told[-2]["error"]["message"]
    assert (x.ending, x.blame) == (Ending.ABANDONED, Blame.CLIENT)
    assert [standing.failures for _, standing in standings(stage.breakers)] == [0]
