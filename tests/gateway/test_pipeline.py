"""One request from top to bottom, over the simulated upstream: what the app sees, and exactly one Outcome."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest

from gateway.patience import Patience
from gateway.relay import passed_on
from policies.outcome import Blame, Ending, Part
from tests.gateway.builders import MODEL, PROMPT, SIGNER, Hall, body, exchange, serving
from tests.gateway.stage import Stage, events


@pytest.fixture
async def patience() -> AsyncIterator[Patience]:
    timer = Patience(asyncio.get_running_loop(), tick_seconds=0.005)
    yield timer
    timer.aclose()


@pytest.fixture
async def stage(patience: Patience) -> Stage:
    return Stage(serving(), patience)


async def test_an_answer_carries_the_providers_body_and_our_headers(stage: Stage) -> None:
    x, hall = await stage.ask(user="u1")

    assert hall.status == 200
    assert hall.json["model"] == "gpt-4.1"
    assert hall.headers[b"x-pointsman-route"] == b"support-bot"
    assert hall.headers[b"x-pointsman-versions"] == b"prompt=v6;model=gpt-4.1"
    assert hall.headers[b"x-pointsman-revision"] == b"7"
    assert hall.headers[b"x-pointsman-attempts"] == b"1"
    assert hall.headers[b"x-request-id"] == x.request_id.encode()
    unit = SIGNER.unit("u1").encode()
    assert hall.headers[b"x-pointsman-decision"].startswith(
        b"1~req-1~1800000000~support-bot~%s~support-bot.prompt:v6:1:d~support-bot.model:gpt-4.1:1:d~" % unit
    )
    assert float(hall.headers[b"x-pointsman-overhead-ms"]) >= 0
    outcome = stage.outcome()
    assert (outcome.ending, outcome.blame, outcome.status) == (Ending.OK, Blame.NONE, 200)
    assert outcome.input_tokens
    assert outcome.output_tokens
    assert (outcome.how, outcome.revision, outcome.part) == ("dd", 7, Part.WHOLE)
    assert outcome.unit == SIGNER.unit("u1")


async def test_who_is_not_named_has_no_unit(stage: Stage) -> None:
    await stage.ask()

    assert stage.outcome().unit == ""


async def test_a_stream_ends_with_done_and_hides_the_usage_that_the_app_did_not_ask_for(stage: Stage) -> None:
    _, hall = await stage.ask(stream=True)

    got = events(hall)
    assert got[-1] == "[DONE]"
    assert all(event["choices"] for event in got[:-1])
    outcome = stage.outcome()
    assert outcome.ending is Ending.OK
    assert outcome.output_tokens


async def test_an_app_that_asks_for_usage_gets_its_chunk(stage: Stage) -> None:
    _, hall = await stage.ask(stream=True, stream_options={"include_usage": True})

    assert events(hall)[-2]["usage"]["completion_tokens"] > 0


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("simulate", "status", "code", "blame"),
    [
        ({"fault": "refuse"}, 502, "upstream_refused", Blame.UPSTREAM),
        ({"fault": "cut"}, 502, "upstream_closed", Blame.UPSTREAM),
        ({"fault": "garbage"}, 502, "upstream_unreadable", Blame.UPSTREAM),
        ({"fault": "error_body"}, 502, "upstream_unreadable", Blame.UPSTREAM),
        ({"fault": "hang"}, 504, "upstream_timeout", Blame.UPSTREAM),
        ({"status": 500}, 500, None, Blame.UPSTREAM),
        ({"status": 429, "retry_after_seconds": 7}, 429, None, Blame.UPSTREAM),
        ({"status": 401}, 401, None, Blame.RELEASE),
        ({"status": 400}, 400, None, Blame.CLIENT),
    ],
)
async def test_a_failing_upstream_has_its_status_and_one_outcome(
    patience: Patience, simulate: dict[str, Any], status: int, code: str | None, blame: Blame, stream: bool
) -> None:
    stage = Stage(serving(models={"gpt-4.1": {**MODEL, "timeout_seconds": 0.02}}), patience)
    _, hall = await stage.ask(stream=stream, simulate=simulate)

    assert hall.status == status
    assert set(hall.json["error"]) >= {"message", "type", "param", "code"}
    if code is not None:
        assert hall.json["error"]["code"] == code
    if "retry_after_seconds" in simulate:
        assert hall.headers[b"retry-after"] == b"7"
    assert hall.headers[b"x-pointsman-versions"] == b"prompt=v6;model=gpt-4.1"
    outcome = stage.outcome()
    assert (outcome.ending, outcome.blame, outcome.status) == (Ending.FAILED, blame, status)


@pytest.mark.parametrize("fault", ["cut", "hang"])
async def test_after_first_content_a_failure_is_an_error_event_and_done(
    patience: Patience, fault: str
) -> None:
    stage = Stage(serving(models={"gpt-4.1": {**MODEL, "timeout_seconds": 0.02}}), patience)
    _, hall = await stage.ask(stream=True, simulate={"fault": fault, "after_chunks": 2})

    got = events(hall)
    assert hall.status == 200
    assert got[-1] == "[DONE]"
    assert got[-2]["error"]["code"] == {"cut": "upstream_closed", "hang": "upstream_timeout"}[fault]
    assert not any(choice["finish_reason"] for event in got[:-2] for choice in event["choices"])
    assert stage.outcome().ending is Ending.FAILED
    # Its breaker, which had heard of a good beginning, hears of the end too.
    assert stage.breakers.gains() == {"support-bot|mock/gpt-4.1": (1, 1)}


async def test_an_empty_answer_is_no_answer(stage: Stage) -> None:
    _, hall = await stage.ask(simulate={"fault": "empty"})

    assert hall.status == 502
    assert stage.outcome().blame is Blame.UPSTREAM


async def test_what_is_refused_at_the_door_has_no_decision_and_is_counted(stage: Stage) -> None:
    _, hall = await stage.ask(model="nope")

    assert hall.status == 404
    assert "support-bot" in hall.json["error"]["message"]
    assert stage.recorder.take() == ()
    assert stage.recorder.endings["refused"] == 1


async def test_a_prompt_that_does_not_render_is_the_versions_failure(patience: Patience) -> None:
    prompt = {"messages": [{"role": "system", "content": "{{ company }}"}]}
    stage = Stage(serving({"v6": prompt}), patience)
    _, hall = await stage.ask()

    assert (hall.status, hall.json["error"]["code"]) == (400, "prompt_not_rendered")
    outcome = stage.outcome()
    assert (outcome.ending, outcome.blame) == (Ending.FAILED, Blame.RELEASE)


async def test_before_the_first_snapshot_requests_are_asked_to_come_again(patience: Patience) -> None:
    stage = Stage(None, patience)
    _, hall = await stage.ask()

    assert (hall.status, hall.headers[b"retry-after"]) == (503, b"1")


async def test_a_retry_that_succeeds_is_a_success_with_two_attempts(patience: Patience) -> None:
    stage = Stage(
        serving(models={"gpt-4.1": {**MODEL, "retries": 2, "params": {"simulate": {"error_rate": 0.5}}}}),
        patience,
    )
    await stage.ask()
    first = stage.outcome()
    _, hall = await stage.ask()
    second = stage.outcome()

    assert [first.attempts, second.attempts] == [1, 2]
    assert (hall.status, hall.headers[b"x-pointsman-attempts"]) == (200, b"2")
    assert stage.slept == [0.1]


async def test_a_fallback_that_answers_is_named(patience: Patience) -> None:
    model = {**MODEL, "upstream": "gone", "fallbacks": [{"upstream": "spare", "model": "small"}]}
    stage = Stage(serving(models={"gpt-4.1": model}), patience)
    _, hall = await stage.ask()

    assert hall.json["model"] == "small"
    assert hall.headers[b"x-pointsman-upstream"] == b"spare"


async def test_a_client_that_leaves_is_abandoned_and_the_upstream_is_let_go(stage: Stage) -> None:
    x = exchange(body(stream=True, simulate={"fault": "hang", "after_chunks": 1}), clock=stage.loop.time)
    task = stage.loop.create_task(stage.pipeline.serve(x))
    while not isinstance(x.door, Hall) or not x.door.parts:
        await asyncio.sleep(0)

    x.left = True
    task.cancel()
    await task

    outcome = stage.outcome()
    assert (outcome.ending, outcome.blame) == (Ending.ABANDONED, Blame.CLIENT)
    assert not stage.upstreams["mock"].running


async def test_cancellation_from_outside_passes_through_and_is_still_recorded(stage: Stage) -> None:
    x = exchange(body(simulate={"fault": "hang"}), clock=stage.loop.time)
    task = stage.loop.create_task(stage.pipeline.serve(x))
    await asyncio.sleep(0.01)

    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task
    assert stage.outcome().ending is Ending.FAILED


async def test_a_bug_of_ours_costs_one_request_and_is_ours(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken:
        async def send(self, request: object) -> None:
            raise ZeroDivisionError

    stage.upstreams["mock"] = Broken()  # type: ignore[assignment]
    _, hall = await stage.ask()

    assert (hall.status, hall.json["error"]["code"]) == (500, "internal_error")
    assert stage.outcome().blame is Blame.GATEWAY
    assert "ZeroDivisionError" in caplog.text


async def test_headers_of_the_provider_are_passed_on_but_not_those_of_its_connection(stage: Stage) -> None:
    sent = [
        (b"x-ratelimit-remaining-requests", b"9"), (b"openai-processing-ms", b"3"), (b"connection", b"close"),
        (b"set-cookie", b"a=b"), (b"content-length", b"3"), (b"x-pointsman-route", b"forged"), (b"x-request-id", b"theirs"),
    ]  # fmt: skip

    assert passed_on(sent) == sent[:2]


async def test_prompt_and_model_reach_the_upstream(patience: Patience) -> None:
    stage = Stage(serving({"v6": PROMPT}), patience)
    seen: list[bytes] = []
    mock = stage.upstreams["mock"]

    class Spy:
        async def send(self, request: Any) -> Any:
            seen.append(request.body)
            return await mock.send(request)

    stage.upstreams["mock"] = Spy()  # type: ignore[assignment]
    await stage.ask()

    sent = msgspec.json.decode(seen[0])
    assert (sent["model"], sent["messages"][0]["content"]) == ("gpt-4.1", "You are v6.")


async def test_an_upstream_that_nobody_could_ask_is_no_attempt(patience: Patience) -> None:
    stage = Stage(serving(models={"gpt-4.1": {**MODEL, "upstream": "gone"}}), patience)
    _, hall = await stage.ask()

    assert hall.status == 503
    assert hall.headers[b"x-pointsman-attempts"] == b"0"
    assert int(hall.headers[b"retry-after"]) >= 1
    assert b"x-pointsman-upstream" not in hall.headers


async def test_the_whole_time_is_a_limit_of_its_own(patience: Patience) -> None:
    model = {**MODEL, "timeout_seconds": 5, "total_seconds": 0.05}
    stage = Stage(serving(models={"gpt-4.1": model}), patience)
    _, whole = await stage.ask(simulate={"fault": "hang"})
    _, stream = await stage.ask(stream=True, simulate={"chunks": 1000, "chunk_delay_seconds": 0.01})

    assert whole.status == 504
    assert "(total)" in whole.json["error"]["message"]
    assert "(total)" in events(stream)[-2]["error"]["message"]


async def test_chunks_that_keep_coming_renew_the_time_between_them(patience: Patience) -> None:
    stage = Stage(serving(models={"gpt-4.1": {**MODEL, "timeout_seconds": 0.1}}), patience)
    _, hall = await stage.ask(stream=True, simulate={"chunks": 12, "chunk_delay_seconds": 0.03})

    assert events(hall)[-1] == "[DONE]"
    assert stage.outcome().ending is Ending.OK


async def test_our_overhead_holds_no_waiting(patience: Patience) -> None:
    model = {**MODEL, "retries": 1, "params": {"simulate": {"status": 503, "delay_seconds": 0.2}}}
    stage = Stage(serving(models={"gpt-4.1": model}), patience)
    _, hall = await stage.ask()

    assert stage.slept == [0.1]
    assert float(hall.headers[b"x-pointsman-overhead-ms"]) < 200


@pytest.mark.parametrize("field", ["metadata", "prompt_variables"])
async def test_a_number_that_no_program_can_hold_is_the_clients(patience: Patience, field: str) -> None:
    stage = Stage(serving(prompt_state={"targeting": {"var": "x"}}), patience)
    raw = body()[:-1] + f',"{field}":{{"x":1e400}}}}'.encode()
    x = exchange(raw, clock=stage.loop.time)
    await stage.pipeline.serve(x)

    assert isinstance(x.door, Hall)
    assert (x.door.status, x.door.json["error"]["param"]) == (400, field)


async def test_a_stream_of_noise_before_any_content_is_given_up(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.answer.HELD_BYTES", 300)

    class Noise:
        status, headers, expires_at, phase = 200, [(b"content-type", b"text/event-stream")], 0.0, ""

        async def chunk(self) -> bytes:
            return b": still thinking\n\n"

        def close(self) -> None:
            """Nothing to close."""

    class Noisy:
        async def send(self, request: object) -> Noise:
            return Noise()

    stage.upstreams["mock"] = Noisy()  # type: ignore[assignment]
    _, hall = await stage.ask(stream=True)

    assert (hall.status, hall.json["error"]["code"]) == (502, "upstream_unreadable")


async def test_an_answer_beyond_the_bound_is_refused_and_hung_up_on(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.answer.ANSWER_BYTES", 100)
    _, hall = await stage.ask()

    assert (hall.status, hall.json["error"]["code"]) == (502, "upstream_unreadable")
    assert not stage.upstreams["mock"].running


async def test_what_concerns_a_providers_own_connection_or_its_pages_is_not_passed_on() -> None:
    sent = [
        (b"connection", b"close, x-hop"),
        (b"x-hop", b"1"),
        (b"access-control-allow-origin", b"*"),
        (b"x-kept", b"1"),
    ]

    assert passed_on(sent) == [(b"x-kept", b"1")]
