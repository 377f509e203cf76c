"""What a candidate fails before its first content is answered by its control; who is charged, and who is not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from gateway.decision import Serving
from gateway.errors import UpstreamBusy, UpstreamRefused
from gateway.patience import Patience
from gateway.shield import FAILURES_IN_A_ROW, REST_SECONDS
from policies.outcome import Blame, Ending, Outcome, Part, Release
from tests.gateway.builders import MODEL, PROMPT, SIGNER, Hall, body, exchange, rollout, serving
from tests.gateway.stage import Stage, events

# A control must stand ready: at 100 % there would be none. Of 10,000 users one is not a candidate's.
ALL_BUT_NONE, NEXT_TO_NONE = 99.99, 0.01
CANDIDATE = Release("support-bot.model", "gpt-4o", 1)
QUICK = {**MODEL, "timeout_seconds": 0.02}
V7 = {"messages": [{"role": "system", "content": "You are v7."}]}
NEEDS_COMPANY = {"messages": [{"role": "system", "content": "You serve {{ company }}."}]}


@pytest.fixture
async def patience() -> AsyncIterator[Patience]:
    timer = Patience(asyncio.get_running_loop(), tick_seconds=0.005)
    yield timer
    timer.aclose()


def failing(candidate: Mapping[str, Any], *, percent: float = ALL_BUT_NONE, **control: Any) -> Serving:
    """A route whose candidate model is answered as `candidate` says."""
    models = {
        "gpt-4.1": {**QUICK, **control},
        "gpt-4o": {**QUICK, "model": "gpt-4o", "params": {"simulate": dict(candidate)}},
    }
    return serving(models=models, model_state=rollout("gpt-4o", percent))


def split(outcomes: tuple[Outcome, ...]) -> tuple[Outcome, Outcome]:
    """The candidate's outcome and the shield's, where there are these two."""
    tried, shield = outcomes
    assert (tried.part, shield.part) == (Part.TRIED, Part.SHIELD)
    return tried, shield


FAULTS = (
    {"fault": "refuse"},
    {"fault": "cut"},
    {"fault": "garbage"},
    {"fault": "error_body"},
    {"fault": "empty"},
    {"fault": "hang"},
    {"status": 500},
    {"status": 429, "retry_after_seconds": 7},
    {"status": 401},
    {"status": 400},
)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("fault", FAULTS)
async def test_what_a_candidate_fails_the_user_never_sees_and_the_candidate_is_charged(
    patience: Patience, fault: dict[str, Any], stream: bool
) -> None:
    stage = Stage(failing(fault), patience)
    _, hall = await stage.ask(stream=stream, user="u1")

    assert hall.status == 200
    assert hall.headers[b"x-pointsman-shielded"] == b"1"
    assert hall.headers[b"x-pointsman-versions"] == b"prompt=v6;model=gpt-4.1"
    assert hall.headers[b"x-pointsman-attempts"] == b"2"
    assert b"retry-after" not in hall.headers
    tried, shield = split(stage.outcomes())
    assert (tried.releases, tried.how) == ((CANDIDATE,), "c")
    assert tried.ending is Ending.FAILED
    assert tried.blame is (Blame.RELEASE if fault.get("status") in {400, 401} else Blame.UPSTREAM)
    assert not tried.excused
    assert (shield.ending, shield.blame, shield.status) == (Ending.OK, Blame.NONE, 200)
    assert tried.unit == shield.unit == SIGNER.unit("u1")
    assert tried.revision == shield.revision == 7


async def test_a_shielded_answers_token_names_the_control_and_judges_nothing(patience: Patience) -> None:
    stage = Stage(failing({"status": 500}), patience)
    _, hall = await stage.ask()

    decided = SIGNER.read(hall.headers[b"x-pointsman-decision"].decode(), 1_800_000_000)
    assert [release.variant for release in decided.answered.releases] == ["v6", "gpt-4.1"]
    assert decided.answered.how == "pp"


async def test_a_candidate_that_answers_is_not_shielded(patience: Patience) -> None:
    stage = Stage(failing({"text": "hello"}), patience)
    _, hall = await stage.ask()

    assert b"x-pointsman-shielded" not in hall.headers
    outcome = stage.outcome()
    assert (outcome.part, outcome.how) == (Part.WHOLE, "dc")


async def test_a_clients_own_400_is_refused_twice_and_charged_to_nobody_however_often(
    patience: Patience,
) -> None:
    stage = Stage(failing({}), patience)
    for _ in range(3 * FAILURES_IN_A_ROW):
        _, hall = await stage.ask(simulate={"status": 400, "text": "too long"})

        assert (hall.status, hall.json["error"]["message"]) == (400, "too long")
        tried, shield = split(stage.outcomes())
        assert (tried.excused, tried.blame) == (True, Blame.CLIENT)
        assert shield.blame is Blame.CLIENT


@pytest.mark.parametrize("status", [400, 404])
async def test_what_a_client_does_wrong_does_not_blind_the_brake(patience: Patience, status: int) -> None:
    stage = Stage(failing({"status": 500}), patience)
    for _ in range(3 * FAILURES_IN_A_ROW):
        await stage.ask(simulate={"status": status})
    stage.outcomes()
    _, hall = await stage.ask()

    assert hall.status == 200
    tried, _ = split(stage.outcomes())
    assert not tried.excused


async def test_a_candidate_prompt_that_does_not_render_is_charged_and_nobody_was_asked_for_it(
    patience: Patience,
) -> None:
    served = serving({"v6": PROMPT, "v7": NEEDS_COMPANY}, prompt_state=rollout("v7", ALL_BUT_NONE))
    stage = Stage(served, patience)
    _, hall = await stage.ask()

    assert (hall.status, hall.headers[b"x-pointsman-attempts"]) == (200, b"1")
    tried, _ = split(stage.outcomes())
    assert (tried.blame, tried.status, tried.attempts, tried.excused) == (Blame.RELEASE, 400, 0, False)


async def test_prompt_variables_reach_the_controls_prompt_too(patience: Patience) -> None:
    named = {"messages": [{"role": "system", "content": "You serve {{ company }} and {{ missing }}."}]}
    served = serving({"v6": NEEDS_COMPANY, "v7": named}, prompt_state=rollout("v7", ALL_BUT_NONE))
    stage = Stage(served, patience)
    _, hall = await stage.ask(prompt_variables={"company": "Acme"})

    assert hall.status == 200
    assert hall.headers[b"x-pointsman-shielded"] == b"1"


async def test_a_candidate_that_cannot_be_served_is_charged(patience: Patience) -> None:
    broken = {"messages": [{"role": "system", "content": "{% if %}"}]}
    stage = Stage(serving({"v6": PROMPT, "v7": broken}, prompt_state=rollout("v7", ALL_BUT_NONE)), patience)
    _, hall = await stage.ask()

    assert hall.status == 200
    tried, _ = split(stage.outcomes())
    assert (tried.blame, tried.excused) == (Blame.RELEASE, False)


async def test_a_bad_request_is_the_apps_on_every_version_and_asked_once(patience: Patience) -> None:
    stage = Stage(failing({}), patience)
    _, hall = await stage.ask(prompt_variables="none")

    assert hall.status == 400
    outcome = stage.outcome()
    assert (outcome.part, outcome.ending, outcome.blame) == (Part.WHOLE, Ending.REFUSED, Blame.CLIENT)


@pytest.mark.parametrize("fault", ["cut", "hang"])
async def test_after_first_content_nothing_is_replayed(patience: Patience, fault: str) -> None:
    stage = Stage(failing({"fault": fault, "after_chunks": 2}), patience)
    _, hall = await stage.ask(stream=True)

    assert "error" in events(hall)[-2]
    assert b"x-pointsman-shielded" not in hall.headers
    outcome = stage.outcome()
    assert (outcome.part, outcome.ending, outcome.excused) == (Part.WHOLE, Ending.FAILED, False)


async def test_a_candidate_that_hangs_leaves_its_control_half_of_the_time(patience: Patience) -> None:
    models = {
        "gpt-4.1": MODEL,
        "gpt-4o": {**MODEL, "total_seconds": 0.2, "params": {"simulate": {"fault": "hang"}}},
    }
    stage = Stage(serving(models=models, model_state=rollout("gpt-4o", ALL_BUT_NONE)), patience)
    x, hall = await stage.ask()

    assert hall.status == 200
    tried, shield = split(stage.outcomes())
    assert (tried.status, tried.blame, tried.excused) == (504, Blame.UPSTREAM, False)
    assert tried.seconds < 0.2
    assert x.deadline == pytest.approx(x.began + 0.2, abs=0.02)
    assert shield.seconds < tried.seconds


async def left(stage: Stage, *, until: int = 1, **fields: Any) -> None:
    """Ask, and leave when the `until`-th attempt has begun."""
    x = exchange(body(**fields), clock=stage.clock)
    task = stage.loop.create_task(stage.pipeline.serve(x))
    while x.attempts < until or not stage.upstreams["mock"].running:
        await asyncio.sleep(0)
    x.left = True
    task.cancel()
    await task


async def test_who_leaves_a_candidate_that_hangs_leaves_one_abandoned_outcome_of_its_own(
    patience: Patience,
) -> None:
    stage = Stage(failing({"fault": "hang"}), patience)
    await left(stage)

    outcome = stage.outcome()
    assert (outcome.part, outcome.ending) == (Part.WHOLE, Ending.ABANDONED)
    assert CANDIDATE in outcome.releases


async def test_who_leaves_while_the_control_is_asked_leaves_open_whose_fault_it_was(
    patience: Patience,
) -> None:
    """An outage in which everything hangs must not be charged to the candidate alone."""
    stage = Stage(
        failing({"status": 500}, params={"simulate": {"fault": "hang"}}, timeout_seconds=5), patience
    )
    await left(stage, until=2)

    tried, shield = split(stage.outcomes())
    assert tried.excused
    assert shield.ending is Ending.ABANDONED


async def test_an_outage_of_both_is_charged_to_neither_and_puts_the_shield_to_rest(
    patience: Patience,
) -> None:
    down = {"simulate": {"status": 503}}
    stage = Stage(failing({"status": 503}, params=down), patience)
    for _ in range(FAILURES_IN_A_ROW):
        _, hall = await stage.ask()

        assert (hall.status, hall.headers[b"x-pointsman-attempts"]) == (503, b"2")
        tried, _shield = split(stage.outcomes())
        assert tried.excused

    _, hall = await stage.ask()
    assert hall.headers[b"x-pointsman-attempts"] == b"1"
    resting = stage.outcome()
    assert (resting.part, resting.ending, resting.excused) == (Part.WHOLE, Ending.FAILED, True)

    stage.later = REST_SECONDS
    await stage.ask()
    split(stage.outcomes())
    await stage.ask()
    assert stage.outcome().excused, "the first failure after the rest begins another"


async def test_the_control_side_is_excused_while_the_shield_rests(patience: Patience) -> None:
    down = {"simulate": {"status": 503}}
    stage = Stage(failing({"status": 503}, params=down), patience)
    for _ in range(FAILURES_IN_A_ROW):
        await stage.ask()
    stage.served = failing({"status": 503}, params=down, percent=NEXT_TO_NONE)
    stage.outcomes()
    await stage.ask()
    during = stage.outcome()
    stage.later = REST_SECONDS
    await stage.ask()
    after = stage.outcome()

    assert during.excused
    assert not after.excused


async def test_one_answer_of_a_control_ends_the_run_of_failures(patience: Patience) -> None:
    stage = Stage(failing({"status": 503}, params={"simulate": {"status": 503}}), patience)
    for _ in range(FAILURES_IN_A_ROW - 1):
        await stage.ask()
    stage.served, down = failing({"status": 503}), stage.served
    await stage.ask()
    stage.served = down
    stage.outcomes()
    for _ in range(FAILURES_IN_A_ROW):
        await stage.ask()

    assert all(outcome.part is not Part.WHOLE for outcome in stage.outcomes())


async def test_a_fallback_stands_for_a_candidates_users_too_and_then_nobody_is_charged(
    patience: Patience,
) -> None:
    """The target that both ask is down: without the fallback only the candidate's users would feel it."""
    model = {
        **QUICK,
        "retries": 3,
        "upstream": "gone",
        "fallbacks": [{"upstream": "spare", "model": "small"}],
    }
    served = serving(
        {"v6": PROMPT, "v7": V7}, models={"gpt-4.1": model}, prompt_state=rollout("v7", ALL_BUT_NONE)
    )
    stage = Stage(served, patience)
    _, hall = await stage.ask()

    assert (hall.status, hall.headers[b"x-pointsman-upstream"]) == (200, b"spare")
    tried, shield = split(stage.outcomes())
    assert shield.stumbled
    assert tried.excused


