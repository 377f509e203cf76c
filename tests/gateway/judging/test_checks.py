"""A judge that is not there, that is judged by whom it judges, or that is asked for what is no score."""

from __future__ import annotations

from gateway.judging.checks import judge_problems
from gateway.spec import ConfigSpec, MetricSpec, RouteSpec
from gateway.spec_rulebook import JudgeSpec


def problems(name: str = "bot", *, metrics: tuple[str, ...] = ("accuracy",), **judges: str) -> list[str]:
    """The problems of one of the routes; each has a judge, or "" for none."""
    routes = {
        route: RouteSpec(judge=JudgeSpec(percent=5, route=judge, metrics=[*metrics]))
        if judge
        else RouteSpec()
        for route, judge in judges.items()
    }
    config = ConfigSpec(routes={**routes}, metrics={"stars": MetricSpec(type="number", better="higher")})
    return [str(each) for each in judge_problems(name, routes[name], config, routes.keys())]


def test_another_route_may_judge() -> None:
    assert problems(bot="judge", judge="") == []
    assert problems(bot="judge", judge="", metrics=("hallucination", "stars")) == []


def test_a_judge_must_be_there() -> None:
    (problem,) = problems(bot="nobody")

    assert problem.startswith("routes.bot.judge.route: route 'nobody' is not defined (routes: bot)")


def test_nobody_judges_itself_not_even_over_others() -> None:
    (alone,) = problems(bot="bot")
    (over_others,) = problems(bot="a", a="b", b="bot")

    assert "bot → bot" in alone
    assert "bot → a → b → bot" in over_others


def test_a_circle_of_others_is_told_of_them_alone() -> None:
    assert problems(bot="a", a="b", b="a") == []


def test_only_scores_can_be_given() -> None:
    (latency, missing, complaint) = problems(bot="j", j="", metrics=("latency", "humour", "complaint"))

    assert latency.startswith("routes.bot.judge.metrics[0]: 'latency' is no score that a judge can give")
    assert "'humour'" in missing
    assert "'complaint'" in complaint
