"""A flag made ready to answer: its rule compiled, its answers built beforehand. Knows no Redis and no clock.

Resolutions are immutable, so the few that a flag can give are made once and shared by all requests.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from flags.errors import Invalid
from flags.flagd_operators import Term
from flags.model import ErrorCode, Flag, Json, Reason, Resolution
from flags.targeting import compile_rule

# A rollout's weights add up to this: two decimals of a percent.
WHOLE = 10_000


@dataclass(frozen=True, slots=True)
class Coin:
    """A rollout's coin: `prefix` + targeting key is what is hashed.

    The last `weight` parts of WHOLE are the candidate's. It sits at the list's
    tail and the total is fixed, so a growing percentage moves one boundary only.
    """

    prefix: str
    serve_until: int
    serve: Resolution
    candidate: Resolution


@dataclass(frozen=True, slots=True)
class CompiledFlag:
    """A flag with its contents, ready for `resolve`.

    `always` is the answer where nothing depends on the context. `timed` tells that the rule can read
    `$flagd.timestamp`, so that the answer may change with nothing but time. `floats` tells that among its numbers there
    is a fraction: a client with types takes 1 for an integer, so whoever sends them writes 1.0.
    """

    flag: Flag
    values: Mapping[str, Json]
    rule: Term | None
    rule_error: str | None
    always: Resolution | None
    fallback: Resolution
    matches: Mapping[str, Resolution]
    coin: Coin | None
    timed: bool = False
    floats: bool = False


def compile_flag(flag: Flag, contents: Mapping[str, Json]) -> CompiledFlag:
    """`flag` ready to answer. Never raises for a bad rule or an absent content.

    Those answer with an error, alone.

    `contents` maps hashes to values and may hold more than this flag's.
    """
    # What cannot answer is left out here and told by `served`, so that one erased content breaks one variant.
    values = {name: contents[v.hash] for name, v in flag.variants.items() if v.hash in contents}
    rule, rule_error = _rule_of(flag, contents)
    dynamic = rule is not None or flag.rollout is not None
    fallback = answer(
        flag, values, flag.serve, Reason.DEFAULT if dynamic or flag.serve is None else Reason.STATIC
    )
    return CompiledFlag(
        flag=flag,
        values=values,
        rule=rule,
        rule_error=rule_error,
        always=_constant_answer(flag, rule_error, None if dynamic else fallback),
        fallback=fallback,
        matches=_matches(flag, values) if rule is not None else {},
        coin=_coin(flag, values),
        timed=rule is not None and reads_time(contents[flag.targeting or ""]),
        floats=any(type(value) is float for value in values.values()),
    )


def reads_time(rule: Json) -> bool:
    """Whether evaluating `rule` can look at `$flagd.timestamp`; true where that cannot be told from its text."""
    if isinstance(rule, list):
        return any(map(reads_time, rule))
    if not isinstance(rule, Mapping):
        return False
    return any(_reads_time(name, arguments) for name, arguments in rule.items())


def _reads_time(operator: str, arguments: Json) -> bool:
    if operator != "var":
        return reads_time(arguments)
    listed = arguments if isinstance(arguments, list) else [arguments]
    name = listed[0] if listed else None
    # A name that is computed may become any, and the empty one is the whole scope.
    if not isinstance(name, str) or not name:
        return True
    return (name.startswith("$flagd") and name != "$flagd.flagKey") or reads_time(listed[1:])


def _rule_of(flag: Flag, contents: Mapping[str, Json]) -> tuple[Term | None, str | None]:
    if flag.targeting is None:
        return None, None
    if flag.targeting not in contents:
        return None, f"the targeting rule {flag.targeting} is not there"
    try:
        return compile_rule(contents[flag.targeting], flag.key), None
    except Invalid as error:
        return None, f"targeting.{error}"


def _constant_answer(flag: Flag, rule_error: str | None, fallback: Resolution | None) -> Resolution | None:
    # flagd: a disabled flag is a success without a value, not an error.
    if not flag.enabled:
        return Resolution(flag.key, None, None, Reason.DISABLED)
    if rule_error is not None:
        return failed(flag.key, ErrorCode.PARSE_ERROR, rule_error)
    return fallback


def _matches(flag: Flag, values: Mapping[str, Json]) -> Mapping[str, Resolution]:
    return {name: answer(flag, values, name, Reason.TARGETING_MATCH) for name in flag.variants}


def _coin(flag: Flag, values: Mapping[str, Json]) -> Coin | None:
    if flag.rollout is None:
        return None
    return Coin(
        prefix=f"{flag.key}/{flag.rollout.variant}/",
        serve_until=WHOLE - flag.rollout.weight,
        serve=answer(flag, values, flag.serve, Reason.SPLIT),
        candidate=answer(flag, values, flag.rollout.variant, Reason.SPLIT),
    )


def answer(flag: Flag, values: Mapping[str, Json], wanted: str | None, reason: Reason) -> Resolution:
    """What a caller gets for whom the rules chose `wanted`: itself, or `safe` where it is withdrawn."""
    return served(flag, values, flag.safe if wanted in flag.withdrawn else wanted, reason, wanted=wanted)


def served(
    flag: Flag,
    values: Mapping[str, Json],
    variant: str | None,
    reason: Reason,
    *,
    wanted: str | None = None,
    pinned: bool = False,
) -> Resolution:
    """`variant` as the answer, with its value and generation.

    A None one leaves the value to the caller's default.
    """
    other = wanted if wanted != variant else None
    if variant is None:
        return Resolution(flag.key, None, None, reason, wanted=other, pinned=pinned)
    if variant not in values:
        found = (
            "its content is not there"
            if variant in flag.variants
            else f"variants: {', '.join(flag.variants)}"
        )
        return failed(flag.key, ErrorCode.GENERAL, f"variant {variant!r} cannot answer ({found})")
    generation = flag.variants[variant].generation
    return Resolution(flag.key, variant, values[variant], reason, generation, other, pinned)


def failed(key: str, error: ErrorCode, message: str) -> Resolution:
    """The answer that is an error; the caller's own default applies."""
    return Resolution(key, None, None, Reason.ERROR, error=error, message=message)
