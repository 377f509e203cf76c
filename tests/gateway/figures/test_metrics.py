"""`/metrics`: the names and labels of the contract, the fleet's totals from a real store, and days when that is away."""

from __future__ import annotations

import asyncio
import math
import shutil
import subprocess
from collections.abc import Mapping
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette

from flags.checkpoint import Archives
from flags.connect import connect
from flags.errors import StoreUnavailable
from flags.fleet import WorkerInfo, WorkerState
from flags.model import START, Position
from flags.store import Store
from gateway.app import build_app
from gateway.auth import keyring
from gateway.breaking.shapes import BreakerRow
from gateway.figures.exemplars import Exemplars
from gateway.figures.exposition import Form, lines_of
from gateway.figures.metrics import BOUNDS, Facts, families
from gateway.figures.rollbacks import Rollbacks
from gateway.house import House
from gateway.http.metrics import Metrics
from gateway.settings import Settings
from policies.outcome import Blame, CostSource, Ending, Part
from policies.policy import ERROR_RATE, Policy
from policies.series import series_of
from policies.window import Window, window_from, window_of
from tests.gateway.measured import GPT, PROMPT, V7, failed, measure, outcome, score
from tests.gateway.office import NOW, Office, by
from tests.gateway.test_app import CHAT, declare
from tests.redis_server import RedisServer, binaries

OPENMETRICS = "application/openmetrics-text; version=1.0.0"
Samples = Mapping[str, Mapping[tuple[tuple[str, str], ...], float]]


def scraper(office: Office, **headers: str) -> httpx.AsyncClient:
    ofrep = {"one": 5, "all": 2, "unchanged": 1, "failed": 0}
    metrics = Metrics(office, running=lambda: 3, age_seconds=lambda: 0.25, ofrep=lambda: (ofrep, 4))
    transport = httpx.ASGITransport(app=Starlette(routes=metrics.routes()))
    return httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:4000", headers=headers)


async def scraped(office: Office, **headers: str) -> str:
    async with scraper(office, **headers) as client:
        answer = await client.get("/metrics")
    assert answer.status_code == 200, answer.text
    return answer.text


def told(facts: Facts, exemplars: Exemplars | None = None, form: Form = Form.TEXT) -> list[str]:
    return [*lines_of(families(facts, exemplars), form)]


def facts(outcomes: Any = (), **more: Any) -> Facts:
    window = Window(0, 0, window_of(series_of(outcomes)).routes, window_of(series_of(outcomes)).versions)
    return Facts(
        **{
            "worker": "w1", "version": "1", "revision": 7, "age_seconds": 0.5, "degraded": False, "in_flight": 0,
            "totals": window, **more,
        }
    )  # fmt: skip