async def test_a_target_that_is_down_for_both_is_charged_to_neither(patience: Patience) -> None:
    down = {"fallbacks": [{"upstream": "spare", "model": "small"}]}
    served = serving(
        {"v6": PROMPT, "v7": V7},
        models={"gpt-4.1": {**QUICK, **down}},
        prompt_state=rollout("v7", ALL_BUT_NONE),
    )
    stage = Stage(served, patience)
    stage.upstreams["mock"] = Dead()  # type: ignore[assignment]
    _, hall = await stage.ask()

    assert hall.headers[b"x-pointsman-upstream"] == b"spare"
    tried, shield = split(stage.outcomes())
    assert (tried.excused, shield.stumbled) == (True, True)


class Dead:
    """An upstream that refuses every connection."""

    async def send(self, request: object) -> object:
        raise UpstreamRefused("nobody listens")


async def test_a_candidate_whose_target_is_only_busy_is_charged_with_nothing(patience: Patience) -> None:
    """Its connections are all in use, or an operator forced its breaker open: it was never asked."""
    models = {"gpt-4.1": QUICK, "gpt-4o": {**QUICK, "upstream": "spare"}}
    stage = Stage(serving(models=models, model_state=rollout("gpt-4o", ALL_BUT_NONE)), patience)
    stage.upstreams["spare"] = Busy()  # type: ignore[assignment]
    _, hall = await stage.ask()
    tried, _shield = split(stage.outcomes())

    assert hall.status == 200
    assert (tried.excused, tried.blame, tried.attempts) == (True, Blame.GATEWAY, 0)


