"""JSONLogic's forms: what decides itself which of its arguments are evaluated, and in which scope.

Works on compiled terms only; knows neither rules nor flags.
"""

from __future__ import annotations

from collections.abc import Sequence

from flags.coercion import Value, truth
from flags.flagd_operators import Term, nothing
from flags.steps import A_REDUCTION, Steps


def choice(terms: Sequence[Term]) -> Term:
    """`if`: condition, then, …, else. Without an else, null."""
    if not terms:
        return nothing
    if len(terms) == 1:
        return terms[0]
    condition, then = terms[0], terms[1]
    otherwise = choice(terms[2:])

    def run(data: Value) -> Value:
        verdict = condition(data)
        # Most conditions are comparisons: no call for those.
        if verdict is True or (verdict is not False and truth(verdict)):
            return then(data)
        return otherwise(data)

    return run


def both(terms: Sequence[Term]) -> Term:
    """`and`: the first false value, else the last."""

    def run(data: Value) -> Value:
        value = None
        for term in terms:
            value = term(data)
            if value is not True and not truth(value):
                return value
        return value

    return run


def either(terms: Sequence[Term]) -> Term:
    """`or`: the first true value, else the last."""

    def run(data: Value) -> Value:
        value = None
        for term in terms:
            value = term(data)
            if value is not False and truth(value):
                return value
        return value

    return run


def mapped(terms: Sequence[Term], steps: Steps) -> Term:
    """`map`: what the second argument gives for each item; [] for what is no array."""
    items, each = (*terms, nothing, nothing)[:2]

    def run(data: Value) -> Value:
        found = _walked(items(data), steps)
        return [each(item) for item in found]

    return run


def filtered(terms: Sequence[Term], steps: Steps) -> Term:
    """`filter`: the items for which the second argument is true."""
    items, each = _pair(terms)

    def run(data: Value) -> Value:
        found = _walked(items(data), steps)
        return [item for item in found if truth(each(item))]

    return run


def every(terms: Sequence[Term], steps: Steps) -> Term:
    """`all`: false for no items, as JSONLogic defines it."""
    items, each = _pair(terms)

    def run(data: Value) -> bool:
        found = _walked(items(data), steps)
        return bool(found) and all(truth(each(item)) for item in found)

    return run


def some(terms: Sequence[Term], steps: Steps) -> Term:
    """`some`: true for at least one item."""
    items, each = _pair(terms)

    def run(data: Value) -> bool:
        found = _walked(items(data), steps)
        return any(truth(each(item)) for item in found)

    return run


def none(terms: Sequence[Term], steps: Steps) -> Term:
    """`none`: true for no item."""
    found_some = some(terms, steps)
    return lambda data: not found_some(data)


def reduced(terms: Sequence[Term], start: Value, steps: Steps) -> Term:
    """`reduce`: `accumulator` and `current` are the scope of each step.

    `start` is not evaluated, as in the oracle.
    """
    if not terms:
        return nothing
    items, each = (*terms, nothing)[:2]

    def run(data: Value) -> Value:
        found = items(data)
        if not isinstance(found, list):
            return start
        steps.walk(len(found) * A_REDUCTION)
        # One scope for all steps: a step that returns its scope sees it change, as in the oracle.
        scope: dict[str, Value] = {"accumulator": start}
        for item in found:
            scope["current"] = item
            scope["accumulator"] = each(scope)
        return scope["accumulator"]

    return run


def _walked(found: Value, steps: Steps) -> Sequence[Value]:
    # What is no array has no items.
    if not isinstance(found, list):
        return ()
    steps.walk(len(found))
    return found


def _pair(terms: Sequence[Term]) -> Sequence[Term]:
    # With fewer than two arguments the oracle looks at nothing: no items.
    return terms if len(terms) == 2 else (nothing, nothing)