class TestNames:
    """Each name and label of CONTRACT §8."""

    def test_requests_by_route_ending_and_blame(self) -> None:
        lines = told(
            facts([outcome(), outcome(), failed(), outcome(ending=Ending.ABANDONED, blame=Blame.CLIENT)])
        )

        assert 'pointsman_requests_total{route="support-bot",ending="ok",blame="none"} 2' in lines
        assert 'pointsman_requests_total{route="support-bot",ending="failed",blame="upstream"} 1' in lines
        assert 'pointsman_requests_total{route="support-bot",ending="abandoned",blame="client"} 1' in lines

    def test_a_shielded_request_is_one_request_and_two_outcomes(self) -> None:
        lines = told(facts([failed(V7, part=Part.TRIED, how="c"), outcome(part=Part.SHIELD)]))

        assert 'pointsman_requests_total{route="support-bot",ending="ok",blame="none"} 1' in lines
        assert not [
            line for line in lines if line.startswith("pointsman_requests_total") and "failed" in line
        ]
        assert f'pointsman_outcomes_total{{flag="{PROMPT}",variant="v6",ending="ok"}} 1' in lines
        assert f'pointsman_outcomes_total{{flag="{PROMPT}",variant="v7",ending="failed"}} 1' in lines
        assert 'pointsman_shielded_total{route="support-bot"} 1' in lines

    def test_histograms_count_all_that_is_at_most_a_bound(self) -> None:
        lines = told(facts([outcome(seconds=0.25), outcome(seconds=0.2500001), outcome(seconds=1e4)]))

        bucket = 'pointsman_request_seconds_bucket{route="support-bot",le='
        assert f'{bucket}"0.125"}} 0' in lines
        assert f'{bucket}"0.25"}} 1' in lines
        assert f'{bucket}"0.5"}} 2' in lines
        assert f'{bucket}"512.0"}} 2' in lines
        assert f'{bucket}"+Inf"}} 3' in lines
        assert 'pointsman_request_seconds_count{route="support-bot"} 3' in lines
        assert 'pointsman_first_content_seconds_bucket{route="support-bot",le="0.125"} 3' in lines

    def test_overhead_is_the_houses_own(self) -> None:
        lines = told(
            facts([outcome(overhead_seconds=2.0**-13), outcome(overhead_seconds=2.0**-12, route="other")])
        )

        assert 'pointsman_overhead_seconds_bucket{le="0.0001220703125"} 1' in lines
        assert "pointsman_overhead_seconds_count 2" in lines

    def test_cost_and_tokens_by_version(self) -> None:
        dark = outcome(cost_usd=None, cost_source=CostSource.UNKNOWN, input_tokens=100)
        lines = told(facts([outcome(cost_usd=0.25), outcome(cost_usd=0.5), dark, failed(input_tokens=None)]))

        assert f'pointsman_cost_usd_total{{flag="{PROMPT}",variant="v6"}} 0.75' in lines
        assert f'pointsman_tokens_total{{flag="{PROMPT}",variant="v6",direction="input"}} 300' in lines
        assert f'pointsman_costs_total{{flag="{PROMPT}",variant="v6",source="unknown"}} 1' in lines

    def test_rollbacks_and_what_is_not_counted_yet(self) -> None:
        counted = told(facts(rollbacks={(PROMPT, "policy/error-brake"): 2}))

        assert f'pointsman_rollbacks_total{{flag="{PROMPT}",by="policy/error-brake"}} 2' in counted
        assert "pointsman_rollbacks_total" not in "".join(told(facts(rollbacks=None)))

    def test_breakers_tell_the_worst_of_the_workers(self) -> None:
        rows = [
            BreakerRow("r", "openai/gpt", state, 0, 0, 0, None, limited=False, worker=worker)
            for worker, state in (("w1", "closed"), ("w2", "open"), ("w3", "half_open"))
        ]

        assert 'pointsman_breaker_state{route="r",target="openai/gpt"} 2' in told(facts(breakers=rows))

    def test_workers_that_live_are_told_each_once(self) -> None:
        workers = [
            WorkerState(WorkerInfo(name), Position(revision, "x"), age)
            for name, revision, age in (("w1", 6, 0.1), ("w2", 5, 1.5), ("dead", 4, 60.0))
        ]
        lines = told(facts(workers=workers))

        assert [line for line in lines if line.startswith("pointsman_revision{")] == [
            'pointsman_revision{worker="w1"} 7',
            'pointsman_revision{worker="w2"} 5',
        ]
        assert 'pointsman_snapshot_age_seconds{worker="w2"} 1.5' in lines

    def test_what_is_always_there(self) -> None:
        lines = told(facts())

        assert {"pointsman_degraded 0", "pointsman_outcomes_dropped_total 0"} <= set(lines)
        assert "pointsman_degraded 1" in told(facts(degraded=True))

    def test_what_a_worker_brakes_by_itself(self) -> None:
        assert 'pointsman_local_brake{worker="w1",flag="a.prompt"} 1' in told(facts(diverted=["a.prompt"]))

    def test_whole_numbers_come_back_from_redis_as_floats(self) -> None:
        window = window_from({"r|a|e:ok:none": 3.0, "h|dropped": 2.0, "h|feedback:late": 1.0})
        lines = told(facts(totals=window))

        assert 'pointsman_requests_total{route="a",ending="ok",blame="none"} 3' in lines
        assert "pointsman_outcomes_dropped_total 2" in lines
        assert 'pointsman_feedback_total{result="late"} 1' in lines


class TestExemplars:
    def exemplars(self, **more: Any) -> Exemplars:
        return Exemplars(BOUNDS, now=lambda: NOW, **more)

    def test_the_last_request_of_a_bucket_stands_for_it(self) -> None:
        kept = self.exemplars()
        kept.note([outcome(seconds=0.25, request_id="first"), outcome(seconds=0.2, request_id="last")])
        kept.note([outcome(seconds=3.0, request_id="slow")])
        found = kept.of("support-bot", "seconds").values()

        assert sorted(dict(each.labels)["request_id"] for each in found) == ["last", "slow"]

    def test_what_no_histogram_counts_is_no_exemplar(self) -> None:
        kept = self.exemplars()
        kept.note([failed(part=Part.TRIED), outcome(ending=Ending.REFUSED, first_content_seconds=None)])

        assert kept.of("support-bot", "seconds") == {}

    def test_the_eldest_route_goes_when_there_are_too_many(self) -> None:
        kept = self.exemplars(routes=2)
        kept.note([outcome(route=name) for name in ("a", "b", "c")])

        assert [bool(kept.of(name, "seconds")) for name in ("a", "b", "c")] == [False, True, True]

    @pytest.mark.parametrize("seconds", [2.0**-7, 0.1, 0.25, 0.2500001, 512.0, 600.0])
    def test_an_exemplar_lies_in_the_bucket_on_which_it_stands(self, seconds: float) -> None:
        kept, made = self.exemplars(), [outcome(seconds=seconds, request_id="r")]
        kept.note(made)
        (line,) = [
            line
            for line in told(facts(made), kept, Form.OPENMETRICS)
            if "_request_" in line and "# {" in line
        ]
        bounds = [0.0, *BOUNDS["seconds"], math.inf]
        at = bounds.index(float(line.partition('le="')[2].partition('"')[0]))

        assert bounds[at - 1] < seconds <= bounds[at]


