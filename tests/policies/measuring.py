"""Builders for tests of measurement: releases, outcomes, gains, dockets, and measures whose clock is a number."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from flags.call import Script
from policies.case import Case, Docket, Judged, RouteCases
from policies.counts import Batch, CaseGain, EventGain, PolicyGain
from policies.measures import Measures
from policies.outcome import Blame, CostSource, Ending, Outcome, Part, Release
from policies.policy import ERROR_RATE, Policy
from tests.flags.stores import opened

V6, V7 = Release("bot.prompt", "v6", 1), Release("bot.prompt", "v7", 2)
MODEL = Release("bot.model", "gpt", 1)
ERRORS = Policy("errors", ERROR_RATE, limit=0.05, times_safe=2.0)
CASE = "bot.prompt/v7/2"


def outcome(
    request_id: str = "r1",
    release: Release = V6,
    *,
    ending: Ending = Ending.OK,
    route: str = "bot",
    seconds: float = 1.0,
    part: Part = Part.WHOLE,
    unit: str = "",
    cost: float | None = None,
) -> Outcome:
    """A request that went well on v6, unless said otherwise."""
    return Outcome(
        request_id,
        route,
        (release, MODEL),
        ending,
        Blame.UPSTREAM if ending is Ending.FAILED else Blame.NONE,
        200,
        seconds,
        input_tokens=10,
        output_tokens=5,
        cost_usd=cost,
        cost_source=CostSource.TABLE if cost is not None else CostSource.UNKNOWN,
        how="cd",
        revision=5,
        part=part,
        unit=unit,
        overhead_seconds=0.5,
    )


def docket() -> Docket:
    """v7 on trial against v6 at 10 %, judged by its errors."""
    case = Case(CASE, V7, V6, 1000, 5, (ERRORS,), ("bot",))
    routes = {"bot": RouteCases({"bot.prompt": Judged(case, (ERRORS,))}, ())}
    return Docket({CASE: case}, routes, {"errors": ERRORS})


def gain(bad: float = 1.0, *, n: int = 1, weight: int = 1000, units: tuple[str, ...] = ()) -> CaseGain:
    """What a trial gains from n candidate's requests, `bad` of them bad, by these units."""
    listed: list[str | float] = [each for unit in units for each in (unit, 1.0)]
    event = EventGain(candidate=bad, candidate_units=listed)
    return CaseGain(
        CASE, weight, n, 0, 0, list(units), [PolicyGain(ERRORS.id, "trial", n, bad, events=[event])]
    )


def batch(number: int = 1, *gains: CaseGain, worker: str = "w1") -> Batch:
    return Batch(worker, number, {"r|bot": {"e:ok:none": 1}}, list(gains))


def set_clock(measures: Measures, second: int) -> None:
    """Let the flush script believe that it is this second, whatever Redis' clock says."""
    lua = measures._scripts["flush"].text
    line = next(each for each in lua.splitlines() if each.startswith("local now ="))
    measures._scripts["flush"] = Script.of(lua.replace(line, f"local now = {{'{second}', '0'}}"))


@asynccontextmanager
async def measuring(url: str, namespace: str = "default") -> AsyncIterator[Measures]:
    async with opened(url, namespace) as store:
        yield Measures(store)