async def test_a_candidate_whose_upstream_is_not_there_is_charged(patience: Patience) -> None:
    models = {"gpt-4.1": QUICK, "gpt-4o": {**QUICK, "upstream": "gone"}}
    stage = Stage(serving(models=models, model_state=rollout("gpt-4o", ALL_BUT_NONE)), patience)
    _, hall = await stage.ask()
    tried, _shield = split(stage.outcomes())

    assert (hall.status, tried.excused, tried.blame) == (200, False, Blame.UPSTREAM)


class Busy:
    """An upstream without a free connection."""

    async def send(self, request: object) -> object:
        raise UpstreamBusy("all connections are in use")


async def test_a_control_is_not_retried(patience: Patience) -> None:
    stage = Stage(failing({"status": 503}, params={"simulate": {"status": 503}}, retries=3), patience)
    _, hall = await stage.ask()

    assert hall.headers[b"x-pointsman-attempts"] == b"2"
    assert stage.slept == []


async def test_all_layers_that_had_a_candidate_go_to_their_control_and_are_charged(
    patience: Patience,
) -> None:
    models = {"gpt-4.1": QUICK, "gpt-4o": {**QUICK, "params": {"simulate": {"status": 500}}}}
    served = serving(
        {"v6": PROMPT, "v7": V7},
        models=models,
        prompt_state=rollout("v7", ALL_BUT_NONE),
        model_state=rollout("gpt-4o", ALL_BUT_NONE),
    )
    stage = Stage(served, patience)
    _, hall = await stage.ask()

    assert hall.headers[b"x-pointsman-versions"] == b"prompt=v6;model=gpt-4.1"
    tried, _ = split(stage.outcomes())
    assert [release.variant for release in tried.releases] == ["v7", "gpt-4o"]
    assert tried.how == "cc"


