"""The operators' endpoints for evals, over a real socket."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from flags.canonical import digest
from gateway.house import House
from tests.gateway.evals.scene import CONFIG, FLAG, card, case, change, contains, log_of, promote, suite
from tests.gateway.open_house import open_house

SLOW = CONFIG.replace('"v6 says: Paris"', '"v6 says: Paris", delay_seconds: 0.05')


@pytest.fixture
async def client(opened: tuple[House, str]) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=f"{opened[1]}/admin/v1", timeout=30) as made:
        yield made


def body(variant: str = "v6", **more: Any) -> dict[str, Any]:
    return {"flag": FLAG, "variant": variant, "suite": suite(), **more}


def events(text: str) -> list[tuple[str, Any]]:
    """The events of a stream: (name, JSON)."""
    found = []
    for block in text.strip().split("\n\n"):
        lines = dict(line.split(": ", 1) for line in block.splitlines())
        if "event" in lines:
            found.append((lines["event"], json.loads(lines["data"])))
    return found


async def test_a_suite_that_nests_too_deeply_is_refused_before_anything_is_asked(
    client: httpx.AsyncClient,
) -> None:
    deep = "[" * 300 + "]" * 300
    text = json.dumps(body(suite=suite(case("DEEP", contains("x"))))).replace('"DEEP"', deep)

    answer = await client.post("/evals", content=text)

    assert (answer.status_code, "nested" in answer.json()["error"]["message"]) == (422, True)


async def test_a_run_that_breaks_by_a_bug_of_ours_ends_with_an_error_and_not_in_the_middle(
    house: House, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: Any, **__: Any) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(house.evaluator, "run", broken)

    answer = await client.post("/evals", json=body())

    assert events(answer.text)[-1] == (
        "error",
        {"error": {"code": "internal_error", "message": "this is our fault; the server's log says more"}},
    )


async def test_a_run_answers_with_its_report_as_the_contract_has_it(
    house: House, client: httpx.AsyncClient
) -> None:
    answer = await client.post("/evals", json=body())
    name, told = events(answer.text)[-1]
    kept = await client.get(f"/evals/{told['report']}")

    assert answer.headers["content-type"].startswith("text/event-stream")
    assert name == "report"
    assert told.keys() == {
        "flag", "variant", "suite", "suite_hash", "passed", "pass_rate", "score", "cases", "not_evaluated", "report",
    }  # fmt: skip
    assert (told["passed"], told["pass_rate"], told["cases"]) == (True, 1.0, 1)
    assert kept.json()["results"][0]["title"]
    assert (await card(house, "v6")).newest.report == told["report"]


async def test_progress_comes_before_the_report(redis_url: str, tmp_path: Path) -> None:
    async with open_house(redis_url, tmp_path, SLOW) as (_, url), httpx.AsyncClient(timeout=30) as client:
        tests = suite(*[case(f"{number}?", contains("x")) for number in range(40)])
        answer = await client.post(
            f"{url}/admin/v1/evals", json=body(suite=tests, route="bot", concurrency=2)
        )

    found = events(answer.text)
    told = [data for name, data in found if name == "progress"]
    assert found[-1][0] == "report"
    assert told
    assert all(each["total"] == 40 for each in told)
    assert [each["done"] for each in told] == sorted({each["done"] for each in told})


@pytest.mark.parametrize(
    ("wrong", "status", "found"),
    [
        ({"flag": "nothing"}, 404, "not_found"),
        ({"variant": "v9"}, 404, "not_found"),
        ({"route": "judge"}, 422, "invalid"),
        ({"suite": {"tests": []}}, 422, "invalid"),
        ({"suite": None}, 422, "no_suite"),
        ({"concurrency": 65}, 422, "invalid"),
        ({"repeat": 0}, 422, "invalid"),
        ({"min_pass_rate": 1.5}, 422, "invalid"),
        ({"nonsense": 1}, 422, "invalid"),
    ],
)
async def test_what_cannot_be_run_is_a_plain_refusal(
    client: httpx.AsyncClient, wrong: dict[str, Any], status: int, found: str
) -> None:
    answer = await client.post("/evals", json={**body(), **wrong})

    error = answer.json()["error"]
    assert (answer.status_code, error.get("rule", error["code"])) == (status, found)


async def test_who_leaves_ends_the_run_and_nothing_is_written(redis_url: str, tmp_path: Path) -> None:
    tests = suite(*[case(f"{number}?", contains("x")) for number in range(500)])
    async with open_house(redis_url, tmp_path, SLOW) as (house, url):
        async with (
            httpx.AsyncClient(timeout=30) as client,
            client.stream("POST", f"{url}/admin/v1/evals", json=body(suite=tests)) as stream,
        ):
            async for line in stream.aiter_lines():
                if '"done"' in line and '"done":0' not in line:
                    break
        while [task for task in asyncio.all_tasks() if "Evaluator.run" in repr(task)]:
            await asyncio.sleep(0.01)

        assert await log_of(house, "eval") == await log_of(house, "eval.failed") == []
        assert not house.upstreams["mock"].running


async def test_a_worker_that_stops_ends_the_run_and_says_so(redis_url: str, tmp_path: Path) -> None:
    tests = suite(*[case(f"{number}?", contains("x")) for number in range(500)])
    async with open_house(redis_url, tmp_path, SLOW) as (house, url), httpx.AsyncClient(timeout=30) as client:
        asked = asyncio.create_task(client.post(f"{url}/admin/v1/evals", json=body(suite=tests)))
        while not house.upstreams["mock"].running:
            await asyncio.sleep(0.01)
        house.drain()
        answer = await asked

        assert events(answer.text)[-1][0] == "error"
        assert "stopping" in events(answer.text)[-1][1]["error"]["message"]
        assert await log_of(house, "eval.failed") == []


@pytest.mark.parametrize(("name", "status"), [("0" * 64, 404), ("report!", 422)])
async def test_a_report_that_is_not_kept_is_told(client: httpx.AsyncClient, name: str, status: int) -> None:
    answer = await client.get(f"/evals/{name}")

    assert answer.status_code == status


async def test_a_report_from_elsewhere_is_judged_anew_and_marked(
    house: House, client: httpx.AsyncClient
) -> None:
    rows = [
        {"case": 1, "repeat": 1, "passed": True, "score": 1.0, "title": "first"},
        {"case": 2, "repeat": 1, "passed": False, "score": 0.0, "title": "second", "reason": "no Paris"},
    ]
    report = {
        "suite": "theirs.yaml",
        "suite_hash": "a" * 64,
        "by": "promptfoo",
        "passed": True,
        "results": rows,
    }

    answer = await client.post("/evals/report", json={"flag": FLAG, "variant": "v7", "report": report})

    told = answer.json()
    (entry,) = await log_of(house, "eval.failed")
    assert (told["passed"], told["pass_rate"]) == (False, 0.5)
    assert entry.evidence["made_by"] == "promptfoo"
    assert (await card(house, "v7")).evaluations["a" * 64].passed is False


@pytest.mark.parametrize("report", [{}, {"suite": "s", "suite_hash": "x", "results": []}, {"results": "all"}])
async def test_what_is_no_report_is_refused(
    house: House, client: httpx.AsyncClient, report: dict[str, Any]
) -> None:
    answer = await client.post("/evals/report", json={"flag": FLAG, "variant": "v7", "report": report})

    assert answer.status_code == 422
    assert (await card(house, "v7")).newest is None


async def test_a_report_from_elsewhere_on_a_withdrawn_version_is_refused(
    house: House, client: httpx.AsyncClient
) -> None:
    """An app's pin to it reaches the safe version, so whoever asked from outside asked that one."""
    await change(house, lambda flag: replace(flag, withdrawn=frozenset({"v7"})))
    rows = [{"case": 1, "passed": True, "score": 1.0}]
    report = {"suite": "theirs.yaml", "suite_hash": "a" * 64, "results": rows}

    answer = await client.post("/evals/report", json={"flag": FLAG, "variant": "v7", "report": report})

    assert answer.json()["error"]["rule"] == "variant_withdrawn"


async def test_a_report_from_elsewhere_of_a_part_of_the_flags_own_suite_is_no_pass(
    house: House, client: httpx.AsyncClient
) -> None:
    document = suite(case("Which city?", contains("Paris")), case("Which river?", contains("Seine")))
    await promote(house, document)
    rows = [{"case": number, "passed": True, "score": 1.0} for number in (1, 2)]
    report = {"suite": "suite.yaml", "suite_hash": digest(document)}

    part = await client.post(
        "/evals/report", json={"flag": FLAG, "variant": "v7", "report": {**report, "results": rows[:1]}}
    )
    whole = await client.post(
        "/evals/report", json={"flag": FLAG, "variant": "v7", "report": {**report, "results": rows}}
    )

    assert (part.json()["passed"], whole.json()["passed"]) == (None, True)


async def test_a_report_from_elsewhere_on_another_content_is_refused(client: httpx.AsyncClient) -> None:
    rows = [{"case": 1, "passed": True, "score": 1.0}]
    report = {"suite": "theirs.yaml", "suite_hash": "a" * 64, "results": rows, "hash": "0" * 64}

    answer = await client.post("/evals/report", json={"flag": FLAG, "variant": "v7", "report": report})

    assert answer.json()["error"]["rule"] == "hash_changed"
