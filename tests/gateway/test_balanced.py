"""A model version with several equal targets: who is asked, who steps in, and what each costs."""

from __future__ import annotations

from typing import Any

import pytest

from flags.model import Context, Layer
from gateway.content import content_problems
from gateway.decision import Asked
from gateway.declaring.plan import _upstreams_of
from gateway.errors import UpstreamRefused
from gateway.price import Prices, Tariff
from gateway.route import decide
from gateway.shield import without_retries
from gateway.spec import ModelContent, WeightedTarget
from gateway.spec_base import Target
from gateway.version import attempts
from policies.breaker import State
from tests.gateway.breaking.test_breakers import forced
from tests.gateway.builders import MODEL, serving
from tests.gateway.test_dispatch import Actor, Floor

EQUALS = {**MODEL, "targets": [{"upstream": "spare", "model": "gpt-4.1"}]}
OWN, OTHER = "mock/gpt-4.1", "spare/gpt-4.1"


class Scales(Floor):
    """A floor whose draws are given."""

    def __init__(self, content: Any = EQUALS, *lots: float) -> None:
        super().__init__(content)
        self.lots = list(lots) or [0.0]
        self.dispatcher._draw = self.draw

    def draw(self) -> float:
        return self.lots.pop(0) if len(self.lots) > 1 else self.lots[0]


@pytest.mark.parametrize(("lot", "target"), [(0.1, OWN), (0.9, OTHER)])
async def test_the_draw_says_who_is_asked_first(lot: float, target: str) -> None:
    x, _ = await Scales(EQUALS, lot).ask()

    assert x.answered is not None
    assert (x.answered.target, x.stumbled, x.fallback) == (target, False, None)


async def test_weights_are_shares_of_the_requests() -> None:
    floor = Scales({**EQUALS, "weight": 3.0}, *[n / 100 for n in range(101)])
    for _ in range(100):
        await floor.ask()

    assert (floor.mock.asked, floor.spare.asked) == (75, 25)


async def test_what_fails_goes_on_to_the_other_equals_then_round_again_then_to_fallbacks() -> None:
    content = {**EQUALS, "retries": 1, "fallbacks": [{"upstream": "third", "model": "small"}]}
    floor = Scales(content, 0.9)
    third = Actor(floor.clock)
    floor.dispatcher._upstreams = {"mock": floor.mock, "spare": floor.spare, "third": third}  # type: ignore[dict-item]
    floor.mock.lines = floor.spare.lines = [503]
    x, _ = await floor.ask()

    assert (floor.spare.asked, floor.mock.asked, third.asked) == (2, 1, 1)
    assert (x.attempts, x.stumbled, x.fallback) == (4, True, "third")
    assert floor.slept == [pytest.approx(0.09)]


async def test_a_target_whose_breaker_is_open_is_passed_over() -> None:
    floor = Scales(EQUALS, 0.1)
    floor.mock.lines = [500]
    for _ in range(6):
        await floor.ask()

    assert floor.states()[OWN] is State.OPEN
    assert floor.mock.asked == 5
    assert floor.spare.asked == 6


async def test_where_all_are_open_the_one_that_failed_longest_ago_is_asked_anyway() -> None:
    floor = Scales(EQUALS, 0.1)
    floor.mock.lines = floor.spare.lines = [500]
    for _ in range(6):
        await floor.ask()

    assert set(floor.states().values()) == {State.OPEN}
    assert floor.breakers.asked_anyway == 1


async def test_the_fastest_is_asked_once_both_are_known() -> None:
    floor = Scales({**EQUALS, "balance": "latency"}, 0.1)
    floor.mock.lines, floor.spare.lines = [2.0], [0.1]
    for _ in range(8):
        await floor.ask(floor.exchange(stream=True))

    assert (floor.mock.asked, floor.spare.asked) == (1, 7)


async def test_a_target_that_fails_fast_is_not_the_fastest() -> None:
    floor = Scales({**EQUALS, "balance": "latency"}, 0.1)
    floor.mock.lines, floor.spare.lines = [UpstreamRefused("down")], [1.0]
    for _ in range(4):
        await floor.ask(floor.exchange(stream=True))

    assert (floor.mock.asked, floor.spare.asked) == (1, 4)


async def test_a_candidate_and_its_control_are_drawn_alike() -> None:
    """Else an outage of one target would be charged to the candidate that happened to meet it."""
    floor = Scales(EQUALS, 0.9, 0.1)
    x = floor.exchange()
    await floor.ask(x, trial=True)
    await floor.ask(x)

    assert (floor.spare.asked, floor.mock.asked) == (2, 0)


async def test_a_candidate_is_not_tried_on_a_target_that_is_known_to_be_down() -> None:
    floor = Scales(EQUALS, 0.1)
    floor.breakers.follow(forced(floor.serving, {OWN: "open"}))
    await floor.ask(trial=True)

    assert (floor.mock.asked, floor.spare.asked) == (0, 1)


async def test_a_control_without_retries_keeps_its_equals() -> None:
    floor = Scales({**EQUALS, "retries": 3}, 0.1)
    decision = decide(floor.serving, floor.serving.routes["support-bot"], Asked(Context("u"), {}, 0))
    model = without_retries(decision).model
    ordered = floor.dispatcher._ordered(model, floor_ask(floor), floor.exchange(), trial=False)

    assert [each.target for each in ordered] == [OWN, OTHER]


def floor_ask(floor: Floor) -> Any:
    x = floor.exchange()
    return x.wire.read(x.body)


def test_each_target_has_its_own_rate_and_the_versions_price_is_its_own() -> None:
    content = ModelContent(
        "mock",
        "gpt-4.1",
        retries=3,
        targets=[WeightedTarget("spare", "b", 2.0)],
        fallbacks=[Target("third", "c")],
    )
    found = attempts(content, Tariff(Prices(), serving().snapshot))

    assert [each.target for each in found] == [OWN, "spare/b", OWN, "spare/b", OWN, "third/c"]
    assert [each.pause for each in found] == [0, 0, 0.1, 0.2, 0.4, 0]
    assert [each.fallback for each in found] == [False] * 5 + [True]


# What may be written


def test_a_target_that_is_not_defined_is_refused_with_its_path() -> None:
    (problem,) = content_problems(Layer.MODEL, EQUALS, upstreams={"mock"})

    assert problem.path == "targets[0].upstream"


@pytest.mark.parametrize(
    ("targets", "path"),
    [
        ([{"upstream": "mock", "model": "gpt-4.1"}], "targets[0]"),
        ([{"upstream": "spare", "model": "a"}, {"upstream": "spare", "model": "a"}], "targets[1]"),
    ],
)
def test_a_target_that_is_named_twice_is_refused(targets: list[Any], path: str) -> None:
    (problem,) = content_problems(Layer.MODEL, {**MODEL, "targets": targets})

    assert (problem.path, "already" in problem.message) == (path, True)


def test_an_upstream_that_a_target_names_is_in_use() -> None:
    assert _upstreams_of(EQUALS) == {"mock", "spare"}
