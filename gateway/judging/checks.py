"""What may be written as a route's judge, and why not. Knows the config; asks nobody."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from flags.errors import Invalid
from gateway.spec import ConfigSpec, RouteSpec
from policies.policy import BUILT_IN, OUTSIDE, MetricKind


def judge_problems(
    name: str, spec: RouteSpec, config: ConfigSpec, routes: Collection[str]
) -> Iterator[Invalid]:
    """A judge that is not there or is judged by whom it judges, and metrics that are no scores. `routes`: all known."""
    judge = spec.judge
    if judge is None:
        return
    path = f"routes.{name}.judge"
    if judge.route not in routes:
        listed = ", ".join(sorted(routes)) or "none"
        yield Invalid(f"{path}.route", f"route {judge.route!r} is not defined (routes: {listed})")
    circle = circle_of(name, config.routes)
    if circle:
        shown = " → ".join(circle)
        mend = "name a route that judges others and is judged by nobody"
        yield Invalid(f"{path}.route", f"the route would judge itself: {shown}", mend=mend)
    scores = {each.name for each in BUILT_IN if each.kind is MetricKind.SCORE} | config.metrics.keys()
    for index, metric in enumerate(judge.metrics):
        if metric not in scores - OUTSIDE:
            listed = ", ".join(sorted(scores - OUTSIDE))
            message = f"{metric!r} is no score that a judge can give (scores: {listed})"
            yield Invalid(f"{path}.metrics[{index}]", message)


def circle_of(name: str, routes: Mapping[str, RouteSpec | None]) -> tuple[str, ...]:
    """The way from a route over its judges back to itself; empty where there is none."""
    way = [name]
    while (spec := routes.get(way[-1])) is not None and spec.judge is not None:
        way.append(spec.judge.route)
        if way[-1] == name:
            return tuple(way)
        if way[-1] in way[:-1]:
            return ()  # another's circle, which is told there
    return ()
