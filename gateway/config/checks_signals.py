"""What a config says of signals, and of policies about what happens elsewhere: signals, drift, complaints.

As gateway.config.checks, of which these are a part: each check yields Invalid with the path from the file's root.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from flags.errors import Invalid
from gateway.spec import PolicySpec
from gateway.spec_rulebook import SignalSpec
from policies.policy import ALPHA, COMPLAINTS, DRIFT, OUTSIDE, SIGNAL

# As the sorted set of who complained is cut.
MOST_PEOPLE = 10_000


def signal_problems(
    name: str, spec: SignalSpec, routes: Collection[str], flags: Collection[str]
) -> Iterator[Invalid]:
    """A source of signals about a route or flag that does not exist."""
    path = f"signals.{name}"
    if spec.route is not None and spec.route not in routes:
        listed = ", ".join(sorted(routes)) or "none"
        yield Invalid(f"{path}.route", f"route {spec.route!r} is not defined (routes: {listed})")
    if spec.flag is not None and spec.flag not in flags:
        listed = ", ".join(sorted(flags)) or "none"
        yield Invalid(f"{path}.flag", f"flag {spec.flag!r} is not defined (flags: {listed})")


def source_problems(spec: PolicySpec, signals: Mapping[str, SignalSpec]) -> Iterator[Invalid]:
    """Fields of a policy that only signals have a use for; paths from the policy."""
    if spec.metric != SIGNAL and spec.source is not None:
        message = f"goes with metric: {SIGNAL}; {spec.metric} comes from no source"
        yield Invalid("source", message, mend="remove it")
    elif spec.source is not None and spec.source not in signals:
        listed = ", ".join(sorted(signals)) or "none"
        yield Invalid("source", f"source {spec.source!r} is not defined (signals: {listed})")
    if spec.named is not None and spec.metric not in (SIGNAL, DRIFT):
        yield Invalid("named", f"goes with metric: {SIGNAL} or {DRIFT}", mend="remove it")
    elif spec.named is not None and not spec.named.strip():
        yield Invalid(
            "named", "expected a signal's name, or a pattern such as Toxic*", mend="leave it out to mean all"
        )


def outside_problems(spec: PolicySpec) -> Iterator[Invalid]:
    """A policy about what happens elsewhere, with bounds that only measurements have; paths from the policy."""
    unused = ["times_safe", "quantile", "min_count"]
    unused += [] if spec.metric == COMPLAINTS else ["limit", "window_seconds"]
    for field in unused:
        if getattr(spec, field) is not None:
            message = f"{spec.metric} is told from outside; there is nothing to hold it against"
            yield Invalid(field, message, mend="remove it")
    if spec.method != "evidence" or spec.alpha != ALPHA:
        yield Invalid("", f"a policy about {spec.metric} has no method and no α", mend="remove them")
    if spec.limit is not None and not (spec.limit == int(spec.limit) and 1 <= spec.limit <= MOST_PEOPLE):
        message = f"expected how many different people complain, 1 to {MOST_PEOPLE:,}, found {spec.limit:g}"
        yield Invalid("limit", message)


def taken_names(metrics: Collection[str]) -> Iterator[Invalid]:
    """Declared metrics under names that mean something else."""
    for name in sorted(OUTSIDE & set(metrics)):
        yield Invalid(f"metrics.{name}", f"{name} is built in", mend="choose another name")
