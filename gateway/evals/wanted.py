"""What a run of evals is to be: which version, suite, route and thresholds, from what was asked for and the flag's rules.

Pure: decided on a Serving. Knows no answer and no report.
"""

from __future__ import annotations

from dataclasses import dataclass

from flags.errors import Invalid, NotFound, Refused
from flags.model import Embedding, Flag, Json, Promotion, Variant
from gateway.decision import Serving
from gateway.spec_base import EVERY_NAME
from policies.evals.gate import Thresholds
from policies.evals.suite import Suite

# So many are asked at once unless told otherwise; a provider's limits are soon met, and users' traffic goes on beside.
CONCURRENCY, MOST_AT_ONCE = 8, 64
# Times that a case may be asked, as in promotion rules.
MOST_REPEATS = 100
# Answers in one run: five times the longest suite. What stays of each is bounded, so this bounds memory.
MOST_RUNS = 50_000
# Where neither the command nor the flag's rules say.
USUAL = Promotion()


@dataclass(frozen=True, slots=True)
class Wanted:
    """A run as it is asked for; None: as the flag's rules have it. `variant` None: what is served, without a pin.

    `suite` is a resolved document. `by` and `reason` are for the ledger. `routine`: nobody asked for it just now.
    """

    flag: str
    variant: str | None
    by: str
    reason: str
    suite: Json = None
    suite_name: str = ""
    route: str | None = None
    repeat: int | None = None
    concurrency: int = CONCURRENCY
    min_pass_rate: float | None = None
    min_score: float | None = None
    judge: str | None = None
    embedding: Embedding | None = None
    link: str | None = None
    routine: bool = False

    def __post_init__(self) -> None:
        """Raises Invalid for numbers out of range."""
        _within("concurrency", self.concurrency, 1, MOST_AT_ONCE)
        _within("repeat", self.repeat, 1, MOST_REPEATS)
        _within("min_pass_rate", self.min_pass_rate, 0, 1)
        _within("min_score", self.min_score, 0, 1)


@dataclass(frozen=True, slots=True)
class Plan:
    """A run as it will be. `served`: nothing is pinned, and what answers must be `variant` all the same."""

    flag: str
    layer: str
    variant: Variant
    served: bool
    suite: Suite
    route: str
    repeat: int
    concurrency: int
    thresholds: Thresholds
    judge: str | None
    embedding: Embedding | None

    @property
    def runs(self) -> int:
        """How many answers are asked for."""
        return len(self.suite.cases) * self.repeat


def plan_of(wanted: Wanted, serving: Serving, suite: Suite) -> Plan:
    """What is asked for, completed. Raises NotFound, Invalid and Refused, and names what there is."""
    flag = flag_of(serving, wanted.flag)
    rules = flag.promotion or USUAL
    if suite.hash == rules.suite:
        _as_the_rules_say(wanted, rules)
    least = rules.min_pass_rate if wanted.min_pass_rate is None else wanted.min_pass_rate
    score = rules.min_score if wanted.min_score is None else wanted.min_score
    plan = Plan(
        flag.key,
        _layer(flag),
        variant_of(flag, wanted.variant),
        wanted.variant is None,
        suite,
        _route(serving, flag, wanted.route or rules.route),
        wanted.repeat or rules.repeat,
        wanted.concurrency,
        Thresholds(least, score),
        _judge(serving, wanted.judge or rules.judge),
        wanted.embedding or rules.embedding,
    )
    if plan.runs > MOST_RUNS:
        raise Invalid(
            "repeat",
            f"{len(suite.cases):,} cases, {plan.repeat} times each, are more than {MOST_RUNS:,} answers",
            mend="ask less often, or split the suite",
        )
    return plan


def flag_of(serving: Serving, key: str) -> Flag:
    """The flag `key`. Raises NotFound with those that there are."""
    found = serving.snapshot.flags.get(key)
    if found is None:
        known = ", ".join(sorted(serving.snapshot.flags)) or "none"
        raise NotFound(f'flag "{key}" does not exist (flags: {known[:2000]})')
    return found.flag


def routes_using(serving: Serving, flag: str) -> list[str]:
    """The routes one of whose layers is this flag, by name."""
    return sorted(
        route.name
        for route in serving.routes.values()
        if any(layer.flag.flag.key == flag for layer in route.layers)
    )


def _within(name: str, value: float | None, low: float, high: float) -> None:
    if value is not None and not low <= value <= high:
        raise Invalid(name, f"found {value}, expected {low} to {high}")


def _layer(flag: Flag) -> str:
    if flag.layer is None:
        raise Refused(
            "no_layer",
            f'flag "{flag.key}" has no layer: no route answers with it, so there is nothing to ask',
            mend="evaluate a version of a prompt, model, retriever, index or pipeline flag",
        )
    return flag.layer.value


def variant_of(flag: Flag, name: str | None) -> Variant:
    """The variant `name`; None: the one that is served. Raises NotFound with those that there are."""
    wanted = flag.served if name is None else name
    found = None if wanted is None else flag.variants.get(wanted)
    if found is None:
        names = ", ".join(sorted(flag.variants))
        raise NotFound(f'flag "{flag.key}": variant "{wanted}" is not defined (variants: {names})')
    return found


def _as_the_rules_say(wanted: Wanted, rules: Promotion) -> None:
    """Raises Refused where the flag's own suite, whose result counts, would be asked or judged by others than the rules name."""
    for what, asked, said in (
        ("route", wanted.route, rules.route),
        ("judge", wanted.judge, rules.judge),
        ("embedding", wanted.embedding, rules.embedding),
    ):
        if asked is not None and said is not None and asked != said:
            raise Refused(
                "not_by_the_rules",
                f"the promotion rules name another {what} for their suite, and no other's result may count",
                mend=f"leave --{what} out, or give another suite",
            )


def _route(serving: Serving, flag: Flag, named: str | None) -> str:
    using = routes_using(serving, flag.key)
    listed = ", ".join(using) or "none"
    if named is not None:
        if named not in using:
            raise Invalid(
                "route", f'route "{named}" does not use the flag "{flag.key}" (those that do: {listed})'
            )
        return named
    if len(using) == 1:
        return using[0]
    if not using:
        raise Refused("route_missing", f'no route uses the flag "{flag.key}", so nothing can be asked')
    raise Refused(
        "route_ambiguous",
        f'several routes use the flag "{flag.key}": {listed}',
        mend=f"name one: --route {using[0]}, or promotion.route",
    )


def _judge(serving: Serving, named: str | None) -> str | None:
    if named is not None and named not in serving.routes:
        known = ", ".join(sorted(name for name in serving.routes if name != EVERY_NAME)) or "none"
        raise Invalid("judge", f'there is no route "{named}" to judge (routes: {known})')
    return named
