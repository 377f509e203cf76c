"""Silent feeds: which are told, and which need not be."""

from __future__ import annotations

from flags.change import Draft
from flags.ledger import Author
from flags.model import Kind, Layer, ObjectKey
from policies.alarms import look_for_silence, silent
from policies.outcome import Blame, Ending
from policies.policy import ACCURACY, ERROR_RATE, Metric, MetricKind, Policy
from policies.window import Scores, Stats, Window
from tests.policies.working import Worker, a_flag

HELPFUL = Policy("helpful", Metric("helpful", MetricKind.SCORE, higher_is_better=True), limit=0.8)
SHIPPED = Policy("accuracy", ACCURACY, times_safe=1.5, layer=Layer.PROMPT, shipped=True)


def minute(requests: int = 10, **scores: int) -> Window:
    """One minute of route `bot`."""
    told = {metric: Scores(count, count) for metric, count in scores.items()}
    return Window(routes={"bot": Stats({(Ending.OK, Blame.NONE): requests}, scores=told)})


def found(*windows: Window, policy: Policy = HELPFUL) -> list[tuple[str, str]]:
    return [(route, each.metric.name) for route, each in silent([policy], ["bot", "quiet"], windows)]


def test_a_feed_that_says_nothing_to_a_hundred_requests_is_silent() -> None:
    assert found(*[minute()] * 10) == [("bot", "helpful")]
    assert found(*[minute()] * 9, minute(9)) == []


def test_one_score_in_ten_minutes_is_a_feed() -> None:
    assert found(*[minute()] * 9, minute(helpful=1)) == []
    assert found(minute(helpful=1), *[minute()] * 10) == [("bot", "helpful")]


def test_a_shipped_policy_misses_only_what_has_come_before() -> None:
    assert found(*[minute()] * 20, policy=SHIPPED) == []
    assert found(minute(accuracy=1), *[minute()] * 20, policy=SHIPPED) == [("bot", "accuracy")]


async def test_it_is_told_once_an_hour_and_by_one_worker(worker: Worker) -> None:
    await worker.declare(a_flag())
    worker.serve("v6", 120)
    await worker.told()
    policies = {"helpful": HELPFUL, "errors": Policy("errors", ERROR_RATE, limit=0.05)}

    first = await look_for_silence(worker.store, worker.measures, policies, ["bot"])
    second = await look_for_silence(worker.store, worker.measures, policies, ["bot"])

    assert (first, second) == (1, 0)
    (entry,) = await worker.log("automation/feeds")
    assert (entry.action, entry.object, entry.affects) == ("alert", "route/bot", ())


async def test_a_route_that_is_gone_is_not_told_of(worker: Worker) -> None:
    await worker.declare(a_flag())
    worker.serve("v6", 120)
    await worker.told()
    key = ObjectKey(Kind.ROUTE, "bot")
    await worker.store.change(Author("ann", "gone"), [key], lambda _: [Draft("delete", key, None)])

    await look_for_silence(worker.store, worker.measures, {"helpful": HELPFUL}, ["bot"])

    assert await worker.log("automation/feeds") == []