async def test_beside_a_tried_candidate_stand_the_controls_of_other_layers_coins(patience: Patience) -> None:
    models = {"gpt-4.1": QUICK, "gpt-4o": {**QUICK, "params": {"simulate": {"status": 500}}}}
    served = serving(
        {"v6": PROMPT, "v7": V7},
        models=models,
        prompt_state=rollout("v7", 1),
        model_state=rollout("gpt-4o", ALL_BUT_NONE),
    )
    stage = Stage(served, patience)
    await stage.ask()
    tried, _ = split(stage.outcomes())

    assert [release.variant for release in tried.releases] == ["v6", "gpt-4o"]
    assert tried.how == "bc"


async def test_while_what_serves_could_go_back_it_is_shielded_like_a_candidate(patience: Patience) -> None:
    models = {"gpt-4.1": QUICK, "gpt-4o": {**QUICK, "params": {"simulate": {"status": 500}}}}
    promoted = {"serve": "gpt-4o", "safe": "gpt-4.1"}
    stage = Stage(serving(models=models, model_state=promoted), patience)
    _, hall = await stage.ask()
    tried, _ = split(stage.outcomes())

    assert (hall.status, tried.releases, tried.how) == (200, (CANDIDATE,), "d")

    stage.served = serving(models=models, model_state={**promoted, "safe": "gpt-4o"})
    _, hall = await stage.ask()
    assert hall.status == 500
    assert stage.outcome().part is Part.WHOLE


