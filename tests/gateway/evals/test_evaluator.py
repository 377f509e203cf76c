"""A version is asked a suite through the whole gateway, and the result stands on its card."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import msgspec
import pytest

from flags.canonical import digest
from flags.errors import Invalid, NotFound, Refused
from flags.model import Embedding, Flag, Json, Rollout, Variant
from gateway.evals.evaluator import RUNS_AT_ONCE, Evaluated
from gateway.evals.running import Tally
from gateway.house import House
from policies.outcome import Part
from tests.gateway.evals.scene import (
    FLAG,
    card,
    case,
    change,
    contains,
    log_of,
    promote,
    suite,
    wanted,
)


async def test_a_pass_stands_on_the_card_and_in_the_ledger_with_its_report(house: House) -> None:
    done = await house.evaluator.run(wanted())
    (entry,) = await log_of(house, "eval")
    found = (await card(house, "v6")).newest
    kept = msgspec.json.decode(await house.evaluator.reports.read(done.evaluation.report))

    assert done.report.passed is True
    assert found == done.evaluation
    assert (found.passed, found.pass_rate, found.cases, found.by) == (True, 1.0, 1, "alice")
    assert (entry.actor, entry.affects, entry.object) == ("alice", (), f"version/{FLAG}/v6")
    assert entry.evidence["report"] == found.report
    assert kept["results"][0]["answer"]["text"] == "v6 says: Paris"


async def test_a_run_that_does_not_pass_is_told_as_failed(house: House) -> None:
    done = await house.evaluator.run(wanted("v7"))

    (entry,) = await log_of(house, "eval.failed")
    assert done.report.passed is False
    assert (await card(house, "v7")).newest.passed is False
    assert entry.evidence["pass_rate"] == 0


async def test_the_version_is_pinned_though_it_is_neither_served_nor_in_service(house: House) -> None:
    content = (await card(house, "v7")).hash
    await change(
        house,
        lambda flag: replace(flag, withdrawn=frozenset({"v7"}), quarantined=frozenset({content})),
    )

    done = await house.evaluator.run(wanted("v7", suite=suite(case("Where?", contains("v7 says")))))

    assert done.report.passed is True
    assert done.report.results[0].answer.versions == {"prompt": "v7", "model": "m"}


async def test_no_rollouts_coin_is_tossed_for_other_layers_nor_for_what_is_served(house: House) -> None:
    await change(house, lambda flag: replace(flag, rollout=Rollout("v7", 50)))

    done = await house.evaluator.run(wanted(None, repeat=20))

    assert done.report.variant == "v6"
    assert {result.answer.versions["prompt"] for result in done.report.results} == {"v6"}


async def test_an_answer_of_another_version_is_not_evaluated(house: House) -> None:
    """A flag that is switched off leaves its layer out, and nothing of the answer is the version's."""
    await change(house, lambda flag: replace(flag, enabled=False))

    done = await house.evaluator.run(wanted())

    assert done.report.passed is None
    assert "v6" in done.report.results[0].reason
    assert (await card(house, "v6")).newest.passed is None


async def test_an_upstream_that_fails_makes_a_case_not_evaluated_and_never_a_pass(house: House) -> None:
    tests = [case("Which city?", contains("Paris")), case("break", {"type": "not-contains", "value": "x"})]

    done = await house.evaluator.run(wanted(suite=suite(*tests), min_pass_rate=0.5))

    assert [result.passed for result in done.report.results] == [True, None]
    assert "500" in done.report.results[1].reason
    assert done.report.passed is None
    assert done.report.gated.not_evaluated == 1


async def test_what_could_not_be_evaluated_leaves_an_earlier_verdict_alone_and_is_noted(house: House) -> None:
    tests = suite(case("Which city?", contains("Paris")))
    first = await house.evaluator.run(wanted(suite=tests))
    await change(house, lambda flag: replace(flag, enabled=False))

    await house.evaluator.run(wanted(suite=tests))

    (entry,) = await log_of(house, "eval.failed")
    assert (await card(house, "v6")).newest == first.evaluation
    assert entry.evidence["passed"] is None


async def test_an_evaluation_costs_money_but_is_no_request_of_users_and_no_evidence(house: House) -> None:
    seen = []
    house.gauge.on_outcomes = seen.extend
    tests = suite(*[case(f"{number}?", contains("v7")) for number in range(5)])

    await house.evaluator.run(wanted("v7", suite=tests))
    await house.gauge.aclose()
    totals = await house.measures.totals()

    assert {outcome.part for outcome in seen} == {Part.EVAL}
    assert [release.variant for release in seen[0].releases] == ["v7"]
    assert (FLAG, "v7") not in totals.versions
    assert totals.routes["bot"].requests == 0
    assert totals.routes["bot"].tokens["output"] > 0


async def test_failures_of_an_evaluation_do_not_open_a_breaker(house: House) -> None:
    await house.evaluator.run(wanted(suite=suite(case("break", contains("x"))), repeat=50))

    assert house.breakers.permit("bot", "mock/gpt-4.1", time.monotonic()) is not None


async def test_a_version_whose_content_changes_under_the_run_is_refused_and_nothing_is_written(
    house: House,
) -> None:
    run, begun = begin(house)
    await begun.wait()

    other = {"messages": [{"role": "system", "content": "You are another."}]}
    await change(house, lambda flag: with_content(flag, "v6", other), {digest(other): other})
    with pytest.raises(Refused) as refused:
        await run

    assert refused.value.rule == "hash_changed"
    assert await log_of(house, "eval") == await log_of(house, "eval.failed") == []


