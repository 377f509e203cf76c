"""What operators see of the traffic: gauges, history and evidence, measured in a real store and read over the API."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest

from flags.errors import StoreUnavailable
from gateway.breaking.shapes import BreakerRow
from gateway.figures.gauges import figures, span_of, worst_of
from gateway.figures.sight import Sight, first
from policies.breaker import State
from policies.case import EMPTY, Case, Docket
from policies.counts import CaseCounts, Second
from policies.outcome import Blame, CostSource, Ending, How, Part, Release
from policies.policy import ERROR_RATE, Policy
from policies.series import series_of
from policies.verdict import Standing, Verdict
from policies.window import Stats, Window, window_of
from tests.gateway.measured import GPT, PROMPT, V7, failed, measure, outcome, score
from tests.gateway.office import Office, by

ERRORS = Policy("error-brake", ERROR_RATE, limit=0.05)
WATCHED = {"error-brake": ERRORS, "shy": Policy("shy", ERROR_RATE, limit=0.05, dry_run=True)}


async def got(office: Office, path: str, **query: Any) -> Any:
    async with office.client() as client:
        answer = await client.get(path, params=query)
    assert answer.status_code == 200, answer.text
    return answer.json()


@pytest.fixture
async def canary(office: Office) -> Office:
    """v7 of the prompt at 10 %: 18 good answers of v6, two of v7 and two failures of it, each shielded by v6."""
    office.policies = WATCHED
    await office.operations.rollout(by(), PROMPT, "v7", 10)
    tried = [failed(V7, part=Part.TRIED, how="c") for _ in range(2)]
    shields = [outcome(part=Part.SHIELD) for _ in range(2)]
    good = [outcome() for _ in range(18)] + [outcome(V7, GPT, seconds=1.0, cost_usd=0.03) for _ in range(2)]
    await measure(office, good + tried + shields, [score("accuracy", 1.0), score("accuracy", 0.0, V7)])
    return office


class TestGauges:
    async def test_a_version_shows_its_share_and_what_became_of_its_requests(self, canary: Office) -> None:
        found = await got(canary, "/gauges")
        route = found["routes"]["support-bot"]
        v6, v7 = route["layers"]["prompt"]["versions"]

        assert (v6["variant"], v6["role"], v7["variant"], v7["role"]) == ("v6", "served", "v7", "candidate")
        assert (v6["requests"], v7["requests"]) == (20, 4)
        assert (v6["error_rate"], v7["error_rate"]) == (0.0, 0.5)
        assert v7["share"] == pytest.approx(4 / 24, rel=1e-5)
        assert v7["endings"] == {"ok": 2, "failed": 2}
        assert v7["latency_p50"] == pytest.approx(1.0, rel=0.05)
        assert v6["ttft_p50"] == pytest.approx(0.125, rel=0.05)
        assert (v7["cost_per_request"], v7["cost_unknown"]) == (0.03, 0)
        assert v7["scores"] == {"accuracy": {"mean": 0.0, "count": 1}}
        assert v6["tokens"]["input"] == 2000

    async def test_a_shadow_is_shown_as_one_and_has_no_share_of_the_users(self, office: Office) -> None:
        await office.operations.shadow(by(), PROMPT, "v7", 100)
        copies = [outcome(V7, part=Part.SHADOW, how=How.SHADOW.value, excused=True) for _ in range(4)]
        await measure(office, [outcome() for _ in range(4)] + copies)

        v6, v7 = (await got(office, "/gauges"))["routes"]["support-bot"]["layers"]["prompt"]["versions"]

        assert (v6["role"], v6["share"], v7["role"], v7["share"]) == ("served", 1.0, "shadow", 0.0)
        assert (v6["requests"], v7["requests"]) == (4, 4)

    async def test_a_route_counts_each_request_once(self, canary: Office) -> None:
        route = (await got(canary, "/gauges"))["routes"]["support-bot"]

        assert (route["requests"], route["error_rate"], route["shielded"]) == (22, 0.0, 2)
        assert route["overhead_p50"] == pytest.approx(0.0001, rel=0.05)

    async def test_one_route_may_be_asked_for_and_an_unknown_one_is_refused(self, canary: Office) -> None:
        async with canary.client() as client:
            unknown = await client.get("/gauges", params={"route": "nope"})
            span = await client.get("/gauges", params={"minutes": 361})

        assert list((await got(canary, "/gauges", route="support-bot"))["routes"]) == ["support-bot"]
        assert (unknown.status_code, span.status_code) == (404, 422)

    async def test_a_version_out_of_service_is_shown_as_long_as_it_was_asked(self, canary: Office) -> None:
        await canary.operations.withdraw(by(), PROMPT, "v7")
        route = (await got(canary, "/gauges"))["routes"]["support-bot"]

        assert [(v["variant"], v["role"]) for v in route["layers"]["prompt"]["versions"]] == [
            ("v6", "served"),
            ("v7", "withdrawn"),
        ]

    async def test_the_evidence_against_a_candidate_is_a_bar_of_each_policy(self, canary: Office) -> None:
        versions = (await got(canary, "/gauges"))["routes"]["support-bot"]["layers"]["prompt"]["versions"]
        live, shy = versions[1]["evidence"]

        assert versions[0]["evidence"] == []
        assert (live["policy"], live["dry_run"], shy["policy"], shy["dry_run"]) == (
            "error-brake",
            False,
            "shy",
            True,
        )
        assert 0.2 < live["ratio"] < 1
        assert live["standing"] == "undecided"

    async def test_status_and_a_flag_carry_the_same_figures(self, canary: Office) -> None:
        gauges = (await got(canary, "/gauges"))["routes"]["support-bot"]["layers"]["prompt"]["versions"]
        status = await got(canary, "/status")
        flag = await got(canary, f"/flags/{PROMPT}")

        layers = status["gauges"]["support-bot"]["layers"]
        for told in (layers["prompt"]["versions"], flag["gauges"]):
            assert [(v["variant"], v["requests"], v["evidence"]) for v in told] == [
                (v["variant"], v["requests"], v["evidence"]) for v in gauges
            ]
        assert status["routes"]["support-bot"]["prompt"]["served"] == "v6"

    async def test_without_any_traffic_everything_is_there_and_empty(self, office: Office) -> None:
        found = await got(office, "/status")
        route = found["gauges"]["support-bot"]

        assert (route["requests"], route["per_second"], route["error_rate"], route["latency_p95"]) == (
            0,
            0,
            None,
            None,
        )
        assert [v["variant"] for v in route["layers"]["model"]["versions"]] == ["gpt-4.1"]

    async def test_breakers_stand_by_their_route(self, office: Office) -> None:
        office.breakers.permit("support-bot", "mock/gpt-4.1", 0.0)

        route = (await got(office, "/gauges"))["routes"]["support-bot"]

        assert route["breakers"] == [{"target": "mock/gpt-4.1", "state": "closed", "workers": ["w1"]}]


class TestHistory:
    async def test_a_route_minute_by_minute_with_the_quiet_ones(self, canary: Office) -> None:
        found = await got(canary, "/history", route="support-bot", minutes=3)
        # The minute may have turned since.
        busy = [point for point in found["points"] if point["requests"]]

        assert len(found["points"]) == 3
        assert sum(point["requests"] for point in busy) == 22
        versions = busy[-1]["layers"]["prompt"]
        assert versions["v7"]["error_rate"] == 0.5
        assert found["points"][0]["time"] < found["points"][1]["time"]
        assert found["points"][0]["time"].endswith(":00Z")

    async def test_an_unknown_route_is_told(self, office: Office) -> None:
        async with office.client() as client:
            answer = await client.get("/history", params={"route": "nope"})

        assert (answer.status_code, "support-bot" in answer.json()["error"]["message"]) == (404, True)


class TestEvidence:
    async def test_a_trial_with_its_counts_and_verdicts(self, canary: Office) -> None:
        (case,) = (await got(canary, f"/evidence/{PROMPT}"))["cases"]
        live = case["policies"][0]

        assert (case["kind"], case["variant"], case["control"], case["percent"]) == ("trial", "v7", "v6", 10)
        assert (case["candidate"], case["control_requests"], case["units"]) == (4, 18, 4)
        assert (live["metric"], live["limit"], live["n"], live["bad"]) == ("error_rate", 0.05, 4, 2)
        assert live["reason"]
        assert case["since"] is not None

    async def test_a_route_with_nothing_to_go_back_to_is_a_watch_without_a_flag(self, office: Office) -> None:
        office.policies = WATCHED
        (case,) = (await got(office, "/evidence"))["cases"]
        bars = (await got(office, "/gauges"))["routes"]["support-bot"]["evidence"]

        assert (case["case"], case["kind"], case["flag"]) == ("route/support-bot", "watch", None)
        assert [bar["policy"] for bar in bars] == ["error-brake", "shy"]

    async def test_an_unknown_flag_is_told(self, office: Office) -> None:
        async with office.client() as client:
            answer = await client.get("/evidence/nope")

        assert answer.status_code == 404


class Fake:
    """Readings that may be away, and count how often they are asked."""

    def __init__(self) -> None:
        self.away, self.asked, self.proofs = False, 0, 0
        self.window = Window(1_800_000_000, 60, *parsed([outcome()]))

    def _answer(self) -> None:
        self.asked += 1
        if self.away:
            raise StoreUnavailable("away")

    async def totals(self) -> Window:
        self._answer()
        return self.window

    async def windows(self, minutes: int, subjects: object) -> list[Window]:
        self._answer()
        return [replace(self.window, start=1_800_000_000 - 60 * (minutes - 1 - n)) for n in range(minutes)]

    async def counts(self, cases: object) -> dict[str, CaseCounts]:
        self._answer()
        return {}

    async def seconds(self, case: str, policy_id: str, limit: int) -> tuple[Second, ...]:
        self.proofs += 1
        return ()


class Lenient:
    """A judge to whom everything is well."""

    def judge(self, case: Case, policy: Policy, counts: CaseCounts, now_ms: int) -> Verdict:
        return Verdict(policy.name, case.key, Standing.HEALTHY, 0.0, f"at {now_ms}")

    def needs_seconds(self, case: Case, policy: Policy, counts: CaseCounts) -> bool:
        return False


def parsed(outcomes: Any) -> tuple[Any, Any]:
    window = window_of(series_of(outcomes))
    return window.routes, window.versions


class Clock:
    now = 100.0


@pytest.fixture
def fake() -> Fake:
    return Fake()


def sight(fake: Fake, clock: Clock, *, away: bool = False, docket: Docket = EMPTY) -> Sight:
    return Sight(
        fake,
        lambda: docket,
        Lenient(),
        away=lambda: away,
        now=lambda: 1_800_000_020.0,
        clock=lambda: clock.now,
    )


class TestSight:
    async def test_who_looks_again_at_once_costs_nothing(self, fake: Fake) -> None:
        clock = Clock()
        seen = sight(fake, clock)
        await seen.totals()
        await seen.totals()
        once = fake.asked
        clock.now += 0.5
        await seen.totals()

        assert (once, fake.asked) == (1, 2)

    async def test_while_the_store_is_away_the_last_answer_holds_and_is_stale(self, fake: Fake) -> None:
        clock = Clock()
        seen = sight(fake, clock)
        await seen.windows(30)
        fake.away = True
        clock.now += 60
        again, shorter = await seen.windows(30), await seen.windows(5)

        assert (again.stale, len(again.value)) == (True, 30)
        assert (shorter.stale, [window.start for window in shorter.value]) == (
            True,
            [1_800_000_000 - 60 * n for n in (4, 3, 2, 1, 0)],
        )

    async def test_nobody_waits_for_a_store_that_is_known_to_be_away(self, fake: Fake) -> None:
        seen = sight(fake, Clock(), away=True)
        found = [await seen.totals(), await seen.windows(5), await seen.judgements()]

        assert (fake.asked, [each.stale for each in found]) == (0, [True] * 3)

    async def test_the_running_minute_is_as_long_as_it_has_lasted(self, fake: Fake) -> None:
        windows = (await sight(fake, Clock()).windows(2)).value

        assert [window.seconds for window in windows] == [60, 20]

    async def test_what_is_held_is_bounded(self, fake: Fake) -> None:
        seen = sight(fake, Clock())
        for minutes in range(1, 200):
            await seen.windows(minutes)

        assert repr(seen) == "<Sight 64 answers held>"


class TestPure:
    def test_trials_come_first_and_mere_routes_last(self) -> None:
        release = Release("a.prompt", "v1", 1)
        trial = Case("a", release, release, 1, 1, (), ())
        watch = replace(trial, key="b", control=None)
        route = replace(watch, key="c", subject=None)

        assert first([route, watch, trial], None) == [trial, watch, route]
        assert first([route, watch, trial], "a.prompt") == [trial, watch]

    def test_a_rate_is_of_the_time_since_the_first_request(self) -> None:
        quiet = Window(0, 60)
        busy = Window(60, 30, *parsed([outcome() for _ in range(15)]))
        span = span_of([quiet, quiet, busy], 3)

        assert figures(span.routes["support-bot"], span.seconds).per_second == 0.5

    def test_what_the_client_did_wrong_is_no_error_of_ours(self) -> None:
        outcomes = [
            outcome(),
            failed(),
            failed(blame=Blame.CLIENT, status=400),
            outcome(ending=Ending.ABANDONED),
        ]
        (stats,) = parsed(outcomes)[0].values()

        assert figures(stats, 60).error_rate == 0.5

    def test_unknown_cost_is_not_zero(self) -> None:
        outcomes = [outcome(cost_usd=None, cost_source=CostSource.UNKNOWN), outcome(cost_usd=0.5)]
        (stats,) = parsed(outcomes)[0].values()
        nothing = figures(Stats(), 60)

        assert (figures(stats, 60).cost_per_request, figures(stats, 60).cost_unknown) == (0.5, 1)
        assert nothing.cost_per_request is None
        assert math.isclose(nothing.cost_usd, 0.0)

    def test_of_the_workers_breakers_the_worst_are_shown(self) -> None:
        def row(worker: str, state: str) -> BreakerRow:
            return BreakerRow("r", "t", state, 0, 0, 0, None, limited=False, worker=worker)

        rows = [row("w1", State.OFF), row("w2", State.OPEN), row("w3", State.CLOSED), row("w4", State.OPEN)]

        assert [each.worker for each in worst_of(rows)["r", "t"]] == ["w2", "w4"]
        assert worst_of([row("w1", "melted"), row("w2", State.CLOSED)])["r", "t"][0].worker == "w1"