@pytest.fixture
async def busy(office: Office) -> Office:
    """Some of everything."""
    office.policies = {"error-brake": Policy("error-brake", ERROR_RATE, limit=0.05)}
    await office.operations.rollout(by(), PROMPT, "v7", 10)
    made = [outcome(), outcome(V7, GPT), failed(V7, GPT), outcome(seconds=3.0)]
    await measure(office, made, [score("accuracy", 1.0)])
    office.exemplars.note(made)
    office.breakers.permit("support-bot", "mock/gpt-4.1", 0.0)
    return office


class TestScrape:
    async def test_the_old_text_and_openmetrics_by_accept(self, busy: Office) -> None:
        async with scraper(busy) as client:
            old = await client.get("/metrics")
            new = await client.get("/metrics", headers={"accept": OPENMETRICS})

        assert old.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
        assert new.headers["content-type"] == "application/openmetrics-text; version=1.0.0; charset=utf-8"
        assert new.text.endswith("\n# EOF\n")
        assert ('# {request_id="' in new.text, "# {" in old.text) == (True, False)

    async def test_both_are_what_prometheus_own_client_reads(self, busy: Office) -> None:
        old = pytest.importorskip("prometheus_client.parser")
        new = pytest.importorskip("prometheus_client.openmetrics.parser")
        plain = {f.name: f for f in old.text_string_to_metric_families(await scraped(busy))}
        opened = {
            f.name: f for f in new.text_string_to_metric_families(await scraped(busy, accept=OPENMETRICS))
        }

        assert plain.keys() == opened.keys()
        (ratio,) = opened["pointsman_evidence_ratio"].samples
        assert ratio.labels == {"flag": PROMPT, "variant": "v7", "policy": "error-brake"}
        assert 0 < ratio.value < 1
        assert sum(s.value for s in opened["pointsman_requests"].samples) == 4

    async def test_rollbacks_are_counted_by_flag_and_by_who_pulled(self, busy: Office) -> None:
        await busy.operations.rollback(by("policy/error-brake"), PROMPT)

        assert f'pointsman_rollbacks_total{{flag="{PROMPT}",by="policy/error-brake"}} 1' in await scraped(
            busy
        )

    async def test_in_flight_and_rollouts_are_told_too(self, busy: Office) -> None:
        lines = (await scraped(busy)).splitlines()

        assert 'pointsman_requests_in_flight{worker="w1"} 3' in lines
        assert f'pointsman_rollout_percent{{flag="{PROMPT}",variant="v7"}} 10' in lines

    async def test_flags_for_others_and_decisions_of_others_are_told(self, busy: Office) -> None:
        lines = (await scraped(busy)).splitlines()

        assert 'pointsman_ofrep_answers_total{worker="w1",answer="unchanged"} 1' in lines
        assert 'pointsman_ofrep_streams{worker="w1"} 4' in lines
        assert 'pointsman_undecided_total{worker="w1"} 0' in lines

    def test_whether_a_provider_is_asked_is_told(self) -> None:
        decided_by = {("bot", "ours:flagd"): True, ("other", "ours:gone"): False}

        lines = told(facts(decided_by=decided_by, undecided=7))

        assert 'pointsman_decided_by{worker="w1",route="bot",provider="ours:flagd"} 1' in lines
        assert 'pointsman_decided_by{worker="w1",route="other",provider="ours:gone"} 0' in lines
        assert 'pointsman_undecided_total{worker="w1"} 7' in lines

    async def test_with_operators_tokens_one_of_them_is_needed_and_a_viewers_is_enough(
        self, busy: Office
    ) -> None:
        busy.keys = keyring(
            {}, {"operators": [{"name": "prom", "token": "scrape-me-please", "role": "viewer"}]}
        )
        async with scraper(busy) as client:
            without = await client.get("/metrics")
            viewer = await client.get("/metrics", headers={"authorization": "Bearer scrape-me-please"})

        assert (without.status_code, viewer.status_code) == (401, 200)

    async def test_another_sites_page_reads_nothing_where_there_are_no_keys(self, busy: Office) -> None:
        async with scraper(busy, host="evil.example") as client:
            answer = await client.get("/metrics")

        assert answer.status_code == 403

    @pytest.mark.full
    async def test_promtool_finds_nothing_wrong(self, busy: Office) -> None:
        promtool = shutil.which("promtool")
        if promtool is None:
            pytest.skip("needs Debian's prometheus")
        text = await scraped(busy)
        checked = await asyncio.to_thread(
            subprocess.run,
            [promtool, "check", "metrics"],
            input=text,
            text=True,
            capture_output=True,
            check=False,
        )

        assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")


