"""What is operated, as a flagd targeting rule, and such a rule taken apart again.

Pure; knows rules, marks and flags, no file. Taking apart is believed only where putting together gives the same rule.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import NamedTuple

from flags.canonical import canonical
from flags.codec import check_flag
from flags.compiled import WHOLE
from flags.errors import Invalid
from flags.flagd.marks import Marks
from flags.model import Flag, Json, Rollout, Variant

CURRENT: Json = {"var": "current"}
WHO: Json = {"var": "targetingKey"}
FLAG_KEY: Json = {"var": "$flagd.flagKey"}


class Parts(NamedTuple):
    """What a rule may be made of. `candidate` and `landed` are the same where the candidate is not withdrawn."""

    rule: Json = None
    candidate: str | None = None
    landed: str | None = None
    weight: int = 0
    withdrawn: tuple[str, ...] = ()
    safe: str | None = None


def composed(flag: Flag, rule: Json) -> Json:
    """Targeting, then the rollout where targeting gave null; null leaves it to the default variant.

    `rule` is the flag's own targeting (None: it has none). None where nothing of it needs a rule.
    """
    coin = _coin(flag)
    if rule is None:
        return coin
    targeting = _landing(flag, rule)
    # The rule is written twice: JSONLogic can bind a value (`reduce`) only where the context is out of sight,
    # and the coin needs the context.
    return targeting if coin is None else {"if": [{"===": [rule, None]}, coin, targeting]}


def _landing(flag: Flag, rule: Json) -> Json:
    """`rule`, with *withdrawn → safe* around its result."""
    if not flag.withdrawn:
        return rule
    names = sorted(flag.withdrawn)
    by_value = [clause for name in names if (clause := _named_by_value(name)) is not None]
    # In an array only a text equals a text, so a result of another type is let through as it is.
    by_text: Json = {"in": [CURRENT, names]}
    withdrawn: Json = {"or": [by_text, *by_value]} if by_value else by_text
    return {"reduce": [[rule], {"if": [withdrawn, flag.safe, CURRENT]}, None]}


def _named_by_value(name: str) -> Json:
    """Whether the result is the boolean or integer whose text is `name`; flagd takes those for names too.

    The second half tells 1 from true where the evaluator is written in Python.
    """
    spelled: Json = {"cat": [CURRENT]}
    if name in ("true", "false"):
        number = "1" if name == "true" else "0"
        return {"and": [{"===": [CURRENT, name == "true"]}, {"!==": [spelled, number]}]}
    if name.isdecimal() and str(int(name)) == name:
        return {"and": [{"===": [CURRENT, int(name)]}, {"===": [spelled, name]}]}
    return None


def _coin(flag: Flag) -> Json:
    """DESIGN §4's rule; without a targeting key there is no coin."""
    if flag.rollout is None:
        return None
    candidate, weight = flag.rollout.variant, flag.rollout.weight
    landed = flag.safe if candidate in flag.withdrawn else candidate
    key: Json = {"cat": [FLAG_KEY, "/", candidate, "/", WHO]}
    return {"if": [WHO, {"fractional": [key, [flag.served, WHOLE - weight], [landed, weight]]}, None]}


def taken_apart(
    key: str, names: Iterable[str], serve: str | None, targeting: Json, marks: Marks
) -> tuple[Flag, Json]:
    """The flag as it was operated when a file was written, and its own rule.

    `names` are its variants in the file (here they have no contents), `serve` is the file's default variant. The
    first reading that gives this very file again counts: what the marks say, then (they may be older than an edit of
    the file) what the rule's form says; else the rule is only a rule.
    """
    plain = Flag(key, {name: Variant(name, "") for name in names}, serve, serve)
    parts = Parts(targeting) if marks.plain else parts_of(targeting)
    formal = frozenset(parts.withdrawn)
    marked = marks.withdrawn_names
    told = replace(
        plain,
        serve=marks.serve or serve,
        safe=marks.safe or parts.safe or marks.serve or serve,
        withdrawn=formal if marked is None else marked,
    )
    formed = replace(plain, safe=parts.safe or marks.safe or serve, withdrawn=formal or marked or formal)
    for each in (told, formed):
        flag = _with_rollout(each, parts, marks)
        if _sound(flag) and flag.served == serve and same_rule(composed(flag, parts.rule), targeting):
            return flag, parts.rule
    # The file was edited past what its marks say; its withdrawn names stay withdrawn where they can.
    kept = replace(plain, safe=marks.safe or serve, withdrawn=marked or frozenset())
    return (kept if _sound(kept) and kept.served == serve else plain), targeting


def same_rule(left: Json, right: Json) -> bool:
    """Whether both are the same rule, or none is one. (Python takes 1 and true for equal.)"""
    return left is right or canonical(left) == canonical(right)


def _with_rollout(flag: Flag, parts: Parts, marks: Marks) -> Flag:
    if parts.candidate is None:
        return flag
    percent = parts.weight / 100
    steps = _steps(marks)
    if steps and steps[0] == percent:
        seconds, requests = marks.hold_seconds or 0.0, marks.min_requests or 0
        rollout = Rollout(
            parts.candidate, percent, 0, steps=steps, hold_seconds=seconds, min_requests=requests
        )
    else:
        rollout = Rollout(parts.candidate, percent)
    return replace(flag, rollout=rollout)


def _steps(marks: Marks) -> tuple[float, ...]:
    try:
        return tuple(float(each) for each in (marks.steps or "").split(",") if each)
    except ValueError:
        return ()


def _sound(flag: Flag) -> bool:
    """Whether a config may declare it so."""
    try:
        check_flag(flag)
    except Invalid:
        return False
    return flag.rollout is None or flag.rollout.variant not in flag.withdrawn


def parts_of(targeting: Json) -> Parts:
    """What `composed` may have made `targeting` of; a rule of any other form is all `rule`.

    A guess by form: whoever uses it composes the parts again and compares.
    """
    coin = _coin_parts(targeting)
    if coin is not None:
        return coin
    match targeting:
        case {"if": [{"===": [rule, None]}, toss, landing], **rest} if not rest:
            coin, landed = _coin_parts(toss), _landing_parts(landing)
            if coin is None:
                return Parts(targeting)
            withdrawn, safe = landed[1:] if landed is not None else ((), None)
            return coin._replace(rule=rule, withdrawn=withdrawn, safe=safe)
    found = _landing_parts(targeting)
    return Parts(targeting) if found is None else Parts(found[0], withdrawn=found[1], safe=found[2])


def _landing_parts(rule: Json) -> tuple[Json, tuple[str, ...], str | None] | None:
    """The inner rule, the withdrawn names, and where they land."""
    match rule:
        case {"reduce": [[inner], {"if": [test, (str() | None) as safe, {"var": "current"}]}, None]}:
            names = _names_in(test)
            return None if names is None else (inner, names, safe)
    return None


def _names_in(test: Json) -> tuple[str, ...] | None:
    match test:
        case {"in": [{"var": "current"}, [*names]]} | {"or": [{"in": [{"var": "current"}, [*names]]}, *_]}:
            return tuple(name for name in names if isinstance(name, str))
    return None


def _coin_parts(rule: Json) -> Parts | None:
    match rule:
        case {"if": [_, {"fractional": [{"cat": [_, "/", str(candidate), "/", _]}, first, last]}, None]}:
            match first, last:
                case ([str(), int()], [str(landed), int(weight)]):
                    return Parts(None, candidate, landed, weight)
    return None