async def test_who_pins_a_version_gets_it_as_it_is(patience: Patience) -> None:
    stage = Stage(failing({"status": 500}), patience)
    _, hall = await stage.ask({"x-pointsman-pin": "support-bot.model=gpt-4o"})

    assert hall.status == 500
    assert stage.outcome().how == "dp"


async def test_a_candidate_that_a_rule_chose_is_shielded(patience: Patience) -> None:
    models = {"gpt-4.1": QUICK, "gpt-4o": {**QUICK, "params": {"simulate": {"status": 500}}}}
    rule = {"targeting": {"if": [True, "gpt-4o"]}, **rollout("gpt-4o", 10)}
    stage = Stage(serving(models=models, model_state=rule), patience)
    _, hall = await stage.ask()
    tried, _ = split(stage.outcomes())

    assert (hall.status, tried.how) == (200, "t")


async def test_evidence_does_not_wait_for_a_shielded_stream_to_end(patience: Patience) -> None:
    stage = Stage(
        failing({"status": 500}, params={"simulate": {"fault": "hang", "after_chunks": 1}}), patience
    )
    stage_x = exchange(body(stream=True), clock=stage.clock)
    task = stage.loop.create_task(stage.pipeline.serve(stage_x))
    while not isinstance(stage_x.door, Hall) or not stage_x.door.parts:
        await asyncio.sleep(0)

    (tried,) = stage.outcomes()
    assert (tried.part, tried.excused) == (Part.TRIED, False)
    await task


REPLIES = st.sampled_from(
    [
        *FAULTS,
        {},
        {"fault": "cut", "after_chunks": 1},
        {"fault": "hang", "after_chunks": 1},
        {"fault": "garbage", "after_chunks": 1},
    ]
)
SHARES = st.sampled_from([ALL_BUT_NONE, NEXT_TO_NONE, 50.0, 0.0, 100.0])


@hypothesis_settings(max_examples=60, deadline=None)
@given(
    asked=st.lists(st.tuples(REPLIES, REPLIES, st.booleans(), SHARES, st.booleans()), min_size=1, max_size=6)
)
def test_every_decided_request_ends_in_exactly_one_whole_or_shield_outcome(asked: list[Any]) -> None:
    """Whatever either side answers, whoever leaves: and a candidate's outcome only ever comes before a shield's."""

    async def run() -> None:
        timer = Patience(asyncio.get_running_loop(), tick_seconds=0.002)
        for candidate, control, stream, percent, leaves in asked:
            served = failing(candidate, percent=percent, timeout_seconds=0.01, params={"simulate": control})
            stage = Stage(served, timer)
            x = exchange(body(stream=stream), clock=stage.clock)
            task = stage.loop.create_task(stage.pipeline.serve(x))
            await asyncio.sleep(0)
            if leaves:
                await asyncio.sleep(0)
                x.left = True
                task.cancel()
            await task
            parts = [outcome.part for outcome in stage.outcomes()]
            assert parts in ([Part.WHOLE], [Part.TRIED, Part.SHIELD])
            assert not stage.upstreams["mock"].running
        timer.aclose()

    asyncio.run(run())