async def test_with_the_store_away_the_last_totals_are_told_and_degraded(tmp_path: Any) -> None:
    found = binaries()
    server = RedisServer(tmp_path, found.get("valkey") or found["redis"])
    with server:
        office = await Office(server.url).start()
        await measure(office, [outcome()])
        before = await scraped(office)
    try:
        after = await scraped(office)
    finally:
        await office.aclose()

    line = 'pointsman_requests_total{route="support-bot",ending="ok",blame="none"} 1'
    assert (line in before, "pointsman_degraded 0" in before) == (True, True)
    assert (line in after, "pointsman_degraded 1" in after) == (True, True)


class TestRollbacks:
    async def test_a_long_history_is_read_on_with_each_look(self, office: Office, monkeypatch: Any) -> None:
        for variant in ("v7", "v5"):
            await office.operations.switch(by(), PROMPT, variant)
            await office.operations.rollback(by(), PROMPT)
        monkeypatch.setattr("gateway.figures.rollbacks.PAGE", 2)
        monkeypatch.setattr("gateway.figures.rollbacks.PAGES", 2)
        rollbacks = Rollbacks(office.store)
        looks = [await rollbacks.counted() for _ in range(4)]

        assert looks[0] is None
        assert looks[-1] == {(PROMPT, "alice"): 2}

    async def test_only_rollbacks_count_and_each_once(self, office: Office) -> None:
        await office.operations.switch(by(reason='"action":"rollback"'), PROMPT, "v7")
        await office.operations.rollback(by(), PROMPT)
        rollbacks = Rollbacks(office.store)

        assert await rollbacks.counted() == {(PROMPT, "alice"): 1}
        assert await rollbacks.counted() == {(PROMPT, "alice"): 1}

    async def test_a_ledger_that_lost_its_tail_is_counted_anew(self, office: Office) -> None:
        class Short:
            def __init__(self, store: Store) -> None:
                self.store, self.lost = store, False

            async def head(self) -> Any:
                head = await self.store.head()
                return type(head)(START, 0) if self.lost else head

            async def archived(self) -> Archives:
                return await self.store.archived()

            async def read_log_bytes(self, after: int, limit: int) -> list[bytes]:
                return await self.store.read_log_bytes(after, limit)

        await office.operations.switch(by(), PROMPT, "v7")
        await office.operations.rollback(by(), PROMPT)
        ledger = Short(office.store)
        rollbacks = Rollbacks(ledger)
        before = await rollbacks.counted()
        ledger.lost = True

        assert (before, await rollbacks.counted()) == ({(PROMPT, "alice"): 1}, {})

    async def test_names_beyond_a_bound_are_left_out(self, office: Office, monkeypatch: Any) -> None:
        monkeypatch.setattr("gateway.figures.rollbacks.MOST", 1)
        for actor in ("alice", "bob", "carol"):
            await office.operations.switch(by(), PROMPT, "v7")
            await office.operations.rollback(by(actor), PROMPT)
            await office.operations.restore(by(), PROMPT, "v7")

        assert await Rollbacks(office.store).counted() == {(PROMPT, "alice"): 1, (PROMPT, "others"): 2}

    async def test_a_store_that_is_away_is_no_answer(self) -> None:
        store = Store(connect("redis://127.0.0.1:1"), "t")
        with pytest.raises(StoreUnavailable):
            await Rollbacks(store).counted()
        await store.aclose()


async def test_a_whole_worker_tells_what_it_served(tmp_path: Any, redis_url: str) -> None:
    settings = Settings(data_dir=str(tmp_path), redis=redis_url, namespace="scraped")
    house = await House.open(settings, environ={})
    try:
        await declare(house, tmp_path)
        transport = httpx.ASGITransport(app=build_app(house))
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
            for _ in range(3):
                await client.post("/v1/chat/completions", json=CHAT)
            # It flushes what it has.
            await house.gauge.aclose()
            answer = await client.get("/metrics")
    finally:
        await house.aclose()

    lines = answer.text.splitlines()
    assert 'pointsman_requests_total{route="support-bot",ending="ok",blame="none"} 3' in lines
    assert f'pointsman_requests_in_flight{{worker="{house.worker.id}"}} 0' in lines
    assert "pointsman_overhead_seconds_count 3" in lines