async def test_the_flags_own_suite_and_thresholds_hold_where_none_are_given(house: House) -> None:
    await promote(house, suite(case("Which city?", contains("Paris"))), min_pass_rate=1.0, repeat=3)

    done = await house.evaluator.run(wanted(suite=None))

    assert done.report.gated.runs == 3
    assert done.report.suite == "suite.yaml"
    assert done.report.thresholds.min_pass_rate == 1.0


async def test_a_rerun_evaluates_what_is_served_now_and_nothing_where_there_is_no_suite(house: House) -> None:
    before = await house.evaluator.rerun(FLAG, by="rollback", reason="rolled back")
    await promote(house, suite(case("Which city?", contains("Paris"))))

    after = await house.evaluator.rerun(FLAG, by="rollback", reason="rolled back")

    assert before is None
    assert after is not None
    assert after.passed is True
    assert (await card(house, "v6")).newest == after


async def test_a_flag_without_a_suite_needs_one(house: House) -> None:
    with pytest.raises(Refused) as refused:
        await house.evaluator.run(wanted(suite=None))

    assert refused.value.rule == "no_suite"


@pytest.mark.parametrize(
    ("more", "error", "words"),
    [
        ({"route": "judge"}, Invalid, "bot"),
        ({"route": "nowhere"}, Invalid, "bot"),
        ({"judge": "nobody"}, Invalid, "judge"),
        ({"suite": {"tests": []}}, Invalid, "no cases"),
        ({"suite": [case("?", contains("x"))] * 600, "repeat": 100}, Invalid, "50,000"),
    ],
)
async def test_a_run_that_cannot_be_is_refused_before_anything_is_asked(
    house: House, more: dict[str, object], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        await house.evaluator.run(wanted(**more))

    assert await log_of(house, "eval") == []


async def test_a_variant_that_is_not_there_is_told_with_those_that_are(house: House) -> None:
    with pytest.raises(NotFound, match="v6, v7"):
        await house.evaluator.run(wanted("v9"))


async def test_a_judge_that_talks_nonsense_leaves_the_case_open(house: House) -> None:
    tests = suite(case("Which city?", {"type": "llm-rubric", "value": "is kind"}))

    done = await house.evaluator.run(wanted(suite=tests, judge="judge"))

    assert done.report.passed is None


@pytest.mark.parametrize("asked", [{"judge": "bot"}, {"embedding": Embedding("mock", "other")}])
async def test_nobody_but_whom_the_rules_name_judges_the_suite_whose_result_counts(
    house: House, asked: dict[str, Any]
) -> None:
    await promote(house, suite(), judge="judge", embedding=Embedding("mock", "m"))

    with pytest.raises(Refused, match="name another") as refused:
        await house.evaluator.run(wanted(**asked))
    other = await house.evaluator.run(wanted(suite=suite(description="another"), **asked))

    assert refused.value.rule == "not_by_the_rules"
    assert other.report.passed is True


async def test_without_a_judge_a_rubric_is_not_evaluated(house: House) -> None:
    tests = suite(case("Which city?", {"type": "llm-rubric", "value": "is kind"}))

    done = await house.evaluator.run(wanted(suite=tests))

    assert done.report.passed is None
    assert "judge" in done.report.results[0].reason


async def test_progress_is_told_after_every_answer(house: House) -> None:
    told: list[Tally] = []
    tests = suite(case("Which city?", contains("Paris")), case("break", contains("Paris")))

    await house.evaluator.run(wanted(suite=tests), progress=told.append)

    assert told[0] == Tally(0, 2)
    assert told[-1] == Tally(2, 2, passed=1, not_evaluated=1)


async def test_a_cancelled_run_writes_nothing_and_leaves_nothing_running(house: House) -> None:
    run, begun = begin(house)
    await begun.wait()

    run.cancel()
    with pytest.raises(asyncio.CancelledError):
        await run

    assert await log_of(house, "eval") == []
    assert (await card(house, "v6")).newest is None
    assert not house.upstreams["mock"].running


async def test_only_so_many_runs_are_under_way_and_the_others_wait_for_their_turn(house: House) -> None:
    under_way: set[int] = set()
    most = 0

    def looking_at(number: int) -> Callable[[Tally], None]:
        def look(tally: Tally) -> None:
            nonlocal most
            (under_way.discard if tally.done == tally.total else under_way.add)(number)
            most = max(most, len(under_way))

        return look

    tests = suite(*[case(f"{number}?", contains("Paris")) for number in range(20)])
    runs = [house.evaluator.run(wanted(suite=tests), progress=looking_at(n)) for n in range(RUNS_AT_ONCE + 2)]
    done = await asyncio.gather(*runs)

    assert all(each.report.passed for each in done)
    assert 1 < most <= RUNS_AT_ONCE


def begin(house: House) -> tuple[asyncio.Task[Evaluated], asyncio.Event]:
    """A run of many cases, and an event that tells of its first answer."""
    begun = asyncio.Event()

    def look(tally: Tally) -> None:
        if tally.done:
            begun.set()

    tests = suite(*[case(f"{number}?", contains("Paris")) for number in range(2000)])
    return asyncio.create_task(house.evaluator.run(wanted(suite=tests), progress=look)), begun


def with_content(flag: Flag, name: str, content: Json) -> Flag:
    """The flag with another content under a variant's name."""
    return replace(flag, variants={**flag.variants, name: Variant(name, digest(content))})
